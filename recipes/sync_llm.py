"""SyncLLM of the nano size: from a text model and units to a model that writes both sides of a conversation.

    python recipes/sync_llm.py --folder runs/omni_flatten

It takes the units, the text model and the encoded conversations that recipes/omni_flatten.py made in the folder: it
learns to listen, then the paper's three stages: turns, full duplex without overlap, two channels. Instead of the text
model an OmniFlatten of the same units may be given (`--text`): it knows what they sound like. Run it again to go on
where it was stopped. It leaves `sync_llm/model` in the folder, which `duologue talk --system sync_llm --model
runs/omni_flatten/sync_llm/model` talks with.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import get_args

import numpy as np
import torch

import nano_text
from duologue.data import encode
from duologue.data.encode import Encoded, Stretch
from duologue.data.tensors import Example
from duologue.model.backbone import backbone, tokenizer_of
from duologue.systems.sync_llm import PARTS_OF_TURN_BASED, STAGES, STREAMS, Config, Repeats, SyncLLM
from duologue.systems.sync_llm_examples import EXAMPLES, listening_examples, swapped, two_channel_examples
from duologue.train import Causal, NextToken, Run, Stage, train
from duologue.units import nano_codec
from omni_flatten import DIALOGUES, QUESTIONS, timed
from omni_flatten_data import codec_in

TOKENS = 6_000_000
"""That are learnt from in all: about 35 minutes of one core."""
WRITTEN = 0.15
"""Share of each stage's tokens that are questions and statements in text alone, so that it forgets no arithmetic."""
LEAST_WRITTEN = 16
"""Tokens of a question with its answer; most have more."""
ASKS = 0.25
"""Share of the conversations with two channels in which the model is the one that asks: two of them can talk."""
TOGETHER = 6
"""Conversations with two channels that follow on each other."""
BETWEEN_UNITS = (2, 20)
"""Of silence between two of them, beside that before the first word."""
HELD_OUT = 64
SCHEDULES = {stage.name: stage.schedule for stage in STAGES}


@dataclass(frozen=True)
class Taught:
    """A stage of the nano size: its share of all tokens, what it learns from, what the user's side counts in it."""

    name: str
    share: float
    corpora: tuple[str, ...]
    learning_rate: float
    batch_tokens: int
    row_tokens: int
    user: float = 1.0


