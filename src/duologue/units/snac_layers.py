"""SNAC's encoder and decoder as networks of centred layers, named as in the released weights.

Letters in shapes: B batch, D width, N samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from duologue.units.centred import Chain, Conv, Passage, Signal, UpConv

Noise = Callable[[int, Tensor], Tensor]
"""Number of the decoder block, places of its samples in the sound [B, N] → normal draws [B, N]."""

_TAPS = 7
_DILATIONS = (1, 3, 9)


# ---------------------------------------------------------------- noise


@dataclass(frozen=True)
class SeededNoise:
    """Draws that depend on the seed, the block and the place alone."""

    seed: int = 0

    def __call__(self, block: int, places: Tensor) -> Tensor:
        start = _mixed(torch.tensor(self.seed, device=places.device) + 2 * block)
        radius, turn = (_mixed(_mixed(places & _WORD) ^ start ^ half) for half in (0, _HALF))
        return (-2 * torch.log((radius + 1) / 2**32)).sqrt() * torch.cos(turn * (2 * math.pi / 2**32))


_WORD = 2**32 - 1
_HALF = 0x5BD1E995
"""Sets the two uniform draws apart that make a normal one."""


def _mixed(x: Tensor) -> Tensor:
    """32 bits to 32 bits, each bit of which depends on all (hash-prospector's 21f0aaad-735a2d97)."""
    x = (x ^ (x >> 16)) * 0x21F0AAAD & _WORD
    x = (x ^ (x >> 15)) * 0x735A2D97 & _WORD
    return x ^ (x >> 15)


class NoiseBlock(nn.Module):
    """Noise as loud as the sound says."""

    def __init__(self, width: int, block: int, noise: Noise | None) -> None:
        super().__init__()
        self.linear = Conv(width, width, 1, bias=False)
        self.block, self.noise = block, noise

    def forward(self, signal: Signal, passage: Passage) -> Signal:
        if self.noise is None:
            return signal
        draws = self.noise(self.block, passage.place(signal))[:, None].to(signal.x.dtype)
        loudness: Signal = self.linear(signal, passage)
        return signal.map(lambda x: x + draws * loudness.x)


# ---------------------------------------------------------------- blocks


class Snake(nn.Module):
    """x + sin²(alpha x) / alpha (Ziyin et al. 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, width, 1))

    def forward(self, signal: Signal, passage: Passage) -> Signal:
        return signal.map(lambda x: x + torch.sin(self.alpha * x).square() / (self.alpha + 1e-9))


class Block(nn.Module):
    """Layers one after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.block = Chain(*layers)

    def forward(self, signal: Signal, passage: Passage) -> Signal:
        passed: Signal = self.block(signal, passage)
        return passed


class Residual(Block):
    """Layers around which the signal passes."""

    def __init__(self, width: int, dilation: int, groups: int) -> None:
        pad = dilation * (_TAPS - 1) // 2
        wide = Conv(width, width, _TAPS, padding=pad, dilation=dilation, groups=groups)
        super().__init__(Snake(width), wide, Snake(width), Conv(width, width, 1))

    def forward(self, signal: Signal, passage: Passage) -> Signal:
        return passage.added([signal, super().forward(signal, passage)])


class Encoder(Block):
    """Sound [B, 1, N] → latents."""

    def __init__(self, width: int, rates: Sequence[int], depthwise: bool) -> None:
        layers: list[nn.Module] = [Conv(1, width, _TAPS, padding=_TAPS // 2)]
        for rate in rates:
            residuals = (Residual(width, dilation, width if depthwise else 1) for dilation in _DILATIONS)
            narrow = Conv(width, 2 * width, 2 * rate, rate, math.ceil(rate / 2))
            layers.append(Block(*residuals, Snake(width), narrow))
            width *= 2
        last = Conv(width, width, _TAPS, padding=_TAPS // 2, groups=width if depthwise else 1)
        super().__init__(*layers, last)


class Decoder(nn.Module):
    """Latents → sound [B, 1, N], -1 to 1."""

    def __init__(
        self, latent: int, width: int, rates: Sequence[int], depthwise: bool, noisy: bool, noise: Noise | None
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [Conv(latent, width, _TAPS, padding=_TAPS // 2)]
        if depthwise:
            gather = Conv(latent, latent, _TAPS, padding=_TAPS // 2, groups=latent)
            layers = [gather, Conv(latent, width, 1)]
        for number, rate in enumerate(rates):
            up = UpConv(width, width // 2, 2 * rate, rate, math.ceil(rate / 2), rate % 2)
            noises = [NoiseBlock(width // 2, number, noise)] if noisy else []
            residuals = (Residual(width // 2, dilation, width // 2 if depthwise else 1) for dilation in _DILATIONS)
            layers.append(Block(Snake(width), up, *noises, *residuals))
            width //= 2
        self.model = Chain(*layers, Snake(width), Conv(width, 1, _TAPS, padding=_TAPS // 2))

    def forward(self, signal: Signal, passage: Passage) -> Signal:
        sound: Signal = self.model(signal, passage)
        return sound.map(torch.tanh)
