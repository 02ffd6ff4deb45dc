"""The nano ears go on to learn, their front layers too: from sound, as of people of many sizes.

    python recipes/nano_ears_whole.py --folder runs/omni_flatten

It takes what recipes/nano_ears.py left in the folder, and leaves better ears in the same place; those from before are
in `ears_before.safetensors`. The front was learnt with the units, from few recorded voices. Here each utterance's
spectrum is stretched as if the throat were longer or shorter (Jaitly and Hinton, 2013), and bands of it are left out
(Park et al., 2019). Run it again to go on where it was stopped.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from duologue.data.encode import Encoded
from duologue.train import Run, train
from duologue.train.loss import Tensors
from duologue.units import nano_ears
from duologue.units.causal import run, start
from duologue.units.nano_ears import NanoEars
from duologue.units.nano_front import BEFORE_SAMPLES, HEARD_HZ, UNIT_SAMPLES
from nano_ears import HELD_OUT, STAGE, Words, cut
from omni_flatten import DIALOGUES, QUESTIONS
from omni_flatten_data import made, parser

WHOLE = replace(STAGE, name="whole", learning_rate=1.5e-3, epochs=None, steps=600, rates={"layers.*": 5e-4})
STRETCHED = (0.84, 1.19)
"""By how much a spectrum is, at the most."""
BANDS, BAND = 2, 10
"""That are left out, of up to so many of the mel filters."""


def main() -> None:
    found = parser(__doc__)
    found.add_argument("--steps", type=int, default=WHOLE.steps)
    options = found.parse_args()
    torch.set_num_threads(options.threads)
    path, before = options.folder / "ears.safetensors", options.folder / "ears_before.safetensors"
    if not (options.folder / "ears" / "whole").exists():
        shutil.copyfile(path, before)
    ears = nano_ears.load(before).requires_grad_(True)
    rows = made(options)
    lessons = [one for name in (*DIALOGUES, *QUESTIONS) for one in utterances(ears, options.folder / name, rows[name])]
    Random(0).shuffle(lessons)
    stage, kept = replace(WHOLE, steps=options.steps), Run(options.folder / "ears" / "whole", bf16=True)
    kept = replace(kept, validate_every_steps=100, save_every_steps=100)
    train(Sounding(ears), stage, kept, lessons[HELD_OUT:], lessons[:HELD_OUT], Words(ears.nothing))
    nano_ears.save(ears, path)


# ---------------------------------------------------------------- what is learnt


def utterances(ears: NanoEars, folder: Path, rows: Sequence[Encoded]) -> Iterator[Utterance]:
    """Those of a corpus, cut out as recipes/nano_ears.py does."""
    for row in rows:
        for start_units, written in cut(ears, row):
            yield Utterance(folder / row.name, start_units, written)


@dataclass(frozen=True)
class Utterance(Mapping[str, NDArray[Any]]):
    """An example whose sound, [T, 640], is read when it is asked for: there is more of it than memory."""

    path: Path
    start_units: int
    tokens: NDArray[np.int64]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return {"tokens": lambda: self.tokens, "said": lambda: self.tokens >= 0, "sound": self._sound}[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(("tokens", "said", "sound"))

    def __len__(self) -> int:
        return 3

    def _sound(self) -> NDArray[np.int16]:
        first, count = self.start_units * UNIT_SAMPLES, len(self.tokens) * UNIT_SAMPLES
        with soundfile.SoundFile(self.path) as file:
            file.seek(min(first, file.frames))
            found = file.read(count, dtype="int16", always_2d=True, fill_value=0)
        return np.ascontiguousarray(found[:, 0]).reshape(-1, UNIT_SAMPLES)


class Sounding(nn.Module):
    """The ears, as the loop calls them."""

    def __init__(self, ears: NanoEars) -> None:
        super().__init__()
        self.layers, self.enter, self.body, self._ears = ears.front.layers, ears.enter, ears.body, [ears]

    def forward(self, batch: Tensors) -> Tensor:
        (ears,), sound = self._ears, batch["sound"].flatten(1) / 32768
        front, layers = ears.front, ears.front.causal()
        mel = front.mel(sound, sound.new_zeros(len(sound), BEFORE_SAMPLES))
        varied = without_bands(stretched(mel)) if self.training else mel
        logits: Tensor = ears(run(layers, varied, start(layers, len(sound)))[0].mT)
        return logits


def stretched(mel: Tensor) -> Tensor:
    """Each row of log-mel spectra [B, F, T] with its frequencies at others by a factor of its own."""
    filters = mel.shape[1]
    low, high = map(math.log, STRETCHED)
    factors = torch.empty(len(mel), 1).uniform_(low, high).exp()
    top = _mels(torch.tensor(HEARD_HZ / 2))
    centres = 700 * (10 ** (top * torch.arange(1, filters + 1) / (filters + 1) / 2595) - 1)
    taken = (_mels(centres * factors) / top * (filters + 1) - 1).clamp(0, filters - 1)
    weights = (1 - (taken[:, :, None] - torch.arange(filters)).abs()).clamp_min(0)
    return weights.to(mel) @ mel


def _mels(hz: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + hz / 700)


def without_bands(mel: Tensor) -> Tensor:
    """Each row of [B, F, T] with some bands as loud as the row is on the whole."""
    rows, filters, _ = mel.shape
    left_out = torch.zeros(rows, filters, dtype=torch.bool)
    for _ in range(BANDS):
        size, begin = torch.randint(0, BAND + 1, (rows, 1)), torch.rand(rows, 1)
        begin = (begin * (filters - size)).long()
        left_out |= (torch.arange(filters) >= begin) & (torch.arange(filters) < begin + size)
    return torch.where(left_out[:, :, None], mel.mean((1, 2), keepdim=True), mel)


if __name__ == "__main__":
    main()
