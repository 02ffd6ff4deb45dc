"""Figures of a duplex model, worked by hand; tracks; the numbers of a grid's streams."""

from __future__ import annotations

from dataclasses import asdict
from io import StringIO
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from rich.console import Console

from drawn_layouts import WOVEN, Woven, laws, same
from duologue.desk import Question, check, questions
from duologue.dialogue import ToolCall
from duologue.duplex import Minds
from duologue.engines.asr_grammar import counted, unmarked
from duologue.evaluate import duplex_table
from duologue.evaluate.acc_at_k import accuracy
from duologue.evaluate.answers import Answered, Wrong, answers_table, same_calls, score
from duologue.evaluate.conversing import MOST_CHUNKS, OVER_CHUNKS, SILENT, Track, tracks
from duologue.evaluate.duplex import GOES_ON_UNITS, Turns, _goes_on, answered, asked_at, later_turns, turns
from duologue.layout import Grid, Layout, Put, Run, weave
from duologue.synthesis import Scene
from duologue.synthesis.placing import Event, Kind, Who
from duologue.synthesis.voice import Manner
from test_duplex import FRAME, heard, model, talking

UNIT_S = 0.04


def spoken(length: int, *stretches: tuple[int, int], text: tuple[int, ...] = ()) -> Track:
    """A track that sounds from place to place (the second is silent again); `text` are places of tokens."""
    units = np.full(length, SILENT)
    for start, end in stretches:
        units[start:end] = 7
    return Track(units, {"text": tuple((place, 1) for place in text)})


def event(who: Who, start: int, end: int, turn: int, kind: Kind = "turn") -> Event:
    """From unit to unit."""
    return Event(who, start * UNIT_S, end * UNIT_S, "", "", kind, turn)


def recording(*events: Event, asked: Question | None = None, turn: int = 0) -> dict[str, Any]:
    scene = Scene(100.0, {"user": Manner("espeak:en-us")}, events, -25.0)
    return {"scene": scene.to_json(), "questions": [asdict(asked) | {"turn": turn}] if asked else []}


# ---------------------------------------------------------------- answers


def the_question(with_call: bool) -> Question:
    return next(q for q in questions(3, "test", "en") if (q.tool_call is not None) == with_call and not q.history)


class Words:
    """A talking model of which only words matter: token n is the n-th text."""

    chunk_units = 10

    def __init__(self, *texts: str, calls: tuple[ToolCall, ...] = ()) -> None:
        self.texts, self.calls, self.codec = texts, calls, self
        self.unit_hz, self.unit_samples, self.said_hz = 25.0, FRAME, 16_000

    def text_of(self, ids: list[int], tools: Any) -> tuple[str, tuple[ToolCall, ...]]:
        return " ".join(self.texts[token] for token in ids), self.calls if tools else ()


def test_an_answer_is_what_was_written_since_the_question_began() -> None:
    asked = the_question(with_call=False)
    row = recording(event("user", 10, 20, 0), event("user", 50, 60, 2), event("user", 62, 70, 2), asked=asked, turn=2)
    assert asked_at(row, 25.0) == 50
    track = Track(np.full(100, SILENT), {"text": ((20, 1), (70, 0)), "heard": ((16, 1), (64, 2))})
    told: Any = Words(asked.answer, "nonsense", asked.text)
    found = answered(told, row, track, ())
    assert (found.written, found.heard, found.text_right) == (asked.answer, asked.text, True)
    assert (found.topic, found.question, found.wanted) == (asked.topic, asked.text, asked.answer)
    assert (found.spoken, found.speech_right, found.calls_right) == (None, None, None)
    wrong = answered(told, row, Track(np.full(100, SILENT), {"text": ((70, 1),)}), ())
    assert (wrong.written, wrong.text_right) == ("nonsense", check(asked, "nonsense"))
    assert not wrong.text_right


