"""The made cases of Full-Duplex-Bench: what lies in them, what a system leaves, and that good ones score well."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import need
from duologue.evaluate import full_duplex_report, full_duplex_run
from duologue.evaluate.full_duplex_bench import BIN_MS, TimedWord
from duologue.evaluate.full_duplex_cases import GOES_ON, TASKS, Case, Task, drawn, made
from duologue.evaluate.full_duplex_run import (
    answered,
    cropped,
    goes_on_share,
    score,
    scored,
    talked,
    transcript,
)
from duologue.session import HEARD_HZ, Audio
from duologue.sound import wav
from duologue.sound.vad import EnergyVad
from duologue.synthesis.scene import Scene, sound
from test_two_agents import DRAWN, FRAME, Player

# ---------------------------------------------------------------- cases


@pytest.fixture(scope="module", autouse=True)
def _voices() -> None:
    need(shutil.which("flite") is not None and shutil.which("espeak-ng") is not None, "flite or espeak-ng")


def case_of(task: Task) -> Case:
    return drawn(task, 0, seed=3)


@pytest.mark.parametrize("task", TASKS)
def test_a_case_says_what_lies_in_its_sound(task: Task) -> None:
    """The same whenever it is drawn, in JSON too; speech lies where the labels have it, and nowhere else."""
    case = case_of(task)
    assert case == drawn(task, 0, seed=3) == Case.from_json(json.loads(json.dumps(case.to_json())))
    assert case != drawn(task, 0, seed=4)
    heard = sound(replace(case.scene, room=None, noise=None))[:, 0]
    assert len(heard) == round(case.scene.duration_s * HEARD_HZ)
    quiet = np.ones(len(heard), bool)
    for start_s, end_s in case.user:
        stretch = slice(round(start_s * HEARD_HZ), round(end_s * HEARD_HZ))
        assert np.abs(heard[stretch]).max() > 0.005
        quiet[stretch] = False
    assert not heard[quiet].any()
    first, last = (round(at_s * HEARD_HZ) for at_s in case.event)
    assert not quiet[[first + 10, last - 10]].any()
    assert quiet[[first - 10, last + 10]].all()


def test_every_task_has_cases_and_some_are_to_be_gone_on_through() -> None:
    assert get_args(Task) == TASKS
    assert {task for task in TASKS if case_of(task).clean is not None} == set(GOES_ON)
    for task in GOES_ON:
        case, clean = case_of(task), case_of(task).clean
        assert clean is not None
        assert clean.events == case.scene.events[:1]
        assert clean.events[0].end_s < case.event[0]


def test_pauses_lie_inside_the_turn_and_listeners_speak_between_sentences() -> None:
    paused = case_of("pause")
    ((start_s, end_s),) = paused.pauses
    assert paused.event[0] < start_s < end_s < paused.event[1]
    assert 0.6 <= end_s - start_s <= 1.5
    told = case_of("backchannel")
    assert len(told.reference) == -(-round(told.scene.duration_s * 1000) // BIN_MS)
    assert len(told.user) >= 4
    for start_s, _ in told.user[1:]:
        assert told.reference[int((start_s - 0.2) * 1000 / BIN_MS)] == 1
    middle = (told.user[0][0] + told.user[0][1]) / 2
    assert told.reference[int(middle * 1000 / BIN_MS)] == 0


def test_cases_are_made_once_and_stay_those_of_their_seed(tmp_path: Path) -> None:
    cases = made(tmp_path, 1, seed=3)
    assert [case.task for case in cases] == list(TASKS)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len([path for path in kept if path.name == "clean_input.wav"]) == len(GOES_ON)
    assert made(tmp_path, 1, seed=3) == cases
    assert {path: path.read_bytes() for path in kept} == kept
    with pytest.raises(ValueError, match="choose another folder"):
        made(tmp_path, 1, seed=4)


# ---------------------------------------------------------------- input.wav → output.wav


@given(st.integers(1, 9_000), st.sampled_from([160, 512, FRAME]), st.sampled_from([8_000, HEARD_HZ, 24_000]))
def test_the_output_is_as_long_as_the_input_and_nothing_is_shifted(samples: int, frame: int, hz: int) -> None:
    player = Player(DRAWN, said_hz=hz, heard_samples=frame)
    said = answered(player, np.ones(samples, np.float32))
    assert len(said) == round(samples * hz / HEARD_HZ)
    assert np.array_equal(said, DRAWN[: len(said)])
    assert player.all_heard[:samples].all()
    assert not player.all_heard[samples:].any()
    assert player.closed == 1


def simple(task: Task, event: tuple[float, float] = (0.1, 0.5), **more: Any) -> Case:
    return Case(task, 0, Scene(2.0, {}, (), -20.0), event, **more)


def laid_out(folder: Path, tasks: tuple[Task, ...]) -> list[Case]:
    cases = [simple(task, pauses=((0.2, 0.3),), reference=(1.0,) * 10) for task in tasks]
    for case in cases:
        (folder / case.name).mkdir(parents=True)
        for name in ("input.wav", *(["clean_input.wav"] if case.task in GOES_ON else [])):
            wav.write(folder / case.name / name, np.zeros(2 * HEARD_HZ, np.float32), HEARD_HZ)
    return cases


def test_a_run_that_was_stopped_goes_on_and_outputs_of_another_system_are_not_mixed_in(
    tmp_path: Path,
) -> None:
    cases, players = laid_out(tmp_path / "cases", ("turn", "user_backchannel")), list[Player]()

    def make() -> Player:
        players.append(Player(DRAWN))
        return players[-1]

    def run(**described: Any) -> Iterator[Case]:
        return iter(talked(cases, tmp_path / "cases", tmp_path / "player", make, described))

    next(run(model="a"))
    assert len(players) == 1
    assert list(run(model="a")) == cases
    assert len(players) == 3
    assert list(run(model="a")) == cases
    assert len(players) == 3
    assert (tmp_path / "player" / "user_backchannel" / "00" / "clean_output.wav").exists()
    with pytest.raises(ValueError, match="give these another name"):
        list(run(model="b"))


# ---------------------------------------------------------------- words


def tones(*stretches: tuple[float, float], duration_s: float = 4.0) -> Audio:
    audio = np.zeros(round(duration_s * HEARD_HZ), np.float32)
    for start_s, end_s in stretches:
        at = np.arange(round(start_s * HEARD_HZ), round(end_s * HEARD_HZ))
        audio[at] = 0.3 * np.sin(at * 0.3)
    return audio


def test_words_are_laid_over_the_speech_they_were_heard_in() -> None:
    heard = transcript(tones((0.512, 1.024), (1.12, 1.6), (3.04, 3.52)), lambda audio: "a bcd", EnergyVad())
    assert heard["text"] == "a bcd a bcd"
    times = [tuple(chunk["timestamp"]) for chunk in heard["chunks"]]
    assert times[0][0] == pytest.approx(0.5, abs=0.04)
    assert times[1][1] == pytest.approx(1.6, abs=0.07)
    assert times[0][1] == times[1][0] == pytest.approx(times[0][0] + (times[1][1] - times[0][0]) / 4, abs=0.002)
    assert len(heard["segments"]) >= 2
    unheard = transcript(tones((1.0, 2.0)), None, EnergyVad())
    assert len(unheard["chunks"]) == 1
    assert transcript(tones(), None, EnergyVad())["chunks"] == []


def words(text: str, start_s: float, end_s: float) -> dict[str, Any]:
    at = np.linspace(start_s, end_s, len(text.split()) + 1).tolist()
    chunks = [{"text": word, "timestamp": [at[n], at[n + 1]]} for n, word in enumerate(text.split())]
    return {"text": text, "chunks": chunks, "segments": [[start_s, end_s]] if chunks else []}


LONG = "five hundred and seven minus seventy is four hundred and thirty seven"


def test_who_waits_answers_gives_way_and_goes_on_scores_best() -> None:
    paused = simple("pause", (0.5, 4.0), pauses=((1.0, 2.0),))
    assert score(paused, words(LONG, 4.3, 8.0)).corrected["tor"] == 0
    assert score(paused, words(LONG, 4.3, 8.0)).official["tor"] == 1
    assert score(paused, words(LONG, 1.3, 3.0)).corrected["tor"] == 1
    turn = score(simple("turn", (0.5, 4.0)), words(LONG, 4.3, 8.0))
    assert turn.corrected["tor"] == turn.official["tor"] == 1
    assert turn.corrected["latency_s"] == pytest.approx(0.3)
    two = words(LONG, 1.0, 4.4) | {"chunks": words(LONG, 1.0, 4.4)["chunks"] + words(LONG, 6.5, 9.0)["chunks"]}
    cut_in = score(simple("interruption", (4.0, 6.0)), two)
    assert (cut_in.corrected["yielded"], cut_in.corrected["tor"]) == (True, True)
    assert cut_in.corrected["stop_s"] == pytest.approx(0.4)
    listening = simple("backchannel", (0.0, 9.0), reference=(0.0, 1.0) * 5)
    assert score(listening, words("mm", 1.2, 1.6)).corrected["tor"] == 0
    over = simple("user_backchannel", (4.0, 4.4))
    assert score(over, words(LONG, 3.0, 6.0), words(LONG, 3.0, 6.0)).corrected["goes_on"] == 1


ANY = st.lists(st.sampled_from("abcd"), max_size=6)


def timed(texts: list[str], start_s: float = 0.0) -> list[TimedWord]:
    return [TimedWord(text, start_s + n, start_s + n + 1) for n, text in enumerate(texts)]


@given(ANY, ANY, st.floats(-1, 7))
def test_going_on_is_saying_the_rest(said: list[str], clean: list[str], onset_s: float) -> None:
    share = goes_on_share(timed(said), timed(clean), onset_s)
    assert (share is None) == (onset_s >= len(clean))
    assert share is None or 0 <= share <= 1
    assert goes_on_share(timed(clean), timed(clean), onset_s) in (None, 1)
    assert goes_on_share([], timed(clean), onset_s) in (None, 0)
    later = goes_on_share(timed(clean, start_s=3.5), timed(clean), onset_s)
    assert later in (None, 1), "who falls silent and then says all of it goes on"


@given(ANY, st.floats(-1, 7))
def test_cut_off_words_begin_where_the_sound_does(texts: list[str], at_s: float) -> None:
    left = cropped(timed(texts), at_s)
    assert [word.text for word in left] == [word.text for word in timed(texts) if (word.end_s or 0) > at_s]
    assert all((word.start_s or 0) >= at_s for word in left)


# ---------------------------------------------------------------- in one table


def test_all_systems_of_a_folder_stand_in_one_table(tmp_path: Path) -> None:
    cases = laid_out(tmp_path / "cases", TASKS)
    for name, player in (("speaks", Player(tones((0.7, 1.9)))), ("silent", Player(tones()))):
        recording = player.recording
        list(talked(cases, tmp_path / "cases", tmp_path / name, lambda sound=recording: Player(sound), {}))
        scored(cases, tmp_path / name, None, EnergyVad())
    found = full_duplex_report.results(tmp_path)
    assert list(found) == ["silent", "speaks"]
    assert full_duplex_report.figure(found["speaks"], "turn", "corrected", "tor") == 1
    assert full_duplex_report.figure(found["silent"], "turn", "corrected", "tor") == 0
    assert full_duplex_report.figure(found["speaks"], "turn", "corrected", "latency_s") == pytest.approx(0.2, abs=0.04)
    row = next(row for row in full_duplex_report.ROWS if row.task == "turn")
    assert full_duplex_report.cell(found["speaks"], row) == "100 | 100"
    assert full_duplex_report.cell(found["speaks"], full_duplex_report.ROWS[0]) == "100 | 0"
    table = full_duplex_report.table(found)
    assert table.row_count == len(full_duplex_report.ROWS)
    assert [column.header for column in table.columns] == ["", "silent", "speaks"]
    full_duplex_report.draw(found, tmp_path / "fdb.png")
    assert (tmp_path / "fdb.png").read_bytes().startswith(b"\x89PNG")


def test_every_row_of_the_table_has_its_figures() -> None:
    """None is misspelt: what the rules give has all that the table asks for."""
    for row in full_duplex_report.ROWS:
        found = score(simple(row.task, pauses=((0.2, 0.3),), reference=(1.0,) * 10), words("a b", 1.0, 2.5))
        assert row.official is None or row.official in found.official
        assert row.corrected is None or row.corrected in found.corrected


def test_what_was_heard_is_kept_and_not_heard_again(tmp_path: Path) -> None:
    cases = laid_out(tmp_path / "cases", ("turn",))
    list(talked(cases, tmp_path / "cases", tmp_path / "one", lambda: Player(tones((0.7, 1.9))), {}))
    first = scored(cases, tmp_path / "one", lambda audio: "four", EnergyVad())

    def nobody(audio: Audio) -> str:
        raise AssertionError("heard again")

    assert scored(cases, tmp_path / "one", nobody, EnergyVad()) == first
    assert json.loads((tmp_path / "one" / "scores.json").read_text())["tasks"].keys() == {"turn"}
    kept = tmp_path / "one" / "turn" / "00" / "output.json"
    assert json.loads(kept.read_text())["text"] == "four"
    scored(cases, tmp_path / "one", None, EnergyVad())
    assert json.loads(kept.read_text())["text"] == full_duplex_run.UNHEARD, "a transcript is that of its ears"
    scored(cases, tmp_path / "one", lambda audio: "four", EnergyVad())
    scored(cases, tmp_path / "one", lambda audio: "five", EnergyVad(), ears_name="others")
    assert json.loads(kept.read_text())["text"] == "five"
    wav.write(kept.with_suffix(".wav"), tones(), HEARD_HZ)
    scored(cases, tmp_path / "one", lambda audio: "five", EnergyVad(), ears_name="others")
    assert json.loads(kept.read_text())["text"] == "", "and of its sound"


def test_the_words_that_somebody_else_heard_are_kept(tmp_path: Path) -> None:
    cases = laid_out(tmp_path / "cases", ("turn",))
    list(talked(cases, tmp_path / "cases", tmp_path / "one", lambda: Player(tones((0.7, 1.9))), {}))
    theirs = {"text": "six", "chunks": [{"text": "six", "timestamp": [0.9, None]}]}
    (tmp_path / "one" / "turn" / "00" / "output.json").write_text(json.dumps(theirs))
    found = scored(cases, tmp_path / "one", lambda audio: "four", EnergyVad())
    assert found["each"]["turn/00"]["corrected"]["latency_s"] == pytest.approx(0.4)
    assert json.loads((tmp_path / "one" / "turn" / "00" / "output.json").read_text()) == theirs
