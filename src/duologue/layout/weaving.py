"""Streams into a grid, and back: training data out of a layout."""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import numpy as np

from duologue.layout import tables
from duologue.layout.columns import Column, Grid, Layout, Put, Run, Say, Streams, Tokens


def weave(layout: Layout, streams: Streams) -> Grid:
    """Lay the streams out: every token once, in order.

    Ends where the layout does, or after the last column that took a token, where none of the next `MOST_PUTS` takes
    one. Raises ValueError when streams are missing or unknown, or when tokens are left over: then the streams do not
    fit together.
    """
    if set(streams) != set(layout.streams):
        raise ValueError(f"this layout weaves the streams {sorted(layout.streams)}, not {sorted(streams)}")
    given = {name: np.asarray(streams[name], np.int64) for name in layout.streams}
    grid, taken = tables.weave(layout, given) if layout.fixed else weave_by_column(layout, given)
    left = {name: len(tokens) - taken[name] for name, tokens in given.items() if len(tokens) > taken[name]}
    if left:
        raise ValueError(
            f"tokens left over after column {len(grid)}, where the layout ends or a stream ran out: {left}; "
            "fill the streams up (with silence) to lengths that fit together"
        )
    return grid


def weave_by_column(layout: Layout, given: Mapping[str, Tokens]) -> tuple[Grid, dict[str, int]]:
    """The grid, and how many tokens of each stream are in it: one column after the other."""
    lists = {name: tokens.tolist() for name, tokens in given.items()}
    taken = dict.fromkeys(lists, 0)
    tokens, said, stream, run, end = array("q"), bytearray(), array("h"), Run(layout), 0
    most = tables.MOST_PUTS * layout.lanes
    while (column := run.column) is not None and (row := _row(column, lists, taken)) is not None:
        if len(tokens) - end >= most:
            break
        tokens.extend(row)
        said.extend(isinstance(cell, Say) for cell in column)
        stream.extend(run.numbers())
        run.place(row)
        if run.column is None or not all(isinstance(cell, Put) for cell in column):
            end = len(tokens)
    return grid(tokens[:end], said[:end], stream[:end], layout.lanes), taken


def _row(column: Column, lists: Mapping[str, list[int]], taken: dict[str, int]) -> list[int] | None:
    """The tokens of the column; None, and nothing taken, where a stream has run out."""
    row, before = [], dict(taken)
    for cell in column:
        if isinstance(cell, Put):
            row.append(cell.token)
        elif (index := taken[cell.stream]) < len(lists[cell.stream]):
            row.append(lists[cell.stream][index])
            taken[cell.stream] = index + 1
        else:
            taken.update(before)
            return None
    return row


def grid(tokens: array[int], said: bytearray, stream: array[int], lanes: int) -> Grid:
    """Columns that were collected flat, as a grid of their own."""
    placed = np.array(tokens, np.int64).reshape(-1, lanes)
    asked = np.array(said, np.bool_).reshape(-1, lanes)
    return Grid(placed, asked, np.array(stream, np.int16).reshape(-1, lanes))


def unweave(layout: Layout, tokens: Tokens) -> dict[str, Tokens]:
    """The streams in `tokens` [S, K]. Raises ValueError where the layout could not have placed them."""
    tokens = np.asarray(tokens, np.int64)
    if tokens.ndim != 2 or tokens.shape[1] != layout.lanes:
        raise ValueError(f"a layout of {layout.lanes} lanes reads tokens [S, {layout.lanes}], not {tokens.shape}")
    return tables.unweave(layout, tokens) if layout.fixed else unweave_by_column(layout, tokens)


def unweave_by_column(layout: Layout, tokens: Tokens) -> dict[str, Tokens]:
    """`unweave`, one column after the other."""
    found: dict[str, list[int]] = {name: [] for name in layout.streams}
    run = Run(layout)
    for step, row in enumerate(tokens.tolist()):
        if run.column is None:
            raise ValueError(f"the layout ends at column {step}, the tokens go on to {len(tokens)}")
        for cell, token in zip(run.column, row, strict=True):
            if not isinstance(cell, Put):
                found[cell.stream].append(token)
            elif cell.token != token:
                raise ValueError(f"column {step} holds the token {token} where the layout puts {cell.token}")
        run.place(row)
    return {name: np.array(stream, np.int64) for name, stream in found.items()}
