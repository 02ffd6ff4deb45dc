"""States of rows that remember more the longer they last, side by side in one batch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from duologue.units.codec import CodecState

_AXES, _TIME_AXIS = 4, 2


class GrowingState(CodecState):
    """A state whose tensors of four axes grow along the third. Where rows of several ages are together, the younger
    ones begin with emptiness; who reads them knows how old each row is."""

    def fork(self, rows: Sequence[int] | None = None) -> GrowingState:
        return GrowingState(super().fork(rows).tensors)

    def scatter(self, other: CodecState, rows: Sequence[int]) -> None:
        theirs = list(other.tensors)
        for number, (mine, its) in enumerate(zip(self.tensors, other.tensors, strict=True)):
            if mine.ndim == its.ndim == _AXES:
                longest = max(mine.shape[_TIME_AXIS], its.shape[_TIME_AXIS])
                self.tensors[number], theirs[number] = _lengthened(mine, longest), _lengthened(its, longest)
        super().scatter(CodecState(theirs), rows)


def _lengthened(memory: Tensor, length: int) -> Tensor:
    return functional.pad(memory, (0, 0, length - memory.shape[_TIME_AXIS], 0))