def test_speech_is_judged_by_what_is_heard_of_it_since_then() -> None:
    asked = the_question(with_call=False)
    row = recording(event("user", 10, 20, 0), asked=asked)
    user = heard(40, 0)
    (track,) = tracks(talking(), [user])
    seen: list[NDArray[np.float32]] = []

    def ears(audio: NDArray[np.float32]) -> str:
        seen.append(audio)
        return asked.answer

    found = answered(talking(), row, track, (), ears)
    assert (found.spoken, found.speech_right) == (asked.answer, True)
    np.testing.assert_array_equal(seen[0], track.sound(talking(), 10))
    assert len(seen[0]) == 30 * FRAME


def test_calls_are_right_when_the_same_is_called() -> None:
    asked = the_question(with_call=True)
    call = asked.tool_call
    assert call is not None
    row, track = (
        recording(event("user", 10, 20, 0), asked=asked),
        Track(np.full(50, SILENT), {"text": ((20, 0),)}),
    )
    tools: Any = ("some tool",)
    for calls, right in (((call,), True), ((), False), ((call, call), False)):
        told: Any = Words(asked.answer, calls=calls)
        assert answered(told, row, track, tools).calls_right is right


def test_the_same_calls() -> None:
    one = ToolCall("a", "ring", '{"times": 2, "loud": 1}')
    assert same_calls([one], [ToolCall("b", "ring", '{"loud": 1, "times": 2}')])
    assert not same_calls([one], [ToolCall("a", "ring", '{"times": "2", "loud": 1}')])
    assert not same_calls([one], [ToolCall("a", "dial", one.arguments)])
    assert same_calls([], [])


def judged(topic: str, text: bool, speech: bool | None = None, calls: bool | None = None) -> Answered:
    return Answered(topic, "", "", "", "", text, None, speech, calls)


def test_scores_are_shares_of_what_was_asked() -> None:
    answers = [judged("sums", True, True), judged("sums", False, False), judged("time", True, calls=True)]
    found = score([*answers, judged("time", True, True, calls=False)])
    assert (found.n, found.text, found.calls) == (4, 75.0, 50.0)
    assert found.speech == pytest.approx(200 / 3)
    assert found.by_topic == {"sums": (1, 2), "time": (2, 2)}
    nothing = score([])
    assert (nothing.n, nothing.text, nothing.speech, nothing.calls, nothing.by_topic) == (
        0,
        None,
        None,
        None,
        {},
    )


def test_what_is_heard_and_said_wrong_on_the_way() -> None:
    def one(asked: str, heard: str, written: str, spoken: str | None) -> Answered:
        return Answered("sums", asked, "", heard, written, True, spoken, None, None)

    found = score(
        [
            one("What is 12 plus 7?", "what is twelve plus eleven", "It is 19.", "it is nineteen"),
            one("Say ten.", "", "Ten.", "tent"),
            one("Say ten.", "say ten", "Ten.", None),
        ]
    )
    assert found.hearing == Wrong(pytest.approx(100 * 3 / 9), pytest.approx(100 * (2 + 6) / (21 + 6 + 6)))
    assert found.speaking == Wrong(pytest.approx(100 * 1 / 4), pytest.approx(100 * 1 / (12 + 3)))
    assert score([one("Say ten.", "", "Ten.", None)]).hearing is None
    assert row(rendered(answers_table(found)), "speaks what it writes") == ["25.0,", "6.7"]


# ---------------------------------------------------------------- turns


def test_turns_are_taken_after_the_users_last_word_of_each() -> None:
    """Of a turn with a pause, after its second stretch. The first answer comes 5 units later, the other never."""
    events = (
        event("user", 5, 10, 0),
        event("user", 14, 20, 0),
        event("assistant", 25, 40, 1),
        event("user", 60, 70, 2),
    )
    found = turns([recording(*events)], [spoken(150, (24, 40))], 25.0)
    assert found.takes.n == 2
    assert found.takes.within == {1: 0.0, 5: 50.0, 10: 50.0, 25: 50.0}
    assert found.takes.mean_response_ms == 5 * 40
    assert found.takes.early == 0
    assert (found.yields.n, found.goes_on, found.back_channels) == (0, None, 0)


