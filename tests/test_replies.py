"""Systems that take turns, on recorded users: each turn whole, history kept, answers judged, delays counted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from conftest import need
from duologue.__main__ import main
from duologue.desk import Desk, Question, questions
from duologue.dialogue import Message
from duologue.evaluate.replies import Replied, answered, conversed, delays, turns_of
from duologue.session import Heard, Part, Speech, Turn, Wrote
from duologue.synthesis import Scene
from duologue.synthesis.placing import Event
from duologue.synthesis.voice import Manner


def question() -> Question:
    return next(iter(questions(0, "test", "en", ["sums"])))


class Scripted:
    """Answers by a script; keeps the turns that it was given."""

    said_hz = 8000

    def __init__(self, *answers: str) -> None:
        self.answers, self.turns = list(answers), list[Turn]()

    def reply(self, turn: Turn) -> Iterator[Part | None]:
        self.turns.append(turn)
        answer = self.answers[len(self.turns) - 1]
        yield Heard(f"turn {turn.id}")
        yield None
        yield Wrote(answer)
        yield Speech(np.ones(400, np.float32), answer, last=False)
        yield Wrote(" Yes.")
        yield Speech(np.ones(400, np.float32))


def row_of(asked: Question, *events: Event) -> dict[str, object]:
    scene = Scene(9.0, {"user": Manner("flite:awb"), "assistant": Manner("flite:slt")}, events, -23.0)
    return {"questions": [asdict(asked) | {"turn": 2}], "scene": scene.to_json()}


def said(turn: int, start_s: float, end_s: float, kind: str = "turn") -> Event:
    return Event("user", start_s, end_s, "words", "words.", kind, turn)  # type: ignore[arg-type]


def test_each_turn_is_given_whole_and_remembered() -> None:
    user = np.arange(6 * 16_000, dtype=np.float32)
    row = row_of(question(), said(2, 3.0, 3.5), said(2, 4.0, 5.9), said(0, 0.1, 1.0), said(0, 1.5, 1.6, "back_channel"))
    first, second = turns_of(row, user)
    assert len(first) == round((1.0 + 0.6 - 0.1 + 0.3) * 16_000)
    assert not first[: round(0.2 * 16_000)].any()
    assert np.array_equal(first[round(0.2 * 16_000) :], user[: round(1.6 * 16_000)])
    assert np.array_equal(second[: round(3.3 * 16_000)], user[round(2.7 * 16_000) :])
    assert len(second) == round((5.9 + 0.6 - 2.7) * 16_000)
    system = Scripted("One.", "Two.")
    found = list(conversed(system, row, user))
    assert [reply.written for reply in found] == ["One. Yes.", "Two. Yes."]
    assert system.turns[1].history == (Message("user", "turn 0"), Message("assistant", "One. Yes."))
    assert len(found[0].sound) == 1600


def test_an_answer_is_judged_in_text_and_as_it_was_heard() -> None:
    asked = question()
    row = row_of(asked, said(0, 0.1, 1.0))
    replies = list(conversed(Scripted(asked.answer.rstrip(".")), row, np.zeros(32_000, np.float32)))
    right = answered(row, replies, ears=lambda sound: "nothing" if sound.any() else "silence")
    assert (right.text_right, right.spoken, right.speech_right) == (True, "nothing", False)
    assert right.heard == "turn 0"
    assert answered(row, replies).spoken is None


def test_delays_are_counted_up_to_the_first_sound() -> None:
    ticks = count()

    def reply(text: str, sound: int) -> Replied:
        return Replied("", text, (), np.zeros(sound, np.float32), next(ticks) if sound else None, 8.0, 3)

    took = delays([reply("one two three four", 16_000), reply("x", 0), reply("a b", 32_000)])
    assert (took.n, took.first_sound_ms, took.whole_ms, took.sound_s, took.words_ahead) == (2, 500.0, 8000.0, 1.5, 3)
    assert delays([]).first_sound_ms is None


def test_the_cascade_is_measured_by_the_same_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need(shutil.which("flite") is not None, "flite")
    few = ("eval", "--system", "clean_s2s", "--folder", tmp_path, "--questions", 2, "--no-speech", "--json")
    assert main([str(one) for one in few]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answers"]["n"] == len(found["each"]) == 2
    assert found["delays"]["n"] == 2
    assert all(Desk().answer([Message("user", one["question"])]).text for one in found["each"])