ASKED = (*DIALOGUES, *QUESTIONS)
NANO = (
    Taught("listening", 0.3, (*ASKED, "answers", "people"), 3e-3, 4_096, 512),
    *(
        Taught(f"turn_based_{part + 1}", 0.06, (*ASKED, "answers", "people"), 2.5e-3, 4_096, 512)
        for part in range(PARTS_OF_TURN_BASED)
    ),
    Taught("no_overlap", 0.16, (*ASKED, "people"), 2.5e-3, 6_144, 1_024, user=0.3),
    Taught("two_channels", 0.3, (*ASKED, "people"), 2e-3, 8_192, 1_536, user=0.3),
)


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    folder: Path = options.folder
    own: Path = options.out or folder / "sync_llm"
    config = Config(options.chunk_ms, repeats=options.repeats)
    rows = {name: corpus(folder, name) for name in {name for taught in NANO for name in taught.corpora}}
    model = untrained(options.text or folder / "text" / "model", codec_in(folder), config, options.seed)
    teach(model, rows, codec_in(folder), own, options.tokens, options.seed)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/omni_flatten"), help="of recipes/omni_flatten.py")
    parser.add_argument("--text", type=Path, default=None, help="text model (default: text/model in the folder)")
    parser.add_argument("--out", type=Path, default=None, help="what is learnt (default: sync_llm in the folder)")
    parser.add_argument("--repeats", choices=get_args(Repeats), default="removed", help="what chunks hold of repeats")
    parser.add_argument("--chunk-ms", type=int, default=160)
    parser.add_argument("--tokens", type=float, default=TOKENS, help="to learn from in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def corpus(folder: Path, name: str) -> list[Encoded]:
    """The encoded conversations of a corpus. Raises FileNotFoundError where there are none."""
    paths = sorted((folder / name / "units").glob("*.jsonl"))
    if not paths:
        raise FileNotFoundError(f"there are no units in {folder / name / 'units'}: run recipes/omni_flatten.py first")
    return [row for path in paths for row in encode.read(path)]


def untrained(text: Path, codec: Path, config: Config, seed: int) -> SyncLLM:
    """The text model with tags and units, which begin as what the codec knows of them."""
    return SyncLLM.grown(backbone(str(text)), tokenizer_of(text), nano_codec.codes_of(codec), config, seed)


def teach(model: SyncLLM, rows: dict[str, list[Encoded]], codec: Path, folder: Path, tokens: float, seed: int) -> None:
    """All stages, from where the folder was left; the model with its codec in the folder's `model`."""
    silence, written = nano_codec.load(codec).silence[0], rehearsed(model, round(tokens * WRITTEN))
    for taught in NANO:
        with timed(folder, taught.name):
            said = [row for name in taught.corpora for row in rows[name]]
            made = examples(model, taught, Random(taught.name).sample(said, len(said)), silence)
            held_out, stage = (
                list(islice(made, HELD_OUT)),
                stage_of(taught, round(tokens * taught.share), seed),
            )
            learnt = mixed(made, written, stage.batch_tokens * (stage.steps or 0))
            run = Run(folder / taught.name, bf16=True, validate_every_steps=100)
            train(Causal(model.lm), stage, run, learnt, held_out, NextToken(STREAMS))
    model.save(folder / "model")
    shutil.copyfile(codec, folder / "model" / nano_codec.CODEC)


def stage_of(taught: Taught, tokens: int, seed: int) -> Stage:
    return Stage(
        taught.name,
        learning_rate=taught.learning_rate,
        steps=max(2, tokens // taught.batch_tokens),
        batch_tokens=taught.batch_tokens,
        row_tokens=taught.row_tokens,
        warmup_steps=20,
        schedule=SCHEDULES.get(taught.name, "cosine"),
        final_rate=0.03,
        loss_weights={"user": taught.user},
        muon=nano_text.MATRICES,
        seed=seed,
    )


# ---------------------------------------------------------------- what is learnt


def examples(model: SyncLLM, taught: Taught, rows: Sequence[Encoded], silence: int) -> Iterator[Example]:
    """Of conversations, those that fit into a row; long recordings are cut."""
    if taught.name == "listening":
        made = listening_examples(model, rows)
    elif taught.name == "two_channels":
        draw, window_chunks = Random(0), taught.row_tokens // model.config.chunk_tokens
        asks = [draw.random() < ASKS and bool(row.stretches) for row in rows]
        asking = [swapped(row, silence) for row, does in zip(rows, asks, strict=True) if does]
        answering = [row for row, does in zip(rows, asks, strict=True) if not does]
        long = [*joined(asking, silence, draw), *joined(answering, silence, draw)]
        made = two_channel_examples(model, draw.sample(long, len(long)), silence, window_chunks)
    else:
        made = EXAMPLES[taught.name](model, rows, silence)
    return (one for one in made if len(one["said"]) <= taught.row_tokens)


def joined(rows: Sequence[Encoded], silence: int, draw: Random) -> Iterator[Encoded]:
    """Conversations one behind the other, so many at a time: whoever asks goes on asking when the answer is over, and
    no silence is the last. Those of people who are not answered stay alone."""
    talks = [row for row in rows if row.stretches]
    yield from (row for row in rows if not row.stretches)
    for first in range(0, len(talks), TOGETHER):
        user, stretches = list[int](), list[Stretch]()
        for row in talks[first : first + TOGETHER]:
            behind = len(user)
            stretches += [moved(stretch, behind) for stretch in row.stretches]
            over = max(stretch.start + len(stretch.units) for stretch in row.stretches) + draw.randint(*BETWEEN_UNITS)
            user += [*row.user[:over], *[silence] * (over - len(row.user))]
        yield Encoded(talks[first].name, tuple(user), tuple(stretches))


def moved(stretch: Stretch, units: int) -> Stretch:
    """So many units later."""
    return replace(stretch, start=stretch.start + units, ends=tuple(end + units for end in stretch.ends))


def rehearsed(model: SyncLLM, tokens: int) -> list[Example]:
    """What it learnt as a text model, on its own side: at least so many tokens, mixed."""
    found = nano_text.rehearsed(model.words, tokens // LEAST_WRITTEN)
    own = STREAMS.index("own")
    shuffled = Random(0).sample(found, len(found))
    return [{**one, "stream": np.full(len(one["tokens"]), own)} for one in shuffled]


def mixed(made: Iterable[Example], written: Iterable[Example], tokens: int) -> list[Example]:
    """What a stage of so many tokens sees: as many examples as hold them, or all there are, again and again."""
    spoken = list(as_many(made, tokens * (1 - WRITTEN)))
    seen = sum(len(one["said"]) for one in spoken)
    return [*spoken, *as_many(written, seen * WRITTEN / (1 - WRITTEN))]


def as_many(made: Iterable[Example], tokens: float) -> Iterator[Example]:
    """The first of the examples, that have so many tokens together."""
    for one in made:
        if tokens <= 0:
            return
        tokens -= len(one["said"])
        yield one


if __name__ == "__main__":
    main()
