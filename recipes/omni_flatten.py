"""OmniFlatten from nothing to a model that talks, at its nano size, on two cores.

    python recipes/omni_flatten.py --folder runs/omni_flatten

Units, a text model, conversations of the desk by many voices; then the paper's stages: alignment, half duplex, full
duplex. Run it again to go on where it was stopped. It leaves `model` in the folder, which `duologue talk --system
omni_flatten --model runs/omni_flatten/model` talks with, and prints how long each part took. With `--until two_streams`
it goes on to the paper's last stage, sound alone, and leaves `model_two_streams` beside that one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import torch

import nano_text
import nano_units
import omni_flatten_data
from duologue.data.encode import Encoded
from duologue.data.tensors import Example
from duologue.desk import questions
from duologue.model.backbone import backbone, tokenizer_of
from duologue.systems import omni_flatten
from duologue.systems.omni_flatten import STAGES, STREAMS, Config, OmniFlatten
from duologue.systems.omni_flatten_examples import EXAMPLES, with_some_sound, with_sound, without_sound
from duologue.train import Causal, NextToken, Run, train
from duologue.units import nano_codec
from duologue.whole import whole_file
from nano_units_speech import prepare
from omni_flatten_data import codec_in, corpora

BY_CHUNK = ("full_duplex", "two_streams")
SOME_SOUND = 0.25
"""Share of the conversations that are learnt from once more, without most of their sound."""
KEPT_EVERY_S = 60.0
HELD_OUT = 64
"""Examples of each stage that are kept for validation."""


@dataclass(frozen=True)
class Taught:
    """What a stage of the nano size learns from, and for how long. Rows hold several examples.

    written   questions that it goes on to answer in writing: what is not asked for while it learns to hear is forgotten
    """

    name: str
    corpora: tuple[str, ...]
    written: int
    epochs: int
    learning_rate: float
    batch_tokens: int
    row_tokens: int


DIALOGUES = ("dialogues_0", "dialogues_1", "dialogues_2")
QUESTIONS = ("questions_0", "questions_1", "questions_2", "questions_3")
NANO = (
    Taught("alignment", (*DIALOGUES, *QUESTIONS, "answers", "people"), 60_000, 2, 3e-3, 4_096, 512),
    Taught("half_duplex", (*DIALOGUES, *QUESTIONS, "people"), 60_000, 2, 2.5e-3, 6_144, 1024),
    Taught("full_duplex", (*DIALOGUES, *QUESTIONS, "people"), 60_000, 2, 2e-3, 8_192, 1536),
)
TWO_STREAMS = Taught("two_streams", (*DIALOGUES, *QUESTIONS, "people"), 0, 1, 1e-3, 8_192, 1536)
"""After these; it writes nothing, so there is nothing written to go on with."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    folder: Path = options.folder
    with timed(folder, "units"):
        codec = codec_in(folder)
        speech = prepare(folder / "units" / "speech", options.recordings, options.share)
        if not codec.exists():
            nano_units.make(speech, folder / "units", options.recordings)
    with timed(folder, "text"):
        if not nano_text.saved(folder / "text" / "model"):
            held_out = list(islice(questions(2, "test", "en"), 480))
            nano_text.make(folder / "text", held_out, round(options.share * nano_text.QUESTIONS))
    with timed(folder, "conversations"):
        rows = corpora(folder, codec, options.recordings, speech, options.share, options.threads)
    model = untrained(folder / "text" / "model", codec, omni_flatten.nano(), options.seed)
    for taught in NANO:
        with timed(folder, taught.name):
            learn(model, taught, rows, folder / taught.name, options.seed)
    keep(model, codec, folder / "model")
    if options.until == TWO_STREAMS.name:
        with timed(folder, TWO_STREAMS.name):
            learn(model.without_text(), TWO_STREAMS, rows, folder / TWO_STREAMS.name, options.seed)
        keep(model.without_text(), codec, folder / "model_two_streams")


def parsed() -> argparse.Namespace:
    parser = omni_flatten_data.parser(__doc__, "where everything is kept")
    parser.add_argument("--seed", type=int, default=0)
    last = (NANO[-1].name, TWO_STREAMS.name)
    parser.add_argument("--until", choices=last, default=last[0], help="the last stage (default: %(default)s)")
    return parser.parse_args()


