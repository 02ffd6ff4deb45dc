"""The nano ears from nothing: which word has just ended, told of each 40 ms of sound.

    python recipes/nano_ears.py --folder runs/omni_flatten

It takes the units, the text model and the conversations that recipes/omni_flatten.py made in the folder: the front
layers of the tokenizer stay as they are, the words are those of the text model. Run it again to go on where it was
stopped. It leaves `ears.safetensors` in the folder.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from duologue.data.encode import Encoded, Stretch, spoken_words
from duologue.data.tensors import Example
from duologue.model.backbone import backbone, tokenizer_of
from duologue.session import HEARD_HZ
from duologue.sound.wav import read_channels
from duologue.systems.omni_flatten_examples import HEARD_LATER, exchanges, utterances
from duologue.train import Run, Stage, train
from duologue.train.loss import Tensors
from duologue.units import nano_codec, nano_ears
from duologue.units.nano_ears import EarsConfig, NanoEars, WordEars
from duologue.units.nano_front import UNIT_SAMPLES, NanoFront
from duologue.whole import whole_file
from omni_flatten import DIALOGUES, QUESTIONS
from omni_flatten_data import codec_in, made, parser

STAGE = Stage(
    "ears",
    learning_rate=3e-3,
    batch_tokens=4_096,
    row_tokens=512,
    epochs=3,
    warmup_steps=50,
    final_rate=0.03,
    mean_over="streams",
    loss_weights={"nothing": 2.0},
    muon=("body.*.layers.*",),
)
BEFORE, AFTER = (2, 15), (1, 15)
"""Vectors around an utterance, drawn: it is cut out by a detector that is never exact."""
HELD_OUT = 128
"""Utterances that are kept for validation."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    folder: Path = options.folder
    front: NanoFront = nano_codec.load(codec_in(folder)).tokenizer
    rows = made(options)
    vocabulary = tuple(sorted(word for word in tokenizer_of(folder / "text" / "model").get_vocab() if _spoken(word)))
    ears = untrained(front, vocabulary, options.seed)
    lessons = list[Example]()
    for name in (*DIALOGUES, *QUESTIONS):
        lessons += examples(ears, rows[name], vectors(folder, name, front, rows[name]))
    learn(ears, lessons, folder / "ears", options.seed)
    nano_ears.save(ears, folder / "ears.safetensors")


def parsed() -> argparse.Namespace:
    found = parser(__doc__)
    found.add_argument("--seed", type=int, default=0)
    return found.parse_args()


def _spoken(word: str) -> bool:
    return bool(spoken_words(word)) and spoken_words(word) == [word]


def untrained(front: NanoFront, vocabulary: tuple[str, ...], seed: int) -> NanoEars:
    ears = NanoEars(EarsConfig(vocabulary), seed)
    ears.front.load_state_dict({name: value for name, value in front.state_dict().items() if name.startswith("layers")})
    return ears.requires_grad_(True)


# ---------------------------------------------------------------- for a language model


def word_ears(folder: Path) -> WordEars:
    """The ears that this recipe left in the folder, with what its text model begins with for each word."""
    ears, text = nano_ears.load(folder / "ears.safetensors"), folder / "text" / "model"
    ids = tokenizer_of(text).convert_tokens_to_ids(list(ears.config.vocabulary))
    return WordEars(ears, backbone(str(text)).get_input_embeddings().weight[ids]).requires_grad_(False)


@dataclass(frozen=True)
class HeardExchange:
    """What was asked, and the words that were heard of it, [W, D]; its answer."""

    asked: Sequence[Stretch]
    words: NDArray[np.float16]
    answer: Stretch


def conversations(ears: WordEars, folder: Path, corpus: str, rows: Sequence[Encoded]) -> list[list[HeardExchange]]:
    """The exchanges of each recording of a corpus that has any, up to an answer that is cut."""
    told = [_up_to_a_cut(list(exchanges(row))) for row in rows]
    of_rows = vectors(folder, corpus, ears.ears.front, rows)
    questions = [of[slice(*window(asked, len(of)))] for of, row in zip(of_rows, told, strict=True) for asked, _ in row]
    words = iter(_kept(folder / "ears", corpus, ears, questions))
    return [[HeardExchange(asked, next(words), answer) for asked, answer in row] for row in told if row]


def _up_to_a_cut(told: list[tuple[list[Stretch], Stretch]]) -> list[tuple[list[Stretch], Stretch]]:
    cut = next((number for number, (_, answer) in enumerate(told, 1) if answer.cut), len(told))
    return told[:cut]


def _kept(
    folder: Path, corpus: str, ears: WordEars, questions: Sequence[NDArray[np.float16]]
) -> list[NDArray[np.float16]]:
    """What these ears hear of the questions, [W, D] each; computed once, and kept."""
    these = zlib.crc32(b"".join(value.numpy().tobytes() for value in ears.state_dict().values()))
    path = folder / f"words_{these:08x}_{corpus}_{len(questions)}.npz"
    if not path.exists():
        found = heard(ears, questions)
        whole_file(path, partial(np.savez, words=np.concatenate(found), counts=[len(one) for one in found]))
    kept = np.load(path)
    return np.split(kept["words"], kept["counts"].cumsum()[:-1])


