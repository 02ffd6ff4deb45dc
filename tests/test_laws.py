"""What must hold for every system. Registering a system enrols it here.

A system that hears while it speaks is made of small weights that were never trained: how it converses is chance, that
it keeps the laws is not.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import pytest

import small_fun_audio_chat
import small_llama
import small_mini
import small_omni
import small_sync
from duologue import talk
from duologue.session import Audio, Event
from duologue.sound.frames import Framer
from duologue.systems import DUPLEX, SYSTEMS, TRAINED
from duologue.talk import Converser, converse
from duologue.turns import TurnSession
from spoken import spoken

QUESTIONS = ("what is twelve plus seven", "what day comes after tuesday", "how do you spell cat")


Make = Callable[[], Converser]
UNTRAINED = {
    "omni_flatten": small_omni.kept,
    "sync_llm": small_sync.kept,
    "llama_omni": small_llama.kept,
    "fun_audio_chat": small_fun_audio_chat.kept,
    "mini_omni": small_mini.kept,
}
"""Makes a folder of small weights, for each of TRAINED and DUPLEX."""


def now() -> datetime:
    return datetime(2026, 1, 5, 9)


@pytest.fixture(scope="module", params=sorted((*SYSTEMS, *TRAINED, *DUPLEX)))
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A factory of sessions of each system."""
    name = str(request.param)
    if name in SYSTEMS:
        return lambda: TurnSession(SYSTEMS[name](now=now))
    folder = tmp_path_factory.mktemp(name) / "model"
    UNTRAINED[name](folder)
    if name in TRAINED:
        return lambda: TurnSession(TRAINED[name](folder, now))
    return lambda: DUPLEX[name](folder, now)


@pytest.fixture(params=sorted(SYSTEMS))
def turn_taking(request: pytest.FixtureRequest) -> TurnSession:
    return TurnSession(SYSTEMS[str(request.param)](now=now))


def frames(live: Converser, *sounds: Audio) -> Audio:
    silence = np.zeros(3 * 16_000, np.float32)
    return Framer(live.heard_samples).push(np.concatenate([part for sound in sounds for part in (sound, silence)]))


def test_one_frame_out_per_frame_in_silence_included(make: Make) -> None:
    live = make()
    for frame in frames(live, np.zeros(16_000, np.float32), spoken(QUESTIONS[0])):
        said = live.step(frame)
        assert said.audio.shape == (live.said_samples,)
        assert said.audio.dtype == np.float32
        assert np.abs(said.audio).max() <= 1


def test_the_same_sound_gives_the_same_conversation(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "LONGEST_REPLY_S", 8.0)
    heard = np.concatenate([spoken(QUESTIONS[0]), spoken(QUESTIONS[1])])
    first, second = converse(make(), heard), converse(make(), heard)
    assert first.sound.tobytes() == second.sound.tobytes()
    assert first.events == second.events
    assert first.sound[:, 1].any()


def test_a_caller_in_a_crowd_hears_what_it_hears_alone(make: Make) -> None:
    sounds = [frames(make(), spoken(question)) for question in QUESTIONS]
    alone = [run(make(), sound) for sound in sounds]
    crowd = [make() for _ in sounds]
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
    replies = [b"".join(frame.tobytes() for frame in audio) for audio, _ in together]
    assert len(set(replies)) == len(QUESTIONS)


def run(live: Converser, sound: Audio) -> tuple[list[Audio], list[Event]]:
    said = [live.step(frame) for frame in sound]
    return [frame.audio for frame in said], [event for frame in said for event in frame.events]


def test_speech_over_a_reply_stops_it(turn_taking: TurnSession) -> None:
    live = turn_taking
    for frame in frames(live, spoken(QUESTIONS[0])):
        if live.step(frame).audio.any():
            break
    _, events = run(live, Framer(512).push(spoken(QUESTIONS[1])))
    assert "stopped" in [event.kind for event in events]
    run(live, frames(live, np.zeros(16_000, np.float32)))
    assert next(message.interrupted for message in live.history if message.role == "assistant")