def test_an_answer_before_the_users_end_is_early() -> None:
    found = turns([recording(event("user", 5, 20, 0))], [spoken(80, (17, 40))], 25.0)
    assert (found.takes.n, found.takes.early, found.takes.within[25]) == (1, 1, 0.0)


def test_places_are_exact_between_two_units() -> None:
    """7 / 25 s times 25 is a little more than 7: the user's last unit is still the sixth."""
    events = (event("user", 0, 7, 0),)
    assert events[0].end_s == 0.28
    found = turns([recording(*events)], [spoken(80, (11, 40))], 25.0)
    assert found.takes.mean_response_ms == 5 * 40
    row = recording(event("user", 29, 30, 0), asked=the_question(with_call=False))
    assert asked_at(row, 25.0) == 29


def test_what_the_user_ends_after_the_recording_is_not_counted() -> None:
    assert turns([recording(event("user", 5, 20, 0))], [spoken(19)], 25.0).takes.n == 0


def test_the_assistant_yields_to_who_comes_in() -> None:
    """It stops 8 units after the first of two stretches: of the second nothing is counted."""
    events = (
        event("user", 0, 10, 0),
        event("user", 40, 45, 2, "barge_in"),
        event("user", 60, 66, 2, "barge_in"),
    )
    found = turns([recording(*events)], [spoken(150, (14, 48), (80, 90))], 25.0)
    assert (found.yields.n, found.yields.untested) == (1, 0)
    assert found.yields.within == {1: 0.0, 5: 0.0, 10: 100.0, 25: 100.0}
    assert found.takes.n == 2
    assert found.takes.mean_response_ms == (5 + 15) / 2 * 40


def test_silence_has_nothing_to_yield() -> None:
    events = (event("user", 0, 10, 0), event("user", 40, 45, 2, "barge_in"))
    found = turns([recording(*events)], [spoken(150, (14, 30))], 25.0)
    assert (found.yields.n, found.yields.untested) == (0, 1)


@pytest.mark.parametrize(
    ("track", "goes_on"),
    [
        (spoken(100, (10, 90)), True),
        (spoken(100, (10, 50), (54, 90)), True),
        (spoken(100, (10, 50), (55, 90), text=(44,)), False),
        (spoken(100, (10, 50), text=(44,)), False),
        (spoken(100, (10, 50), text=(50,)), None),
        (spoken(100, (10, 59), text=(8,)), None),
        (spoken(100, (10, 59), text=(9,)), False),
        (spoken(100, (10, 62), text=(50,)), True),
        (spoken(100, (10, 40), text=(30,)), None),
        (spoken(100, (43, 90)), True),
        (spoken(100), None),
        (spoken(64, (10, 64)), None),
    ],
    ids=[
        "speaks on",
        "a breath",
        "five silent units",
        "falls silent",
        "said all, nothing written before the stop",
        "said all two seconds ago",
        "wrote within two seconds",
        "stops too late to be seen within a second",
        "was silent already",
        "begins now",
        "never spoke",
        "the recording ends",
    ],
)
def test_back_channels_do_not_stop_it(track: Track, goes_on: bool | None) -> None:
    """One begins at place 40, within a second it has to fall silent for 200 ms to be a stop."""
    assert GOES_ON_UNITS == 25
    assert _goes_on(track, 40) is goes_on


def test_back_channels_are_counted_where_there_was_something_to_stop() -> None:
    events = [event("user", 0, 5, 0)]
    events += [event("user", 20, 24, 1, "back_channel"), event("user", 60, 64, 3, "back_channel")]
    on, off, silent = spoken(120, (8, 110)), spoken(120, (8, 50), (55, 66), text=(60,)), spoken(120)
    found = turns([recording(*events)] * 3, [on, off, silent], 25.0)
    assert (found.back_channels, found.goes_on) == (4, 75.0)
    assert found.takes.n == 3


