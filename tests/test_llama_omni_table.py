"""LLaMA-Omni's table: the same answer at every Ω, how soon it sounds, a judge's numbers, what is kept and shown."""

from __future__ import annotations

import json
from functools import partial
from itertools import count
from math import inf
from pathlib import Path

import pytest
from rich.console import Console

from duologue.desk import questions
from duologue.evaluate.answers import Wrong, judged
from duologue.model.calls import said_and_called
from duologue.systems.llama_omni_conversation import Conversation
from duologue.systems.llama_omni_turns import Talking
from duologue.units.speaking import Speaking
from endpoint import Endpoint
from small_llama import WORDS, kept
from small_units import codec
from test_llama_omni import sound
from test_recipes import recipe


@pytest.fixture
def talking(tmp_path: Path) -> Talking:
    model = kept(tmp_path / "model")
    return Talking(model, codec().said_hz, partial(Speaking, codec()), partial(said_and_called, WORDS))


def ticking() -> float:
    return float(next(ticking.ticks))  # type: ignore[attr-defined]


def test_what_is_timed_is_the_same_answer(talking: Talking) -> None:
    pace = recipe("llama_omni_pace")
    ticking.ticks = count()  # type: ignore[attr-defined]
    paces = pace.paced(talking, [sound(0.5), sound(0.8, 1)], (1, 20, inf), 12, ticking)
    assert [one.omega for one in paces] == [1, 20, inf]
    assert all((one.answers, one.silent) == (2, 0) for one in paces)
    behind = [one.words_behind for one in paces]
    assert behind == sorted(behind)
    assert behind[0] < behind[-1]
    assert {(one.text_ms, one.both_ms, one.ratio, one.first_sound_ms) for one in paces} == {(1000, 1000, 1, 2000)}
    assert {one.frames for one in paces} == {63}


def test_units_that_depend_on_omega_are_noticed(talking: Talking, monkeypatch: pytest.MonkeyPatch) -> None:
    pace = recipe("llama_omni_pace")
    true = Conversation.answer

    def spoilt(self: Conversation, omega: float = inf, *args: object, **options: object) -> object:
        steps = true(self, omega, *args, **options)  # type: ignore[arg-type]
        return list(steps)[: 1 if omega == 1 else None]

    monkeypatch.setattr(Conversation, "answer", spoilt)
    with pytest.raises(AssertionError, match="depend on Ω"):
        pace.paced(talking, [sound(0.5)], (1, inf), 12)


def test_what_is_said_is_counted() -> None:
    made, asked = recipe("llama_omni_table"), list(zip(questions(0, "test", "en"), ("", "x"), strict=False))
    (first, _), (second, _) = asked
    answers = [judged(first, "", first.answer, (), first.answer), judged(second, "", "one two", (), "one three")]
    found = made.quality(answers)
    words = len(made.PLAIN.tokens(first.answer)) + 2
    assert (found.questions, found.text_right, found.speech_right) == (2, 50, 50)
    assert found.speaking.words == pytest.approx(100 / words)
    assert 0 < found.speaking.letters < 100
    assert (found.text_judged, found.speech_judged) == (None, None)


def test_a_judge_gives_numbers_and_what_cannot_be_read_is_not_counted() -> None:
    judge, served = recipe("llama_omni_judge"), Endpoint()
    with served.running() as url:
        llm = judge.judge_at(f"{url}/a/model")
        served.deltas = [{"content": 'Well: {"content": 4, '}, {"content": '"style": 2}'}]
        one = judge.judgement(llm, [("what is two", "two"), ("and", "four")])
        assert one == judge.Judgement(2, 2, 4.0, 2.0)
        assert served.asked[0]["model"] == "a/model"
        assert "what is two" in served.asked[0]["messages"][1]["content"]
        served.deltas = [{"content": '{"content": 9, "style": 2}'}]
        assert judge.judgement(llm, [("and", "four")]) == judge.Judgement(1, 0, None, None)
    with pytest.raises(ValueError, match="give URL/MODEL, as in http"):
        judge.judge_at("gpt-4o")


def test_a_table_is_shown_beside_the_papers_and_kept(tmp_path: Path) -> None:
    made, pace = recipe("llama_omni_table"), recipe("llama_omni_pace")
    of_all = made.Quality(
        2, 85.0, 75.0, Wrong(5.0, 2.0), "plain", None, recipe("llama_omni_judge").Judgement(2, 2, 4.0, 3.5)
    )
    paces = [pace.Pace(omega, 2, 0, 50.0, 2, 3.0, 80.0, 100.0) for omega in made.PAPER]
    with (console := Console(width=80)).capture() as shown:
        console.print(made.table(of_all, paces, "wall"))
    assert "…" not in shown.get()
    assert shown.get().splitlines()[-1].split() == [
        *["∞", "85.0", "75.0", "5.0", "2.0", "50", "2", "3.0", "80", "100", "1.25"],
        *["1754", "3.47", "10.82"],
    ]
    assert "speech judged 2 of 2: content 4.0, style 3.5" in shown.get()
    made.keep(tmp_path / "table.json", of_all, paces, [], "wall")
    found = json.loads((tmp_path / "table.json").read_text())
    assert [row["omega"] for row in found["omega"]] == [10, 20, 40, 60, 80, 100, None]
    assert {row["ratio"] for row in found["omega"]} == {1.25}
    assert found["quality"]["speech_judged"]["style"] == 3.5


def test_questions_are_found_or_it_is_said_how_to_make_them(tmp_path: Path) -> None:
    made = recipe("llama_omni_table")
    with pytest.raises(FileNotFoundError, match=r"make some by: duologue eval --folder"):
        made.recorded(tmp_path)
