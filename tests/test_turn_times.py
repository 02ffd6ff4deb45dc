"""When somebody makes sound, by label, by unit and by ear: the same moments from each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from duologue.dialogue import Dialogue, Utterance
from duologue.evaluate.delay import response, utterances
from duologue.evaluate.timing import SPEAKERS, Span, Tracks, of_frames, of_sound, outside, whole_ms
from duologue.evaluate.timing import shared as both
from duologue.sound.vad import EnergyVad

laws = settings()

FRAME_MS = 40
FLAGS = st.lists(st.booleans(), min_size=1, max_size=60).map(lambda flags: np.array(flags, np.bool_))
Flags = NDArray[np.bool_]


@laws
@given(st.integers(-10_000, 10_000_000))
def test_whole_milliseconds_come_back(ms: int) -> None:
    assert whole_ms(ms / 1000) == ms
    assert whole_ms((ms + 0.5) / 1000 + 1e-9) == ms + 1


@laws
@given(FLAGS, st.data())
def test_labels_and_units_tell_the_same(user: Flags, data: st.DataObject) -> None:
    flags = st.lists(st.booleans(), min_size=len(user), max_size=len(user))
    units = Tracks.of_units(user, np.array(data.draw(flags), np.bool_), 25)
    said = [Utterance(who, s.start_ms / 1000, s.end_ms / 1000) for who in SPEAKERS for s in units.of(who)]
    assert Tracks.of_dialogue(Dialogue(tuple(said)), FRAME_MS * len(user) / 1000) == units


@laws
@given(FLAGS, FLAGS)
def test_stretches_are_sets_of_frames(one: Flags, other: Flags) -> None:
    n = min(len(one), len(other))
    one, other = one[:n], other[:n]
    assert of_frames(np.logical_not(one), 25) == outside(of_frames(one, 25), FRAME_MS * n)
    assert of_frames(one & other, 25) == both(of_frames(one, 25), of_frames(other, 25))
    assert sum(s.length_ms for s in of_frames(one, 25)) == FRAME_MS * one.sum()


def test_energy_is_found_where_it_is() -> None:
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 1e-4, 3 * 16_000).astype(np.float32)
    sound[16_000:32_000] += 0.3 * np.sin(np.arange(16_000) * 0.2).astype(np.float32)
    (span,) = of_sound(sound, EnergyVad())
    assert abs(span.start_ms - 1000) <= 32
    assert abs(span.end_ms - 2000) <= 32
    left = np.stack((sound, np.zeros_like(sound)), axis=1)
    assert Tracks.of_sound(left, 16_000, EnergyVad()) == Tracks((span,), (), 3000)


def test_answers_are_timed_alike_by_ear_and_by_label(shared: Path) -> None:
    """In recordings whose turns were placed by hand, half of the responses lie within a VAD window of the label."""
    rows = map(json.loads, (shared / "data" / "manifest.jsonl").read_text().splitlines())
    off_ms = []
    for row in (r for r in rows if r.get("scene") in ("turn", "pause")):
        sound, hz = soundfile.read(shared / "data" / row["path"], dtype="float32")
        end_s, answer_s = row["expect"]["user_turn_end"], row["expect"]["agent_start"]
        heard = response(utterances(Tracks.of_sound(sound, hz).assistant), whole_ms(end_s))
        assert heard.verdict == "on_time", row["path"]
        assert heard.latency_ms is not None
        off_ms.append(abs(heard.latency_ms - whole_ms(answer_s - end_s)))
    assert np.median(off_ms) <= 32


# ---------------------------------------------------------------- bad input


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="outside the recording of 900 ms"):
        Tracks((Span(0, 1000),), (), 900)
    with pytest.raises(ValueError, match="before it starts"):
        Span(2, 1)
    with pytest.raises(ValueError, match="not nan"):
        whole_ms(float("nan"))
    with pytest.raises(ValueError, match=r"shape \[N, 2\], not \[8\]"):
        Tracks.of_sound(np.zeros(8, np.float32), 16_000)
    with pytest.raises(ValueError, match="assistant: sample 3 is NaN"):
        Tracks.of_sound(np.array([[0, 0]] * 3 + [[0, np.nan]], np.float32), 16_000)
    with pytest.raises(ValueError, match="not 2 and 3 frames"):
        Tracks.of_units(np.zeros(2, np.bool_), np.zeros(3, np.bool_), 25)
