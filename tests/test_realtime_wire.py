"""Sound on the wire and memory of what was heard: small laws, checked one by one."""

from __future__ import annotations

import asyncio
import base64
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.serve import g711
from duologue.serve.events import EventError
from duologue.serve.playout import Playout
from duologue.serve.spoken import Spoken
from duologue.serve.wire import Incoming, Outgoing, decode_base64
from duologue.session import Word

LAWS = ("audio/pcmu", "audio/pcma")
FORMATS = ("audio/pcm", *LAWS)


# ---------------------------------------------------------------- G.711


@pytest.mark.parametrize(
    ("law", "code", "level"),
    [
        ("audio/pcmu", 0xFF, 0),
        ("audio/pcmu", 0x80, 32_124),
        ("audio/pcmu", 0x00, -32_124),
        ("audio/pcma", 0xD5, 8),
        ("audio/pcma", 0x55, -8),
        ("audio/pcma", 0xAA, 32_256),
        ("audio/pcma", 0x2A, -32_256),
    ],
)
def test_codes_mean_what_the_standard_says(law: str, code: int, level: int) -> None:
    assert g711.LEVELS[law][code] == level


@pytest.mark.parametrize("law", LAWS)
def test_every_code_survives_the_way_there_and_back(law: str) -> None:
    codes = bytes(range(256))
    again = g711.encode(g711.decode(codes, law), law)
    np.testing.assert_array_equal(g711.decode(again, law), g711.decode(codes, law))


@pytest.mark.parametrize("law", LAWS)
def test_every_sample_gets_the_nearest_level(law: str) -> None:
    samples = np.arange(-32_768, 32_768)[::37]
    heard = g711.decode(g711.encode((samples / 32_768).astype(np.float32), law), law) * 32_768
    nearest = np.abs(samples[:, None] - g711.LEVELS[law][None]).min(axis=1)
    np.testing.assert_array_equal(np.abs(heard - samples), nearest)


# ---------------------------------------------------------------- base64


def decoded(text: str, format_name: str = "audio/pcm") -> bytes:
    return asyncio.run(decode_base64(text, format_name))


@given(st.integers(0, 5), st.sampled_from([0, 2, 4, 196_606, 196_608, 196_610, 400_000]))
def test_sound_of_any_length_arrives_whole(seed: int, size: int) -> None:
    sound = np.random.default_rng(seed).bytes(size)
    assert decoded(base64.b64encode(sound).decode()) == sound


@given(st.text("AB=*\n -", max_size=12))
def test_base64_is_taken_or_refused_as_the_library_does(text: str) -> None:
    try:
        expected = base64.b64decode(text, validate=True)
    except ValueError:
        expected = None
    if expected is None:
        with pytest.raises(EventError):
            decoded(text, "audio/pcmu")
    else:
        assert decoded(text, "audio/pcmu") == expected


# ---------------------------------------------------------------- rates


@pytest.mark.parametrize("format_name", FORMATS)
@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=8))
def test_incoming_sound_does_not_depend_on_its_pieces(format_name: str, sizes: list[int]) -> None:
    sound = np.random.default_rng(7).bytes(2 * sum(sizes))
    edges = [0, *np.cumsum([2 * size for size in sizes]).tolist()]
    whole, pieces = Incoming(format_name), Incoming(format_name)
    at_once = [whole.push(sound), whole.flush()]
    one_by_one = [*(pieces.push(sound[a:b]) for a, b in pairwise(edges)), pieces.flush()]
    np.testing.assert_array_equal(np.concatenate(at_once), np.concatenate(one_by_one))


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("said_hz", [16_000, 22_050, 24_000, 44_100])
def test_outgoing_sound_is_as_long_as_it_was(format_name: str, said_hz: int) -> None:
    outgoing = Outgoing(said_hz, format_name)
    deltas = [outgoing.push(np.zeros(said_hz // 10, np.float32)) for _ in range(10)] + [outgoing.flush()]
    size = sum(len(base64.b64decode(delta, validate=True)) for delta in deltas)
    assert abs(size - (48_000 if format_name == "audio/pcm" else 8_000)) <= 2


def test_loud_sound_is_clipped_not_wrapped() -> None:
    delta = Outgoing(24_000, "audio/pcm").push(np.array([2.0, -2.0, 1.0], np.float32))
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(delta), "<i2"), [32_767, -32_768, 32_767])


# ---------------------------------------------------------------- what was heard

WORDS = st.lists(st.tuples(st.sampled_from(["one ", "two, ", "three. ", "四五。"]), st.integers(100, 9000)), max_size=6)


@given(WORDS, st.integers(0, 3000), st.integers(0, 3000))
def test_what_was_heard_is_a_beginning_that_grows(words: list[tuple[str, int]], early_ms: int, late_ms: int) -> None:
    spoken = Spoken(24_000)
    spoken.send(early_ms)
    for text, samples in words:
        spoken.begin(text, samples)
        spoken.send(samples)
    early_ms, late_ms = sorted((early_ms, late_ms))
    assert spoken.text.startswith(spoken.heard_text(late_ms))
    assert spoken.heard_text(late_ms).startswith(spoken.heard_text(early_ms))
    assert spoken.heard_text(0) == ""
    assert spoken.heard_text(spoken.duration_ms + 1) == spoken.text.rstrip()


def test_a_text_that_was_cut_is_measured_against_all_of_its_sound() -> None:
    spoken = Spoken(24_000)
    spoken.begin("one two three four", 24_000)
    spoken.send(12_000)
    assert spoken.heard_text(500) == "one two"
    spoken.begin(" five six", 24_000, (Word(0, 5, 0, 300), Word(5, 9, 300, 900)))
    spoken.send(12_000)
    assert spoken.heard_text(950) == "one two three four five"


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 48_000)), max_size=12))
def test_playing_takes_the_time_that_sound_takes(steps: list[tuple[float, int]]) -> None:
    """Against a slow twin that plays sample by sample (in steps of a millisecond)."""
    now_ms, in_hand, played = 0, 0, 0
    playout = Playout(24_000, lambda: now_ms / 1000)
    playout.begin()
    for wait_s, samples in steps:
        for _ in range(round(wait_s * 1000)):
            now_ms += 1
            step = min(in_hand, 24)
            in_hand, played = in_hand - step, played + step
        playout.send(samples)
        in_hand += samples
        assert abs(playout.played_samples - played) <= 24 * (len(steps) + 1)
        assert abs(playout.ahead_s - in_hand / 24_000) <= 0.001 * (len(steps) + 1)


def test_a_resumed_reply_counts_on_from_where_it_stopped() -> None:
    now_s: Any = 5.0
    playout = Playout(1000, lambda: now_s)
    playout.begin(from_samples=300)
    assert playout.played_samples == 300
    playout.send(500)
    now_s = 5.25
    assert playout.played_samples == 550
