"""What the nano units are shown at each step: clips of like length, at other speeds and levels, in noise.

A step's batch depends on its number and the seed alone, so that a run that was stopped goes on as if it had not been.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor

from duologue.sound import Audio
from duologue.sound.wav import read, resample
from duologue.synthesis import mix
from duologue.units.codec import UnitEncoder, encode_whole
from duologue.units.nano_front import UNIT_SAMPLES
from duologue.units.nano_tokenizer import PER_UNIT
from nano_units_speech import HZ, Speech

_MAX_S = 9.0
_NEIGHBOURS = 300
"""Clips of like length that a batch is drawn from."""
_SPEEDS = (0.86, 1.16)
_SNR_DB = (3.0, 30.0)
_LEVEL_DB = (-18.0, 6.0)
_HEARD_LEVELS = (1.0, 0.5, 0.25)
"""Factors at which the tokenizer hears the assistant's voice."""
_NOISY, _ROOMY, _BY_TELEPHONE = 0.6, 0.3, 0.15
"""Shares of the clips that get noise, a room around them, a telephone's band."""
_REVERB_S = (0.1, 0.5)
_DIRECT_DB = (3.0, 20.0)
_TELEPHONE_HZ = 8_000


@dataclass(frozen=True)
class Heard:
    """A batch: noisy and clean sound [B, T * 640], units of sound in each row [B], what was said in each."""

    noisy: Tensor
    clean: Tensor
    units: Tensor
    texts: list[str]


def noises(recordings: Path) -> list[Audio]:
    """Noises that people recorded, where they are at hand; those for testing only are left out."""
    if not (recordings / "manifest.jsonl").exists():
        return []
    return [mono(read(recordings / path, HZ)) for path in mix.noises(recordings, "train")]


def mono(audio: Audio) -> Audio:
    return audio if audio.ndim == 1 else audio.mean(axis=1)


