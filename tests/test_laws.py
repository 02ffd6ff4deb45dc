"""What must hold for every system. Registering a system enrols it here."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from duologue.session import Audio, Event
from duologue.sound.frames import Framer
from duologue.systems import SYSTEMS
from duologue.talk import converse
from duologue.turns import TurnSession
from spoken import spoken

QUESTIONS = ("what is twelve plus seven", "what day comes after tuesday", "how do you spell cat")


def session(name: str) -> TurnSession:
    return TurnSession(SYSTEMS[name](now=lambda: datetime(2026, 1, 5, 9)))


@pytest.fixture(params=sorted(SYSTEMS))
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def frames(*sounds: Audio) -> Audio:
    silence = np.zeros(3 * 16_000, np.float32)
    return Framer(512).push(np.concatenate([part for sound in sounds for part in (sound, silence)]))


def test_one_frame_out_per_frame_in_silence_included(system: str) -> None:
    live = session(system)
    for frame in frames(np.zeros(16_000, np.float32), spoken(QUESTIONS[0])):
        said = live.step(frame)
        assert said.audio.shape == (live.said_samples,)
        assert said.audio.dtype == np.float32
        assert np.abs(said.audio).max() <= 1


def test_the_same_sound_gives_the_same_conversation(system: str) -> None:
    heard = np.concatenate([spoken(QUESTIONS[0]), spoken(QUESTIONS[1])])
    first, second = converse(session(system), heard), converse(session(system), heard)
    assert first.sound.tobytes() == second.sound.tobytes()
    assert first.events == second.events
    assert first.sound[:, 1].any()


def test_a_caller_in_a_crowd_hears_what_it_hears_alone(system: str) -> None:
    sounds = [frames(spoken(question)) for question in QUESTIONS]
    alone = [run(session(system), sound) for sound in sounds]
    crowd = [session(system) for _ in sounds]
    together: list[tuple[list[Audio], list[Event]]] = [([], []) for _ in sounds]
    for step in range(max(map(len, sounds))):
        for live, sound, (audio, events) in zip(crowd, sounds, together, strict=True):
            if step < len(sound):
                said = live.step(sound[step])
                audio.append(said.audio)
                events += said.events
    for (audio, events), (audio_alone, events_alone) in zip(together, alone, strict=True):
        assert events == events_alone
        np.testing.assert_array_equal(audio, audio_alone)
    replies = ["".join(e.data["text"] for e in events if e.kind == "said") for _, events in together]
    assert len(set(replies)) == len(QUESTIONS)


def run(live: TurnSession, sound: Audio) -> tuple[list[Audio], list[Event]]:
    said = [live.step(frame) for frame in sound]
    return [frame.audio for frame in said], [event for frame in said for event in frame.events]


def test_speech_over_a_reply_stops_it(system: str) -> None:
    live = session(system)
    for frame in frames(spoken(QUESTIONS[0])):
        if live.step(frame).audio.any():
            break
    _, events = run(live, Framer(512).push(spoken(QUESTIONS[1])))
    assert "stopped" in [event.kind for event in events]
    run(live, frames(np.zeros(16_000, np.float32)))
    assert next(message.interrupted for message in live.history if message.role == "assistant")
