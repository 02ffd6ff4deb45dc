"""Two sessions on a line: who hears what when, what is lost, and how a call is told in figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes

from duologue.evaluate.timing import Span, Tracks
from duologue.evaluate.turn_taking import events
from duologue.evaluate.two_agents import Exchange, Link, exchange, figures, heard_events, save
from duologue.model.picking import Picking
from duologue.session import HEARD_HZ, Audio, Event, Said
from duologue.sound.vad import EnergyVad
from duologue.streaming import Memory
from duologue.systems.sync_llm import SyncLLM
from duologue.systems.sync_llm_talk import SyncSession, Talking
from small_sync import small
from small_units import codec

FRAME = 640
DRAWN = np.random.default_rng(0).uniform(-0.5, 0.5, 60 * FRAME).astype(np.float32)


@dataclass
class Player:
    """Says the samples of a recording, frame by frame, and keeps what it hears."""

    recording: Audio
    said_hz: int = HEARD_HZ
    heard_samples: int = FRAME
    heard: list[Audio] = field(default_factory=list)
    closed: int = 0

    @property
    def said_samples(self) -> int:
        return self.heard_samples * self.said_hz // HEARD_HZ

    def step(self, heard: Audio) -> Said:
        assert heard.shape == (self.heard_samples,)
        start = len(self.heard) * self.said_samples
        self.heard.append(heard)
        frame = self.recording[start : start + self.said_samples]
        return Said(np.pad(frame, (0, self.said_samples - len(frame))), (Event("wrote", len(self.heard), {}),))

    def close(self) -> None:
        self.closed += 1

    @property
    def all_heard(self) -> Audio:
        return np.concatenate(self.heard)


def silent() -> Player:
    return Player(np.zeros(0, np.float32))


# ---------------------------------------------------------------- the line


@settings(max_examples=40)
@given(st.integers(0, 700), st.sampled_from([512, 640, 1280]), st.sampled_from([512, 640]))
def test_what_is_said_is_heard_a_frame_and_the_latency_later(latency_ms: int, one: int, other: int) -> None:
    """In both directions, sample by sample, also where the frames of the two differ in length."""
    first, second = Player(DRAWN, heard_samples=one), Player(-DRAWN, heard_samples=other)
    call = exchange(first, second, 1.6, Link(latency_ms))
    for listener, speaker in ((first, second), (second, first)):
        late = latency_ms * 16 + speaker.heard_samples
        heard = listener.all_heard
        assert not heard[:late].any()
        np.testing.assert_array_equal(heard[late:], speaker.recording[: max(0, len(heard) - late)])
    np.testing.assert_array_equal(call.sound[:, 0], DRAWN[: len(call.sound)])
    np.testing.assert_array_equal(call.sound[:, 1], -DRAWN[: len(call.sound)])
    assert call.lost_frames == (0, 0)
    assert (first.closed, second.closed) == (1, 1)
    assert 1.6 - max(one, other) / HEARD_HZ < len(call.sound) / call.hz <= 1.6


def test_speakers_of_other_rates_hear_each_other() -> None:
    tone = np.sin(np.arange(3 * 24_000) * 2 * np.pi * 300 / 24_000).astype(np.float32) / 2
    first, second = Player(tone, said_hz=24_000), silent()
    call = exchange(first, second, 2.0)
    expected = np.sin(np.arange(20_000) * 2 * np.pi * 300 / 16_000) / 2
    heard = second.all_heard
    start = min(range(FRAME, FRAME + 2000), key=lambda at: float(np.abs(heard[at : at + 20_000] - expected).mean()))
    assert np.abs(heard[start + 500 : start + 19_000] - expected[500:19_000]).max() < 0.01
    assert call.hz == 24_000
    np.testing.assert_array_equal(call.sound[:, 0], tone[: len(call.sound)])


def test_frames_that_are_lost_are_silent_and_counted() -> None:
    first, second = Player(DRAWN), Player(-DRAWN)
    call = exchange(first, second, 2.0, Link(loss=0.3, seed=3))
    for listener, speaker, lost in ((second, first, call.lost_frames[0]), (first, second, call.lost_frames[1])):
        heard, said = (a.reshape(-1, FRAME) for a in (listener.all_heard[FRAME:], speaker.recording[: 49 * FRAME]))
        gone = ~heard.any(axis=1)
        np.testing.assert_array_equal(heard[~gone], said[~gone])
        assert 0 <= lost - gone.sum() <= 1
        assert 8 <= lost <= 22
    assert call.lost_frames[0] != call.lost_frames[1] or first.all_heard.tolist() != second.all_heard.tolist()


def test_who_waits_long_enough_loses_nothing_to_jitter() -> None:
    lost = [exchange(Player(DRAWN), silent(), 2.4, Link(0, 100, wait)).lost_frames for wait in (None, 100, 50, 0)]
    assert lost[0] == lost[1] == (0, 0)
    assert 15 < lost[2][0] < 45
    assert lost[3] == (60, 60)
    patient = silent()
    exchange(Player(DRAWN), patient, 2.0, Link(40, 60))
    late = FRAME + 100 * 16
    np.testing.assert_array_equal(patient.all_heard[late:], DRAWN[: 50 * FRAME - late])


def test_the_same_link_gives_the_same_call() -> None:
    def call(seed: int) -> Exchange:
        return exchange(Player(DRAWN), Player(-DRAWN), 2.0, Link(10, 30, 10, 0.2, seed))

    assert call(1).lost_frames == call(1).lost_frames
    assert call(1).lost_frames != call(2).lost_frames


def test_somebody_begins() -> None:
    first, second = silent(), Player(-DRAWN)
    opening = DRAWN[: 10 * FRAME - 100]
    call = exchange(first, second, 2.0, opening=opening)
    expected = np.concatenate((opening, np.zeros(100, np.float32), -DRAWN[10 * FRAME : 50 * FRAME]))
    np.testing.assert_array_equal(call.sound[:, 1], expected)
    np.testing.assert_array_equal(first.all_heard[FRAME:], expected[: 49 * FRAME])


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Link(latency_ms=-1), "latency_ms of a link is -1"),
        (lambda: Link(jitter_ms=float("nan")), "jitter_ms of a link is nan"),
        (lambda: Link(buffer_ms=-2), "waits_ms of a link is -2"),
        (lambda: Link(loss=1.5), "loss of a link is 1.5: it is a share"),
        (lambda: exchange(silent(), silent(), 0.01), "a call of 0.01 s: give a duration"),
    ],
)
def test_what_is_no_link_is_refused(make: Callable[[], object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()


def test_a_call_that_fails_is_closed() -> None:
    class Broken(Player):
        def step(self, heard: Audio) -> Said:
            raise RuntimeError("no voice")

    first, second = Broken(DRAWN), silent()
    with pytest.raises(RuntimeError, match="no voice"):
        exchange(first, second, 1.0)
    assert (first.closed, second.closed) == (1, 1)


# ---------------------------------------------------------------- figures


def of_spans(first: list[tuple[int, int]], second: list[tuple[int, int]], duration_ms: int = 20_000) -> Tracks:
    return Tracks(tuple(Span(*s) for s in first), tuple(Span(*s) for s in second), duration_ms)


def test_a_call_in_figures() -> None:
    """Worked by hand: two turns of one, one of the other, half a second at once, the end silent."""
    told = figures(events(of_spans([(1000, 4000), (9000, 10_000)], [(3500, 6000)])))
    assert (told.turns, told.duration_s) == ((2, 1), 20.0)
    assert told.speech_share == (0.2, 0.125)
    assert (told.silence_share, told.overlap_share) == (0.7, 0.025)
    assert (told.longest_silence_s, told.longest_overlap_s) == (10.0, 0.5)
    assert told.rates["gap"].count == 1
    assert (told.deadlock, told.babble) == (True, False)


def test_silence_and_babble_are_told() -> None:
    nothing = figures(events(of_spans([], [])))
    assert (nothing.silence_share, nothing.longest_silence_s, nothing.deadlock) == (1.0, 20.0, True)
    both = figures(events(of_spans([(0, 20_000)], [(0, 6000)])))
    assert (both.deadlock, both.babble, both.longest_overlap_s) == (False, True, 6.0)


# ---------------------------------------------------------------- two models


@lru_cache
def model() -> SyncLLM:
    return small()


def agents(latency_chunks: int) -> tuple[SyncSession, SyncSession]:
    """Of one model, each with a random generator of its own."""
    first, second = (
        Talking(model(), codec(), latency_chunks, Picking(1.0), seed, Memory(600, sink=20, spare=100))
        for seed in (1, 2)
    )
    return SyncSession(first), SyncSession(second)


@pytest.mark.parametrize(("latency_chunks", "latency_ms"), [(0, 0), (1, 160), (2, 240)])
def test_two_models_talk_and_a_run_replays(latency_chunks: int, latency_ms: float) -> None:
    link = Link(latency_ms, jitter_ms=20, buffer_ms=10, loss=0.05)
    call, again = (exchange(*agents(latency_chunks), 2.4, link) for _ in range(2))
    assert call.sound.tobytes() == again.sound.tobytes()
    assert call.events == again.events
    assert call.sound[:, 0].any()
    assert call.sound[:, 1].any()
    assert call.sound[:, 0].tobytes() != call.sound[:, 1].tobytes()
    assert call.lost_frames == again.lost_frames != (0, 0)


def test_a_call_is_kept_in_files(tmp_path: Path) -> None:
    call = exchange(*agents(1), 3.0, Link(160))
    told = save(call, tmp_path / "call.wav", EnergyVad())
    assert told == figures(heard_events(call, EnergyVad()))
    sound, hz = soundfile.read(tmp_path / "call.wav", dtype="float32")
    assert hz == call.hz
    np.testing.assert_allclose(sound, call.sound, atol=1e-4)
    kept = json.loads((tmp_path / "call.json").read_text())
    assert kept["link"]["latency_ms"] == 160
    assert kept["figures"]["turns"] == [*told.turns]
    assert [len(one) for one in kept["events"]] == [len(one) for one in call.events]
    assert (tmp_path / "call.png").read_bytes().startswith(b"\x89PNG")
    assert {u.speaker for u in call.dialogue} <= {"user", "assistant"}


def test_the_lanes_of_a_picture_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = Axes.text

    def noted(self: Axes, x: float, y: float, text: str, **how: object) -> object:
        written.append(text)
        return real(self, x, y, text, **how)

    monkeypatch.setattr(Axes, "text", noted)
    call = exchange(Player(DRAWN), Player(DRAWN), 1.0)
    save(call, tmp_path / "call.wav", EnergyVad())
    assert {"first", "second"} <= set(written)
    save(call, tmp_path / "call.wav", EnergyVad(), ("asks", "answers"))
    assert {"asks", "answers"} <= set(written)
    assert "duologue" not in written
