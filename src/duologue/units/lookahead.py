"""Decoders that look ahead, in two ways of use: in step (a unit in, a unit's sound out) and aloud (what is final).

Both give the sound that `forward` makes of all units at once, to 1e-5, however the units are cut.

Letters in shapes: B batch, Q books, T units in time, N samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from duologue.units.centred import Passage, Signal
from duologue.units.codec import CodecState

NOTHING = -1
"""The code of a unit that is not there: before the beginning, behind the end, and where a row of a batch is shorter.
It sounds as digital silence, and its neighbours sound as they do at an edge."""
FAR_UNITS = 10_000
"""More than any codec looks ahead."""


class LookaheadDecoder(nn.Module, ABC):
    """A `UnitDecoder` made of centred layers; who inherits from it says what `signal` is."""

    said_hz: int
    unit_samples: int
    books: int
    codes: int
    """Codes of each book: 0 to codes - 1."""

    @abstractmethod
    def signal(self, codes: Tensor, passage: Passage) -> Signal:
        """[B, Q, T], none of them NOTHING → sound [B, 1, T * unit_samples]."""

    @cached_property
    def ahead_samples(self) -> int:
        """Samples behind a unit's own start that have to be known before its sound is."""
        unit = torch.zeros_like(self._nothing(1, 1))
        with torch.no_grad():
            return self.signal(unit, Passage(unit[:, 0] == 0, FAR_UNITS)).late

    @property
    def ahead_units(self) -> int:
        return -(-self.ahead_samples // self.unit_samples)

    def forward(self, codes: Tensor) -> Tensor:
        """All at once: [B, Q, T] → [B, T * unit_samples]. Rows that are shorter end with NOTHING.

        Raises ValueError for codes of another shape, or that are none.
        """
        after = self._nothing(len(codes), self.ahead_units)
        late, _ = self.late(torch.cat([self.checked(codes), after], -1), None)
        return late[:, self.ahead_samples :][:, : codes.shape[-1] * self.unit_samples]

    def late(self, codes: Tensor, remembered: Sequence[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """[B, Q, T] → the sound, `ahead_samples` late [B, T * unit_samples], and what is remembered."""
        inside = (self.checked(codes) >= 0).all(1)
        passage = Passage(inside, self.ahead_units, remembered)
        return self.signal(codes.clamp_min(0), passage).x[:, 0], passage.remembered

    def fresh(self, batch: int) -> list[Tensor]:
        """What `late` remembers where nothing was fed yet."""
        weight = next(self.parameters())
        return [
            torch.zeros(batch, *shape, dtype=dtype or weight.dtype, device=weight.device)
            for shape, dtype in self._remembered
        ]

    @cached_property
    def _remembered(self) -> list[tuple[torch.Size, torch.dtype | None]]:
        """Of all that `late` remembers of a row, the shape, and the type where it is not that of the weights."""
        with torch.no_grad():
            _, after_nothing = self.late(self._nothing(1, 1), None)
        return [(each.shape[1:], None if each.is_floating_point() else each.dtype) for each in after_nothing]

    # ------------------------------------------------------------ in step

    def start_decoder(self, batch: int) -> CodecState:
        held = self.ahead_units * self.unit_samples - self.ahead_samples
        weight = next(self.parameters())
        return CodecState([weight.new_zeros(batch, held), *self.fresh(batch)])

    @torch.no_grad()
    def decode(self, codes: Tensor, state: CodecState) -> Tensor:
        """[B, Q, T] → [B, T * unit_samples], later by `ahead_units` units. Raises as `forward`."""
        held, *remembered = state.tensors
        if len(self.checked(codes)) != len(held):
            raise ValueError(f"codes of {len(codes)} rows for {len(held)} streams: give each its own")
        if not codes.shape[-1]:
            return held.new_zeros(len(codes), 0)
        late, remembered = self.late(codes, remembered)
        sound = torch.cat([held, late], -1)
        state.tensors[:] = [sound[:, late.shape[-1] :], *remembered]
        return sound[:, : late.shape[-1]]

    # ------------------------------------------------------------ codes

    def _nothing(self, batch: int, units: int) -> Tensor:
        device = next(self.parameters()).device
        return torch.full((batch, self.books, units), NOTHING, device=device)

    def checked(self, codes: Tensor) -> Tensor:
        """The codes themselves. Raises ValueError unless they are [B, Q, T], each a code of its book or NOTHING."""
        if codes.ndim != 3 or codes.shape[1] != self.books:
            raise ValueError(f"codes of shape {list(codes.shape)}: give [B, {self.books}, T]")
        if codes.numel() and not (codes.min() >= NOTHING and codes.max() < self.codes):
            raise ValueError(
                f"codes {int(codes.min())} to {int(codes.max())}: there are 0 to {self.codes - 1} "
                "(and -1 where there is no unit); take special ids out before decoding"
            )
        return codes


# ---------------------------------------------------------------- aloud


class Aloud:
    """Sound as soon as it is final: no silence before the first unit, no tail lost, each row at its own pace."""

    def __init__(self, decoder: LookaheadDecoder) -> None:
        self.decoder = decoder

    def start(self, batch: int) -> CodecState:
        """For each row, how many samples are still before the first unit; then what the decoder remembers."""
        fresh = self.decoder.fresh(batch)
        return CodecState([torch.full_like(fresh[0], self.decoder.ahead_samples), *fresh])

    @torch.no_grad()
    def say(self, codes: Sequence[Tensor], state: CodecState, last: bool = False) -> list[Tensor]:
        """New units of each row, [Q, T] with T of its own → the sound that is final now, [N] of each row.

        With `last` everything comes out, and the rows are as at the start. Raises ValueError for codes that are none.
        """
        if len(codes) != (streams := len(state.tensors[0])):
            raise ValueError(f"codes of {len(codes)} rows for {streams} streams: give each its own")
        sounds: dict[int, Tensor] = {}
        for rows in _alike([row.shape[-1] for row in codes]):
            part = state.fork(rows)
            sounds |= zip(rows, self._say(torch.stack([codes[row] for row in rows]), part, last), strict=True)
            state.scatter(self.start(len(rows)) if last else part, rows)
        return [sounds[row] for row in range(len(codes))]

    def _say(self, codes: Tensor, state: CodecState, last: bool) -> list[Tensor]:
        owed, *remembered = state.tensors
        end = codes.shape[-1] * self.decoder.unit_samples
        if last:
            codes = torch.cat([codes, self.decoder._nothing(len(codes), self.decoder.ahead_units)], -1)
            end += self.decoder.ahead_samples
        if not codes.shape[-1]:
            return [row.new_zeros(0) for row in owed.to(next(self.decoder.parameters()).dtype)]
        late, remembered = self.decoder.late(codes, remembered)
        state.tensors[:] = [(owed - end).clamp_min(0), *remembered]
        return [row[int(before) : end] for row, before in zip(late, owed, strict=True)]


def _alike(lengths: Sequence[int]) -> list[list[int]]:
    """The rows of each length."""
    return [[row for row, mine in enumerate(lengths) if mine == length] for length in sorted(set(lengths))]
