"""Fixed layouts, run once into tables of indices: weaving is then one gather, and no Python runs per column."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from duologue.layout.columns import Grid, Layout, Put, Run, Say, Tokens

SMALLEST = 64
"""Columns of the smallest table."""
MOST_PUTS = 1 << 14
"""Columns, one behind the other, that take no token, in a layout that goes on."""


@dataclass(frozen=True)
class Table:
    """The first S columns of a fixed layout; arrays are [S, K].

    stream   number of the cell's stream in `layout.streams`, -1 for a Put
    index    which token of that stream the cell takes
    token    what a Put puts
    said     whether the cell is a Say
    ended    whether the layout has no more columns than these
    """

    stream: NDArray[np.int16]
    index: NDArray[np.int64]
    token: Tokens
    said: NDArray[np.bool_]
    ended: bool


@lru_cache(maxsize=128)
def table(layout: Layout, columns: int) -> Table:
    """The first `columns` columns of a fixed layout, fewer where it ends before."""
    stream, token, said, run = array("h"), array("q"), bytearray(), Run(layout)
    while run.column is not None and len(said) < columns * layout.lanes:
        stream.extend(run.numbers())
        for cell in run.column:
            token.append(cell.token if isinstance(cell, Put) else 0)
            said.append(isinstance(cell, Say))
        run.send(_UNSEEN)
    numbers = np.array(stream, np.int16).reshape(-1, layout.lanes)
    tokens, is_said = np.array(token, np.int64), np.array(said, np.bool_)
    return Table(
        numbers,
        _occurrence(numbers),
        tokens.reshape(numbers.shape),
        is_said.reshape(numbers.shape),
        run.column is None,
    )


def _occurrence(numbers: NDArray[np.int16]) -> NDArray[np.int64]:
    """How many equal cells stand before each cell, in reading order."""
    index = np.zeros(numbers.shape, np.int64)
    for number in np.unique(numbers):
        cells = numbers == number
        index[cells] = np.arange(cells.sum())
    return index


def weave(layout: Layout, given: Mapping[str, Tokens]) -> tuple[Grid, dict[str, int]]:
    """What `weaving.weave_by_column` gives, at once."""
    lengths = np.array([*map(len, given.values()), 0])
    cells, columns = _enough(layout, lengths)
    stream, index = cells.stream[:columns], cells.index[:columns]
    pool = np.concatenate([*given.values(), [0]]).astype(np.int64)
    where = np.where(stream < 0, len(pool) - 1, (np.cumsum(lengths) - lengths)[stream] + index)
    tokens = np.where(stream < 0, cells.token[:columns], pool[where])
    taken = np.bincount(stream.ravel() + 1, minlength=len(lengths))[1:].tolist()
    return Grid(tokens, cells.said[:columns].copy(), stream.copy()), dict(zip(given, taken, strict=True))


def _enough(layout: Layout, lengths: NDArray[np.int64]) -> tuple[Table, int]:
    """A table in which a stream runs out or the layout ends, and the columns up to there."""
    for power in count(max(SMALLEST, int(lengths.sum())).bit_length()):
        cells = table(layout, 1 << power)
        missing = ((cells.stream >= 0) & (cells.index >= lengths[cells.stream])).any(axis=1)
        if missing.any():
            taking = (cells.stream[: missing.argmax()] >= 0).any(axis=1)
            return cells, int(np.flatnonzero(taking).max(initial=-1)) + 1
        last = int(np.flatnonzero((cells.stream >= 0).any(axis=1)).max(initial=-1))
        if not cells.ended and len(cells.stream) - last > MOST_PUTS:
            return cells, last + 1
        if cells.ended:
            break
    return cells, len(cells.stream)


def unweave(layout: Layout, tokens: Tokens) -> dict[str, Tokens]:
    """What `weaving.unweave_by_column` gives, at once."""
    cells = table(layout, 1 << max(SMALLEST, len(tokens)).bit_length())
    if len(tokens) > len(cells.stream):
        raise ValueError(f"the layout ends at column {len(cells.stream)}, the tokens go on to {len(tokens)}")
    stream, puts = cells.stream[: len(tokens)], cells.token[: len(tokens)]
    wrong = np.argwhere((stream < 0) & (puts != tokens))
    for step, lane in wrong[:1]:
        raise ValueError(f"column {step} holds the token {tokens[step, lane]} where the layout puts {puts[step, lane]}")
    return {name: tokens[stream == number] for number, name in enumerate(layout.streams)}


class _Unseen:
    """What a fixed layout is sent while its table is made. To look at it is to break the promise."""

    def _looked(self, *_: object) -> NoReturn:
        raise TypeError("a layout that looks at what was placed is not fixed: make it Layout(..., fixed=False)")

    __eq__ = __ne__ = __hash__ = _looked
    __bool__ = __iter__ = __len__ = __getitem__ = __contains__ = __index__ = __int__ = _looked
    __lt__ = __le__ = __gt__ = __ge__ = __add__ = __sub__ = __mod__ = _looked


_UNSEEN = _Unseen()
