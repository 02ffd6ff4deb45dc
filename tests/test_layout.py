"""Laws of every layout: what is woven can be read back, talking the truth is training on it, silence is heard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import layouts
from drawn_layouts import UNIT, WOVEN, laws, same
from duologue.layout import Ask, Columns, Driver, Grid, Layout, Put, Say, Tokens, unweave, weave
from duologue.systems import fun_audio_chat
from duologue.systems.omni_flatten import Config, full_duplex
from layouts import GROUP, S0, S1

every_layout = pytest.mark.parametrize("name", WOVEN)


def first(grid: Grid, columns: int) -> Grid:
    return Grid(grid.tokens[:columns], grid.said[:columns], grid.stream[:columns])


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


@every_layout
@laws
@given(data=st.data())
def test_who_forgets_what_was_fed_is_asked_the_same(name: str, data: st.DataObject) -> None:
    layout, streams = data.draw(WOVEN[name])
    grid, truth, driver = weave(layout, streams), Truth(streams), Driver(layout)
    for stream, tokens in streams.items():
        driver.hear(stream, tokens)
    while driver.columns < len(grid) and (ask := driver.ask()) is not None:
        driver.answer(truth(ask))
        if data.draw(st.booleans()):
            driver.forget()
            assert len(driver.placed(driver.forgotten)) == driver.columns - driver.fed
    assert np.array_equal(np.reshape(truth.fed, (-1, layout.lanes)), grid.tokens[: driver.fed])


def test_what_is_forgotten_cannot_be_shown_or_forked() -> None:
    driver = Driver(full_duplex(Config(1, 1)))
    driver.hear("user", [5, 5])
    driver.talk(lambda ask: [0] * len(ask.streams))
    driver.forget()
    with pytest.raises(ValueError, match="no column 0 any more"):
        driver.fork()


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
    "omni_flatten, three streams": (full_duplex(Config()), "speech", 10, 10),
    "omni_flatten, two streams": (full_duplex(Config(4, 0)), "speech", 4, 4),
    "fun_audio_chat, duplex": (fun_audio_chat.full_duplex(GROUP), "speech", 1, GROUP),
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
    driver = Driver(full_duplex(Config()))
    for unit in units:
        driver.hear("user", [unit])
        assert driver.talk(lambda ask: [0] * len(ask.streams)) == {}


# ---------------------------------------------------------------- what cannot be


def looks() -> Columns:
    while (yield Say("text")) != 3:
        pass


def test_a_fixed_layout_may_not_look() -> None:
    with pytest.raises(TypeError, match="not fixed"):
        weave(Layout(looks, ("text",), fixed=True), {"text": [1, 3]})


@pytest.mark.parametrize("fixed", [True, False])
def test_streams_that_do_not_fit_together_are_refused(fixed: bool) -> None:
    layout = Layout(full_duplex(Config(2, 1)).columns, ("user", "text", "speech"), fixed=fixed)
    with pytest.raises(ValueError, match=r"left over after column 5.*'speech': 3"):
        weave(layout, {"user": [1, 2], "text": [3], "speech": [4, 5, 6, 7, 8]})
    with pytest.raises(ValueError, match=r"weaves the streams .*'text'"):
        weave(layout, {"user": [1, 2], "speech": [4, 5]})


@pytest.mark.parametrize("fixed", [True, False])
def test_a_layout_that_puts_for_ever_ends_after_the_last_token(fixed: bool) -> None:
    def columns() -> Columns:
        for _ in range(3):
            yield Say("text")
        while True:
            yield Put(9)

    layout = Layout(columns, ("text",), fixed=fixed)
    assert weave(layout, {"text": [1, 2, 3]}).tokens.tolist() == [[1], [2], [3]]
    assert len(weave(layout, {"text": [1, 2]})) == 2
    with pytest.raises(ValueError, match=r"left over after column 3.*'text': 1"):
        weave(layout, {"text": [1, 2, 3, 4]})


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
    driver = Driver(full_duplex(Config(1, 0)))
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
