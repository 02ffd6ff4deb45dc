"""A session by a layout: what holds for any model, shown with one that was never trained."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from duologue.duplex import LayoutSession, Talking
from duologue.evaluate.conversing import SILENT, tracks
from duologue.model.backbone import backbone, nano
from duologue.model.words import words_tokenizer
from duologue.session import Audio, Said
from duologue.streaming import Memory
from duologue.systems.omni_flatten import Codes, Config, OmniFlatten
from small_units import codec as small_codec

FRAME = 640


SMALL = Config(4, 1, 2)


@lru_cache
def model(config: Config = SMALL) -> OmniFlatten:
    words = words_tokenizer(["yes", "no", "one", "two", "=", ","])
    lm = backbone(nano(len(words), width=64, layers=2), seed=3)
    return OmniFlatten.grown(lm, words, Codes(small_codec().codes), config, seed=5)


def talking(config: Config = SMALL, memory: Memory | None = None) -> Talking:
    return model(config).talking(small_codec(), memory or Memory(600))


def heard(frames: int, seed: int) -> Audio:
    return np.random.default_rng(seed).normal(0, 0.1, frames * FRAME).astype(np.float32)


def conversed(session: LayoutSession, sound: Audio) -> list[Said]:
    return [session.step(sound[start : start + FRAME]) for start in range(0, len(sound), FRAME)]


def sound_of(said: list[Said]) -> Audio:
    return np.concatenate([one.audio for one in said])


def test_one_frame_out_per_frame_in_silence_included() -> None:
    for said in conversed(LayoutSession(talking()), np.zeros(30 * FRAME, np.float32)):
        assert said.audio.shape == (FRAME,)
        assert said.audio.dtype == np.float32
        assert np.abs(said.audio).max() <= 1


def test_two_sessions_given_the_same_sound_say_the_same() -> None:
    first, second = (conversed(LayoutSession(talking()), heard(40, 0)) for _ in range(2))
    assert sound_of(first).tobytes() == sound_of(second).tobytes()
    assert [one.events for one in first] == [one.events for one in second]
    assert sound_of(first).any()


@pytest.mark.parametrize("config", [Config(4, 1, 2), Config(3, 2), Config(2, 0)])
def test_a_crowd_hears_what_a_session_hears(config: Config) -> None:
    """Each user of a batch gets what it would get alone, and as it would be live: later by the delay, else the same."""
    users = [heard(frames, seed) for seed, frames in enumerate((24, 36, 12))]
    shared = talking(config)
    for user, track in zip(users, tracks(shared, users, batch=2), strict=True):
        session = LayoutSession(shared)
        live = sound_of(conversed(session, np.concatenate((user, np.zeros(session.delay_frames * FRAME, np.float32)))))
        known = len(user) - (shared.codec.ahead_units + 1) * FRAME
        whole = track.sound(shared)[:known].clip(-1, 1)
        assert (track.units != SILENT).any()
        np.testing.assert_allclose(live[session.delay_frames * FRAME :][:known], whole, atol=1e-5)


def test_nothing_is_said_before_a_chunk_was_heard() -> None:
    session = LayoutSession(talking())
    said = conversed(session, heard(20, 1))
    assert not sound_of(said[: session.delay_frames]).any()


def test_a_call_may_last_for_ever() -> None:
    """Memory is bounded: the state is as large after a thousand frames as at the start."""
    session = LayoutSession(talking(memory=Memory(200, sink=20, spare=60)))
    conversed(session, heard(400, 2))


@pytest.mark.parametrize("frame", [np.zeros(FRAME + 1, np.float32), np.full(FRAME, np.nan, np.float32)])
def test_a_bad_frame_is_refused_and_the_call_goes_on(frame: Audio) -> None:
    session, untouched = LayoutSession(talking()), LayoutSession(talking())
    sound = heard(20, 4)
    conversed(session, sound[: 5 * FRAME])
    with pytest.raises(ValueError, match="640 finite samples"):
        session.step(frame)
    rest = sound_of(conversed(session, sound[5 * FRAME :]))
    assert rest.tobytes() == sound_of(conversed(untouched, sound))[5 * FRAME :].tobytes()
