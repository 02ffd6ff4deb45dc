"""Turns in time become streams in chunks: nothing said is lost, nothing unsaid is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawn_layouts import laws
from duologue.data.timed import TimedTurn
from duologue.layout import weave
from duologue.systems.omni_flatten import Config, Tags, full_duplex, streams


@st.composite
def timed_turns(draw: st.DrawFn) -> list[TimedTurn]:
    turns, start = [], 0
    for number in range(draw(st.integers(0, 4))):
        start += draw(st.integers(0, 12))
        speech = tuple(range(1000 + 100 * number, 1000 + 100 * number + draw(st.integers(1, 20))))
        text = tuple(range(5000 + 100 * number, 5000 + 100 * number + draw(st.integers(0, 9))))
        cut = draw(st.none() | st.integers(0, len(speech)))
        turns.append(TimedTurn(start, speech, text, cut))
        start += len(speech)
    return turns


@laws
@given(timed_turns(), st.integers(1, 6), st.integers(1, 3))
def test_nothing_said_is_lost_and_nothing_unsaid_is_written(
    turns: list[TimedTurn], speech_chunk: int, text_chunk: int
) -> None:
    length = max([turn.start + len(turn.speech) for turn in turns], default=0)
    config, tags = Config(speech_chunk, text_chunk), Tags(*range(2, 8), silent_speech=0, silent_text=1)
    woven = streams(config, tags, [], turns, length)
    assert [t for t in woven["speech"] if t] == [t for turn in turns for t in turn.spoken]
    written = [int(t) for t in woven["text"]]
    order = [t for t in written if t != 1]
    assert order == sorted(order)
    chunk_of = {token: place // text_chunk for place, token in enumerate(written)}
    for turn in turns:
        assert all(chunk_of[t] >= turn.start // speech_chunk for t in turn.text if t in chunk_of)
        if turn.cut is None:
            assert set(turn.text) <= set(written)
        else:
            assert all(chunk_of[t] <= turn.last_chunk(speech_chunk) for t in turn.text if t in chunk_of)
    grid = weave(full_duplex(config), woven)
    assert len(grid) == sum(map(len, woven.values()))


def test_words_that_begin_where_the_sound_has_ended_are_written() -> None:
    config, tags = Config(5, 2), Tags(*range(2, 8), silent_speech=0, silent_text=1)
    for start in (4, 5, 10, 22):
        woven = streams(config, tags, [], [TimedTurn(start, (), (50, 51, 52))], 5)
        assert [t for t in woven["text"] if t != 1] == [50, 51, 52]
        assert weave(full_duplex(config), woven)


def test_speech_outside_of_the_streams_is_refused() -> None:
    config, tags = Config(5, 2), Tags(*range(2, 8), silent_speech=0, silent_text=1)
    turn = TimedTurn(3, tuple(range(100, 110)))
    with pytest.raises(ValueError, match="speech from place 3 to 13 does not fit into 5: give more places"):
        streams(config, tags, [], [turn], 5)
    with pytest.raises(ValueError, match="speech from place -1 to 0 does not fit into 5"):
        streams(config, tags, [TimedTurn(-1, (100,))], [], 5)
