"""The main job, as people run it: a recording in, a conversation out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from duologue.__main__ import main
from duologue.dialogue import Dialogue, Utterance
from duologue.microphone import converse_live
from duologue.session import Event
from duologue.sound import wav
from duologue.talk import converse, dialogue_of
from duologue.turns import TurnSession
from scripted import LevelVad, ScriptedSystem
from spoken import spoken


def test_a_recording_is_answered_with_sound_picture_and_events(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wav.write(tmp_path / "in.wav", spoken("what is twelve plus seven"), 16_000)
    assert main(["talk", str(tmp_path / "in.wav"), str(tmp_path / "out.wav")]) == 0
    assert "nineteen" in capsys.readouterr().out
    sound, hz = soundfile.read(tmp_path / "out.wav")
    assert sound.shape[1] == 2
    assert hz == 24_000
    assert np.abs(sound[:, 0]).max() > 0.05, "the person is on the left"
    assert np.abs(sound[:, 1]).max() > 0.05, "duologue is on the right"
    told = json.loads((tmp_path / "out.json").read_text())
    assert [row["speaker"] for row in told["dialogue"]] == ["user", "assistant"]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_recording_gives_the_same_files(tmp_path: Path) -> None:
    wav.write(tmp_path / "in.wav", spoken("what time is it now"), 16_000)
    for name in ("a", "b"):
        assert main(["talk", str(tmp_path / "in.wav"), str(tmp_path / f"{name}.wav"), "--json"]) == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["talk", "none.wav", "out.wav"], "none.wav: there is no such file"),
        (["talk", "none.wav"], "say where to write the conversation"),
        (["talk", "none.wav", "out.wav", "--asr", "ears"], "there is no recogniser 'ears'"),
        (["talk", "none.wav", "out.wav", "--llm", "transformers:/none"], "no language model at '/none'"),
        (["talk", "none.wav", "out.wav", "--tts", "song"], "there is no voice 'song'"),
        (["serve", "--host", "0.0.0.0"], "key"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert reason in told
    assert len(told.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["talk", "serve", "doctor"])
def test_every_verb_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    assert f"duologue {verb}" in capsys.readouterr().out.split("example:")[1]


def test_doctor_tells_programs_what_it_tells_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ready"]
    assert {"pocketsphinx", "flite"} <= {part["part"] for part in told["parts"]}
    assert all(part["found"] or part["remedy"] for part in told["parts"])
    assert main(["doctor"]) == 0


def test_the_dialogue_is_what_the_events_tell() -> None:
    events = [
        Event("turn", 1.5, {"turn": 1, "start_s": 0.2, "end_s": 1.0}),
        Event("heard", 1.5, {"turn": 1, "text": "tell me"}),
        Event("said", 1.6, {"turn": 1, "text": "A long"}),
        Event("said", 2.0, {"turn": 1, "text": " story."}),
        Event("stopped", 2.2, {"turn": 1, "reason": "speech", "heard_text": "A long"}),
        Event("resumed", 3.0, {"turn": 1, "from_samples": 9, "text": " story."}),
        Event("done", 3.5, {"turn": 1, "latency": {}}),
    ]
    expected = Dialogue(
        (
            Utterance("user", 0.2, 1.0, "tell me"),
            Utterance("assistant", 1.6, 2.2, "A long", cut=True),
            Utterance("assistant", 3.0, 3.5, " story."),
        )
    )
    assert dialogue_of(events) == expected
    assert Dialogue.from_json(expected.to_json()) == expected


def test_an_endless_reply_ends_the_conversation_all_the_same() -> None:
    live = TurnSession(ScriptedSystem(["go"] * 9, [["word " * 3000]] * 9), LevelVad())
    conversation = converse(live, np.full(16_000, 0.5, np.float32))
    assert len(conversation.sound) / conversation.hz < 130


def test_the_microphone_is_a_session_too(monkeypatch: pytest.MonkeyPatch) -> None:
    loud, quiet = np.full((512, 1), 0.5, np.float32), np.zeros((512, 1), np.float32)
    heard = iter([loud] * 15 + [quiet] * 60)
    played: list[Any] = []

    class Stream:
        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> Stream:
            return self

        def __exit__(self, *_: object) -> None: ...
        def read(self, samples: int) -> tuple[Any, bool]:
            try:
                return next(heard), False
            except StopIteration:
                raise KeyboardInterrupt from None

        def write(self, audio: Any) -> None:
            played.append(audio)

    fake = SimpleNamespace(InputStream=Stream, OutputStream=Stream, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    events: list[Event] = []
    converse_live(TurnSession(ScriptedSystem(["hello"], [["Hello there."]]), LevelVad()), events.append)
    assert "done" in [event.kind for event in events]
    assert np.concatenate(played).any()
