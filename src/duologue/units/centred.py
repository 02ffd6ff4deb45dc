"""Convolutions that see as far ahead as behind, and can still go on where they stopped.

Released vocoders and codecs pad every layer with zeros on both sides. Here each layer keeps what it has seen and gives
its output late by what it looks ahead; before the beginning of the sound and behind its end every layer is zero, as
padding makes it. So a network whose sound comes in chunks equals the same network over the whole sound.

What is outside is marked unit by unit, row by row: rows of a batch may begin and end at different times.

Letters in shapes: B batch, D width, T units in time, N = T * rate samples of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

_SHORT_SAMPLES = 32
"""Up to here one product of matrices is several times as fast on a CPU as torch's transposed convolution."""


@dataclass(frozen=True)
class Signal:
    """x [B, D, N] with `rate` samples to a unit, `late` samples behind the units it is made of."""

    x: Tensor
    rate: int = 1
    late: int = 0

    def map(self, change: Callable[[Tensor], Tensor]) -> Signal:
        """Changed sample by sample; the change must leave zero as it is."""
        return replace(self, x=change(self.x))


class Passage:
    """The way of one chunk through a network: what its layers remember, and which units are inside the sound.

    inside       [B, T] bool: False for units before the beginning or behind the end
    reach_units  how late, at most, any layer of the network is
    remembered   what the passage before this one left behind; None at the beginning
    """

    def __init__(self, inside: Tensor, reach_units: int, remembered: Sequence[Tensor] | None = None) -> None:
        fed, *pasts = remembered or [inside.new_zeros(len(inside), dtype=torch.int64)]
        self.units = inside.shape[-1]
        self.remembered = [fed + self.units]
        self._fed = fed
        self._pasts: Iterator[Tensor] = iter(pasts)
        self._inside = self.seen(inside[:, None], reach_units)
        self._all_inside = bool(self._inside.all())

    def seen(self, x: Tensor, samples: int) -> Tensor:
        """[B, D, N] with the `samples` before it, which are remembered for the next passage."""
        if not samples:
            return x
        past = next(self._pasts, None)
        seen = torch.cat([x.new_zeros(*x.shape[:2], samples) if past is None else past, x], -1)
        self.remembered.append(seen[..., x.shape[-1] :].clone())
        return seen

    def within(self, signal: Signal) -> Signal:
        """Zero where the signal is outside of the sound."""
        if self._all_inside:
            return signal
        units = -(-signal.late // signal.rate)
        first = units * signal.rate - signal.late
        inside = self._inside[..., self._inside.shape[-1] - self.units - units :]
        mask = inside.repeat_interleave(signal.rate, -1)[..., first : first + signal.x.shape[-1]]
        return signal.map(lambda x: x * mask)

    def place(self, signal: Signal) -> Tensor:
        """The number of each sample since the row's first unit, negative before it: [B, N]."""
        first = self._fed[:, None] * signal.rate - signal.late
        return first + torch.arange(signal.x.shape[-1], device=first.device)

    def later(self, signal: Signal, late: int) -> Signal:
        """The signal, held back until it is `late` samples behind."""
        held = self.seen(signal.x, late - signal.late)
        return replace(signal, x=held[..., : signal.x.shape[-1]], late=late)

    def added(self, signals: Sequence[Signal]) -> Signal:
        """The sum, as late as the latest of them."""
        late = max(signal.late for signal in signals)
        together = [self.later(signal, late).x for signal in signals]
        return replace(signals[0], x=torch.stack(together).sum(0), late=late)


# ---------------------------------------------------------------- layers


class Conv(nn.Conv1d):
    """A convolution with padding, and perhaps a stride."""

    def forward(self, signal: Signal, passage: Passage) -> Signal:  # type: ignore[override]
        (stride,), (dilation,), pad = self.stride, self.dilation, int(self.padding[0])
        ahead = signal.late - pad + dilation * (self.kernel_size[0] - 1)
        late = -(-(ahead + 1 - stride) // stride)
        seen = passage.seen(signal.x, late * stride + pad - signal.late)
        y = functional.conv1d(seen, self.weight, self.bias, stride, 0, dilation, self.groups)
        return passage.within(Signal(y, signal.rate // stride, late))


class UpConv(nn.ConvTranspose1d):
    """A transposed convolution: each sample becomes `stride` samples."""

    def forward(self, signal: Signal, passage: Passage) -> Signal:  # type: ignore[override]
        (stride,), pad = self.stride, int(self.padding[0])
        before = -(-self.kernel_size[0] // stride) - 1
        spread = self._spread(passage.seen(signal.x, before))
        y = spread[..., before * stride : (before + signal.x.shape[-1]) * stride]
        return passage.within(Signal(y, signal.rate * stride, signal.late * stride + pad))

    def _spread(self, x: Tensor) -> Tensor:
        """[B, D, N] → [B, D', (N - 1) * stride + taps]."""
        (stride,), (taps,), samples = self.stride, self.kernel_size, x.shape[-1]
        if samples > _SHORT_SAMPLES or x.device.type != "cpu":
            return functional.conv_transpose1d(x, self.weight, self.bias, self.stride)
        parts = (x.mT @ self.weight.flatten(1)).mT
        added = functional.fold(parts, (1, (samples - 1) * stride + taps), (1, taps), stride=(1, stride))[:, :, 0]
        return added if self.bias is None else added + self.bias[:, None]


class Chain(nn.Sequential):
    """One layer after the other."""

    def forward(self, signal: Signal, passage: Passage) -> Signal:  # type: ignore[override]
        for layer in self:
            signal = layer(signal, passage)
        return signal
