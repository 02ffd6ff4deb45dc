"""Convolutions that see the past only and can go on where they stopped: layers of the nano codec.

Each layer takes [B, D, T] and what it has to remember, and gives its output and what to remember next. Whole and
in chunks are the same computation: whole is one chunk after a past of zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class CausalLayer(Protocol):
    def start(self, batch: int) -> Tensor:
        """What is remembered before anything was seen; the batch is its first axis."""
        ...

    def __call__(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]: ...


def start(layers: Iterable[CausalLayer], batch: int) -> list[Tensor]:
    return [layer.start(batch) for layer in layers]


def run(layers: Iterable[CausalLayer], x: Tensor, pasts: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """One layer after the other. Gives the output and the new pasts."""
    after = list[Tensor]()
    for layer, past in zip(layers, pasts, strict=True):
        x, remembered = layer(x, past)
        after.append(remembered)
    return x, after


class CausalConv(nn.Conv1d):
    """[B, D, T] → [B, D', T / stride]: output t sees inputs up to (t + 1) * stride - 1. T is a multiple of stride."""

    def __init__(self, inputs: int, outputs: int, taps: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, taps, stride, groups=groups)
        self.memory_frames = taps - stride

    def start(self, batch: int) -> Tensor:
        return self.weight.new_zeros(batch, self.in_channels, self.memory_frames)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        seen = torch.cat([past.to(x.dtype), x], -1)
        return super().forward(seen), seen[..., seen.shape[-1] - self.memory_frames :]


class StridedConv(CausalConv):
    """A convolution with GELU, to fewer frames."""

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        y, past = super().forward(x, past)
        return functional.gelu(y), past


class ConvNeXt(nn.Module):
    """ConvNeXt block (Liu et al. 2022) in one dimension: depthwise convolution over time, then a layer of four
    times the width at each frame."""

    def __init__(self, width: int, taps: int) -> None:
        super().__init__()
        self.depthwise = CausalConv(width, width, taps, groups=width)
        self.pointwise = Pointwise(width)

    def start(self, batch: int) -> Tensor:
        return self.depthwise.start(batch)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        y, past = self.depthwise(x, past)
        return x + self.pointwise(y), past


class Pointwise(nn.Module):
    """Norm, four times wider, GELU, back, scaled: [B, D, T] → [B, D, T], frame by frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(functional.gelu(self.widen(self.norm(x.mT))))
        scaled: Tensor = self.scale * y
        return scaled.mT
