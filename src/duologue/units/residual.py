"""Blocks of a causal vocoder: snakes, residual convolutions, and denser signals.

Layers have the names of CosyVoice 3's released weights. Letters in shapes: B batch, D width, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from duologue.units.centred import Conv, Passage, Signal

_SNAKE_FLOOR = 1e-9


class Snake(nn.Module):
    """x + sin²(αx) / α (Ziyin et al. 2020, arXiv 2006.08195)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha[:, None]
        return x + (alpha * x).sin().square() / (alpha + _SNAKE_FLOOR)


class Residual(nn.Module):
    """Pairs of convolutions, the first of each ever wider."""

    def __init__(self, width: int, taps: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(Conv(width, width, taps, padding=d * (taps - 1), dilation=d) for d in dilations)
        self.convs2 = nn.ModuleList(Conv(width, width, taps, padding=taps - 1) for _ in dilations)
        self.activations1 = nn.ModuleList(Snake(width) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(width) for _ in dilations)

    def forward(self, signal: Signal, passage: Passage) -> Signal:
        pairs = zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)
        for first, wide, second, narrow in pairs:
            inner = wide(signal.map(first), passage)
            signal = passage.added([narrow(inner.map(second), passage), signal])
        return signal


class UpConv(Conv):
    """Each sample `rate` times, then a convolution over those before."""

    def __init__(self, inputs: int, outputs: int, taps: int, rate: int) -> None:
        super().__init__(inputs, outputs, taps, padding=taps - 1)
        self.rate = rate

    def forward(self, signal: Signal, passage: Passage) -> Signal:  # type: ignore[override]
        dense = signal.x.repeat_interleave(self.rate, -1)
        return super().forward(Signal(dense, signal.rate * self.rate, signal.late * self.rate), passage)