class Drawn:
    """Batches of about `batch_s` seconds of the clips `numbers`."""

    def __init__(self, speech: Speech, numbers: list[int], noise: list[Audio], batch_s: float, seed: int) -> None:
        self._speech, self._noise, self._batch_s, self._seed = speech, noise, batch_s, seed
        usable = [n for n in numbers if _fits(speech, n)]
        self._numbers = sorted(usable, key=lambda n: speech.clips[n][0].samples)
        self._ends_s = np.cumsum([speech.clips[n][0].samples / HZ for n in self._numbers]).tolist()

    def batch(self, step: int) -> Heard:
        random = Random(f"{self._seed} {step}")
        middle = bisect(self._ends_s, random.random() * self._ends_s[-1])
        first = max(0, min(middle - _NEIGHBOURS // 2, len(self._numbers) - _NEIGHBOURS))
        near = self._numbers[first : first + _NEIGHBOURS]
        each_s = self._speech.clips[self._numbers[middle]][0].samples / HZ
        chosen = random.sample(near, min(len(near), max(2, round(self._batch_s / each_s))))
        said = [self._changed(self._speech.audio(n), random) for n in chosen]
        return _padded(said, [self._speech.clips[n][0].text for n in chosen])

    def _changed(self, clean: Audio, random: Random) -> tuple[Audio, Audio]:
        """Another speed and level; then a room, noise and a telephone → (as heard, clean)."""
        clean = resample(clean, HZ, round(HZ / random.uniform(*_SPEEDS)))
        clean = clean * np.float32(10 ** (random.uniform(*_LEVEL_DB) / 20))
        heard = clean
        if random.random() < _ROOMY:
            room = mix.Room(random.uniform(*_REVERB_S), random.uniform(*_DIRECT_DB), random.getrandbits(31))
            heard = mix.in_room(heard, room)
        if random.random() < _NOISY:
            noise = self._some_noise(len(clean), random)
            wanted = rms(clean) * 10 ** (-random.uniform(*_SNR_DB) / 20)
            heard = heard + noise * np.float32(wanted / max(rms(noise), 1e-6))
        if random.random() < _BY_TELEPHONE:
            heard = resample(resample(heard, HZ, _TELEPHONE_HZ), _TELEPHONE_HZ, HZ)
            heard = np.pad(heard, (0, max(0, len(clean) - len(heard))))[: len(clean)]
        return heard, clean

    def _some_noise(self, samples: int, random: Random) -> Audio:
        draw = np.random.default_rng(random.getrandbits(32))
        if not self._noise or random.random() < 0.3:
            steps = draw.normal(size=samples).astype(np.float32)
            return steps if random.random() < 0.5 else smooth(steps)
        noise = random.choice(self._noise)
        return np.take(noise, np.arange(samples) + random.randrange(len(noise)), mode="wrap")


@dataclass(frozen=True)
class Spoken:
    """Pieces of the assistant's speech: codes [B, T + ahead], sound of the first T units [B, T * 640]."""

    codes: Tensor
    audio: Tensor


class Pieces:
    """Pieces of `piece_units` of the clips `numbers`, whose units `encoder` hears at several levels."""

    def __init__(
        self,
        speech: Speech,
        numbers: list[int],
        encoder: UnitEncoder,
        batch: int,
        piece_units: int,
        ahead: int,
    ) -> None:
        self._batch, self._units, self._ahead = batch, piece_units, ahead
        self._clips = [self._clip(speech.audio(n), encoder) for n in numbers]

    def _clip(self, audio: Audio, encoder: UnitEncoder) -> tuple[Tensor, Tensor]:
        """codes [levels, T + ahead] and sound [T * 640], silence behind both to a whole piece."""
        units = max(-(-len(audio) // UNIT_SAMPLES), self._units)
        sound = torch.zeros((units + self._ahead) * UNIT_SAMPLES)
        sound[: len(audio)] = torch.from_numpy(audio)
        levels = torch.tensor(_HEARD_LEVELS)[:, None]
        return encode_whole(encoder, sound * levels)[:, 0], sound[: units * UNIT_SAMPLES]

    def batch(self, step: int) -> Spoken:
        random = Random(f"pieces {step}")
        cut = [self._piece(*random.choice(self._clips), random) for _ in range(self._batch)]
        return Spoken(torch.stack([codes for codes, _ in cut]), torch.stack([audio for _, audio in cut]))

    def _piece(self, codes: Tensor, audio: Tensor, random: Random) -> tuple[Tensor, Tensor]:
        first = random.randrange(len(audio) // UNIT_SAMPLES - self._units + 1)
        level = random.randrange(len(codes))
        return (
            codes[level, first : first + self._units + self._ahead],
            audio[first * UNIT_SAMPLES : (first + self._units) * UNIT_SAMPLES],
        )


def _fits(speech: Speech, number: int) -> bool:
    """Not too long, and at the highest speed there is room for all letters, with a blank between like ones."""
    clip = speech.clips[number][0]
    units = clip.samples / UNIT_SAMPLES / _SPEEDS[1]
    return 0.2 * HZ < clip.samples < _MAX_S * HZ and 0 < room(clip.text) < PER_UNIT * units


def room(text: str) -> int:
    """Steps that CTC needs at least to write the text."""
    return len(text) + sum(a == b for a, b in pairwise(text))


def rms(audio: Audio) -> float:
    return float(np.sqrt(np.mean(np.square(audio)))) if len(audio) else 0.0


def smooth(steps: Audio) -> Audio:
    """White noise made darker, as in a room."""
    return np.convolve(steps, np.hanning(9).astype(np.float32), mode="same")


def _padded(said: list[tuple[Audio, Audio]], texts: list[str]) -> Heard:
    units = torch.tensor([-(-len(clean) // UNIT_SAMPLES) for _, clean in said])
    sounds = torch.zeros(2, len(said), int(units.max()) * UNIT_SAMPLES)
    for row, pair in enumerate(said):
        for kind, audio in enumerate(pair):
            sounds[kind, row, : len(audio)] = torch.from_numpy(audio)
    return Heard(sounds[0], sounds[1], units, texts)