# ---------------------------------------------------------------- tracks


def test_texts_lie_at_the_chunks_in_which_they_were_written() -> None:
    """As a conversation chunk by chunk would have it."""
    shared, user = talking(), heard(22, 5)
    (track,) = tracks(shared, [user])
    units = shared.codec.encode(_batch(user), shared.codec.start_encoder(1))[0, 0].tolist()
    units += [shared.codec.silence[0]] * 2
    minds, said, texts = Minds(shared), list[int](), dict[str, list[tuple[int, int]]]()
    for start in range(0, 24, 4):
        for unit in units[start : start + 4]:
            minds.hear([unit])
        for _ in range(4):
            ((token, written),) = minds.say_unit()
            said.append(SILENT if token == shared.silent else token - shared.first_unit)
            for stream, ids in written.items():
                texts.setdefault(stream, []).extend((start, one) for one in ids if one != shared.silent_text)
    assert track.units.tolist() == said[:22]
    assert {stream: list(ids) for stream, ids in track.texts.items()} == texts
    assert texts["text"]
    assert all(place % 4 == 0 for ids in texts.values() for place, _ in ids)


def _batch(audio: NDArray[np.float32]) -> Any:
    import torch

    return torch.from_numpy(audio)[None]


def test_a_track_does_not_depend_on_who_else_is_heard() -> None:
    users = [heard(frames, seed) for seed, frames in enumerate((9, 40, 21))]
    alone = [track for user in users for track in tracks(talking(), [user])]
    for batch in (1, 2, 24):
        for one, other in zip(tracks(talking(), users, batch), alone, strict=True):
            assert one.units.tolist() == other.units.tolist()
            assert one.texts == other.texts
    assert [len(track.units) for track in alone] == [9, 40, 21]
    assert list(tracks(talking(), [])) == []


