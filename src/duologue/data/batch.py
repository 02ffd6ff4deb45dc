"""Which examples are learnt from together, and who computes what.

A row is one example, or several packed one after the other. A batch is the rows of one optimizer step, over all
processes; a microbatch is what one process computes at once.

Which examples a batch holds depends on the seed and the epoch only, not on the number of processes nor on the size
of a microbatch: those may change without changing what is learnt. The position in the data is two numbers.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from duologue.data.tensors import Example, collate

Row = tuple[int, ...]
"""Indices of the examples that lie in one row."""
Batch = tuple[Row, ...]


@dataclass(frozen=True)
class Batching:
    """How examples are gathered. Sizes are in tokens, which are steps: columns, whatever the number of lanes.

    batch_tokens   in one optimizer step, over all processes; padding does not count
    row_tokens     pack several examples into rows of at most so many steps; None: each example has its own row
    pool_batches   examples of like length are gathered out of shuffled pools of so many batches
    seed           of the shuffles; None: no shuffle, by length
    """

    batch_tokens: int
    row_tokens: int | None = None
    pool_batches: int = 16
    seed: int | None = 0

    def __post_init__(self) -> None:
        for name in ("batch_tokens", "row_tokens", "pool_batches"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"{name} is {size}: at least 1 is needed")
        if (self.row_tokens or 0) > self.batch_tokens:
            raise ValueError(f"rows of {self.row_tokens} tokens in batches of {self.batch_tokens}: raise batch_tokens")


@dataclass(frozen=True)
class Position:
    """The batch to be learnt from next: number `batch` of epoch `epoch`."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Microbatch:
    """Rows that one process computes at once. `idle`: only to keep step with the others, it does not count."""

    rows: Batch
    idle: bool = False


# ---------------------------------------------------------------- which examples together


def batches(lengths: Sequence[int], how: Batching, epoch: int) -> list[Batch]:
    """All batches of an epoch, each example in exactly one: a pure function of the arguments.

    Lengths fall in one pool and rise in the next one, so that no batch is half of the longest, half of the
    shortest.
    """
    steps = np.asarray(lengths, np.int64)
    order, shuffle = np.arange(len(steps)), None
    if how.seed is not None:
        shuffle = np.random.default_rng([how.seed, epoch])
        order = shuffle.permutation(order)
    pools = [_rows(pool, steps, how, shuffle) for pool in _pools(order, steps, how)]
    rows = [row for number, pool in enumerate(pools) for row in (pool[::-1] if number % 2 else pool)]
    found = list(_cut(rows, [int(steps[list(row)].sum()) for row in rows], how.batch_tokens))
    if shuffle is not None:
        shuffle.shuffle(found)
    return found


def _all_fit(lengths: Sequence[int], how: Batching) -> None:
    steps = np.asarray(lengths)
    if not len(steps):
        raise ValueError("there are no examples to learn from: look at the manifest and its filters")
    room = how.row_tokens or how.batch_tokens
    if (steps < 1).any():
        raise ValueError(f"example {int(np.argmin(steps))} has no steps: leave it out")
    if (steps > room).any():
        index = int(np.argmax(steps))
        raise ValueError(
            f"example {index} has {steps[index]} steps, more than the {room} that a row or a batch may hold: "
            f"cut it, or raise {'row_tokens' if how.row_tokens else 'batch_tokens'}"
        )


def _pools(order: NDArray[np.int64], steps: NDArray[np.int64], how: Batching) -> Iterator[NDArray[np.int64]]:
    """Pieces of the order, each of about `pool_batches` batches; all in one where nothing is shuffled."""
    pool_tokens = how.batch_tokens * how.pool_batches
    pool_of = steps[order].cumsum() // (pool_tokens if how.seed is not None else steps.sum() + 1)
    for pool in np.split(order, np.flatnonzero(np.diff(pool_of)) + 1):
        yield pool[np.argsort(-steps[pool], kind="stable")]


def _rows(
    pool: NDArray[np.int64], steps: NDArray[np.int64], how: Batching, shuffle: np.random.Generator | None
) -> list[Row]:
    if how.row_tokens is None:
        return [(int(index),) for index in pool]
    rows = _packed(pool, steps, how.row_tokens)
    if shuffle is not None:
        shuffle.shuffle(rows)
    return rows


