"""Voices, rooms, noise and screening: what each promises about the samples."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import need
from duologue.desk.questions import Split
from duologue.desk.rules import LANGUAGES
from duologue.engines.asr import Transcript
from duologue.session import HEARD_HZ, Audio
from duologue.sound import wav
from duologue.synthesis import screen
from duologue.synthesis.mix import (
    PEAK,
    Noise,
    Room,
    below_peak,
    in_room,
    noise_samples,
    noises,
    track,
    with_noise,
)
from duologue.synthesis.placing import Event
from duologue.synthesis.plan import Plan
from duologue.synthesis.scene import Scene
from duologue.synthesis.voice import FRAME_SAMPLES, VOICES, Manner, speak, trimmed, voices


def power_db(sound: NDArray[np.floating]) -> float:
    return float(10 * np.log10(np.square(sound, dtype=np.float64).mean()))


def tone(samples: int, hz: float = 200.0) -> Audio:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(samples) / HEARD_HZ)).astype(np.float32)


# ---------------------------------------------------------------- voices

TEST_ONLY = ("awb", "+f5", "+m7", "+klatt4")


def test_no_test_voice_is_for_training_and_none_is_for_both() -> None:
    for language in LANGUAGES:
        train, test = (set(voices(split, language)) for split in get_args(Split))
        assert len(test) >= 3
        assert not train & test
        assert not [name for name in train if name.endswith(TEST_ONLY)]
        assert all(name.endswith(TEST_ONLY) for name in test)
    assert len(VOICES) == len({voice.name for voice in VOICES})


@pytest.mark.parametrize("name", [voice.name for voice in VOICES if voice.split == "test"])
def test_a_test_voice_cannot_be_named_for_training(name: str) -> None:
    with pytest.raises(ValueError, match="is for test only"):
        Plan(1, voices=(name,), language=None)
    with pytest.raises(ValueError, match="is for train only"):
        Plan(1, split="test", voices=("espeak:en-us",))
    with pytest.raises(ValueError, match="is for test only"):
        Plan(1, split="test", language=None, assistant=(name, "espeak:cmn"))


@pytest.mark.parametrize("name", ["espeak:xx", "awb", "flite:awb_time", ""])
def test_what_is_no_voice_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(ValueError, match=r"is no voice; .* flite:slt"):
        Plan(1, voices=(name,))


def test_a_language_without_a_voice_is_told() -> None:
    with pytest.raises(ValueError, match="no voice for 'zh' was named; name one of espeak:cmn"):
        Plan(1, voices=("flite:slt",), language="zh")


def test_pitch_speeds_up_and_raises() -> None:
    need(shutil.which("espeak-ng") is not None, "espeak-ng")
    low, high = (speak(Manner("espeak:en-us", pitch=pitch), "good morning") for pitch in (1.0, 1.25))
    assert len(low) / len(high) == pytest.approx(1.25, abs=0.04)
    assert len(low) % FRAME_SAMPLES == len(high) % FRAME_SAMPLES == 0
    np.testing.assert_array_equal(low, speak(Manner("espeak:en-us"), "good morning"))
    slow = speak(Manner("espeak:en-us", words_per_minute=110), "good morning")
    assert len(slow) > 1.2 * len(low)


@given(st.integers(0, 2000), st.integers(FRAME_SAMPLES * 2, 3000), st.integers(0, 2000))
def test_trimming_leaves_the_speech(before: int, samples: int, after: int) -> None:
    speech = np.ones(samples, np.float32)
    left = trimmed(np.concatenate((np.zeros(before, np.float32), speech, np.zeros(after, np.float32))))
    assert left.sum() == samples
    assert samples <= len(left) < samples + 2 * FRAME_SAMPLES
    assert not len(trimmed(np.zeros(before, np.float32)))


# ---------------------------------------------------------------- placing


@given(st.data())
def test_a_track_has_each_clip_in_its_place_at_its_level(data: st.DataObject) -> None:
    starts = np.cumsum(data.draw(st.lists(st.integers(2000, 4000), min_size=1, max_size=4))).tolist()
    clips = [(tone(1600, 200), start, start + 1600) for start in starts]
    channel, active = track(clips, starts[-1] + 3000, level_db=-25)
    assert not channel[~active].any()
    assert int(active.sum()) == 1600 * len(starts)
    for _, start, end in clips:
        assert power_db(channel[start:end]) == pytest.approx(-25, abs=0.01)


def test_a_clip_is_cut_with_a_fade_and_never_stretched() -> None:
    channel, _ = track([(tone(8000), 0, 4000)], 8000, level_db=-20)
    assert not channel[4000:].any()
    assert np.abs(channel[3990:4000]).max() < 0.1 * np.abs(channel).max()
    with pytest.raises(ValueError, match="a clip of 100 samples cannot fill 0 to 200"):
        track([(tone(100), 0, 200)], 400, level_db=-20)


def test_a_room_is_a_convolution_with_a_decay() -> None:
    sound = np.random.default_rng(0).standard_normal(3000).astype(np.float32)
    room = Room(reverb_s=0.05, direct_db=10, seed=3)
    click = np.zeros(3000, np.float32)
    click[0] = 1
    response = in_room(click, room)
    np.testing.assert_allclose(in_room(sound, room), np.convolve(sound, response)[:3000], atol=1e-4)
    assert response[0] == pytest.approx(1, abs=1e-5)
    assert 10 * np.log10(np.square(response[1:]).sum()) == pytest.approx(-10, abs=0.01)
    assert not np.abs(response[801:]).max() > 1e-6
    early, late = np.square(response[1:201]).mean(), np.square(response[401:601]).mean()
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=4), "60 dB in 800 samples"
    np.testing.assert_array_equal(response, in_room(click, room))


@given(st.floats(-30, 30))
def test_what_would_clip_is_made_softer_as_a_whole(gain_db: float) -> None:
    sound = tone(1000) * np.float32(10 ** (gain_db / 20))
    softer = below_peak(sound)
    assert np.abs(softer).max() <= PEAK + 1e-6
    ratio = softer[1:100] / sound[1:100]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


# ---------------------------------------------------------------- noise


@given(st.floats(-10, 40), st.floats(0, 2), st.integers(0, 2**31), st.integers(500, 12_000))
def test_the_ratio_is_as_asked(snr_db: float, colour: float, seed: int, speech_samples: int) -> None:
    active = np.zeros(16_000, np.bool_)
    active[2000 : 2000 + speech_samples] = True
    speech = np.where(active, tone(16_000), 0).astype(np.float32)
    noise = noise_samples(Noise(snr_db, colour=colour, seed=seed), None, 16_000)
    added = with_noise(speech, active, noise, snr_db) - speech
    assert power_db(speech[active]) - power_db(added) == pytest.approx(snr_db, abs=0.1)


def test_colours_fall_as_they_should() -> None:
    for colour, fall_db in ((0.0, 0.0), (1.0, 10.0), (2.0, 20.0)):
        spectrum = np.square(np.abs(np.fft.rfft(noise_samples(Noise(0, colour=colour), None, 160_000))))
        low, high = spectrum[3000:5000].mean(), spectrum[30_000:50_000].mean()
        assert 10 * np.log10(low / high) == pytest.approx(fall_db, abs=1), "per tenfold frequency"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """59 noises of a second and a recording of speech; all but the last tenth of each is silent."""
    rows = []
    for n in range(60):
        sound = np.zeros(16_000, np.float32)
        sound[14_400:] = tone(1600, 100 + n)
        wav.write(tmp_path / f"{n}.wav", sound, HEARD_HZ)
        rows.append({"path": f"{n}.wav", "kind": "noise" if n < 59 else "speech"})
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_noises_are_those_of_the_manifest_and_some_are_for_testing_only(folder: Path) -> None:
    train, test = noises(folder, "train"), noises(folder, "test")
    assert sorted((*train, *test)) == sorted(f"{n}.wav" for n in range(59))
    assert 1 <= len(test) < len(train) / 3


def test_a_noise_goes_round_and_is_never_silent(folder: Path) -> None:
    noise = noise_samples(Noise(10, "3.wav", start_s=0.85), folder, 40_000)
    recording = wav.read(folder / "3.wav", HEARD_HZ)
    np.testing.assert_array_equal(noise[:2400], recording[13_600:])
    np.testing.assert_array_equal(noise[2400:18_400], recording)
    assert noise_samples(Noise(10, "3.wav", start_s=0.1), folder, 4000).any()


def test_noise_without_its_folder_and_folders_without_noise_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name the folder"):
        noise_samples(Noise(10, "3.wav"), None, 10)
    with pytest.raises(FileNotFoundError, match="no such manifest"):
        noises(tmp_path, "train")
    (tmp_path / "manifest.jsonl").write_text("")
    with pytest.raises(ValueError, match="no noise for train"):
        noises(tmp_path, "train")
    with pytest.raises(ValueError, match="the noise is silent"):
        with_noise(tone(10), np.ones(10, np.bool_), np.zeros(10, np.float32), 10)


# ---------------------------------------------------------------- screening


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("What is twelve plus seven?", None),
        ("十加二是多少？", None),
        (" ".join(["word"] * 200), None),
        (" ".join(["word"] * 201), "201 words"),
        ("字" * 201, "201 words"),
        ("x = {y}", "'=' cannot be said"),
        ("hello 😀", "cannot be said"),
        ("?!", "nothing to say"),
    ],
)
def test_texts_that_cannot_be_spoken_are_dropped(text: str, fault: str | None) -> None:
    found = screen.text_fault(text)
    assert (found is None) if fault is None else fault in str(found)


@pytest.mark.parametrize(
    ("sound", "fault"),
    [
        (tone(1600), None),
        (np.stack((tone(1600), tone(1600)), axis=1), None),
        (np.stack((tone(1600), tone(1600) * 0), axis=1), "silent"),
        (tone(1600) * np.float32(0.001), "silent"),
        (tone(0), "no samples"),
        (tone(1600) * np.float32(np.nan), "no numbers"),
        (np.clip(tone(1600) * 10, -1, 1), "clipped"),
    ],
)
def test_sounds_that_are_none_are_dropped(sound: Audio, fault: str | None) -> None:
    found = screen.sound_fault(sound)
    assert (found is None) if fault is None else fault in str(found)


def scene(*events: Event) -> Scene:
    return Scene(10.0, {}, events, -20)


@pytest.mark.parametrize(("lasts_s", "dropped"), [(0.1, True), (1.2, False), (60.0, True)])
def test_speech_of_no_possible_pace_is_dropped(lasts_s: float, dropped: bool) -> None:
    text = "what is twelve plus seven"
    assert bool(screen.pace_fault(scene(Event("user", 0, lasts_s, text, text)))) is dropped


class Hears:
    """A recogniser that always hears the same, and keeps what it was given."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.given: list[Audio] = []

    def transcribe(self, audio: Audio) -> Transcript:
        self.given.append(audio)
        return Transcript(self.text)


