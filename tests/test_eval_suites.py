"""The suites of `duologue eval` as people run them, what is known by ear alone, and how like people synthesis is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small_sync
from duologue.desk import questions
from duologue.evaluate import by_ear, calibration, full_duplex_cases
from duologue.evaluate.by_ear import Listened, answered, listened, score
from duologue.evaluate.continuation import compared, continued
from duologue.evaluate.conversing import SILENT
from duologue.evaluate.timing import Span, Tracks
from duologue.evaluate.turn_taking import events
from duologue.model.picking import Picking
from duologue.session import HEARD_HZ
from duologue.sound import wav
from duologue.sound.vad import EnergyVad
from duologue.systems.sync_llm import Config
from duologue.systems.sync_llm_format import encode
from duologue.verbs.fingerprint import fingerprint
from duologue.verbs.suites import SUITES
from small_units import codec
from test_full_duplex_public import laid_out as laid_out_publicly
from test_full_duplex_suite import tones
from test_turns_report import stereo
from test_two_agents import DRAWN, FRAME, Player
from test_verbs import duologue, in_one_line


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    small_sync.kept(folder)
    return folder


def sync(model: Path, *more: object) -> tuple[object, ...]:
    return ("--system", "sync_llm", "--model", model, *more)


# ---------------------------------------------------------------- the verb


def test_turns_of_any_folder_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stereo(tmp_path / "talk", "one.wav", [(1.0, 3.0)], [(3.5, 5.5)])
    turns = (
        "eval",
        "--suite",
        "turns",
        tmp_path / "talk",
        "--truth",
        tmp_path / "talk",
        "--folder",
        tmp_path / "out",
    )
    assert duologue(*turns, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "out" / "turns" / "turns.json").read_text())
    assert found["recordings"] == 1
    assert duologue(*turns) == 0
    assert "Pearson's r" in capsys.readouterr().out


def test_what_a_suite_lacks_is_told(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--suite turns FOLDER" in in_one_line(capsys, "eval", "--suite", "turns")
    assert "--suite turns FOLDER" in in_one_line(capsys, "eval", tmp_path)
    assert "no input.wav" in in_one_line(capsys, "eval", "--suite", "fdb", tmp_path, "--folder", tmp_path / "eval")
    assert "holds no recordings" in in_one_line(capsys, "eval", "--suite", "turns", tmp_path)
    late = ("eval", "--system", "clean_s2s", "--latency", 1)
    assert "--latency is a setting of sync_llm" in in_one_line(capsys, *late)
    quiet = ("eval", *sync(model), "--no-speech", "--folder", tmp_path / "eval")
    assert "leave --no-speech out" in in_one_line(capsys, *quiet)
    lossy = ("eval", "--suite", "two_agents", "--folder", tmp_path)
    assert "loss of a link is 3.0" in in_one_line(capsys, *lossy, "--loss", 3)
    assert "jitter_ms of a link is -1.0" in in_one_line(capsys, *lossy, "--jitter", -1)
    assert "latency_chunks is -1" in in_one_line(capsys, "eval", *sync(model, "--latency", -1))


def test_the_latency_is_that_of_the_session(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more of it, it says something else: it guessed what it had not heard."""
    monkeypatch.setattr("duologue.talk.LONGEST_REPLY_S", 0.2)
    wav.write(tmp_path / "in.wav", tones((0.2, 0.9), duration_s=1.0), HEARD_HZ)
    for latency in (0, 1, 2):
        out = tmp_path / f"{latency}.wav"
        assert duologue("talk", *sync(model, "--latency", latency), tmp_path / "in.wav", out) == 0
    said = {latency: wav.read_channels(tmp_path / f"{latency}.wav", HEARD_HZ)[:HEARD_HZ, 1] for latency in (0, 1, 2)}
    assert not np.array_equal(said[0], said[1])
    assert not np.array_equal(said[1], said[2])
    first = {latency: int(np.flatnonzero(np.abs(sound) > 1e-3)[0]) for latency, sound in said.items()}
    assert first[0] < first[1] < first[2], "own chunks before the user's first are silent"


