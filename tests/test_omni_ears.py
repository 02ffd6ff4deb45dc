"""Qwen2.5-Omni's encoder as ears: bit by bit it hears what it hears at once, whoever gets louder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.model.omni_ears import LogMel, log_mel
from duologue.model.picking import Picking
from duologue.sound import Audio
from duologue.sound.mel import whisper_log_mel
from small_fun_audio_chat import voice, windows

EARS = windows()
laws = settings(max_examples=30)
CUTS = st.lists(st.integers(0, 30_000), max_size=8)


def parts(audio: Audio, cuts: list[int]) -> list[Audio]:
    return np.split(audio, sorted(cut for cut in cuts if cut < len(audio)))


def growing(samples: int, seed: int, times: float) -> Audio:
    """Somebody who is `times` as loud from the middle on."""
    audio = voice(samples / 16_000 + 0.1, seed)[:samples]
    audio[samples // 2 :] *= times
    return audio


@laws
@given(samples=st.integers(1, 30_000), seed=st.integers(0, 99), cuts=CUTS, times=st.sampled_from([1, 30, 1000]))
def test_heard_bit_by_bit_is_heard_at_once(samples: int, seed: int, cuts: list[int], times: float) -> None:
    audio, hearing = growing(samples, seed, times), EARS.start()
    states = EARS.nothing
    for part in parts(audio, cuts):
        heard = hearing.push(part)
        states = torch.cat([states[: heard.stand], heard.states])
    heard = hearing.push(audio[:0], last=True)
    states = torch.cat([states[: heard.stand], heard.states])
    torch.testing.assert_close(states, EARS.hear(audio), atol=1e-5, rtol=0)


def test_windows_are_heard_again_only_where_the_floor_rises_over_them() -> None:
    """Nothing that was given before is taken back but for a louder moment; then all that has anything below it is."""
    audio = growing(24_000, 1, 1)
    for times, stands in ((1.0, True), (1000.0, False)):
        hearing = EARS.start()
        before = hearing.push(audio[:16_000])
        after = hearing.push(audio[16_000:] * np.float32(times))
        assert len(before.states) == 20
        assert (after.stand == 20) is stands


@laws
@given(samples=st.integers(1, 30_000), seed=st.integers(0, 99), cuts=CUTS)
def test_the_spectrum_is_that_of_whisper(samples: int, seed: int, cuts: list[int]) -> None:
    audio = voice(samples / 16_000 + 0.1, seed)[:samples]
    frames = -(-samples // 160)
    whole = log_mel(audio, 80)
    np.testing.assert_allclose(whole.numpy(), whisper_log_mel(audio, 80)[:frames], atol=1e-5)
    mel = LogMel(80)
    pieces = [mel.push(part) for part in parts(audio, cuts)]
    powers = torch.cat([*pieces, mel.push(audio[:0], last=True)])
    torch.testing.assert_close((powers.clamp(min=float(powers.max()) - 8) + 4) / 4, whole, atol=1e-5, rtol=0)


def test_recordings_beside_each_other_are_heard_as_alone() -> None:
    spectra = [log_mel(voice(seconds, seed=1), 80) for seconds in (0.73, 0.4, 0.02, 0.01, 1.21)]
    with torch.no_grad():
        together = EARS([*spectra, torch.zeros(0, 80)])
        alone = [EARS([spectrum])[0] for spectrum in spectra]
    assert [len(states) for states in together] == [18, 10, 1, 1, 30, 0]
    for states, others in zip(alone, together, strict=False):
        torch.testing.assert_close(states, others, atol=1e-5, rtol=0)


def test_the_future_beyond_a_window_is_not_heard() -> None:
    """The loudest moment is in the first of four windows, of ten states each; the third is played backwards."""
    first = voice(1.6, 1)
    first[:1600] = np.random.default_rng(0).normal(size=1600)
    second = first.copy()
    second[13_000:19_000] = first[13_000:19_000][::-1]
    one, other = EARS.hear(first), EARS.hear(second)
    torch.testing.assert_close(one[:20], other[:20], atol=1e-6, rtol=0)
    torch.testing.assert_close(one[30:], other[30:], atol=1e-6, rtol=0)
    assert not torch.allclose(one[20:30], other[20:30], atol=1e-2)


@pytest.mark.parametrize("sound", [np.full(9, np.nan), np.zeros((2, 9))])
def test_what_is_no_sound_is_refused(sound: Audio) -> None:
    for hear in (EARS.hear, lambda audio: EARS.start().push(audio)):
        with pytest.raises(ValueError, match="give one channel"):
            hear(sound)


# ---------------------------------------------------------------- picking


@laws
@given(seed=st.integers(0, 99), top_p=st.floats(0.05, 0.99), penalty=st.floats(1.0, 2.0))
def test_picking_is_what_its_words_say(seed: int, top_p: float, penalty: float) -> None:
    """A slow twin: penalty, temperature, then the likeliest that have so much of the probability together."""
    draw = torch.Generator().manual_seed(seed)
    logits, seen = torch.randn(12, generator=draw) * 3, [1, 5, 5, 7]
    expected = [
        value / penalty if place in seen and value > 0 else value * penalty if place in seen else value
        for place, value in enumerate(logits.tolist())
    ]
    likely = (torch.tensor(expected) / 0.7).softmax(-1)
    kept, together = set[int](), 0.0
    for place in likely.argsort(descending=True).tolist():
        if together < top_p:
            kept.add(place)
        together += float(likely[place])
    scores = Picking(temperature=0.7, top_p=top_p, penalty=penalty).scores(logits, lambda: seen)
    assert {place for place, score in enumerate(scores.tolist()) if score > -1e30} == kept
    picked = Picking(temperature=0.7, top_p=top_p, penalty=penalty)(logits, lambda: seen, draw)
    assert picked in kept
    assert Picking(penalty=penalty)(logits, lambda: seen, draw) == int(torch.tensor(expected).argmax())
