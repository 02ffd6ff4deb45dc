"""Talking by a layout: the same columns, filled with what is heard and what the model says.

There is no model here. A `Driver` runs columns until the model is asked, or until one hears what has not been heard
yet. Who owns many drivers asks them all, runs one forward pass, and answers them all.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from duologue.layout.columns import Column, Grid, Hear, Layout, Put, Run, Say
from duologue.layout.weaving import grid


@dataclass(frozen=True)
class Ask:
    """The model is asked for the Say cells of `column`. `given` are the columns that it has not been fed yet."""

    given: Grid
    column: Column

    @property
    def streams(self) -> tuple[str, ...]:
        """The stream of each token that is asked for, in the order of the lanes."""
        return tuple(cell.stream for cell in self.column if isinstance(cell, Say))


class Driver:
    """One conversation by a layout.

    `columns` were placed, `fed` of them handed to the model with an ask: the length of the model's state. The first
    `forgotten` of them are not kept any more.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.columns = 0
        self.fed = 0
        self.forgotten = 0
        self._run = Run(layout)
        self._heard = {name: array("q") for name in layout.streams}
        self._taken = dict.fromkeys(layout.streams, 0)
        self._tokens = array("q")
        self._said = bytearray()
        self._stream = array("h")

    @property
    def ended(self) -> bool:
        return self._run.column is None

    def hear(self, stream: str, tokens: Iterable[int]) -> None:
        if stream not in self._heard:
            raise ValueError(f"there is no stream {stream!r} to hear, only {self.layout.streams}")
        self._heard[stream].extend(tokens)

    def ask(self) -> Ask | None:
        """Run up to the next column that the model writes. None: it has to hear first, or the layout ended."""
        while self._run.column is not None and self._can_hear(self._run.column):
            if any(isinstance(cell, Say) for cell in self._run.column):
                return Ask(self.placed(self.fed), self._run.column)
            self.place(())
        return None

    def answer(self, tokens: Sequence[int]) -> None:
        """What the model says to the `Ask`, whose columns it was fed: one token for each of `ask.streams`."""
        self.fed = self.columns
        self.place(tokens)

    def place(self, said: Sequence[int]) -> None:
        """Fill the next column without asking: its Say cells are known (a prompt, a guess corrected)."""
        column = self._run.column
        if column is None:
            raise ValueError("the layout has ended: nothing can be placed")
        asked = sum(isinstance(cell, Say) for cell in column)
        if len(said) != asked:
            raise ValueError(f"{len(said)} tokens said where the column asks for {asked}: {column}")
        answers = iter(said)
        row = [next(answers) if isinstance(cell, Say) else self._given(cell) for cell in column]
        self._tokens.extend(row)
        self._said.extend(isinstance(cell, Say) for cell in column)
        self._stream.extend(self._run.numbers())
        self.columns += 1
        self._run.place(row)

    def talk(self, say: Callable[[Ask], Sequence[int]]) -> dict[str, list[int]]:
        """Answer every ask by `say` until there is more to hear, or the layout ends. Returns what was said."""
        spoken: dict[str, list[int]] = {}
        while (ask := self.ask()) is not None:
            tokens = say(ask)
            self.answer(tokens)
            for stream, token in zip(ask.streams, tokens, strict=True):
                spoken.setdefault(stream, []).append(token)
        return spoken

    def forget(self) -> None:
        """Let go of what the model was fed: a long conversation takes no more memory than a short one. It can be
        forked no more, nor shown from its beginning."""
        cells = (self.fed - self.forgotten) * self.layout.lanes
        for placed in (self._tokens, self._said, self._stream):
            del placed[:cells]
        for stream, taken in self._taken.items():
            del self._heard[stream][:taken]
            self._taken[stream] = 0
        self.forgotten = self.fed

    def placed(self, start: int = 0) -> Grid:
        """The columns from `start` on. Raises ValueError for what is forgotten."""
        if start < self.forgotten:
            raise ValueError(f"the first {self.forgotten} columns are forgotten: there is no column {start} any more")
        first = (start - self.forgotten) * self.layout.lanes
        return grid(self._tokens[first:], self._said[first:], self._stream[first:], self.layout.lanes)

    def fork(self, columns: int | None = None) -> Driver:
        """A driver of its own that has placed the first `columns` of these columns (default: all).

        What later columns heard waits to be heard again. Takes time in proportion to `columns`. Raises ValueError
        where some are forgotten.
        """
        past, twin = self.placed(), Driver(self.layout)
        for stream, tokens in self._heard.items():
            twin.hear(stream, tokens)
        keep = self.columns if columns is None else columns
        for tokens, said in zip(past.tokens[:keep], past.said[:keep], strict=True):
            twin.place(tokens[said].tolist())
        twin.fed = min(self.fed, keep)
        return twin

    def _can_hear(self, column: Column) -> bool:
        needed = Counter(cell.stream for cell in column if isinstance(cell, Hear))
        return all(self._taken[name] + n <= len(self._heard[name]) for name, n in needed.items())

    def _given(self, cell: Hear | Put) -> int:
        if isinstance(cell, Put):
            return cell.token
        index = self._taken[cell.stream]
        if index == len(self._heard[cell.stream]):
            raise ValueError(f"column {self.columns} hears {cell.stream!r}, of which nothing is left: hear() first")
        self._taken[cell.stream] = index + 1
        return self._heard[cell.stream][index]
