"""Layers of CosyVoice 3's diffusion transformer (`dit.py`), named as in the released weights.

Letters in shapes: B batch, F frames, P frames remembered, D width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.units.causal import CausalConv

_TAPS, _GROUPS = 31, 16
_SINES, _TIME_SCALE, _SLOWEST = 256, 1000, 10_000
_ROTATION_BASE = 10_000


@dataclass(frozen=True)
class DiTConfig:
    """Sizes, as released. `left_chunks` is how many chunks before its own a frame sees, None for all."""

    mel_bands: int = 80
    width: int = 1024
    depth: int = 22
    heads: int = 16
    head_width: int = 64
    widening: int = 2
    dropout: float = 0.1
    chunk_frames: int = 50
    left_chunks: int | None = None

    def __post_init__(self) -> None:
        if self.chunk_frames < 1 or (self.left_chunks is not None and self.left_chunks < 0):
            raise ValueError(
                f"chunks of {self.chunk_frames} frames, {self.left_chunks} seen: give 1 or more, 0 or more"
            )


class TimeEmbedding(nn.Module):
    """How far from noise (0) to speech (1): [B] → [B, D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.time_mlp = nn.Sequential(nn.Linear(_SINES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        fall = math.log(_SLOWEST) / (_SINES // 2 - 1)
        rates = torch.exp(-fall * torch.arange(_SINES // 2, device=t.device))
        angles = _TIME_SCALE * t[:, None] * rates
        embedded: Tensor = self.time_mlp(torch.cat([angles.sin(), angles.cos()], -1).to(t.dtype))
        return embedded


class PositionConv(nn.Module):
    """Where a frame is, told by the frames before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(CausalConv(width, width, _TAPS, groups=_GROUPS), nn.Mish())
        self.conv2 = nn.Sequential(CausalConv(width, width, _TAPS, groups=_GROUPS), nn.Mish())

    def start(self, batch: int) -> list[Tensor]:
        return [conv.start(batch) for conv, _ in self._stages()]

    def forward(self, x: Tensor, pasts: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """[B, D, F] → [B, D, F], and what is to be remembered."""
        after = []
        for (conv, mish), past in zip(self._stages(), pasts, strict=True):
            x, remembered = conv(x, past)
            x = mish(x)
            after.append(remembered)
        return x, after

    def _stages(self) -> list[tuple[Any, ...]]:
        return [tuple(self.conv1), tuple(self.conv2)]


class InputEmbedding(nn.Module):
    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.proj = nn.Linear(4 * config.mel_bands, config.width)
        self.conv_pos_embed = PositionConv(config.width)

    def forward(self, given: Tensor, pasts: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """[B, F, 4 M] → [B, F, D]."""
        x = self.proj(given)
        placed, after = self.conv_pos_embed(x.mT, pasts)
        return placed.mT + x, after


class Rotation(nn.Module):
    """Angles of places, for the first `head_width` dimensions of queries and keys: those of the first head. The
    released weights were trained so."""

    inv_freq: Tensor

    def __init__(self, head_width: int) -> None:
        super().__init__()
        rates = _ROTATION_BASE ** -(torch.arange(0, head_width, 2) / head_width)
        self.register_buffer("inv_freq", rates)

    def forward(self, place: Tensor) -> Tensor:
        """[B, F] → [B, F, head_width / 2]."""
        return place[..., None] * self.inv_freq


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """The first dimensions of x [B, F, D], turned pair by pair."""
    size = 2 * angles.shape[-1]
    even, odd = x[..., 0:size:2], x[..., 1:size:2]
    cos, sin = angles.cos(), angles.sin()
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)
    return torch.cat([turned, x[..., size:]], -1)


class Attention(nn.Module):
    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        inner = config.heads * config.head_width
        self.heads = config.heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(config.width, inner) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(inner, config.width), nn.Dropout(config.dropout)])

    def forward(self, x: Tensor, angles: Tensor, past: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        """[B, F, D], and keys and values of the past [B, P, 2 D] → the output, and those of past and present."""
        present = torch.cat([rotated(self.to_k(x), angles), self.to_v(x)], -1)
        known = torch.cat([past.to(x.dtype), present], 1)
        keys, values = known.chunk(2, -1)
        query, keys, values = (self._split(part) for part in (rotated(self.to_q(x), angles), keys, values))
        y = functional.scaled_dot_product_attention(query, keys, values, seen).transpose(1, 2).flatten(2)
        for layer in self.to_out:
            y = layer(y)
        return y, known

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)


class Modulation(nn.Module):
    """Shifts, scales and gates that depend on the time: [B, D] → [B, parts * D]."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, parts * width)

    def forward(self, time: Tensor) -> Tensor:
        told: Tensor = self.linear(functional.silu(time))
        return told


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class FeedForward(nn.Module):
    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        inner = config.widening * config.width
        widen = nn.Sequential(nn.Linear(config.width, inner), nn.GELU(approximate="tanh"))
        self.ff = nn.Sequential(widen, nn.Dropout(config.dropout), nn.Linear(inner, config.width))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.ff(x)
        return y


class Block(nn.Module):
    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.attn_norm = Modulation(config.width, 6)
        self.attn = Attention(config)
        self.ff = FeedForward(config)

    def forward(
        self, x: Tensor, told: Tensor, angles: Tensor, past: Tensor, seen: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """told [B, 6 D] is what `attn_norm` makes of the time."""
        shift, scale, gate, ff_shift, ff_scale, ff_gate = told[:, None].chunk(6, -1)
        y, known = self.attn(modulated(x, shift, scale), angles, past, seen)
        x = x + gate * y
        return x + ff_gate * self.ff(modulated(x, ff_shift, ff_scale)), known
