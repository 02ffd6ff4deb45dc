"""Sound at 16 kHz → a vector each 40 ms, that knows nothing of what comes after: the nano size's first layers.

Letters in shapes: B batch, N samples, F mel frames at 100 Hz, T vectors at 25 Hz, D width.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.units.causal import ConvNeXt, StridedConv, run, start
from duologue.units.codec import CodecState

HEARD_HZ = 16_000
MEL_HZ = 100
UNIT_HZ = 25
HOP_SAMPLES = HEARD_HZ // MEL_HZ
WINDOW_SAMPLES = 400
UNIT_SAMPLES = HEARD_HZ // UNIT_HZ
BEFORE_SAMPLES = WINDOW_SAMPLES - HOP_SAMPLES
"""Sound before a frame's own hop that its window covers."""


class NanoFront(nn.Module):
    """Log-mel frames, two strided convolutions, `blocks` ConvNeXt blocks."""

    heard_hz = HEARD_HZ
    unit_hz = float(UNIT_HZ)

    def __init__(self, n_mels: int, width: int, blocks: int, taps: int) -> None:
        super().__init__()
        self.width = width
        self.mel = CausalLogMel(n_mels)
        layers = [StridedConv(n_mels, width // 2, 5, 2), StridedConv(width // 2, width, 5, 2)]
        self.layers = nn.ModuleList([*layers, *(ConvNeXt(width, taps) for _ in range(blocks))])

    def start_encoder(self, batch: int) -> CodecState:
        """The samples that wait for a whole unit, those before them, and what each layer remembers."""
        empty = self.mel.window.new_zeros(batch, 0)
        return CodecState([empty, empty.new_zeros(batch, BEFORE_SAMPLES), *start(self.causal(), batch)])

    def vectors(self, audio: Tensor, state: CodecState, last: bool = False) -> Tensor:
        """[B, N] → those that are complete, [B, T, D]; with `last`, the rest is filled with silence to a whole unit.
        Raises ValueError for sound that is not [B, N] of the state's B, no floats, or not finite."""
        waiting, before, *pasts = state.tensors
        if audio.ndim != 2 or len(audio) != len(waiting):
            raise ValueError(f"sound of shape {list(audio.shape)} for a state of {len(waiting)} rows: give [B, N]")
        if not (audio.is_floating_point() and audio.isfinite().all()):
            raise ValueError(f"sound of type {audio.dtype}: give finite float32 samples from -1 to 1")
        audio = torch.cat([waiting, audio], -1)
        if last:
            audio = functional.pad(audio, (0, -audio.shape[-1] % UNIT_SAMPLES))
        whole = audio.shape[-1] // UNIT_SAMPLES * UNIT_SAMPLES
        x = audio.new_zeros(len(audio), self.width, 0)
        seen = torch.cat([before, audio[:, :whole]], -1)
        if whole:
            x, pasts = run(self.causal(), self.mel(audio[:, :whole], before), pasts)
        state.tensors[:] = [audio[:, whole:], seen[:, -BEFORE_SAMPLES:], *pasts]
        return x.mT

    def all_vectors(self, audio: Tensor) -> Tensor:
        """Of whole rows [B, T * 640], as training has them: [B, T, D]."""
        mel = self.mel(audio, audio.new_zeros(len(audio), BEFORE_SAMPLES))
        return run(self.causal(), mel, start(self.causal(), len(audio)))[0].mT

    def causal(self) -> list[StridedConv | ConvNeXt]:
        return [layer for layer in self.layers if isinstance(layer, StridedConv | ConvNeXt)]


class CausalLogMel(nn.Module):
    """Log-mel frames, 100 a second, of sound up to the end of each frame's own 10 ms: windows of 25 ms."""

    window: Tensor
    filters: Tensor

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)
        self.register_buffer("filters", torch.from_numpy(_mel_filters(n_mels)), persistent=False)

    def forward(self, audio: Tensor, before: Tensor) -> Tensor:
        """audio [B, F * 160] and the 240 samples before it → [B, n_mels, F], about -1 to 1."""
        frames = torch.cat([before, audio], -1).unfold(-1, WINDOW_SAMPLES, HOP_SAMPLES) * self.window
        spectrum = torch.fft.rfft(frames)
        power = spectrum.real.square() + spectrum.imag.square()
        return (torch.log10((power @ self.filters).clamp_min(1e-5)).mT + 1) / 3


@lru_cache
def _mel_filters(n_mels: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    from transformers.audio_utils import mel_filter_bank

    bins = WINDOW_SAMPLES // 2 + 1
    bank = mel_filter_bank(bins, n_mels, 0.0, HEARD_HZ / 2, HEARD_HZ, mel_scale="htk")
    return np.asarray(bank, np.float32)
