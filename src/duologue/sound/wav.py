"""Sound files in, sound files out, and changing the sampling rate while the sound is still arriving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

from duologue.sound import Audio
from duologue.whole import whole_file


class SoundError(ValueError):
    """A sound that cannot be used. The message names it, says what is wrong and what to do."""


# ---------------------------------------------------------------- reading


def read(path: str | Path, hz: int) -> Audio:
    """Read a sound file as mono float32 in [-1, 1] at `hz`: shape [N]. Stereo is averaged.

    Raises as `read_channels`.
    """
    return np.asarray(read_channels(path, hz).mean(axis=1), np.float32)


def read_channels(path: str | Path, hz: int) -> Audio:
    """Read a sound file as float32 in [-1, 1] at `hz`: shape [N, channels], one channel or two.

    Raises SoundError for what is no sound file, is cut short, empty, 8-bit, has more than two channels, or holds
    NaN or infinite samples; FileNotFoundError where there is no file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        with soundfile.SoundFile(path) as file:
            _refuse_unusable(file, path)
            samples, rate = file.read(dtype="float32", always_2d=True), int(file.samplerate)
            announced = file.frames
    except soundfile.LibsndfileError as error:
        raise SoundError(
            f"{path}: not a sound file that can be read ({error.error_string.strip()}); "
            "give a complete wav, flac, ogg or mp3 file"
        ) from error
    if len(samples) < announced:
        raise SoundError(f"{path}: cut short, {len(samples)} of {announced} samples are there; copy it again")
    return resample(checked(samples, str(path)), rate, hz)


def _refuse_unusable(file: soundfile.SoundFile, path: str | Path) -> None:
    if file.channels > 2:
        raise SoundError(
            f"{path}: has {file.channels} channels; give one channel per speaker "
            "(for the first: sox in.wav out.wav remix 1)"
        )
    if file.subtype in ("PCM_U8", "PCM_S8"):
        raise SoundError(
            f"{path}: has 8-bit samples, too coarse for recognition; record in 16 bits "
            "(or convert: sox in.wav -b 16 out.wav)"
        )
    if file.frames == 0:
        raise SoundError(f"{path}: holds no samples; record it again")


def checked(audio: Audio, name: str) -> Audio:
    """`audio` itself when every sample is a finite number, else SoundError with the first bad position."""
    finite = np.isfinite(audio)
    if not finite.all():
        raise SoundError(f"{name}: sample {int(np.argmin(finite))} is NaN or infinite; write the sound again")
    return audio


# ---------------------------------------------------------------- writing


def write(path: str | Path, audio: Audio, hz: int) -> None:
    """Write [N] or [N, channels] float32 as 16-bit wav (flac, ogg by the suffix): whole or not at all."""
    kind = kind_of(path)
    whole_file(path, lambda file: soundfile.write(file, np.clip(audio, -1, 1), hz, format=kind))


def kind_of(path: str | Path) -> str:
    """The format that is written there. Raises SoundError for a suffix that is none, or where there is no folder."""
    kind = Path(path).suffix.lstrip(".").upper() or "WAV"
    if kind not in soundfile.available_formats():
        raise SoundError(f"{path}: cannot write {kind} files; use .wav, .flac or .ogg")
    if not Path(path).parent.is_dir():
        raise SoundError(f"{path}: there is no folder {Path(path).parent}; make it first")
    return kind


# ---------------------------------------------------------------- rate


def resample(audio: Audio, from_hz: int, to_hz: int) -> Audio:
    """All of a sound at another rate: [N] to about [N * to_hz / from_hz]."""
    if from_hz == to_hz:
        return np.ascontiguousarray(audio, dtype=np.float32)
    return np.asarray(soxr.resample(audio, from_hz, to_hz), dtype=np.float32)


class Resampler:
    """Change the rate of a sound that arrives in pieces. What comes out in all does not depend on the pieces."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._stream = None
        if from_hz != to_hz:
            self._stream = soxr.ResampleStream(from_hz, to_hz, num_channels=1, dtype="float32")

    def push(self, audio: Audio) -> Audio:
        """Take [n] samples, give those that can be given already."""
        return self._run(audio, last=False)

    def flush(self) -> Audio:
        """The samples still held back; afterwards the resampler begins anew."""
        tail = self._run(np.zeros(0, np.float32), last=True)
        if self._stream is not None:
            self._stream.clear()
        return tail

    def _run(self, audio: Audio, last: bool) -> Audio:
        if self._stream is None:
            return audio
        return np.asarray(self._stream.resample_chunk(audio, last=last), dtype=np.float32)