@pytest.mark.parametrize(("seed", "place"), [(0, 14), (1, 14), (2, 22), (3, 9)])
def test_who_waits_goes_on_when_it_is_silent(seed: int, place: int) -> None:
    """Until then nothing is different; a model that never falls silent is not waited for for ever."""
    user, chunk = heard(40, seed), talking().chunk_units
    (straight,), (track,) = tracks(talking(), [user]), tracks(talking(), [user], waits=[[place]])
    begins = place // chunk * chunk
    assert track.units[:begins].tolist() == straight.units[:begins].tolist()
    assert len(track.units) == 40 + track.waited
    assert track.waited % chunk == 0
    before = begins + track.waited
    sounds = [bool(track.sounds[at : at + chunk].any()) for at in range(0, before, chunk)]
    wrote = [bool(track.ids("text", at, at + chunk)) for at in range(0, before, chunk)]
    quiet = [not (sound or text) for sound, text in zip(sounds, wrote, strict=True)]
    assert track.waited == MOST_CHUNKS * chunk or all(quiet[-OVER_CHUNKS:])
    for at in range(begins // chunk, len(quiet)):
        assert not all(quiet[at - OVER_CHUNKS : at]), "it was silent already"


def test_waiting_for_nothing_changes_nothing() -> None:
    user = heard(40, 5)
    (straight,), (track,) = tracks(talking(), [user]), tracks(talking(), [user], waits=[[]])
    assert track.units.tolist() == straight.units.tolist()
    assert (track.texts, track.waited) == (straight.texts, 0)


def test_an_answer_is_looked_for_as_much_later_as_the_user_waited() -> None:
    asked = the_question(with_call=False)
    row = recording(
        event("user", 10, 20, 0),
        event("user", 24, 26, 1, "back_channel"),
        event("user", 50, 60, 2),
        asked=asked,
        turn=2,
    )
    assert later_turns(row, 25.0) == [50]
    told: Any = Words(asked.answer, "nonsense", asked.text)
    track = Track(np.full(140, SILENT), {"text": ((60, 1), (110, 0)), "heard": ((64, 1), (90, 2))}, waited=40)
    found = answered(told, row, track, ())
    assert (found.written, found.heard) == (asked.answer, asked.text)


def test_ids_are_those_between_two_places() -> None:
    track = Track(np.full(12, SILENT), {"text": ((0, 5), (4, 6), (4, 7), (8, 8))})
    assert track.ids("text") == [5, 6, 7, 8]
    assert track.ids("text", 4) == [6, 7, 8]
    assert track.ids("text", 1, 8) == [6, 7]
    assert track.ids("heard") == []


def test_the_sound_of_a_track_is_silent_where_it_says_nothing() -> None:
    shared = talking()
    track = spoken(12, (2, 5), (9, 12))
    sound = track.sound(shared)
    assert len(sound) == 12 * FRAME
    loud = np.abs(sound).reshape(12, FRAME).max(1) > 0
    assert loud.tolist() == track.sounds.tolist()
    np.testing.assert_allclose(track.sound(shared, 2, 5), sound[2 * FRAME : 5 * FRAME])
    assert not spoken(4).sound(shared).any()


# ---------------------------------------------------------------- the tables


def rendered(table: Any, width: int = 80) -> str:
    file = StringIO()
    Console(file=file, width=width, highlight=False).print(table)
    return file.getvalue()


def row(table: str, name: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.strip().startswith(name))
    return line.strip().removeprefix(name).split()


def test_the_table_of_answers() -> None:
    found = score([judged("sums", True, True), judged("sums", False, True), judged("time", True, True)])
    table = rendered(answers_table(found))
    assert "answers to 3 questions" in table
    assert row(table, "in text") == ["66.7"]
    assert row(table, "in speech, as heard") == ["100.0"]
    assert row(table, "tool calls") == ["–"]
    assert row(table, "sums") == ["1", "of", "2"]
    assert row(table, "time") == ["1", "of", "1"]


def test_what_is_heard_and_said_wrong_stands_beside_the_papers_table_1() -> None:
    """It says what each was measured on; other systems' answers stand alone."""
    answer = Answered("sums", "Say ten.", "ten", "say ten", "Ten.", True, "tent", None, None)
    table = rendered(duplex_table.alignment_table(score([answer])))
    names = [line.rsplit("  ", 1)[0].strip() for line in table.splitlines()]
    assert row(table, "hears: words, letters wrong") == ["0.0,", "0.0"]
    assert row(table, "OmniFlatten, LibriSpeech other") == ["19.2,", "–"]
    assert row(table, "OmniFlatten, AISHELL-3") == ["–,", "4.5"]
    hears, speaks = names.index("hears: words, letters wrong"), names.index("speaks what it writes")
    assert hears < names.index("OmniFlatten, WenetSpeech net") < speaks < names.index("OmniFlatten, LibriTTS")
    assert "ours: the desk's spoken questions" in " ".join(table.split())
    assert "OmniFlatten" not in rendered(answers_table(score([answer])))


def test_the_table_of_turns_has_the_papers_beside_ours_and_a_dash_where_nothing_was_measured() -> None:
    """On a terminal of 80 columns."""
    events = (event("user", 5, 10, 0),)
    found = turns([recording(*events)] * 4, [spoken(80, (14, 40))] * 3 + [spoken(80)], 25.0)
    table = rendered(duplex_table.turns_table(found, 400))
    assert row(table, "takes") == ["4", "0.0", "75.0", "75.0", "75.0", "200", "600", "0", "0/75/75/75"]
    assert row(table, "yields") == ["0", *["–"] * 6, "0", "–/–/–/–"]
    assert row(table, "goes on  ") == ["0", "–"]
    theirs = [line.split() for line in table.splitlines() if line.strip().startswith("OmniFlatten")]
    assert theirs == [
        ["OmniFlatten", "v1", "–", "55.7", "71.3", "–", "160"],
        ["OmniFlatten", "v2", "20.6", "53.6", "66.3", "71.7", "193"],
        ["OmniFlatten", "v1", "–", "–", "–", "30.0", "805"],
        ["OmniFlatten", "v2", "10.9", "30.9", "41.8", "51.8", "287"],
    ]
    assert "…" not in table


def test_tables_of_nothing_are_tables() -> None:
    nothing = accuracy([])
    assert "answers to 0 questions" in rendered(answers_table(score([])))
    assert row(rendered(duplex_table.turns_table(Turns(nothing, nothing, None, 0), 400)), "takes")[0] == "0"


# ---------------------------------------------------------------- questions, ears


def test_a_question_comes_back_from_json_as_it_was() -> None:
    import json

    for question in islice(questions(4, "train"), 150):
        plain = json.loads(json.dumps(asdict(question)))
        assert Question.from_json(plain | {"turn": 3}) == question
        assert check(Question.from_json(plain), question.answer)
    with pytest.raises(KeyError):
        Question.from_json({name: value for name, value in plain.items() if name != "content"})


def test_a_bigram_of_sentences_foresees_their_pairs_as_often_as_they_came() -> None:
    """Topics are equally likely, however many sentences they have; words of one are not those of another."""
    found = counted([["it is four", "it is five", "no"], ["it is nine"]])
    assert found.leaps(["it~0", "is~0", "four~0"]) == 0
    assert found.leaps(["it~0", "is~0", "nine~1"]) == 1
    assert found.leaps(["it~0", "is~0"]) == 1
    bigrams = [line.split() for line in found.arpa.split("\\2-grams:")[1].splitlines() if len(line.split()) == 3]
    odds = {(first, second): 10 ** float(log) for log, first, second in bigrams}
    assert odds["<s>", "it~0"] == pytest.approx(1 / 3, rel=1e-3)
    assert odds["<s>", "no~0"] == pytest.approx(1 / 6, rel=1e-3)
    assert odds["<s>", "it~1"] == pytest.approx(1 / 2, rel=1e-3)
    assert odds["is~0", "four~0"] == pytest.approx(1 / 2, rel=1e-3)
    for word in {first for first, _ in odds}:
        assert sum(p for (first, _), p in odds.items() if first == word) == pytest.approx(1, rel=1e-3)
    assert unmarked("it~0 is~0 nine~1") == "it is nine"


# ---------------------------------------------------------------- a grid's streams


def slow_streams(layout: Layout, grid: Grid) -> list[list[int]]:
    """The number of each cell's stream, by running the columns once more beside the grid."""
    run, found = Run(layout), []
    for tokens in grid.tokens.tolist():
        assert run.column is not None
        found.append([-1 if isinstance(cell, Put) else layout.streams.index(cell.stream) for cell in run.column])
        run.place(tokens)
    return found


@pytest.mark.parametrize("name", WOVEN)
def test_a_grid_tells_the_stream_of_each_cell(name: str) -> None:
    @laws
    @given(WOVEN[name])
    def law(woven: Woven) -> None:
        layout, streams = woven
        grid = weave(layout, streams)
        assert grid.stream.tolist() == slow_streams(layout, grid)
        for number, stream in enumerate(layout.streams):
            assert grid.tokens[grid.stream == number].tolist() == list(streams[stream])
        assert not grid.said[grid.stream == -1].any()

    law()


def test_grids_of_other_streams_are_not_the_same() -> None:
    grid = Grid(np.zeros((2, 1), np.int64), np.ones((2, 1), bool), np.zeros((2, 1), np.int16))
    other = Grid(grid.tokens, grid.said, np.array([[0], [-1]], np.int16))
    assert same(grid, grid)
    assert not same(grid, other)


def test_the_models_texts_are_read_as_words() -> None:
    """What tables and results show of a track is what a session would have told."""
    made = model()
    ids = made.text_ids("yes , one two")
    assert made.text_of(ids, ()) == ("Yes, one two", ())
