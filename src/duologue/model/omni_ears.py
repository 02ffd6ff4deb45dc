"""Qwen2.5-Omni's audio encoder as ears (arXiv 2503.20215, section 2.2): 25 states a second, from transformers' class.

    ears = OmniEars(Qwen2_5OmniAudioEncoderConfig())
    ears.hear(audio)                                 # the states of a whole recording
    hearing = ears.start()
    hearing.push(audio)                              # while somebody still speaks: those of the windows that are full

It hears windows of 2 s, each for itself, so only the last one is left when the speaker stops. One thing reaches over
the windows: the spectrum's floor lies 8 powers of ten under the loudest moment of the whole recording. Where somebody
gets louder, windows with anything below the new floor are heard again, so that the states are in the end those of the
whole recording at once.

Letters in shapes: N samples at 16 kHz, F frames of the spectrum at 100 Hz, M mel bands, T states at 25 Hz, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2_5OmniAudioEncoderConfig, WhisperFeatureExtractor
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniAudioEncoder

from duologue.sound import Audio

FFT_SAMPLES, HOP_SAMPLES = 400, 160
_QUIETEST, _RANGE = 1e-10, 8.0
"""Of the spectrum: its least power, and how many powers of ten its floor lies under its loudest."""

# ---------------------------------------------------------------- what ears are


class Heard(NamedTuple):
    """States that are new [T, D]. Of those that were given before, the first `stand` still hold; they come after
    these."""

    stand: int
    states: Tensor


class Hearing(Protocol):
    """One utterance, while it is heard."""

    def push(self, audio: Audio, last: bool = False) -> Heard:
        """The next samples [N] at 16 kHz. With `last`, the utterance ends."""
        ...


class LiveEars(Protocol):
    """What turns sound into states while it goes on. A torch module where it is trained or saved with a model."""

    @property
    def width(self) -> int:
        """D of the states."""
        ...

    def start(self) -> Hearing: ...


def checked(audio: Audio) -> Audio:
    """Samples as float32 [N]. Raises ValueError for what is no sound of one channel."""
    audio = np.asarray(audio, np.float32)
    if audio.ndim != 1 or not np.isfinite(audio).all():
        raise ValueError(
            f"sound of shape {list(audio.shape)}, or not all finite: give one channel of samples in [-1, 1], [N]"
        )
    return audio


# ---------------------------------------------------------------- Whisper's spectrum, as it comes in


class LogMel:
    """Powers of ten [F, M] of one recording as Whisper's front end has them before it looks for the loudest: a frame
    every 10 ms, 400 samples around it, the recording mirrored at its start."""

    def __init__(self, n_mels: int) -> None:
        self._filters, self._window = _filters(n_mels), torch.hann_window(FFT_SAMPLES)
        self._waiting = torch.zeros(0)
        self._samples = self._frames = 0
        self._begun = False

    def push(self, audio: Audio, last: bool = False) -> Tensor:
        """The frames that are complete. With `last`, silence follows, and each 10 ms that has begun has its frame."""
        self._samples += len(audio)
        self._waiting = torch.cat([self._waiting, torch.from_numpy(audio)])
        if last:
            self._waiting = functional.pad(self._waiting, (0, 2 * FFT_SAMPLES))
        self._begin()
        ready = max(0, 1 + (len(self._waiting) - FFT_SAMPLES) // HOP_SAMPLES) if self._begun else 0
        if last:
            ready = -(-self._samples // HOP_SAMPLES) - self._frames
        return self._taken(ready)

    def _begin(self) -> None:
        """Mirror the start as soon as there is enough of it."""
        half = FFT_SAMPLES // 2
        if not self._begun and len(self._waiting) > half:
            self._waiting = torch.cat([self._waiting[1 : half + 1].flip(0), self._waiting])
            self._begun = True

    def _taken(self, frames: int) -> Tensor:
        if not frames:
            return torch.zeros(0, self._filters.shape[1])
        used = self._waiting[: (frames - 1) * HOP_SAMPLES + FFT_SAMPLES]
        self._waiting = self._waiting[frames * HOP_SAMPLES :]
        self._frames += frames
        spectrum = torch.stft(used, FFT_SAMPLES, HOP_SAMPLES, window=self._window, center=False, return_complex=True)
        return (self._filters.T @ (spectrum.abs() ** 2)).clamp(min=_QUIETEST).log10().T


@lru_cache
def _filters(n_mels: int) -> Tensor:
    """[FFT_SAMPLES // 2 + 1, M]"""
    return torch.from_numpy(WhisperFeatureExtractor(feature_size=n_mels).mel_filters).float()


def floored(powers: Tensor, loudest: float) -> Tensor:
    """Powers of ten as Whisper's spectrum: a floor under the loudest, about 0 in the middle."""
    spectrum: Tensor = (powers.clamp(min=loudest - _RANGE) + 4) / 4
    return spectrum


def log_mel(audio: Audio, n_mels: int) -> Tensor:
    """Whisper's log-mel spectrum of a recording of any length: [N] at 16 kHz → [ceil(N / 160), M]."""
    powers = LogMel(n_mels).push(checked(audio), last=True)
    return floored(powers, float(powers.max())) if len(powers) else powers


# ---------------------------------------------------------------- the ears


class OmniEars(nn.Module):
    hz = 25.0

    def __init__(self, config: Qwen2_5OmniAudioEncoderConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.encoder: Any = Qwen2_5OmniAudioEncoder._from_config(config, attn_implementation="sdpa", dtype=dtype)
        self.n_mels, self.window_frames = config.num_mel_bins, 2 * config.n_window

    @property
    def width(self) -> int:
        width: int = self.encoder.config.output_dim
        return width

    def forward(self, spectra: Sequence[Tensor]) -> list[Tensor]:
        """Log-mel spectra of whole recordings, each [F, M] → states, each [T, D], T = (F + 1) // 2 // 2. A recording
        of one or two frames has one state all the same."""
        windows = [list(torch.split(spectrum, self.window_frames)) if len(spectrum) else [] for spectrum in spectra]
        found = iter(self.encoded([window for of_one in windows for window in of_one]))
        states = [torch.cat([self.nothing, *(next(found) for _ in of_one)]) for of_one in windows]
        return [self._lonely(s) if 0 < len(s) < 3 else of_one for s, of_one in zip(spectra, states, strict=True)]

    @property
    def nothing(self) -> Tensor:
        """No states: [0, D]."""
        return torch.zeros(0, self.width, dtype=self.encoder.dtype, device=self.encoder.device)

    def encoded(self, windows: Sequence[Tensor]) -> list[Tensor]:
        """States of windows of at most `window_frames`, each for itself."""
        if not windows:
            return []
        frames = torch.tensor([len(window) for window in windows])
        states = self._states(torch.cat(list(windows)), frames)
        return list(torch.split(states, ((frames + 1) // 2 // 2).tolist()))

    def _lonely(self, spectrum: Tensor) -> Tensor:
        """The one state of one or two frames. Pooling takes two: the frames are heard twice."""
        twice = torch.tensor([len(spectrum)] * 2)
        return self._states(torch.cat([spectrum] * 2), twice, pool_indices=torch.tensor([0]))

    def _states(self, spectrum: Tensor, frames: Tensor, **pooled: Tensor) -> Tensor:
        here, dtype = self.encoder.device, self.encoder.dtype
        given = {name: value.to(here) for name, value in pooled.items()}
        states: Tensor = self.encoder(
            spectrum.T.to(here, dtype), feature_lens=frames.to(here), **given
        ).last_hidden_state
        return states

    def hear(self, audio: Audio) -> Tensor:
        """audio [N] at 16 kHz → states [T, D]. Raises ValueError for what is no sound."""
        return self.start().push(audio, last=True).states

    def start(self) -> Hearing:
        """An utterance of which nothing was heard yet."""
        return _Windows(self)


class _Windows:
    """An utterance by windows. `_given` are those whose states were given."""

    def __init__(self, ears: OmniEars) -> None:
        self._ears, self._mel = ears, LogMel(ears.n_mels)
        self._given: list[Tensor] = []
        self._rest = torch.zeros(0, ears.n_mels)
        self._loudest = -float("inf")

    @torch.no_grad()
    def push(self, audio: Audio, last: bool = False) -> Heard:
        powers = self._mel.push(checked(audio), last)
        before, self._rest = self._loudest, torch.cat([self._rest, powers])
        self._loudest = max([before, *([float(powers.max())] if len(powers) else [])])
        stand = self._standing(before)
        windows = self._given[stand:]
        while len(self._rest) >= self._ears.window_frames or (last and len(self._rest)):
            windows.append(self._rest[: self._ears.window_frames])
            self._rest = self._rest[self._ears.window_frames :]
        self._given[stand:] = windows
        states = self._ears.encoded([floored(window, self._loudest) for window in windows])
        return Heard(stand * self._ears.window_frames // 4, torch.cat([self._ears.nothing, *states]))

    def _standing(self, before: float) -> int:
        """How many of the first windows are as they were, now that somebody may be louder."""
        for number, window in enumerate(self._given):
            if self._loudest > before and float(window.min()) < self._loudest - _RANGE:
                return number
        return len(self._given)