SAID = scene(
    Event("user", 0.5, 1.0, "what is twelve", "what is twelve,", turn=0),
    Event("user", 1.5, 2.0, "plus seven", "plus seven?", turn=0),
    Event("assistant", 2.0, 3.0, "Nineteen.", "Nineteen.", turn=1),
    Event("user", 2.4, 2.6, "yeah", "yeah", "back_channel", turn=1),
)


@pytest.mark.parametrize(
    ("heard", "dropped"),
    [
        ("what is twelve plus seven", False),
        ("What is twelve plus eleven?", False),
        ("what was two plus seven", True),
        ("", True),
    ],
)
def test_what_the_recogniser_does_not_follow_is_dropped(heard: str, dropped: bool) -> None:
    sound = np.stack((tone(48_000), np.zeros(48_000, np.float32)), axis=1)
    asr = Hears(heard)
    assert bool(screen.words_fault(SAID, sound, asr)) is dropped
    (whole_turn,) = asr.given
    assert len(whole_turn) == 1.5 * HEARD_HZ + 2 * screen.EDGE_SAMPLES
    np.testing.assert_array_equal(whole_turn[screen.EDGE_SAMPLES : -screen.EDGE_SAMPLES], sound[8000:32_000, 0])


def test_errors_are_counted_in_words_or_in_characters() -> None:
    assert screen.error_rate("What's two?", "what's  two") == 0
    assert screen.error_rate("one two three four", "one two three") == 0.25
    assert screen.error_rate("十加二是多少", "十加三是多少？") == pytest.approx(1 / 6)
