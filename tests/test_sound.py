"""Sound in and out: nothing lost, nothing changed, and bad files refused with a reason."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.sound import wav
from duologue.sound.frames import Framer
from duologue.sound.mel import KaldiFbank
from duologue.sound.vad import EnergyVad, SileroVad, Vad, silero
from duologue.sound.wav import Audio, Resampler, SoundError
from duologue.whole import whole_file


def noise(samples: int, seed: int = 0, level: float = 0.1) -> Audio:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def pieces(audio: Audio, sizes: list[int]) -> list[Audio]:
    cuts = np.cumsum(sizes)
    return [piece for piece in np.split(audio, cuts[cuts < len(audio)]) if len(piece)]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    audio = noise(5000)
    for name in ("a.wav", "a.flac"):
        wav.write(tmp_path / name, audio, 16_000)
        np.testing.assert_allclose(wav.read(tmp_path / name, 16_000), audio, atol=1 / 32767)


def test_stereo_is_averaged_and_the_rate_is_changed(tmp_path: Path) -> None:
    left, right = noise(8000, 1), noise(8000, 2)
    wav.write(tmp_path / "s.wav", np.stack((left, right), axis=1), 8000)
    mixed = wav.read(tmp_path / "s.wav", 16_000)
    assert len(mixed) == 16_000
    np.testing.assert_allclose(mixed, soxr.resample((left + right) / 2, 8000, 16_000), atol=1e-3)


def text_file(path: Path) -> None:
    path.write_text("This is not a sound.\n" * 100)


def eight_bit(path: Path) -> None:
    soundfile.write(path, noise(1000), 16_000, subtype="PCM_U8")


def three_channels(path: Path) -> None:
    soundfile.write(path, np.zeros((1000, 3)), 16_000)


def no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 16_000)


def not_a_number(path: Path) -> None:
    audio = noise(1000)
    audio[123] = np.nan
    soundfile.write(path, audio, 16_000, subtype="FLOAT")


def cut_header(path: Path) -> None:
    soundfile.write(path, noise(1000), 16_000)
    path.write_bytes(path.read_bytes()[:20])


def cut_samples(path: Path) -> None:
    soundfile.write(path, noise(1000), 16_000, format="FLAC")
    path.write_bytes(path.read_bytes()[:900])


def nothing_at_all(path: Path) -> None:
    path.write_bytes(b"")


def header_that_lies(path: Path) -> None:
    soundfile.write(path, noise(1000), 16_000)
    data = bytearray(path.read_bytes())
    data[22:24] = struct.pack("<H", 0)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (text_file, "not a sound file"),
        (eight_bit, "8-bit"),
        (three_channels, "3 channels"),
        (no_samples, "no samples"),
        (not_a_number, "sample 123 is NaN"),
        (cut_header, "not a sound file"),
        (cut_samples, "cut short|not a sound file"),
        (nothing_at_all, "not a sound file"),
        (header_that_lies, "not a sound file"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_a_reason(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    path = tmp_path / "bad.wav"
    spoil(path)
    with pytest.raises(SoundError, match=reason) as refusal:
        wav.read(path, 16_000)
    assert "bad.wav" in str(refusal.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        wav.read(tmp_path / "none.wav", 16_000)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    wav.write(path, noise(100), 16_000)
    before = path.read_bytes()

    def disk_full(file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        whole_file(path, disk_full)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@given(st.lists(st.integers(1, 700), max_size=20), st.integers(1, 600))
def test_frames_lose_nothing_whatever_the_chunks(sizes: list[int], frame_samples: int) -> None:
    audio, framer = noise(sum(sizes)), Framer(frame_samples)
    frames = [framer.push(chunk) for chunk in pieces(audio, sizes)] + [framer.flush()]
    joined = np.concatenate(frames).reshape(-1)
    np.testing.assert_array_equal(joined[: len(audio)], audio)
    assert len(joined) - len(audio) < frame_samples
    assert not joined[len(audio) :].any()


@settings(max_examples=30)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=8), st.sampled_from([(24_000, 16_000), (8000, 16_000)]))
def test_resampling_in_pieces_is_resampling_whole(sizes: list[int], rates: tuple[int, int]) -> None:
    audio, resampler = noise(sum(sizes)), Resampler(*rates)
    streamed = np.concatenate([resampler.push(chunk) for chunk in pieces(audio, sizes)] + [resampler.flush()])
    np.testing.assert_allclose(streamed, soxr.resample(audio, *rates), atol=1e-5)


def test_the_filter_bank_in_pieces_is_the_filter_bank_whole() -> None:
    audio, streamed = noise(16_000), KaldiFbank()
    frames = np.concatenate([streamed.push(piece) for piece in pieces(audio, [333] * 60)])
    np.testing.assert_array_equal(frames, KaldiFbank().push(audio))
    assert frames.shape == (98, 80)


@pytest.mark.parametrize("vad", [silero(), EnergyVad()])
def test_a_vad_is_a_function_of_what_its_caller_said(vad: Vad) -> None:
    windows = noise(512 * 40).reshape(-1, 512)
    alone, first, second = vad.start(), vad.start(), vad.start()
    for window in windows:
        p_alone, alone = vad.probability(window, alone)
        p_first, first = vad.probability(window, first)
        _, second = vad.probability(-0.5 * window, second)
        assert p_alone == p_first
        assert 0 <= p_alone <= 1


@pytest.mark.parametrize("vad", [silero(), EnergyVad()])
def test_people_are_told_from_silence(vad: Vad, shared: Path) -> None:
    spoken = wav.read(shared / "data/audio/fixtures/jfk.flac", 16_000)
    hush = 0.001 * noise(16_000 * 2)
    assert share_of_speech(vad, spoken) > 0.5
    assert share_of_speech(vad, hush) < 0.05


def share_of_speech(vad: Vad, audio: Audio) -> float:
    state, found = vad.start(), []
    for window in Framer(512).push(audio):
        probability, state = vad.probability(window, state)
        found.append(probability > 0.5)
    return float(np.mean(found))


@pytest.mark.filterwarnings("ignore:`torch.jit.load`:DeprecationWarning")
def test_silero_agrees_with_its_own_package(shared: Path) -> None:
    import torch
    from silero_vad import load_silero_vad

    theirs, ours = load_silero_vad(onnx=False), SileroVad()
    state = ours.start()
    for window in Framer(512).push(wav.read(shared / "data/audio/fixtures/goforward.flac", 16_000)):
        probability, state = ours.probability(window, state)
        assert probability == pytest.approx(theirs(torch.from_numpy(window), 16_000).item(), abs=1e-3)