@torch.inference_mode()
def heard(ears: WordEars, questions: Sequence[NDArray[np.float16]], batch: int = 64) -> list[NDArray[np.float16]]:
    """The words of utterances, [W, D] each, of their vectors [T, front width]: those of like length together."""
    found = dict[int, NDArray[np.float16]]()
    order = sorted(range(len(questions)), key=lambda n: len(questions[n]))
    for first in track(range(0, len(order), batch), "words"):
        chosen = order[first : first + batch]
        rows = [torch.from_numpy(questions[n].astype(np.float32)) for n in chosen]
        with torch.autocast("cpu", torch.bfloat16):
            states = ears.ears.states(pad_sequence(rows, batch_first=True)).float()
        for n, own in zip(chosen, states, strict=True):
            found[n] = ears.words_in(own[: len(questions[n])]).half().numpy()
    return [found[n] for n in range(len(questions))]


# ---------------------------------------------------------------- what is learnt


@torch.inference_mode()
def vectors(folder: Path, corpus: str, front: NanoFront, rows: Sequence[Encoded]) -> list[NDArray[np.float16]]:
    """Of the user's channel of each recording, [T, width]; computed once, and kept for a front as it is saved."""
    layers = b"".join(
        each.bfloat16().view(torch.int16).numpy().tobytes() for each in front.layers.state_dict().values()
    )
    path = folder / "ears" / f"{corpus}_{zlib.crc32(layers):08x}.npy"
    counts = path.with_suffix(".counts.npy")
    if not path.exists():
        found = [_heard(front, folder / corpus / row.name) for row in track(rows, f"vectors of {corpus}")]
        path.parent.mkdir(parents=True, exist_ok=True)
        whole_file(counts, partial(np.save, arr=np.array([len(one) for one in found])))
        whole_file(path, partial(np.save, arr=np.concatenate(found)))
    return np.split(np.load(path, mmap_mode="r"), np.load(counts).cumsum()[:-1])


def _heard(front: NanoFront, path: Path) -> NDArray[np.float16]:
    audio = torch.from_numpy(read_channels(path, HEARD_HZ)[:, 0].copy())[None]
    audio = functional.pad(audio, (0, -audio.shape[1] % UNIT_SAMPLES))
    with torch.autocast("cpu", torch.bfloat16):
        return front.all_vectors(audio)[0].half().numpy()


def examples(ears: NanoEars, rows: Sequence[Encoded], heard: Sequence[NDArray[np.float16]]) -> Iterator[Example]:
    """Each utterance alone."""
    for row, of_row in zip(rows, heard, strict=True):
        for start, written in cut(ears, row):
            of = of_row[start : start + len(written)]
            yield {"vectors": of, "tokens": written, "said": np.ones(len(written), bool)}


def cut(ears: NanoEars, row: Encoded) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Where each utterance begins in the user's channel, and what is written at each place from there. Those with words
    that nobody taught are left out."""
    number = {word: n for n, word in enumerate(ears.config.vocabulary)}
    for utterance in utterances(row):
        if all(word in number for stretch in utterance for word in spoken_words(stretch.text)):
            start, end = window(utterance, len(row.user))
            yield start, _written(ears, number, utterance, start, end)


def _written(
    ears: NanoEars, number: dict[str, int], said: Sequence[Stretch], start: int, end: int
) -> NDArray[np.int64]:
    written = np.full(end - start, ears.nothing)
    for stretch in said:
        for word, last in zip(spoken_words(stretch.text), stretch.ends, strict=True):
            place = min(last + HEARD_LATER - start, len(written) - 1)
            while place + 1 < len(written) and written[place] != ears.nothing:
                place += 1
            written[place] = number[word]
    return written


def window(said: Sequence[Stretch], length: int) -> tuple[int, int]:
    """Where an utterance is cut out of a channel of so many vectors."""
    drawn = Random(f"{said[0].start} {said[0].text}")
    end = said[-1].start + len(said[-1].units) + HEARD_LATER + drawn.randint(*AFTER)
    return max(0, said[0].start - drawn.randint(*BEFORE)), min(length, end)


@dataclass(frozen=True)
class Words:
    """Cross-entropy of what is written at each step; words and nothing are two streams, as there is so much more of
    nothing."""

    nothing: int

    def cells(self, batch: Tensors) -> Tensors:
        return self._by_stream(batch, torch.ones_like(batch["tokens"], dtype=torch.float32))

    def nats(self, output: Tensor, batch: Tensors) -> Tensors:
        losses = functional.cross_entropy(output.float().mT, batch["tokens"], reduction="none")
        return self._by_stream(batch, losses)

    def _by_stream(self, batch: Tensors, values: Tensor) -> Tensors:
        nothing = batch["tokens"] == self.nothing
        return {name: (values * (batch["said"] & of)).sum() for name, of in (("words", ~nothing), ("nothing", nothing))}


class Fed(nn.Module):
    """The ears, as the loop calls them."""

    def __init__(self, ears: NanoEars) -> None:
        super().__init__()
        self.enter, self.body, self._ears = ears.enter, ears.body, [ears]

    def forward(self, batch: Tensors) -> Tensor:
        logits: Tensor = self._ears[0](batch["vectors"].float())
        return logits


def learn(ears: NanoEars, made: list[Example], folder: Path, seed: int) -> None:
    Random(0).shuffle(made)
    run = Run(folder, bf16=True, validate_every_steps=200)
    train(Fed(ears), STAGE, run, made[HELD_OUT:], made[:HELD_OUT], Words(ears.nothing))


if __name__ == "__main__":
    main()
