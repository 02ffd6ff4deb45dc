"""HuBERT as the sound comes: the same units however it is cut, each look bounded; a codec of it in a folder."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from duologue.units import hifigan, hubert_codec
from duologue.units.codec import decode_whole, encode_whole, refuse_unless_live
from duologue.units.hubert import HubertUnitsConfig
from duologue.units.hubert_codec import CLUSTERS, UNITS, HubertCodec, HubertCodecConfig
from duologue.units.hubert_live import HubertLive, Window
from small_hubert import CODES, UNIT, VOICE, codec, kept_hubert, kept_voice, live, vocoder, whole
from test_hubert import sound

windows = st.builds(Window, st.integers(0, 5), st.integers(1, 4), st.integers(0, 3))


def rows(samples: int) -> Tensor:
    return torch.stack([sound(samples, 1), sound(samples, 2)])


# ---------------------------------------------------------------- units


@settings(deadline=None, max_examples=25)
@given(windows, st.lists(st.integers(0, 4000), max_size=6), st.integers(0, 3000))
def test_units_do_not_depend_on_how_the_sound_was_cut(window: Window, cuts: list[int], rest: int) -> None:
    encoder, audio = HubertLive(whole(), window), rows(sum(cuts) + rest)
    state, start, found = encoder.start_encoder(2), 0, list[Tensor]()
    for cut in cuts:
        found.append(encoder.encode(audio[:, start : start + cut], state))
        start += cut
    found.append(encoder.encode(audio[:, start:], state, last=True))
    assert torch.equal(torch.cat(found, -1), encode_whole(encoder, audio))
    assert torch.cat(found, -1).shape == (2, 1, math.ceil(audio.shape[-1] / UNIT))
    assert [tensor.shape for tensor in state.tensors] == [(2, 0), (2, 0)]


@settings(deadline=None, max_examples=15)
@given(windows)
def test_a_block_has_the_units_of_its_look(window: Window) -> None:
    """The slow twin: nothing is known of a block but the sound from `past` before it to `ahead` behind it."""
    audio, (past, block, ahead) = sound(14 * UNIT), (window.past_units, window.block_units, window.ahead_units)
    units = encode_whole(HubertLive(whole(), window), audio[None])[0, 0]
    for start in range(0, 14 - block - ahead + 1, block):
        first = max(0, start - past)
        look = whole().units(audio[first * UNIT : (start + block + ahead) * UNIT])
        assert torch.equal(units[start : start + block], look[start - first :][:block])


def test_who_waits_for_everything_hears_as_the_whole_look_does() -> None:
    audio = sound(9 * UNIT + 100)
    assert torch.equal(encode_whole(live(block_units=20), audio[None])[0, 0], whole().units(audio))


def test_a_unit_waits_as_long_as_is_said_and_a_chunk_for_the_look_ahead_alone() -> None:
    encoder, known = live(block_units=4, ahead_units=2), list[int]()
    state = encoder.start_encoder(1)
    for _ in range(14):
        known.append(encoder.encode(torch.zeros(1, UNIT), state).shape[-1])
    assert known == [0] * 5 + [4, 0, 0, 0] * 2 + [4]
    assert encoder.heard_ahead_s * 25 == 5
    assert refuse_unless_live(codec(), 4, 4) == 2
    assert refuse_unless_live(codec(), 8, 2) == 2


def test_an_hour_costs_what_a_minute_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look for each block, never longer than past, block and what is behind it; so is what is remembered."""
    looked = list[int]()
    encoder = live(past_units=6, block_units=4, ahead_units=2)

    def units(audio: Tensor) -> Tensor:
        looked.append(len(audio) // UNIT)
        return torch.zeros(len(audio) // UNIT, dtype=torch.int64)

    monkeypatch.setattr(encoder, "whole", type("Spy", (), {"units": staticmethod(units)}))
    state = encoder.start_encoder(1)
    for _ in range(200):
        encoder.encode(torch.zeros(1, UNIT), state)
        assert sum(tensor.shape[-1] for tensor in state.tensors) < 12 * UNIT
    assert looked == [6, 10, *[12] * 47]


def test_what_is_no_window_or_no_sound_is_refused() -> None:
    for wrong in ({"past_units": -1}, {"block_units": 0}, {"ahead_units": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*: give"):
            Window(**wrong)
    with pytest.raises(ValueError, match=r"give \[B, N\]"):
        live().encode(torch.zeros(640), live().start_encoder(1))


# ---------------------------------------------------------------- a codec


def test_a_block_that_is_no_part_of_a_chunk_and_too_little_latency_are_refused() -> None:
    with pytest.raises(ValueError, match="knows a chunk more than 40 ms after its end: take a greater latency"):
        refuse_unless_live(codec(ahead_units=2), 4, 1)
    with pytest.raises(ValueError, match="the sound of 8 units gives 6 units instead of 4"):
        refuse_unless_live(HubertCodec(live(block_units=3, ahead_units=2), vocoder()), 4, 4)


def test_units_sound_as_long_as_they_last() -> None:
    """A frame of the vocoder for each, no durations predicted; in step as at once."""
    found, units = codec(), torch.randint(CODES, (1, 1, 12), generator=torch.Generator().manual_seed(0))
    said = decode_whole(found, units)
    assert said.shape == (1, 12 * UNIT)
    quiet = torch.full((1, 1, found.ahead_units), found.silence[0])
    at_once = vocoder()(torch.cat([units, quiet], -1))[:, : 12 * UNIT]
    torch.testing.assert_close(said, at_once, atol=1e-5, rtol=0)
    assert (found.said_hz, found.unit_samples, found.silence) == (16_000, UNIT, live().silence)


def test_a_voice_of_other_units_is_refused() -> None:
    for other in (replace(VOICE, codes=CODES + 1), replace(VOICE, rates=(8, 4, 10), up_taps=(16, 8, 20))):
        with pytest.raises(ValueError, match="give a unit HiFi-GAN that was trained with these units"):
            HubertCodec(live(), vocoder(other))


def test_a_folder_says_which_units_it_has(tmp_path: Path) -> None:
    """The clusters lie in it; HuBERT and the voice are found from anywhere."""
    source, centres_file = kept_hubert(tmp_path)
    config = HubertUnitsConfig(str(source), str(centres_file), layer=2)
    (tmp_path / "model").mkdir()
    kept = HubertCodecConfig(config, live().window, str(kept_voice(tmp_path / "voice")))
    hubert_codec.keep(tmp_path / "model", kept, (3,))
    centres_file.unlink()
    found, audio = hubert_codec.load(tmp_path / "model"), sound(8000)[None]
    assert torch.equal(encode_whole(found, audio), encode_whole(live(), audio))
    assert found.silence == (3,)
    units = torch.zeros(1, 1, 5, dtype=torch.int64)
    torch.testing.assert_close(found.vocoder(units), vocoder()(units), atol=1e-5, rtol=0)

    hubert_codec.keep(
        tmp_path / "model",
        replace(kept, voice=None, hubert=replace(config, clusters=str(tmp_path / "model" / CLUSTERS))),
        (3,),
    )
    with pytest.raises(ValueError, match="model has no voice: give --voice, the folder of a unit HiFi-GAN"):
        hubert_codec.load(tmp_path / "model")
    assert hubert_codec.load(tmp_path / "model", tmp_path / "voice").said_hz == 16_000
    (tmp_path / "model" / UNITS).write_text('{"hubert": {}}')
    with pytest.raises(ValueError, match=r"hubert_units\.json does not say which units"):
        hubert_codec.load(tmp_path / "model")


def test_a_voice_is_one_file_of_weights_with_its_sizes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no unit HiFi-GAN: give a folder with its config.json"):
        hifigan.of_folder(tmp_path)
    voice = kept_voice(tmp_path / "voice")
    (voice / "other.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"several files of weights \(g_00500000, other\.pt\)"):
        hifigan.of_folder(voice)
