"""From units to the assistant's one voice: causal ConvNeXt blocks and an inverse Fourier transform.

After Vocos (Siuzdak 2023, arXiv 2306.00814): magnitudes and phases of overlapping frames are predicted at once, and
the transform does the upsampling. A unit's sound waits for a few units more (`ahead_units`, stated in its
configuration), then it never changes; streamed and whole are the same.

Letters in shapes: B batch, T units at 25 Hz, F frames at 100 Hz, N samples at 16 kHz, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from duologue.units.causal import CausalConv, ConvNeXt, run, start
from duologue.units.codec import CodecState
from duologue.units.quantize import FSQ

SAID_HZ = 16_000
UNIT_SAMPLES = 640
HOP_SAMPLES = 160
WINDOW_SAMPLES = 640
_FRAMES = UNIT_SAMPLES // HOP_SAMPLES
_BINS = WINDOW_SAMPLES // 2 + 1
_LOUDEST = 4.0
"""Largest log magnitude of a bin: no unit makes a bang."""


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes. `unit_blocks` work at 25 Hz, `frame_blocks` at 100 Hz."""

    levels: tuple[int, ...] = (8, 5, 5, 5)
    width: int = 288
    unit_blocks: int = 3
    frame_blocks: int = 4
    taps: int = 7
    ahead_units: int = 2


class NanoDecoder(nn.Module):
    """One unit → 40 ms of sound. A `UnitDecoder`; `silence` is that of the tokenizer it was trained with."""

    said_hz = SAID_HZ
    unit_samples = UNIT_SAMPLES
    window: Tensor

    def __init__(self, config: DecoderConfig | None = None, silence: tuple[int, ...] = (0,)) -> None:
        super().__init__()
        self.config, self.silence = (config := config or DecoderConfig()), silence
        width = config.width
        self.fsq = FSQ(config.levels)
        self.place = nn.Linear(len(config.levels), width)
        self.own = nn.Embedding(self.fsq.codes, width)
        nn.init.zeros_(self.own.weight)
        self.gather = CausalConv(width, width, config.ahead_units + 3)
        self.unit_blocks = nn.ModuleList(ConvNeXt(width, config.taps) for _ in range(config.unit_blocks))
        self.spread = nn.Linear(width, _FRAMES * width)
        self.frame_blocks = nn.ModuleList(ConvNeXt(width, config.taps) for _ in range(config.frame_blocks))
        self.norm = nn.LayerNorm(width)
        self.spectrum = nn.Linear(width, 2 * _BINS)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES) / 2, persistent=False)

    @property
    def ahead_units(self) -> int:
        return self.config.ahead_units

    # ------------------------------------------------------------ live

    def start_decoder(self, batch: int) -> CodecState:
        """Units fed so far, sound that later frames still add to, and what each layer remembers."""
        fed = torch.zeros(batch, dtype=torch.int64, device=self.window.device)
        unfinished = self.window.new_zeros(batch, WINDOW_SAMPLES - HOP_SAMPLES)
        return CodecState([fed, unfinished, *start(self._unit_layers(), batch), *start(self._frame_layers(), batch)])

    @torch.no_grad()
    def decode(self, codes: Tensor, state: CodecState) -> Tensor:
        """[B, 1, T] → [B, T * 640]. Raises ValueError for codes of another shape, or that are none."""
        if codes.ndim != 3 or codes.shape[1] != 1 or len(codes) != len(state.tensors[0]):
            raise ValueError(f"codes of shape {list(codes.shape)} for {len(state.tensors[0])} rows: give [B, 1, T]")
        if not codes.shape[-1]:
            return self.window.new_zeros(len(codes), 0)
        audio, state.tensors[:] = self._decoded(codes[:, 0], state.tensors)
        return audio

    # ------------------------------------------------------------ learning

    def forward(self, codes: Tensor) -> Tensor:
        """Of whole pieces: codes [B, T] → [B, (T - ahead_units) * 640], the sound of all but the last units."""
        audio, _ = self._decoded(codes, self.start_decoder(len(codes)).tensors)
        return audio[:, self.ahead_units * UNIT_SAMPLES :]

    # ------------------------------------------------------------ layers

    def _decoded(self, codes: Tensor, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        fed, unfinished, *pasts = past
        middle = len(self._unit_layers())
        x = (self.place(self.fsq.values(codes)) + self.own(codes)).mT
        x, unit_pasts = run(self._unit_layers(), x, pasts[:middle])
        x = self.spread(x.mT).unflatten(-1, (_FRAMES, -1)).flatten(1, 2).mT
        x, frame_pasts = run(self._frame_layers(), x, pasts[middle:])
        frames = self._frames(x) * self._begun(fed, codes.shape[1])[..., None]
        audio, unfinished = _overlapped(frames, unfinished)
        return audio, [fed + codes.shape[1], unfinished, *unit_pasts, *frame_pasts]

    def _begun(self, fed: Tensor, units: int) -> Tensor:
        """Of each frame, whether it is behind the units that are only waited for: [B, F]."""
        number = fed[:, None] + torch.arange(units, device=fed.device)
        return (number >= self.ahead_units).repeat_interleave(_FRAMES, -1)

    def _frames(self, x: Tensor) -> Tensor:
        """[B, D, F] → windowed frames, [B, F, 640]."""
        size, angle = self.spectrum(self.norm(x.mT)).float().chunk(2, -1)
        spectrum = torch.polar(size.clamp_max(_LOUDEST).exp(), angle)
        frames: Tensor = torch.fft.irfft(spectrum, n=WINDOW_SAMPLES) * self.window
        return frames

    def _unit_layers(self) -> list[CausalConv | ConvNeXt]:
        return [self.gather, *(block for block in self.unit_blocks if isinstance(block, ConvNeXt))]

    def _frame_layers(self) -> list[ConvNeXt]:
        return [block for block in self.frame_blocks if isinstance(block, ConvNeXt)]


def _overlapped(frames: Tensor, unfinished: Tensor) -> tuple[Tensor, Tensor]:
    """Frames [B, F, 640], each 160 samples after the one before, added up → the samples that are finished
    [B, F * 160], and those that are not [B, 480]."""
    batch, count, window = frames.shape
    samples = (count - 1) * HOP_SAMPLES + window
    added = nn.functional.fold(frames.mT, (1, samples), (1, window), stride=(1, HOP_SAMPLES)).view(batch, samples)
    added = torch.cat([added[:, : unfinished.shape[1]] + unfinished, added[:, unfinished.shape[1] :]], -1)
    return added[:, : count * HOP_SAMPLES], added[:, count * HOP_SAMPLES :]