def test_full_duplex_bench_runs_for_a_system_and_adds_it_to_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    small_sync.kept(model)
    monkeypatch.setattr(full_duplex_cases, "TASKS", ("turn",))
    monkeypatch.setattr(full_duplex_cases, "ANSWER_S", 0.5)
    run = ("eval", "--suite", "fdb", "--cases", 1, "--no-speech", "--folder", tmp_path)
    assert duologue(*run, *sync(model)) == 0
    assert duologue(*run, *sync(model, "--latency", 0), "--json") == 0
    found = json.loads(capsys.readouterr().out.partition("{")[2].join(("{", "")))
    assert list(found) == ["sync_llm", "sync_llm 0"]
    assert found["sync_llm"]["turn"]["samples"] == 1
    assert "holds the outputs of" in in_one_line(capsys, *run, *sync(model, "--latency", 0, "--name", "sync_llm"))
    small_sync.small(seed=6).save(model)
    capsys.readouterr()
    assert "holds the outputs of" in in_one_line(capsys, *run, *sync(model)), "what lies in the folder is another model"


def test_full_duplex_bench_as_it_is_given_out_runs_too(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    laid = laid_out_publicly(tmp_path / "v1.0", "candor_turn_taking/1", "turn_taking", [{"timestamp": [0.4, 0.5]}])
    run = ("eval", "--suite", "fdb", tmp_path / "v1.0", "--no-speech", "--folder", tmp_path / "eval")
    assert duologue(*run, *sync(model)) == 0
    assert "Full-Duplex-Bench, v1.0 (1)" in capsys.readouterr().out
    assert sorted(path.name for path in laid.iterdir()) == ["input.wav", "turn_taking.json"], "nothing is added to it"
    left = tmp_path / "eval" / "fdb_v1.0" / "sync_llm"
    assert len(wav.read(left / "candor_turn_taking" / "1" / "output.wav", HEARD_HZ)) == HEARD_HZ
    assert json.loads((left / "scores.json").read_text())["tasks"]["turn"]["samples"] == 1


def test_a_model_is_known_by_what_its_files_hold(tmp_path: Path) -> None:
    (tmp_path / "model" / "lm").mkdir(parents=True)
    weights = tmp_path / "model" / "lm" / "weights"
    weights.write_bytes(bytes(200_000))
    first = fingerprint(tmp_path / "model")
    assert fingerprint(tmp_path / "model") == first
    for changed in (bytes(199_999) + b"1", b"1" + bytes(199_999), bytes(200_001)):
        weights.write_bytes(changed)
        assert len({fingerprint(tmp_path / "model"), fingerprint(weights), first}) == 3
    weights.write_bytes(bytes(200_000))
    weights.rename(weights.with_name("others"))
    assert fingerprint(tmp_path / "model") != first
    assert fingerprint("organisation/of-the-hub") == ""


def test_two_agents_leave_calls_and_figures(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = (
        "eval",
        "--suite",
        "two_agents",
        *sync(model),
        "--seconds",
        1.6,
        "--link",
        0,
        40,
        "--folder",
        tmp_path,
    )
    assert duologue(*run) == 0
    assert "latency of the link" in capsys.readouterr().out
    left = {path.name for path in (tmp_path / "two_agents").iterdir()}
    assert left == {"results.json", *(f"{ms}ms.{kind}" for ms in (0, 40) for kind in ("wav", "json", "png"))}
    assert duologue(*run, "--jitter", 20, "--loss", 1, "--json") == 0
    each = json.loads((tmp_path / "two_agents" / "results.json").read_text())
    assert [(one["link"]["jitter_ms"], one["link"]["loss"]) for one in each.values()] == [(20, 1), (20, 1)]
    assert all(all(one["lost_frames"]) for one in each.values())


def test_every_suite_is_one_of_the_verbs() -> None:
    from duologue.verbs import evaluate

    assert set(evaluate.SUITES) == {"answers", *SUITES}


# ---------------------------------------------------------------- by ear


def test_what_is_heard_is_where_it_was_said() -> None:
    player = Player(np.concatenate((np.zeros(5 * FRAME, np.float32), DRAWN[: 3 * FRAME], np.zeros(99_999, np.float32))))
    found = listened(player, np.ones(20 * FRAME, np.float32), late_s=0.08)
    assert player.closed == 1
    assert not player.all_heard[: 2 * FRAME].any()
    assert len(found.sound) == 20 * FRAME
    lane = found.track(delay_frames=2).units
    assert np.flatnonzero(lane != SILENT).tolist() == [3, 4, 5]


def test_an_answer_is_what_is_heard_after_the_question() -> None:
    asked = next(questions(1, "test", "en", ("sums",)))
    row: dict[str, Any] = {
        "questions": [{**vars_of(asked), "turn": 2}],
        "scene": {"events": [{"turn": 0, "start_s": 0.0}, {"turn": 2, "start_s": 1.0}]},
    }
    found = Listened(np.arange(3 * HEARD_HZ, dtype=np.float32) / 1e6, HEARD_HZ, FRAME)
    heard = []

    def ears(audio: Any) -> str:
        heard.append(audio)
        return asked.answer

    one = answered(row, found, ears)
    assert np.array_equal(heard[0], found.sound[HEARD_HZ:])
    assert one.speech_right
    wrong = answered(row, found, lambda audio: "nothing")
    told = score([one, one, wrong])
    assert (told.text, told.speech) == (None, pytest.approx(200 / 3))
    assert told.by_topic == {"sums": (2, 3)}


def vars_of(question: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(question)


# ---------------------------------------------------------------- gone on with


@pytest.mark.parametrize("repeats", ["removed", "exact"])
def test_a_conversation_is_gone_on_with_in_whole_chunks(repeats: Any) -> None:
    """The same for the same seed; another one goes on otherwise; with a longer way the beginning is the same."""
    made, units = small_sync.small(Config(repeats=repeats)), codec()
    draw = np.random.default_rng(0)
    prompt = (draw.integers(0, 60, 24).tolist(), draw.integers(0, 60, 24).tolist())
    own, user = continued(made, units, prompt, 6, Picking(1.0), seed=1)
    assert len(own) == len(user) == 24
    assert (own, user) == continued(made, units, prompt, 6, Picking(1.0), seed=1)
    assert (own, user) != continued(made, units, prompt, 6, Picking(1.0), seed=2)
    longer = continued(made, units, prompt, 9, Picking(1.0), seed=1)
    assert (longer[0][:24], longer[1][:24]) == (own, user)
    assert any(chunk.user for chunk in encode(own, user, made.config))


def test_a_recording_is_compared_with_what_is_made_of_its_beginning() -> None:
    sound = np.stack((tones((0.5, 1.5)), tones((2.0, 3.5))), axis=1)
    found = compared(small_sync.small(), codec(), sound, 1.6, 2.4, Picking(1.0), vad=EnergyVad())
    assert [one.tracks.duration_ms for one in (found.prompt, found.true)] == [1600, 2400]
    assert found.made.tracks.duration_ms == pytest.approx(2400, abs=40)
    assert found.resynthesised.tracks.duration_ms == pytest.approx(2400, abs=40)
    assert len(found.prompt.ipus["user"]) == len(found.true.ipus["assistant"]) == 1
    with pytest.raises(ValueError, match="is too short"):
        compared(small_sync.small(), codec(), sound, 1.6, 2.56, Picking(1.0), vad=EnergyVad())


# ---------------------------------------------------------------- synthesis against people


def test_timing_that_is_drawn_from_people_is_like_people() -> None:
    found = {timing: calibration.against_people(calibration.simulated(timing, 150)) for timing in ("people", "paper")}
    people, paper = (found[timing].likeness["fto_body"].distance_s.value for timing in ("people", "paper"))
    assert people is not None
    assert paper is not None
    assert people < 0.08 < 0.25 < paper
    assert found["people"].likeness["fto_body"].n > 500
    table = calibration.table(found)
    assert list(table.columns[0].cells)[1:] == ["people", "paper"]
    rates = [next(iter(column.cells)) for column in table.columns[-3:]]
    assert rates == ["[dim]3.90[/]", "[dim]16.00[/]", "[dim]0.86[/]"]
    assert calibration.simulated("people", 5) == calibration.simulated("people", 5)


def test_what_happens_is_counted_by_the_minute_as_it_is_of_people() -> None:
    """In 30 s: an "mm-hm" amid speech, a pause of 0.5 s, one who cuts in 2 s early and one who is 0.5 s early."""
    user = (Span(0, 10_000), Span(10_500, 16_000), Span(27_000, 30_000))
    assistant = (Span(4_000, 4_500), Span(14_000, 27_500))
    found = calibration.against_people([events(Tracks(user, assistant, 30_000))])
    assert found.a_minute == {"backchannel": 2.0, "pause": 2.0, "interruption": 2.0}
    assert [list(column.cells)[1] for column in calibration.table({"here": found}).columns[-3:]] == ["2.00"] * 3
    assert calibration.against_people([]).a_minute == dict.fromkeys(calibration.PEOPLE_A_MINUTE)


def test_a_late_listener_hears_the_end_no_more() -> None:
    player = Player(DRAWN)
    by_ear.listened(player, np.ones(10 * FRAME, np.float32), late_s=0.04)
    assert len(player.heard) == 10
