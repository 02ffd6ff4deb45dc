"""A layout is a Python generator of columns. A column has one cell per lane; a cell says where its token is from:

    Hear(stream)   it is given: the other speaker
    Say(stream)    the model is asked for it: it is trained on and sampled
    Put(token)     neither: a tag, a padding

A layout with one lane may yield the bare cell. The `yield` gives back what was placed (the token, or a tuple of
them where there are several lanes), so that a layout may depend on content: a part ends where its end tag is said.

Letters in shapes: S steps (columns), K lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]
Streams = Mapping[str, Sequence[int] | Tokens]
"""Tokens by the name of their stream, each [N]."""


@dataclass(frozen=True, slots=True)
class Hear:
    stream: str


@dataclass(frozen=True, slots=True)
class Say:
    stream: str


@dataclass(frozen=True, slots=True)
class Put:
    token: int


Cell = Hear | Say | Put
Column = tuple[Cell, ...]
Columns = Generator[Cell | Column, Any, None]
"""What the generator of a layout is: it yields columns and is sent what was placed in them."""


@dataclass(frozen=True)
class Layout:
    """`columns` starts a fresh run of the generator; `streams` names all that it hears and says.

    `fixed` promises that the columns do not depend on what was placed; they are then run once, into tables that
    belong to this very object: make it once and keep it. Whoever breaks the promise gets a TypeError.
    """

    columns: Callable[[], Columns]
    streams: tuple[str, ...]
    lanes: int = 1
    fixed: bool = False


@dataclass(frozen=True)
class Grid:
    """Columns that were placed, all [S, K]: `tokens`; the loss mask `said`, true where the model is asked; `stream`,
    the number of each cell's stream in `Layout.streams`, -1 for a Put."""

    tokens: Tokens
    said: NDArray[np.bool_]
    stream: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.tokens)


class Run:
    """One run of a layout: `column` is the one to place next, None after the last one."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._columns = layout.columns()
        self.column: Column | None = self._checked(next(self._columns, None))

    def place(self, tokens: Sequence[int]) -> None:
        """Place the K tokens of the column and go on to the next one."""
        self.send(tokens[0] if self._layout.lanes == 1 else tuple(tokens))

    def send(self, placed: object) -> None:
        try:
            self.column = self._checked(self._columns.send(placed))
        except StopIteration:
            self.column = None

    def numbers(self) -> list[int]:
        """Of the streams of the column that is next, -1 for a Put."""
        cells = self.column or ()
        return [-1 if isinstance(cell, Put) else self._layout.streams.index(cell.stream) for cell in cells]

    def _checked(self, yielded: Cell | Column | None) -> Column | None:
        if yielded is None:
            return None
        column = yielded if isinstance(yielded, tuple) else (yielded,)
        if len(column) != self._layout.lanes:
            raise ValueError(f"a column of {len(column)} cells in a layout of {self._layout.lanes} lanes: {column}")
        for cell in column:
            if not isinstance(cell, Put) and cell.stream not in self._layout.streams:
                raise ValueError(f"the layout uses the stream {cell.stream!r}: name it beside {self._layout.streams}")
        return column
