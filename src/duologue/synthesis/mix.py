"""What it sounds like: level, room, noise; two channels of samples from clips and where they lie.

Noise lies on the user's channel alone. The speech-to-noise ratio is the mean power of the user's speech where the
user speaks over the mean power of the noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duologue.desk.questions import Split
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import read

FADE_SAMPLES = HEARD_HZ // 50
"""A voice that gives way fades over 20 ms."""
PEAK = 0.98

Clip = tuple[Audio, int, int]
"""A sound [N], and the samples at which it starts and ends; it is cut where that is sooner than its length."""


@dataclass(frozen=True)
class Room:
    """An exponential decay of 60 dB in `reverb_s`, `direct_db` softer in all than the direct sound."""

    reverb_s: float
    direct_db: float
    seed: int


@dataclass(frozen=True)
class Noise:
    """A recording from a folder, from `start_s` on and again from its beginning where it ends; without a `path`
    noise whose power falls with frequency to the power of `colour` (0 white, 1 pink, 2 brown)."""

    snr_db: float
    path: str | None = None
    start_s: float = 0.0
    colour: float = 0.0
    seed: int = 0


# ---------------------------------------------------------------- one voice


def track(clips: Iterable[Clip], samples: int, level_db: float) -> tuple[Audio, NDArray[np.bool_]]:
    """The clips in their places: a channel [samples], each clip at `level_db` (root mean square, 0 = full scale),
    and where it speaks [samples]. Raises ValueError for a clip outside the channel."""
    channel, active = np.zeros(samples, np.float32), np.zeros(samples, np.bool_)
    for sound, start, end in clips:
        if not 0 <= start <= end <= samples or end - start > len(sound):
            raise ValueError(f"a clip of {len(sound)} samples cannot fill {start} to {end} of {samples}")
        channel[start:end] += _faded(levelled(sound, level_db), end - start)
        active[start:end] = True
    return channel, active


def levelled(sound: Audio, level_db: float) -> Audio:
    """The sound with this root mean square, in dB of full scale. Silence stays silence."""
    rms = float(np.sqrt(np.square(sound, dtype=np.float64).mean())) if len(sound) else 0.0
    return sound if rms == 0 else sound * np.float32(10 ** (level_db / 20) / rms)


def _faded(sound: Audio, samples: int) -> Audio:
    if samples == len(sound):
        return sound
    ramp = np.minimum(1, np.arange(samples, 0, -1, dtype=np.float32) / FADE_SAMPLES)
    return sound[:samples] * ramp


def in_room(channel: Audio, room: Room) -> Audio:
    """The channel [N] as it sounds in the room; what rings on past its end is lost."""
    tail_samples = round(room.reverb_s * HEARD_HZ)
    decay = 10 ** (-3 * np.arange(tail_samples) / max(1, tail_samples))
    tail = np.random.default_rng(room.seed).standard_normal(tail_samples) * decay
    tail *= 10 ** (-room.direct_db / 20) / max(1e-9, float(np.sqrt(tail @ tail)))
    response = np.concatenate(([1.0], tail))
    size = 1 << (len(channel) + len(response) - 2).bit_length()
    ringing = np.fft.irfft(np.fft.rfft(channel, size) * np.fft.rfft(response, size), size)
    return ringing[: len(channel)].astype(np.float32)


# ---------------------------------------------------------------- noise


def noises(folder: str | Path, split: Split) -> tuple[str, ...]:
    """Paths of the folder's noises, relative to it: those that its manifest.jsonl says are of kind "noise", a tenth
    of them for testing only. Raises FileNotFoundError without a manifest, ValueError where there is none."""
    from duologue.data.manifest import read as read_manifest

    clips = read_manifest(Path(folder) / "manifest.jsonl", where=lambda row: row.get("kind") == "noise")
    found = tuple(str(clip.path.relative_to(folder)) for clip in clips)
    chosen = tuple(path for path in found if _split_of(path) == split)
    if not chosen:
        raise ValueError(f'{folder}: no noise for {split}; its manifest needs lines with "kind": "noise"')
    return chosen


def _split_of(path: str) -> Split:
    return "test" if hashlib.sha256(path.encode()).digest()[0] < 26 else "train"


def noise_samples(noise: Noise, folder: str | Path | None, samples: int) -> Audio:
    """[samples] of the noise, at no particular level. A recording that is all but silent from `start_s` on is begun
    at its loudest. Raises ValueError for a recording without a folder, SoundError for one that is none."""
    if noise.path is None:
        return _coloured(noise.colour, noise.seed, samples)
    if folder is None:
        raise ValueError(f"the noise {noise.path} lies in a folder of noises; name the folder")
    recording = _recording(Path(folder) / noise.path)
    start = round(noise.start_s * HEARD_HZ)
    piece = np.take(recording, np.arange(start, start + samples), mode="wrap")
    if np.square(piece).mean() < 0.01 * np.square(recording).mean():
        loudest = int(np.abs(recording).argmax())
        piece = np.take(recording, np.arange(loudest, loudest + samples), mode="wrap")
    return np.asarray(piece, np.float32)


@lru_cache(maxsize=256)
def _recording(path: Path) -> Audio:
    return read(path, HEARD_HZ)


def _coloured(colour: float, seed: int, samples: int) -> Audio:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    hz = np.fft.rfftfreq(samples, 1 / HEARD_HZ)
    return np.asarray(np.fft.irfft(spectrum * np.maximum(hz, 20) ** (-colour / 2), samples), np.float32)


def with_noise(channel: Audio, active: NDArray[np.bool_], noise: Audio, snr_db: float) -> Audio:
    """The channel [N] with the noise [N] under it. Raises ValueError where one of the two is silent."""
    speech_power = np.square(channel[active], dtype=np.float64).mean() if active.any() else 0.0
    noise_power = np.square(noise, dtype=np.float64).mean() if len(noise) else 0.0
    if not speech_power or not noise_power:
        silent = "noise" if speech_power else "speech"
        raise ValueError(f"the {silent} is silent, so there is no ratio of the two; give another")
    gain = np.sqrt(speech_power / noise_power / 10 ** (snr_db / 10))
    return channel + np.float32(gain) * noise


def below_peak(channel: Audio) -> Audio:
    """The channel, made softer as a whole where it would clip."""
    loudest = float(np.abs(channel).max(initial=0.0))
    return channel if loudest <= PEAK else channel * np.float32(PEAK / loudest)
