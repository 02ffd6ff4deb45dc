"""HuBERT as the sound comes: units of a window that moves on, the same whatever the frames.

HuBERT attends to the whole utterance, so it cannot be streamed as it is. Here the clock is cut into blocks of units. A
block is heard once, `ahead_units` after its end, with at most `past_units` before it: a look of bounded length for each
block, an hour long. Whoever learns such units and then talks should have both from this class: those of the whole
utterance differ.

Letters in shapes: B batch, N samples, T units.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from duologue.units.codec import CodecState
from duologue.units.hubert import HubertUnits, commonest_in_quiet


@dataclass(frozen=True)
class Window:
    """What is heard at once, in units: a block, what is heard before it, and behind it. Raises ValueError for none."""

    past_units: int = 50
    block_units: int = 4
    ahead_units: int = 2

    def __post_init__(self) -> None:
        for name, least in (("past_units", 0), ("block_units", 1), ("ahead_units", 0)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} is {value}: give {least} or more")


class HubertLive:
    """A `UnitEncoder` of one book. `whole` hears each look."""

    books = 1

    def __init__(self, whole: HubertUnits, window: Window) -> None:
        self.whole, self.window = whole, window
        self.heard_hz, self.unit_hz, self.codes = whole.heard_hz, whole.unit_hz, whole.codes
        self._unit_samples = round(whole.heard_hz / whole.unit_hz)

    @property
    def heard_ahead_s(self) -> float:
        """That the first unit of a block waits."""
        return (self.window.block_units - 1 + self.window.ahead_units) / self.unit_hz

    @cached_property
    def silence(self) -> tuple[int, ...]:
        """The commonest unit of ten seconds of digital silence and ten of a quiet room."""
        return commonest_in_quiet(self)

    def start_encoder(self, batch: int) -> CodecState:
        """What is heard once more with the next block, and what has no units yet: [B, N] each."""
        return CodecState([torch.zeros(batch, 0), torch.zeros(batch, 0)])

    def encode(self, audio: Tensor, state: CodecState, last: bool = False) -> Tensor:
        """[B, N] → the units of whole blocks, [B, 1, T]; with `last` of all sound. Raises ValueError for sound of
        another shape."""
        past, new = state.tensors
        if audio.ndim != 2 or len(audio) != len(new):
            raise ValueError(f"sound of shape {list(audio.shape)} for {len(new)} rows: give [B, N]")
        new, block_units = torch.cat([new, audio], -1), self.window.block_units
        block, ahead = (n * self._unit_samples for n in (block_units, self.window.ahead_units))
        found = [torch.zeros(len(new), 0, dtype=torch.int64)]
        while new.shape[-1] >= block + ahead:
            found.append(self._units(past, new[:, : block + ahead])[:, :block_units])
            past, new = self._remembered(torch.cat([past, new[:, :block]], -1)), new[:, block:]
        if last:
            found += [self._units(past, new)] if new.shape[-1] else []
            past, new = past[:, :0], new[:, :0]
        state.tensors[:] = [past, new]
        return torch.cat(found, -1)[:, None]

    def _units(self, past: Tensor, new: Tensor) -> Tensor:
        """Of what is new, heard behind what is past: [B, T]."""
        looks = torch.stack([self.whole.units(row) for row in torch.cat([past, new], -1)])
        return looks[:, past.shape[-1] // self._unit_samples :]

    def _remembered(self, past: Tensor) -> Tensor:
        return past[:, max(0, past.shape[-1] - self.window.past_units * self._unit_samples) :]
