"""A fixed layout's tables do what its columns do one after the other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drawn_layouts import laws, same
from duologue.layout import Columns, Hear, Layout, Put, Say, Tokens, tables, weave
from duologue.layout.weaving import unweave_by_column, weave_by_column


@st.composite
def fixed_layouts(draw: st.DrawFn) -> tuple[Layout, dict[str, Tokens]]:
    """Any columns once, then others again and again, or nothing more."""
    lanes = draw(st.integers(1, 3))
    cell = st.sampled_from([Hear("a"), Say("b"), Say("c"), Put(0), Put(5)])
    column = st.tuples(*[cell] * lanes)
    once, again = draw(st.lists(column, max_size=5)), draw(st.lists(column, max_size=5))

    def columns() -> Columns:
        for column in once:
            yield column
        while any(not isinstance(cell, Put) for column in again for cell in column):
            for column in again:
                yield column

    sizes = {name: draw(st.integers(0, 150)) for name in "abc"}
    return Layout(columns, ("a", "b", "c"), lanes, fixed=True), {n: np.arange(size) + 7 for n, size in sizes.items()}


@laws
@given(fixed_layouts())
def test_a_table_weaves_as_one_column_after_the_other(woven: tuple[Layout, dict[str, Tokens]]) -> None:
    layout, streams = woven
    (fast, fast_taken), (slow, slow_taken) = tables.weave(layout, streams), weave_by_column(layout, streams)
    assert same(fast, slow)
    assert fast_taken == slow_taken
    read, read_slowly = tables.unweave(layout, slow.tokens), unweave_by_column(layout, slow.tokens)
    assert all(np.array_equal(read[name], read_slowly[name]) for name in streams)


def test_a_table_is_made_once() -> None:
    runs = 0

    def columns() -> Columns:
        nonlocal runs
        runs += 1
        while True:
            yield Hear("user")

    layout = Layout(columns, ("user",), fixed=True)
    for n in (10, 11, 12, 10):
        weave(layout, {"user": [1] * n})
    assert runs == 1
