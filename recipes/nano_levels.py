"""The nano codec with three levels (SNAC's) from nothing, on one core, for the assistant's one voice.

    python recipes/nano_levels.py --folder runs/omni_flatten

It takes the dialogues that recipes/omni_flatten.py made in the folder, and learns from their second channel. Run it
again to go on where it was stopped. It leaves `levels/levels.safetensors` in the folder, and prints how many words a
recogniser gets wrong of answers that were kept out, in the true voice and through the codes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import overload

import jiwer
import numpy as np
import torch
from rich.progress import track
from torch import Tensor

import omni_flatten_data
from duologue.data import encode
from duologue.data.encode import Encoded
from duologue.data.tensors import Example
from duologue.desk.transcript import plain
from duologue.evaluate.ears import answers_recogniser
from duologue.model.words import CALL
from duologue.session import Audio
from duologue.sound.wav import read_channels
from duologue.synthesis.voice import trimmed
from duologue.train import Run, Stage, train
from duologue.units import snac_nano
from duologue.units.codec import decode_whole, encode_whole
from duologue.units.quantize import usage
from duologue.units.snac import Snac
from duologue.units.snac_learning import Learning, SoundAndCodes
from nano_units import WINDOWS_SAMPLES, spectra_apart
from nano_units_speech import ASSISTANT, HZ, Said, Speech, found

STAGE = Stage(
    "levels",
    learning_rate=2e-3,
    batch_tokens=64,
    steps=4000,
    warmup_steps=100,
    final_rate=0.02,
    weight_decay=0.01,
    pool_batches=64,
    mean_over="streams",
    loss_weights={"codes": 0.1},
)
CORPUS = "dialogues_0"
UNIT_SAMPLES = snac_nano.nano().unit_samples
HELD_OUT = 60
"""Answers that are kept for validation and for the recogniser."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    speech = spoken(options.folder)
    codec = learnt(speech, options.folder / "levels", options.steps, options.seed)
    snac_nano.save(codec, options.folder / "levels" / snac_nano.CODEC)
    print(*table(codec, speech), sep="\n", flush=True)


def parsed() -> argparse.Namespace:
    parser = omni_flatten_data.parser(__doc__)
    parser.add_argument("--steps", type=int, default=STAGE.steps)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


# ---------------------------------------------------------------- what is said


def spoken(folder: Path) -> Speech:
    """Each answer in the dialogues once, as it sounds there; the held-out ones first."""
    return Speech(tuple(found(folder / "levels" / "spoken", partial(_spoken, folder))))


def _spoken(folder: Path) -> Iterator[Said]:
    texts = set[str]()
    for row in track(list(rows_of(folder / CORPUS)), f"answers in {CORPUS}"):
        for text, sound in answers(folder / CORPUS, row, texts):
            texts.add(text)
            yield text, ASSISTANT, "train" if len(texts) > HELD_OUT else "test", sound


def rows_of(folder: Path) -> Iterator[Encoded]:
    """The encoded conversations of a corpus."""
    return chain.from_iterable(map(encode.read, sorted((folder / "units").glob("*.jsonl"))))


def answers(folder: Path, row: Encoded, known: Set[str]) -> Iterator[tuple[str, Audio]]:
    """What the assistant says in a dialogue, but for the texts that are known, and its sound without the silence around
    it, [N] at 16 kHz."""
    said = [stretch for stretch in row.stretches if stretch.speaker == "assistant" and not stretch.cut]
    new = {text: stretch for stretch in said if (text := stretch.text.partition(CALL)[0].strip()) not in known}
    sound = read_channels(folder / row.name, HZ)[:, 1] if new else np.zeros(0, np.float32)
    unit = HZ // 25
    for text, stretch in new.items():
        audio = trimmed(sound[stretch.start * unit : (stretch.start + len(stretch.units)) * unit])
        if len(audio):
            yield text, audio


# ---------------------------------------------------------------- what is learnt


@dataclass(frozen=True)
class Clips(Sequence[Example]):
    """Clips of speech, each in whole units: `sound` [T, unit_samples], `said` [T]."""

    speech: Speech
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return Clips(self.speech, self.numbers[index])
        audio = self.speech.audio(self.numbers[index])
        sound = np.pad(audio, (0, -len(audio) % UNIT_SAMPLES)).reshape(-1, UNIT_SAMPLES)
        return {"sound": sound, "said": np.ones(len(sound), bool)}


def learnt(speech: Speech, folder: Path, steps: int, seed: int) -> Snac:
    """The codec, from where the folder was left."""
    torch.manual_seed(seed)
    model = Learning(snac_nano.untrained(snac_nano.nano()), apart)
    clips = Clips(speech, [n for n in speech.numbers("train") if _fits(speech, n)])
    run = Run(folder, bf16=True, validate_every_steps=500)
    stage = replace(STAGE, steps=steps, seed=seed)
    train(model, stage, run, clips, Clips(speech, speech.numbers("test")), SoundAndCodes())
    return model.codec.eval()


def _fits(speech: Speech, number: int) -> bool:
    return speech.clips[number][0].samples <= STAGE.batch_tokens * UNIT_SAMPLES


def apart(made: Tensor, wanted: Tensor) -> Tensor:
    return torch.stack([spectra_apart(made, wanted, window) for window in WINDOWS_SAMPLES]).mean()


# ---------------------------------------------------------------- what came of it


def table(codec: Snac, speech: Speech) -> Iterator[str]:
    """Of the held-out answers: words that a recogniser gets wrong, before and after; how the codes are used."""
    ears, numbers = answers_recogniser(), speech.numbers("test")
    said = [plain(speech.clips[n][0].text, "en") for n in numbers]
    codes = [encode_whole(codec, torch.from_numpy(speech.audio(n))[None]) for n in numbers]
    true = jiwer.wer(said, [ears(speech.audio(n)) for n in numbers])
    made = jiwer.wer(said, [ears(decode_whole(codec, one)[0].clamp(-1, 1).numpy()) for one in codes])
    yield f"{len(said)} answers kept out: WER {true:.1%} in the true voice, {made:.1%} through the codes"
    for book, own in enumerate(torch.cat(codes, -1)[0]):
        used = usage(own, codec.codes)
        yield f"book {book}: {used.share:.0%} of {codec.codes} codes in use, perplexity {used.perplexity:.0f}"


if __name__ == "__main__":
    main()