@contextmanager
def timed(folder: Path, part: str) -> Iterator[None]:
    """Add the minutes that the part took to `minutes.json`: each minute anew, so that those before a kill count."""
    path, began, over = folder / "minutes.json", time.monotonic(), threading.Event()
    before = _minutes(path).get(part, 0)

    def keep() -> None:
        minutes = _minutes(path) | {part: round(before + (time.monotonic() - began) / 60, 1)}
        folder.mkdir(parents=True, exist_ok=True)
        whole_file(path, lambda file: file.write(json.dumps(minutes, indent=1).encode()))

    def keep_on() -> None:
        while not over.wait(KEPT_EVERY_S):
            keep()

    keeping = threading.Thread(target=keep_on, daemon=True)
    keeping.start()
    try:
        yield
    finally:
        over.set()
        keeping.join()
        keep()
        print(f"{part}: {_minutes(path)[part]} min", flush=True)


def _minutes(path: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    return found


def untrained(text: Path, codec: Path, config: Config, seed: int) -> OmniFlatten:
    """The text model with tags and units, which begin as what the codec knows of them."""
    return OmniFlatten.grown(backbone(str(text)), tokenizer_of(text), nano_codec.codes_of(codec), config, seed)


def keep(model: OmniFlatten, codec: Path, folder: Path) -> None:
    """In half the bytes, with its codec. The model itself stays as exact as it is."""
    replace(model, lm=deepcopy(model.lm).to(torch.bfloat16)).save(folder)
    shutil.copyfile(codec, folder / nano_codec.CODEC)


def learn(model: OmniFlatten, taught: Taught, rows: dict[str, list[Encoded]], folder: Path, seed: int) -> None:
    """One stage, from where its folder was left."""
    learnt, held_out = examples(
        model, taught.name, [row for name in taught.corpora for row in rows[name]], taught.row_tokens
    )
    paper = next(stage for stage in STAGES if stage.name == taught.name)
    stage = replace(
        paper,
        learning_rate=taught.learning_rate,
        epochs=taught.epochs,
        batch_tokens=taught.batch_tokens,
        row_tokens=taught.row_tokens,
        warmup_steps=50,
        final_rate=0.03,
        muon=nano_text.MATRICES,
        seed=seed,
    )
    if taught.name == "full_duplex":
        learnt = [*heard(model, learnt), *unheard(model, taught.written)]
    elif taught.written:
        learnt += written(model, taught.written)
    run = Run(folder, bf16=True, validate_every_steps=200)
    train(Causal(model.lm), stage, run, learnt, held_out, NextToken(STREAMS))


def examples(
    model: OmniFlatten, stage: str, rows: Sequence[Encoded], row_tokens: int
) -> tuple[list[Example], list[Example]]:
    """To learn from, and to validate with: of conversations in an order drawn once. Nobody is taught to be silent when
    spoken to: whoever is not answered is only listened to, in alignment."""
    shuffled = Random(0).sample(rows, len(rows))
    chunk = model.config.chunk_tokens if stage in BY_CHUNK else None
    if chunk:
        shuffled = [row for row in shuffled if any(stretch.speaker == "assistant" for stretch in row.stretches)]
    made = [part for one in EXAMPLES[stage](model, shuffled) for part in in_rows(one, row_tokens, chunk)]
    return made[HELD_OUT:], made[:HELD_OUT]


def in_rows(example: Example, row_tokens: int, chunk: int | None) -> list[Example]:
    """What does not fit into a row is left out; one that goes on chunk by chunk is cut, since a call that is longer
    than what is remembered goes on in its middle too."""
    tokens, row = len(example["said"]), row_tokens // (chunk or row_tokens) * (chunk or row_tokens)
    if tokens > row_tokens and chunk is None:
        return []
    return [{name: array[at : at + row] for name, array in example.items()} for at in range(0, tokens, row)]


def written(model: OmniFlatten, count: int) -> list[Example]:
    """What it learnt as a text model, in the stream of text."""
    return in_text(nano_text.rehearsed(model.words, count))


def heard(model: OmniFlatten, conversations: Sequence[Example]) -> Iterator[Example]:
    """All of their sound; of some, once more, a part of it."""
    yield from map(with_sound, conversations)
    for seed, example in enumerate(conversations[:: round(1 / SOME_SOUND)]):
        if (some := with_some_sound(model, example, seed))["said"].any():
            yield some


def unheard(model: OmniFlatten, count: int) -> list[Example]:
    """The same where it talks by chunk: questions and answers at the distances that they have in a call."""
    asked = (nano_text.texts(question) for question in nano_text.drawn(3, count))
    known = nano_text.readings(model.words, nano_text.REHEARSALS)
    longest = NANO[-1].row_tokens
    far_apart = (without_sound(model, turns, seed) for seed, turns in enumerate(asked))
    return [*map(with_sound, in_text(known)), *(one for one in far_apart if len(one["said"]) <= longest)]


def in_text(read: Iterable[Example]) -> list[Example]:
    """What is written, in the stream of text."""
    return [{**one, "stream": np.full(len(one["tokens"]), STREAMS.index("text"))} for one in read]


if __name__ == "__main__":
    main()
