"""Recordings as units: where what is said lies, and what is kept of it on the disk."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from duologue.data.encode import (
    BEFORE_UNITS,
    Encoded,
    Heard,
    Stretch,
    encode,
    read,
    spoken_words,
    units_of,
    write,
)
from duologue.sound import Audio, wav
from small_units import UNIT, tokenizer

UNIT_S = 0.04


class Timer:
    """The small tokenizer; it says that each word ends in the unit of its number, and remembers what it was asked."""

    heard_hz, unit_hz, books, heard_ahead_s = 16_000, 25.0, 1, 0.0

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], list[str]]] = []

    @property
    def codes(self) -> int:
        return tokenizer().codes

    @property
    def silence(self) -> tuple[int, ...]:
        return tokenizer().silence

    def start_encoder(self, batch: int) -> Any:
        return tokenizer().start_encoder(batch)

    def encode(self, audio: Tensor, state: Any, last: bool = False) -> Tensor:
        return tokenizer().encode(audio, state, last)

    def word_ends(self, codes: Tensor, words: Sequence[str]) -> list[int]:
        self.asked.append((codes.tolist(), list(words)))
        return list(range(len(words)))


def recorded(units: int, seed: int = 0) -> Audio:
    """Two channels of noise."""
    return np.random.default_rng(seed).normal(0, 0.1, (units * UNIT, 2)).astype(np.float32)


def encoded(*said: Heard, units: int = 40) -> Encoded:
    return encode("some", recorded(units), said, Timer())


# ---------------------------------------------------------------- places


def test_the_user_is_encoded_as_it_will_be_heard_live() -> None:
    """Unit by unit, with a state, as a session hears it: the same units."""
    sound, live = recorded(30), tokenizer().start_encoder(1)
    frames = np.split(sound[:, 0], 30)
    heard = [int(tokenizer().encode(torch.from_numpy(frame.copy())[None], live)[0, 0, 0]) for frame in frames]
    found = encode("some", sound, (), Timer())
    assert list(found.user) == heard
    assert len(set(heard)) > 1, "the units are all the same: nothing is tested"


@settings(max_examples=40)
@given(st.integers(0, 1500), st.integers(1, 900))
def test_a_stretch_holds_every_unit_that_it_touches_and_no_other(start_ms: int, lasts_ms: int) -> None:
    """Times are whole milliseconds, a unit is 40 of them."""
    end_ms = min(start_ms + lasts_ms, 1600)
    touched = [unit for unit in range(40) if unit * 40 < end_ms and (unit + 1) * 40 > start_ms]
    user = Heard("user", start_ms / 1000, end_ms / 1000, "yes", 0)
    found = encoded(user, Heard("assistant", start_ms / 1000, end_ms / 1000, "no", 1))
    mine, theirs = found.stretches
    assert list(range(mine.start, mine.start + len(mine.units))) == touched
    assert mine.units == found.user[mine.start : mine.start + len(mine.units)]
    assert theirs.start == mine.start
    assert len(theirs.units) == -(-(end_ms - start_ms) // 40)


def test_on_long_recordings_places_are_exact_too() -> None:
    """The borders of units are no whole numbers of seconds: 1.16 * 25 is a little less than 29."""
    for unit in range(1, 200):
        at = Heard("user", unit * 40 / 1000, (unit + 1) * 40 / 1000, "")
        (stretch,) = encode("some", np.zeros((202 * UNIT, 2), np.float32), [at], _Quick()).stretches
        assert (stretch.start, len(stretch.units)) == (unit, 1)


class _Quick(Timer):
    """A unit is the number of its place."""

    def encode(self, audio: Tensor, state: Any, last: bool = False) -> Tensor:
        return torch.arange(audio.shape[1] // UNIT).expand(len(audio), 1, -1)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_what_the_assistant_says_has_the_same_units_wherever_it_lies(start_ms: int) -> None:
    """Those of its sound alone, after a little silence, as a decoder begins."""
    spoken, sound = recorded(10)[:, 1], np.zeros((40 * UNIT, 2), np.float32)
    onset = start_ms * UNIT // 40
    sound[onset : onset + len(spoken), 1] = spoken
    said = Heard("assistant", start_ms / 1000, start_ms / 1000 + 10 * UNIT_S, "yes", 1)
    (stretch,) = encode("some", sound, [said], Timer()).stretches
    alone = units_of(np.concatenate((np.zeros(BEFORE_UNITS * UNIT, np.float32), spoken)), Timer())[BEFORE_UNITS:]
    assert (stretch.start, stretch.units) == (start_ms // 40, tuple(alone))


def test_words_end_where_the_recogniser_says_counted_from_the_beginning_of_the_recording() -> None:
    timer = Timer()
    said = [
        Heard("user", 10 * UNIT_S, 20 * UNIT_S, "What's 2 plus, two?", 0),
        Heard("assistant", 0.9, 1.2, "four", 1),
    ]
    found = encode("some", recorded(40), said, timer)
    user, assistant = found.stretches
    assert timer.asked == [(list(user.units), ["what's", "plus", "two"])]
    assert user.ends == (10, 11, 12)
    assert assistant.ends == ()


def test_real_word_ends_lie_in_the_stretch_in_order() -> None:
    said = Heard("user", 5 * UNIT_S, 35 * UNIT_S, "what is two plus two", 0)
    (stretch,) = encode("some", recorded(40), [said], tokenizer()).stretches
    assert len(stretch.ends) == 5
    assert list(stretch.ends) == sorted(stretch.ends)
    assert all(5 <= end < 35 for end in stretch.ends)


def test_more_words_than_there_is_room_for_are_spread_evenly() -> None:
    text = "one two three four five six"
    (stretch,) = encode("some", recorded(10), [Heard("user", 0.0, 3 * UNIT_S, text, 0)], tokenizer()).stretches
    assert len(stretch.ends) == 6
    assert list(stretch.ends) == sorted(stretch.ends)
    assert all(0 <= end < 3 for end in stretch.ends)


def test_an_encoder_that_does_not_know_words_has_them_spread_evenly() -> None:
    """S3, HuBERT: by the letters and spaces before their ends, the last one in the last unit."""
    encoder: Any = SimpleNamespace(
        heard_hz=16_000, unit_hz=25.0, encode=Timer().encode, start_encoder=Timer().start_encoder
    )
    said = [Heard("user", 0.2, 0.2 + 19 * UNIT_S, "what is two plus", 0), Heard("user", 1.2, 1.4, "12", 2)]
    found, figures = encode("some", recorded(40), said, encoder).stretches
    assert [end - found.start for end in found.ends] == [4, 7, 12, 18]
    assert figures.ends == ()
    assert found.units == encoded(*said).stretches[0].units


@pytest.mark.parametrize("speaker", ["user", "assistant"])
def test_text_without_sound_has_no_units_and_no_words_in_time(speaker: Any) -> None:
    (stretch,) = encode("some", recorded(10), [Heard(speaker, 0.2, 0.2, "only written", 1)], tokenizer()).stretches
    assert stretch == Stretch(speaker, 5, (), "only written", (), 1)


def test_what_was_told_of_a_stretch_is_kept() -> None:
    found = encoded(Heard("assistant", 0.4, 0.8, "well <call> dial number = 3 </call>", 3, cut=True))
    (stretch,) = found.stretches
    assert (stretch.text, stretch.turn, stretch.cut) == ("well <call> dial number = 3 </call>", 3, True)
    assert found.name == "some"


def test_spoken_words() -> None:
    assert spoken_words("It's 5 o'clock, Ann — 10:30?") == ["it's", "o'clock", "ann"]
    assert spoken_words(" 12 ") == []


def test_a_recording_at_another_rate_is_brought_to_the_encoders_channel_by_channel(tmp_path: Path) -> None:
    at = np.arange(48_000) / 48_000
    both = np.stack([0.5 * np.sin(2 * np.pi * hz * at) for hz in (300, 700)], axis=1).astype(np.float32)
    wav.write(tmp_path / "two.wav", both, 48_000)
    sound = wav.read_channels(tmp_path / "two.wav", 16_000)
    assert sound.shape == (16_000, 2)
    np.testing.assert_allclose(sound[2_000:-2_000], both[6_000:-6_000:3], atol=2e-3)
    np.testing.assert_allclose(wav.read(tmp_path / "two.wav", 16_000), sound.mean(axis=1), atol=1e-6)
    with pytest.raises(FileNotFoundError, match=r"none\.wav: there is no such file"):
        wav.read_channels(tmp_path / "none.wav", 16_000)


# ---------------------------------------------------------------- on the disk

UNITS = st.lists(st.integers(0, 999), max_size=5).map(tuple)
STRETCHES = st.builds(
    Stretch,
    st.sampled_from(["user", "assistant"]),
    st.integers(0, 99),
    UNITS,
    st.text(max_size=9),
    UNITS,
    st.none() | st.integers(0, 9),
    st.booleans(),
)
ROWS = st.lists(st.builds(Encoded, st.text(max_size=5), UNITS, st.lists(STRETCHES, max_size=3).map(tuple)), max_size=4)


@given(ROWS)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Encoded]) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write(path, rows)
    assert list(read(path)) == rows
    assert all(Encoded.from_json(json.loads(json.dumps(asdict(row)))) == row for row in rows)
    assert len(path.read_text().split("\n")) == len(rows) + 1


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "{",
        "3",
        "[]",
        '{"name": "x"}',
        '{"name": "x", "user": 3, "stretches": []}',
        '{"name": "x", "user": [], "stretches": [{"speaker": "user"}]}',
        '{"name": "x", "user": ["a"], "stretches": []}',
        '{"name": "x", "user": [1, -1], "stretches": []}',
        '{"name": "x", "user": [0.5], "stretches": []}',
        '{"name": "\udcff", "user": [], "stretches": []}',
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "rows.jsonl"
    write(path, [encoded(), encoded()])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], bad, lines[1]]) + "\n", errors="surrogateescape")
    rows = read(path)
    assert next(rows) == encoded()
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: no encoded conversation .*; encode it again"):
        next(rows)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_sound_that_is_none_is_refused(wrong: float) -> None:
    sound = recorded(4)[:, 0].copy()
    sound[3] = wrong
    with pytest.raises(ValueError, match="sample 3 is NaN or infinite"):
        units_of(sound, tokenizer())
    with pytest.raises(ValueError, match="type int16: give float32"):
        units_of((recorded(4)[:, 0] * 1000).astype(np.int16), tokenizer())
    for bad in (torch.from_numpy(sound), torch.zeros(640, dtype=torch.int16)):
        with pytest.raises(ValueError, match="give finite float32"):
            tokenizer().encode(bad[None], tokenizer().start_encoder(1))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl"):
        list(read(tmp_path / "none.jsonl"))


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk, and where a row cannot be made: what was there before is there still, and nothing else."""
    path = tmp_path / "rows.jsonl"
    write(path, [encoded()])
    before = path.read_bytes()

    def broken() -> Any:
        yield encoded()
        raise RuntimeError("no such recording")

    with pytest.raises(RuntimeError, match="no such recording"):
        write(path, broken())

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*rows\.jsonl'"):
            write(path, [encoded(), encoded()])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
