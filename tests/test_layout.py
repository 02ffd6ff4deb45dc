"""Laws of every layout: what is woven can be read back, talking the truth is training on it, silence is heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import layouts
from duologue.layout import Ask, Columns, Driver, Grid, Hear, Layout, Put, Say, Tokens, tables, unweave, weave
from duologue.layout.weaving import unweave_by_column, weave_by_column
from layouts import BOOKS, EOA, EOS, EOT, GROUP, IM_END, S0, S1, T_EOT, UNIT_EOS

laws = settings(deadline=None, max_examples=60)

Woven = tuple[Layout, dict[str, list[int]]]
UNIT = st.integers(10, 99)
UNITS = st.lists(UNIT, max_size=9)


# ---------------------------------------------------------------- streams that fit each layout


def ended(end: int, units: st.SearchStrategy[list[int]] = UNITS) -> st.SearchStrategy[list[int]]:
    return units.map(lambda tokens: [*tokens, end])


def joined(parts: Sequence[Sequence[int]]) -> list[int]:
    return [token for part in parts for token in part]


@st.composite
def alignments(draw: st.DrawFn) -> Woven:
    layout = layouts.omni_alignment(draw(st.sampled_from([layouts.ASR, layouts.TTS])))
    return layout, {"speech": draw(ended(EOS)), "text": draw(ended(EOT))}


@st.composite
def exchanges(draw: st.DrawFn) -> Woven:
    turns = draw(st.integers(0, 4))
    ends = {"user": EOS, "user_text": EOT, "text": EOT, "speech": EOS}
    return layouts.omni_four(), {
        name: joined([draw(ended(end)) for _ in range(turns)]) for name, end in ends.items()
    }


@st.composite
def chunks(draw: st.DrawFn) -> Woven:
    speech, text, n = draw(st.integers(1, 10)), draw(st.integers(0, 4)), draw(st.integers(0, 12))
    streams = {"user": speech, "text": text, "speech": speech}
    layout = layouts.omni_three(speech, text)
    if draw(st.booleans()):
        layout, streams = layouts.omni_two(speech), {"user": speech, "speech": speech}
    return layout, {name: [draw(UNIT) for _ in range(size * n)] for name, size in streams.items()}


@st.composite
def clocked(draw: st.DrawFn) -> Woven:
    chunks = draw(st.lists(st.tuples(UNITS, st.none() | st.lists(UNIT, min_size=1, max_size=6)), max_size=8))
    own = [[*mine, S0 if theirs is None else S1] for mine, theirs in chunks]
    return layouts.sync_llm(), {
        "own": joined(own),
        "user": joined([[*t, S0] for _, t in chunks if t is not None]),
    }


@st.composite
def books(draw: st.DrawFn) -> Woven:
    frames, heard = draw(st.integers(0, 9)), draw(st.integers(0, 5))
    streams = {f"audio{book}": [draw(UNIT) for _ in range(frames)] + [EOA] for book in range(BOOKS)}
    typed = () if heard else draw(UNITS)
    return layouts.mini_omni(heard, typed), {"user": [4097] * heard, "text": draw(ended(T_EOT)), **streams}


@st.composite
def groups(draw: st.DrawFn) -> Woven:
    n, heard = draw(st.integers(0, 5)), draw(st.integers(0, 4))
    speech = [draw(UNIT) for _ in range(GROUP * n)] + [UNIT_EOS] * GROUP
    text = [draw(UNIT) for _ in range(2 + n + 1)] + draw(ended(IM_END))
    return layouts.fun_audio_chat(heard=heard), {"user": [9] * heard, "text": text, "speech": speech}


@st.composite
def group_duplex(draw: st.DrawFn) -> Woven:
    n = draw(st.integers(0, 9))
    streams = {"user": n, "text": n, "speech": GROUP * n}
    return layouts.fun_audio_chat_duplex(), {
        k: [draw(UNIT) for _ in range(size)] for k, size in streams.items()
    }


@st.composite
def heard_then_text(draw: st.DrawFn, layout: Callable[..., Layout]) -> Woven:
    heard = draw(UNITS)
    return layout(len(heard), end=2), {"user": heard, "text": draw(ended(2))}


WOVEN = {
    "omni_flatten, alignment": alignments(),
    "omni_flatten, four streams": exchanges(),
    "omni_flatten, three and two streams": chunks(),
    "sync_llm": clocked(),
    "mini_omni": books(),
    "fun_audio_chat": groups(),
    "fun_audio_chat, duplex": group_duplex(),
    "mooer": heard_then_text(layouts.mooer),
    "llama_omni": heard_then_text(layouts.llama_omni),
}
every_layout = pytest.mark.parametrize("name", WOVEN)


def same(a: Grid, b: Grid) -> bool:
    return np.array_equal(a.tokens, b.tokens) and np.array_equal(a.said, b.said)


def first(grid: Grid, columns: int) -> Grid:
    return Grid(grid.tokens[:columns], grid.said[:columns])


# ---------------------------------------------------------------- law 1: unweave ∘ weave = identity


@every_layout
@laws
@given(data=st.data())
def test_what_is_woven_can_be_read_back(name: str, data: st.DataObject) -> None:
    layout, streams = data.draw(WOVEN[name])
    grid = weave(layout, streams)
    back = unweave(layout, grid.tokens)
    assert {stream: tokens.tolist() for stream, tokens in back.items()} == streams
    assert same(weave(layout, back), grid)


# ---------------------------------------------------------------- law 2: decoding the truth = the training grid


class Truth:
    """A model that says what is in the streams, and keeps what it was fed."""

    def __init__(self, streams: dict[str, list[int]]) -> None:
        self.rest = {name: iter(tokens) for name, tokens in streams.items()}
        self.fed: list[Tokens] = []

    def __call__(self, ask: Ask) -> list[int]:
        self.fed.extend(ask.given.tokens)
        return [next(self.rest[stream]) for stream in ask.streams]


@every_layout
@laws
@given(data=st.data())
def test_talking_the_truth_is_the_training_grid(name: str, data: st.DataObject) -> None:
    layout, streams = data.draw(WOVEN[name])
    grid, truth, driver = weave(layout, streams), Truth(streams), Driver(layout)
    unheard = {stream: list(tokens) for stream, tokens in streams.items()}
    while driver.columns < len(grid):
        if (ask := driver.ask()) is not None:
            driver.answer(truth(ask))
        elif driver.columns < len(grid):
            for stream, tokens in unheard.items():
                size = data.draw(st.integers(1, 7))
                driver.hear(stream, tokens[:size])
                del tokens[:size]
    assert same(first(driver.placed(), len(grid)), grid)
    assert driver.fed == len(truth.fed)
    assert np.array_equal(np.reshape(truth.fed, (-1, layout.lanes)), grid.tokens[: driver.fed])


# ---------------------------------------------------------------- law 5: forks given the same sound say the same


@every_layout
@laws
@given(data=st.data())
def test_a_fork_goes_on_as_if_there_were_one(name: str, data: st.DataObject) -> None:
    layout, streams = data.draw(WOVEN[name])
    grid, driver = weave(layout, streams), Driver(layout)
    stop = data.draw(st.integers(0, len(grid)))
    kept = data.draw(st.integers(0, stop))
    for stream, tokens in streams.items():
        driver.hear(stream, tokens)
    for row, said in zip(grid.tokens[:stop], grid.said[:stop], strict=True):
        driver.place(row[said].tolist())
    before, twin = driver.placed(), driver.fork(kept)
    for row, said in zip(grid.tokens[kept:], grid.said[kept:], strict=True):
        twin.place(row[said].tolist())
    assert same(twin.placed(), grid)
    assert same(driver.placed(), before)


# ---------------------------------------------------------------- law 6: one frame out per frame in

DUPLEX = {
    "omni_flatten, three streams": (layouts.omni_three(), "speech", 10, 10),
    "omni_flatten, two streams": (layouts.omni_two(4), "speech", 4, 4),
    "fun_audio_chat, duplex": (layouts.fun_audio_chat_duplex(), "speech", 1, GROUP),
}


@pytest.mark.parametrize("name", DUPLEX)
@laws
@given(frames=st.integers(1, 6), silent=st.integers(0, 1))
def test_one_frame_out_per_frame_in(name: str, frames: int, silent: int) -> None:
    layout, spoken, heard, said = DUPLEX[name]
    driver = Driver(layout)
    for frame in range(frames):
        answer = driver.talk(lambda ask: [0] * len(ask.streams))
        assert not answer, f"said {answer} before it heard frame {frame}"
        driver.hear("user", [silent] * heard)
        assert len(driver.talk(lambda ask: [0] * len(ask.streams))[spoken]) == said


@laws
@given(st.lists(UNIT, min_size=9, max_size=9))
def test_nothing_is_said_before_a_whole_chunk_is_heard(units: list[int]) -> None:
    driver = Driver(layouts.omni_three())
    for unit in units:
        driver.hear("user", [unit])
        assert driver.talk(lambda ask: [0] * len(ask.streams)) == {}


# ---------------------------------------------------------------- tables and their slow twin


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
    return Layout(columns, ("a", "b", "c"), lanes, fixed=True), {
        n: np.arange(size) + 7 for n, size in sizes.items()
    }


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


# ---------------------------------------------------------------- what cannot be


def looks() -> Columns:
    while (yield Say("text")) != 3:
        pass


def test_a_fixed_layout_may_not_look() -> None:
    with pytest.raises(TypeError, match="not fixed"):
        weave(Layout(looks, ("text",), fixed=True), {"text": [1, 3]})


@pytest.mark.parametrize("fixed", [True, False])
def test_streams_that_do_not_fit_together_are_refused(fixed: bool) -> None:
    layout = Layout(layouts.omni_three(2, 1).columns, ("user", "text", "speech"), fixed=fixed)
    with pytest.raises(ValueError, match=r"left over after column 5.*'speech': 3"):
        weave(layout, {"user": [1, 2], "text": [3], "speech": [4, 5, 6, 7, 8]})
    with pytest.raises(ValueError, match=r"weaves the streams .*'text'"):
        weave(layout, {"user": [1, 2], "speech": [4, 5]})


@pytest.mark.parametrize("fixed", [True, False])
def test_tokens_of_another_layout_are_refused(fixed: bool) -> None:
    def columns() -> Columns:
        yield Put(1)
        yield Say("text")

    layout = Layout(columns, ("text",), fixed=fixed)
    with pytest.raises(ValueError, match="column 0 holds the token 2 where the layout puts 1"):
        unweave(layout, np.array([[2], [3]]))
    with pytest.raises(ValueError, match="ends at column 2, the tokens go on to 3"):
        unweave(layout, np.array([[1], [3], [3]]))
    with pytest.raises(ValueError, match="1 lanes"):
        unweave(layout, np.array([[1, 1]]))


def test_a_layout_names_its_streams_and_lanes() -> None:
    with pytest.raises(ValueError, match="'text'"):
        Driver(Layout(looks, ("words",)))
    with pytest.raises(ValueError, match="2 lanes"):
        Driver(Layout(looks, ("text",), lanes=2))


def test_a_driver_refuses_what_does_not_fit() -> None:
    driver = Driver(layouts.omni_two(1))
    with pytest.raises(ValueError, match="no stream 'text'"):
        driver.hear("text", [1])
    with pytest.raises(ValueError, match="nothing is left"):
        driver.place([])
    driver.hear("user", [1])
    assert driver.ask() is not None
    with pytest.raises(ValueError, match="2 tokens said where the column asks for 1"):
        driver.answer([1, 2])
    ended = Driver(Layout(looks, ("text",)))
    ended.place([3])
    assert ended.ended
    with pytest.raises(ValueError, match="has ended"):
        ended.place([1])


# ---------------------------------------------------------------- a guess, corrected


def test_a_wrong_guess_is_undone_and_the_truth_fed_in_one_pass() -> None:
    driver = Driver(layouts.sync_llm())
    for said in (5, S1, 8, S0, 6, S1, 30, S0, 7, S0):
        assert driver.ask() is not None
        driver.answer([said])
    undone = driver.fork(columns=6)
    for said in (S1, 9, S0, 7, S0):
        undone.place([said])
    ask = undone.ask()
    assert ask is not None
    assert undone.fed == 6
    assert ask.given.tokens.ravel().tolist() == [S1, 9, S0, 7, S0]
