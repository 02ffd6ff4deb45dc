"""The benchmark's own samples: read as they lie in its folders, scored by the rules that made cases are scored by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duologue.evaluate.full_duplex_public import REFERENCE, samples
from duologue.evaluate.full_duplex_run import score, scored, talked
from duologue.session import HEARD_HZ
from duologue.sound import wav
from duologue.sound.vad import EnergyVad
from test_full_duplex_suite import tones, words
from test_two_agents import Player


def laid_out(folder: Path, place: str, annotation: str | None = None, told: Any = None, hz: int = HEARD_HZ) -> Path:
    """A sample of a second, in which the user speaks until 0.4 s."""
    (folder / place).mkdir(parents=True)
    heard = wav.resample(tones((0.1, 0.4), duration_s=1.0), HEARD_HZ, hz)
    wav.write(folder / place / "input.wav", heard, hz)
    if annotation is not None:
        (folder / place / f"{annotation}.json").write_text(json.dumps(told))
    return folder / place


def test_every_task_is_told_by_its_annotation(tmp_path: Path) -> None:
    paused = laid_out(
        tmp_path, "candor_pause_handling/7", "pause", [{"text": "[PAUSE]", "timestamp": [0.2, 0.3]}], 48_000
    )
    heard = {"text": "a b", "chunks": [{"text": "a", "timestamp": [0.1, 0.2]}, {"text": "b", "timestamp": [0.3, 0.39]}]}
    (paused / "transcription.json").write_text(json.dumps(heard))
    laid_out(tmp_path, "synthetic_pause_handling/7", "pause", [{"timestamp": [0.2, 0.3]}])
    laid_out(tmp_path, "candor_turn_taking/1", "turn_taking", [{"text": "[TURN-TAKING]", "timestamp": [0.41, 0.0]}])
    laid_out(tmp_path, "synthetic_user_interruption/1", "interrupt", [{"interrupt": "stop", "timestamp": [0.1, 0.4]}])
    laid_out(tmp_path, "icc_backchannel/3")
    (tmp_path / REFERENCE).write_text(json.dumps({"3": [0, 1, 0, 0, 0.5]}))
    for name in ("user_interruption", "user_backchannel", "talking_to_other", "background_speech"):
        over = laid_out(tmp_path, f"v1.5/{name}/1", "metadata", {"context_text": "c", "timestamps": [0.1, 0.4]})
        wav.write(over / "clean_input.wav", tones(duration_s=1.0), HEARD_HZ)
    found = {sample.name: sample for sample in samples(tmp_path, EnergyVad())}
    assert {name: sample.task for name, sample in found.items()} == {
        "candor_pause_handling/7": "pause",
        "candor_turn_taking/1": "turn",
        "icc_backchannel/3": "backchannel",
        "synthetic_pause_handling/7": "pause",
        "synthetic_user_interruption/1": "interruption",
        "v1.5/background_speech/1": "background_speech",
        "v1.5/talking_to_other/1": "talking_to_others",
        "v1.5/user_backchannel/1": "user_backchannel",
        "v1.5/user_interruption/1": "interruption",
    }
    first = found["candor_pause_handling/7"]
    assert (first.pauses, first.event[1], first.scene.duration_s) == (((0.2, 0.3),), 0.39, 1.0)
    assert found["synthetic_pause_handling/7"].event[1] == pytest.approx(0.4, abs=0.04)
    assert found["candor_turn_taking/1"].event[1] == 0.41
    assert found["synthetic_user_interruption/1"].event == found["v1.5/user_backchannel/1"].event == (0.1, 0.4)
    assert found["icc_backchannel/3"].reference == (0, 1, 0, 0, 0.5)
    ((start_s, end_s),) = found["v1.5/user_backchannel/1"].user
    assert start_s == pytest.approx(0.1, abs=0.04)
    assert end_s == pytest.approx(0.4, abs=0.04)
    for sample in found.values():
        assert score(sample, words("a", 0.5, 0.8)).official


def test_samples_are_heard_and_scored_like_made_cases(tmp_path: Path) -> None:
    laid_out(tmp_path / "v1", "candor_turn_taking/1", "turn_taking", [{"timestamp": [0.4, 0.5]}])
    over = laid_out(tmp_path / "v1", "background_speech/2", "metadata", {"timestamps": [0.1, 0.4]})
    wav.write(over / "clean_input.wav", tones(duration_s=1.0), HEARD_HZ)
    found = samples(tmp_path / "v1", EnergyVad())
    list(talked(found, tmp_path / "v1", tmp_path / "out", lambda: Player(tones((0.6, 0.9), duration_s=1.0)), {}))
    assert (tmp_path / "out" / "background_speech" / "2" / "clean_output.wav").exists()
    tasks = scored(found, tmp_path / "out", lambda audio: "yes", EnergyVad())["tasks"]
    assert tasks["turn"]["corrected"]["latency_s"]["mean"] == pytest.approx(0.2, abs=0.04)
    assert tasks["background_speech"]["corrected"]["goes_on"]["mean"] == 1


@pytest.mark.parametrize(
    ("place", "annotation", "told", "complaint"),
    [
        ("a/1", None, None, "turn_taking.json, interrupt.json or metadata.json is missing"),
        ("a/1", "pause", {"timestamp": [0, 1]}, "can be read"),
        ("a/1", "pause", [], "holds no pause"),
        ("a/1", "pause", [{"timestamp": [1, 0]}], "before it starts"),
        ("a/1", "pause", [{"timestamp": ["0", "1"]}], "'0' is no number"),
        ("a/1", "turn_taking", [], "can be read"),
        ("a/1", "metadata", {"timestamps": [0, 1]}, "no task is told by the name of a"),
        ("user_backchannel/1", "metadata", {"timestamps": [0, 1]}, "has no clean_input.wav"),
        ("user_interruption/1", "metadata", {}, "timestamps"),
        ("icc_backchannel/1", None, None, "put the benchmark's into .*"),
    ],
)
def test_what_is_no_sample_is_told(
    tmp_path: Path, place: str, annotation: str | None, told: Any, complaint: str
) -> None:
    laid_out(tmp_path, place, annotation, told)
    with pytest.raises(ValueError, match=complaint) as error:
        samples(tmp_path, EnergyVad())
    assert place in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"no input\.wav"):
        samples(tmp_path / place / "none")