def _packed(pool: NDArray[np.int64], steps: NDArray[np.int64], row_tokens: int) -> list[Row]:
    """First fit, the longest first: each example goes into the first row that has room for it."""
    rows: list[list[int]] = []
    room = np.full(len(pool), row_tokens)
    for index in pool.tolist():
        row = int(np.argmax(room >= steps[index]))
        room[row] -= steps[index]
        if row == len(rows):
            rows.append([])
        rows[row].append(index)
    return [tuple(row) for row in rows]


def _cut(rows: Sequence[Row], row_steps: Sequence[int], batch_tokens: int) -> Iterator[Batch]:
    """Runs of rows with at most `batch_tokens` steps in each."""
    batch: list[Row] = []
    tokens = 0
    for row, steps in zip(rows, row_steps, strict=True):
        if tokens + steps > batch_tokens:
            yield tuple(batch)
            batch, tokens = [], 0
        batch.append(row)
        tokens += steps
    yield tuple(batch)


# ---------------------------------------------------------------- who computes what


def share(
    batch: Batch, lengths: Sequence[int], microbatch_tokens: int, rank: int = 0, processes: int = 1
) -> list[Microbatch]:
    """The part of process `rank`: microbatches whose padded size is at most `microbatch_tokens`.

    A row that is longer than that lies alone. Every process gets the same number of microbatches: the last ones may
    be idle.
    """
    steps = {row: sum(lengths[index] for index in row) for row in batch}
    longest = sorted(batch, key=lambda row: (-steps[row], row))
    parts = [list(_fit(longest[part::processes], steps, microbatch_tokens)) for part in range(processes)]
    mine = [Microbatch(rows) for rows in parts[rank]]
    return mine + [Microbatch((longest[-1],), idle=True)] * (max(map(len, parts)) - len(mine))


def _fit(rows: Sequence[Row], steps: Mapping[Row, int], microbatch_tokens: int) -> Iterator[Batch]:
    """Runs of rows, the longest first, so that the first row of a run tells the width of all."""
    start = 0
    for end, _ in enumerate(rows):
        if end > start and steps[rows[start]] * (end + 1 - start) > microbatch_tokens:
            yield tuple(rows[start:end])
            start = end
    if rows:
        yield tuple(rows[start:])


# ---------------------------------------------------------------- all of it


@dataclass(frozen=True)
class Batches:
    """Examples and how to gather them. Each is looked at once, for its length in steps. Raises ValueError for
    examples that do not fit, or in which nothing is said."""

    examples: Sequence[Example]
    how: Batching
    pad: Mapping[str, float] = field(default_factory=dict)
    lengths: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        said = [example["said"] for example in self.examples]
        object.__setattr__(self, "lengths", tuple(map(len, said)))
        _all_fit(self.lengths, self.how)
        if silent := [index for index, cells in enumerate(said) if not cells.any()]:
            raise ValueError(f"example {silent[0]} asks for nothing ({len(silent)} such): leave them out")

    @property
    def widest_row(self) -> int:
        """Steps that a row may have."""
        return self.how.row_tokens or max(self.lengths)

    def epoch(self, epoch: int) -> list[Batch]:
        return batches(self.lengths, self.how, epoch)

    def steps(self, epochs: int) -> int:
        """Optimizer steps in so many epochs."""
        return sum(len(self.epoch(epoch)) for epoch in range(epochs))

    def since(self, position: Position) -> Iterator[tuple[Batch, Position]]:
        """The batches from `position` on, without end, each with the position after it."""
        for epoch in itertools.count(position.epoch):
            found = self.epoch(epoch)
            for number in range(position.batch if epoch == position.epoch else 0, len(found)):
                last = number + 1 == len(found)
                yield found[number], Position(epoch + 1, 0) if last else Position(epoch, number + 1)

    def tensors(self, microbatch: Microbatch) -> dict[str, Tensor]:
        """The microbatch as `collate` lays it."""
        return collate([[self.examples[index] for index in row] for row in microbatch.rows], self.pad)

    @property
    def fingerprint(self) -> int:
        """Changes where the number of the examples, their order or their lengths change."""
        return zlib.crc32(np.asarray(self.lengths, np.int64).tobytes())
