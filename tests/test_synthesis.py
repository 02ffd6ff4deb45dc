"""The corpus: the same however it is made, and each recording is what its line says."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from conftest import need
from duologue.data.manifest import read
from duologue.desk.questions import Split
from duologue.desk.rules import LANGUAGES
from duologue.engines.asr import Transcript
from duologue.session import HEARD_HZ, Audio
from duologue.synthesis import Made, Plan, corpus, dialogue_of, remake, screen, synthesise
from duologue.synthesis.voice import voices

PLAN = Plan(6, voices=("espeak:en-us", "espeak:en-gb+f3"), assistant=("espeak:en-us+m1", "espeak:cmn"))
"""Six dialogues."""
MANY = replace(PLAN, count=24, kind="utterances")
CLEAN = Plan(
    6, seed=1, voices=PLAN.voices, assistant=PLAN.assistant, snr_db=None, room_share=0, side_talk_share=0,
    timing="paper_v2", exchanges=(3, 4),
)  # fmt: skip


@pytest.fixture(autouse=True)
def little_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    need(shutil.which("espeak-ng") is not None, "espeak-ng")
    monkeypatch.setattr(corpus, "BLOCK", 2)


def files(folder: Path) -> dict[str, str]:
    """Every file in the folder, hidden ones too, by the hash of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rows(folder: Path, name: str = "manifest.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def stored(folder: Path, row: dict[str, Any]) -> Audio:
    sound, hz = soundfile.read(folder / row["path"], dtype="float32")
    assert hz == HEARD_HZ
    return np.asarray(sound, np.float32)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dialogues with silence where nobody speaks."""
    folder = tmp_path_factory.mktemp("clean")
    synthesise(folder, CLEAN, quiet=True)
    return folder


# ---------------------------------------------------------------- made the same


def test_the_files_do_not_depend_on_who_makes_them(tmp_path: Path) -> None:
    alone = synthesise(tmp_path / "alone", PLAN, quiet=True)
    synthesise(tmp_path / "two", PLAN, workers=2, quiet=True)
    assert files(tmp_path / "alone") == files(tmp_path / "two")
    assert (alone.recordings, alone.dropped) == (6, 0)
    assert sorted(files(tmp_path / "alone")) == sorted(
        ["plan.json", "manifest.jsonl", "dropped.jsonl", *(f"audio/{n:06}.flac" for n in range(6))]
    )


def test_after_a_kill_it_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 1)
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    script = (
        "from duologue.synthesis import Plan, corpus; corpus.BLOCK = 1\n"
        f"corpus.synthesise({str(cut)!r}, {MANY!r}, quiet=True)"
    )
    running = subprocess.Popen([sys.executable, "-c", script])
    while len(list((cut / "blocks").glob("*.jsonl"))) < 2:
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    running.kill()
    running.wait()
    assert not (cut / "manifest.jsonl").exists()
    (cut / "audio" / ".000011.flac.half.tmp").write_bytes(b"half")
    first_made_ns = (cut / "audio" / "000000.flac").stat().st_mtime_ns
    synthesise(cut, MANY, quiet=True)
    synthesise(whole, MANY, quiet=True)
    assert files(cut) == files(whole)
    assert (cut / "audio" / "000000.flac").stat().st_mtime_ns == first_made_ns, "what was done was done again"


def test_what_is_whole_is_not_made_again(clean: Path) -> None:
    before = files(clean)
    times = [path.stat().st_mtime_ns for path in sorted((clean / "audio").iterdir())]
    assert isinstance(synthesise(clean, CLEAN, quiet=True), Made)
    assert files(clean) == before
    assert [path.stat().st_mtime_ns for path in sorted((clean / "audio").iterdir())] == times


def test_a_folder_holds_one_plan(clean: Path) -> None:
    with pytest.raises(ValueError, match="holds the recordings of another plan"):
        synthesise(clean, PLAN, quiet=True)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"count": 0}, "at least one recording, not 0"),
        ({"exchanges": (3, 2)}, "least before most"),
        ({"topics": ("sums", "cooking")}, "unknown topic 'cooking'"),
        ({"timing": "slow"}, "timing 'slow' is unknown; choose one of paper, paper_v2, human"),
        ({"kind": "songs"}, "kind 'songs' is unknown; choose one of dialogues, utterances"),
        ({"snr_db": (30.0, 15.0)}, "snr_db is two numbers, least before most, not 30.0 and 15.0"),
        ({"snr_db": (math.nan, math.nan)}, "snr_db is two numbers, least before most, not nan and nan"),
        ({"pitch": (1.0, math.inf)}, "pitch is two numbers"),
        ({"language": "fr"}, "language 'fr' is unknown; choose one of None, en, zh"),
    ],
)
def test_a_plan_that_cannot_be_made_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(PLAN, **wrong)


def test_a_folder_without_noises_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "noises").mkdir()
    with pytest.raises(FileNotFoundError, match="no such manifest"):
        synthesise(tmp_path / "made", replace(PLAN, noises=str(tmp_path / "noises")), quiet=True)
    assert not (tmp_path / "made").exists()


def test_a_recogniser_that_is_not_there_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no Whisper model at '/nonexist'"):
        synthesise(tmp_path / "made", replace(PLAN, asr="whisper:/nonexist"), quiet=True)
    assert not (tmp_path / "made").exists()


def test_a_second_process_waits_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It finds all made, and has taken nothing away."""
    made, begun, go_on = corpus.make, threading.Event(), threading.Event()
    half = tmp_path / "audio" / ".000000.flac.half.tmp"

    def slowly(*arguments: Any) -> Any:
        if not begun.is_set():
            half.write_bytes(b"half")
            begun.set()
        assert go_on.wait(20)
        assert half.exists()
        return made(*arguments)

    monkeypatch.setattr(corpus, "make", slowly)
    plan = replace(MANY, count=2)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(synthesise, tmp_path, plan, quiet=True)
        assert begun.wait(20)
        with pytest.raises(ValueError, match="another plan"):
            synthesise(tmp_path, PLAN, quiet=True)
        second, told = pool.submit(synthesise, tmp_path, plan, quiet=True), ""
        while "another process is making it" not in told:
            told += capfd.readouterr().err
        go_on.set()
        assert first.result() == second.result()
    assert not (tmp_path / ".lock").exists()


def test_another_seed_says_something_else(clean: Path, tmp_path: Path) -> None:
    synthesise(tmp_path, Plan(2, kind="utterances", seed=9, voices=PLAN.voices), quiet=True)
    synthesise(tmp_path / "again", Plan(2, kind="utterances", seed=10, voices=PLAN.voices), quiet=True)
    nine, ten = ([row["text"] for row in rows(folder)] for folder in (tmp_path, tmp_path / "again"))
    assert nine != ten


# ---------------------------------------------------------------- what the lines say


def test_every_recording_can_be_made_again_from_its_line(tmp_path: Path) -> None:
    synthesise(tmp_path / "d", PLAN, quiet=True)
    synthesise(tmp_path / "u", replace(MANY, count=3), quiet=True)
    synthesise(
        tmp_path / "a",
        Plan(3, kind="utterances", says="answers", assistant=PLAN.assistant, voices=PLAN.voices),
        quiet=True,
    )
    for folder in (tmp_path / "d", tmp_path / "u", tmp_path / "a"):
        for row in rows(folder):
            again = remake(row)
            assert again.ndim == (2 if folder.name == "d" else 1)
            np.testing.assert_allclose(again, stored(folder, row), atol=1.01 / 32768)


def test_the_manifest_is_one_that_training_reads(clean: Path) -> None:
    clips = read(clean / "manifest.jsonl", hz=HEARD_HZ)
    assert len(clips) == 6
    for clip in clips:
        assert clip.speaker in (PLAN.voices or ())
        assert clip.language == "en"
        assert clip.duration_s == pytest.approx(clip.rest["duration"])
        assert len(dialogue_of(clip.rest)) >= 6


def test_each_channel_sounds_where_the_dialogue_says_and_nowhere_else(clean: Path) -> None:
    overlapped = 0
    for row in rows(clean):
        sound, dialogue = stored(clean, row), dialogue_of(row)
        for side, speaker in enumerate(("user", "assistant")):
            said = np.zeros(len(sound), np.bool_)
            for utterance in dialogue.of("user" if speaker == "user" else "assistant"):
                start, end = round(utterance.start_s * HEARD_HZ), round(utterance.end_s * HEARD_HZ)
                said[start:end] = True
                assert np.abs(sound[start : start + 800, side]).max() > 1e-3, "it starts late"
                if not utterance.cut:
                    assert np.abs(sound[end - 800 : end, side]).max() > 1e-3, "it ends early"
            assert not sound[~said, side].any(), "sound where nobody speaks"
        overlapped += sum(utterance.cut for utterance in dialogue)
    assert overlapped, "no barge-in among the dialogues"


def test_where_the_assistant_is_cut_the_user_is_speaking(clean: Path) -> None:
    for row in rows(clean):
        dialogue = dialogue_of(row)
        for cut in (u for u in dialogue if u.cut):
            over = [u for u in dialogue.of("user") if cut.start_s < u.start_s < cut.end_s]
            assert len(over) == 1
            assert 0.16 <= cut.end_s - over[0].start_s <= 0.48
            at = round(over[0].start_s * HEARD_HZ), round(cut.end_s * HEARD_HZ)
            both = stored(clean, row)[at[0] : at[1]]
            assert (np.abs(both).max(axis=0) > 1e-3).all()


def test_questions_are_asked_in_the_turns_that_the_line_names(clean: Path, tmp_path: Path) -> None:
    synthesise(tmp_path, replace(MANY, count=12, topics=("follow-ups",)), quiet=True)
    for row in rows(tmp_path):
        (question,) = row["questions"]
        assert row["scene"]["events"][0]["turn"] == question["turn"] >= 2
        assert row["text"] == question["text"]
    for row in rows(clean):
        for question in row["questions"]:
            said = [e["text"] for e in row["scene"]["events"] if e["turn"] == question["turn"]]
            assert " ".join(said) == question["text"]
            answer = [e["text"] for e in row["scene"]["events"] if e["turn"] == question["turn"] + 1]
            assert answer == [question["answer"]]


def test_noise_is_as_loud_as_the_line_says(tmp_path: Path) -> None:
    plan = Plan(4, voices=PLAN.voices, assistant=PLAN.assistant, room_share=0, side_talk_share=0, snr_db=(5, 30))
    synthesise(tmp_path, plan, quiet=True)
    for row in rows(tmp_path):
        scene = row["scene"]
        quiet = {**scene, "noise": None}
        speech, whole = remake(row | {"scene": quiet})[:, 0], stored(tmp_path, row)[:, 0]
        spoken = np.concatenate(
            [speech[round(u.start_s * HEARD_HZ) : round(u.end_s * HEARD_HZ)] for u in dialogue_of(row).of("user")]
        )
        snr_db = 10 * np.log10(np.square(spoken).mean() / np.square(whole - speech).mean())
        assert snr_db == pytest.approx(scene["noise"]["snr_db"], abs=0.5)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_corpus_is_in_the_voices_of_its_split(tmp_path: Path, split: Split) -> None:
    need(shutil.which("flite") is not None, "flite")
    synthesise(tmp_path, Plan(16, kind="utterances", split=split, language=None), quiet=True)
    found = {(row["language"], row["scene"]["manners"]["user"]["voice"]) for row in rows(tmp_path)}
    assert len(found) >= 4
    assert {language for language, _ in found} == set(LANGUAGES)
    assert all(voice in voices(split, language) for language, voice in found)


# ---------------------------------------------------------------- screening


class Deaf:
    """A recogniser that follows nobody."""

    def transcribe(self, audio: Audio) -> Transcript:
        return Transcript("nothing of the kind")


def test_what_is_dropped_is_named_and_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "recogniser", lambda name: Deaf())
    made = synthesise(tmp_path, replace(MANY, count=3, asr="deaf"), quiet=True)
    assert (made.recordings, made.dropped, made.hours) == (0, 3, 0)
    assert not list((tmp_path / "audio").iterdir())
    for row in rows(tmp_path, "dropped.jsonl"):
        assert "was heard as 'nothing of the kind'" in row["dropped"]
        assert row["scene"]["events"]


def test_text_rules_drop_before_anything_is_spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "MOST_WORDS", 0)
    made = synthesise(tmp_path, Plan(2, kind="utterances", voices=PLAN.voices), quiet=True)
    assert made.dropped == 2
    assert all("scene" not in row for row in rows(tmp_path, "dropped.jsonl"))
