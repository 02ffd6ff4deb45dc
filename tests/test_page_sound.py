"""The page's sound, sample by sample: resampling and playing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from playwright.sync_api import Page

from browser import HZ, TONE_HZ, tone
from duologue.session import Audio

pytest_plugins = ["browser"]

Told = list[dict[str, Any]]
Pieces = list[tuple[str, Audio | None, float]]

# ---------------------------------------------------------------- resampling

RATES_HZ = [(48_000, 24_000), (44_100, 24_000), (24_000, 44_100), (24_000, 48_000), (16_000, 24_000)]

RESAMPLE = """async ({from_hz, to_hz, samples, cuts}) => {
  const {Resampler} = await import('./resample.js');
  const resampler = new Resampler(from_hz, to_hz);
  const edges = [0, ...cuts, samples.length];
  const out = [];
  for (let n = 1; n < edges.length; n++) {
    out.push(...resampler.push(Float32Array.from(samples.slice(edges[n - 1], edges[n]))));
  }
  return out;
}"""


def resampled(page: Page, sound: Audio, from_hz: int, to_hz: int, cuts: list[int]) -> Audio:
    given_to_page = {"from_hz": from_hz, "to_hz": to_hz, "samples": sound.tolist(), "cuts": cuts}
    return np.array(page.evaluate(RESAMPLE, given_to_page), np.float32)


def windowed_sinc(distance: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """The kernel, `distance` in input samples: 32 zero crossings a side, Kaiser window of beta 8."""
    edge = distance / np.ceil(32 / scale)
    window = np.i0(8 * np.sqrt(np.maximum(0, 1 - edge**2))) * (np.abs(edge) < 1)
    return np.asarray(window * np.sinc(0.92 * scale * distance))


def slow_twin(sound: Audio, from_hz: int, to_hz: int, count: int) -> NDArray[np.float64]:
    """The definition: around each output's place, the kernel over all of the input; gain one for a constant."""
    scale = min(1.0, to_hz / from_hz)
    places = np.arange(count)[:, None] * from_hz / to_hz
    kernel = windowed_sinc(places - np.arange(len(sound)), scale)
    gain = windowed_sinc(places - np.arange(-200, len(sound) + 200), scale).sum(axis=1)
    return np.asarray(kernel @ sound.astype(np.float64) / gain)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES_HZ)
def test_resampling_is_the_windowed_sinc(workshop: Page, from_hz: int, to_hz: int) -> None:
    sound = np.random.default_rng(from_hz).uniform(-1, 1, 600).astype(np.float32)
    got = resampled(workshop, sound, from_hz, to_hz, [])
    np.testing.assert_allclose(got, slow_twin(sound, from_hz, to_hz, len(got)), atol=1e-5)


@settings(max_examples=25)
@given(rates=st.sampled_from(RATES_HZ), cuts=st.lists(st.integers(0, 700), max_size=8))
def test_any_way_of_cutting_the_sound_gives_the_same_samples(
    workshop: Page, rates: tuple[int, int], cuts: list[int]
) -> None:
    sound = np.random.default_rng(7).uniform(-1, 1, 700).astype(np.float32)
    whole, cut = (resampled(workshop, sound, *rates, edges) for edges in ([], sorted(cuts)))
    np.testing.assert_array_equal(cut, whole)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES_HZ)
def test_speech_comes_through_as_soxr_would_bring_it(workshop: Page, from_hz: int, to_hz: int) -> None:
    noise = np.random.default_rng(1).normal(size=from_hz // 4)
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(len(noise), 1 / from_hz) > 0.38 * min(from_hz, to_hz)] = 0
    sound = (0.1 * np.fft.irfft(spectrum, len(noise))).astype(np.float32)
    got = resampled(workshop, sound, from_hz, to_hz, [])
    want = soxr.resample(sound, from_hz, to_hz, quality="VHQ")[: len(got)]
    middle = slice(400, len(got) - 400)
    error_db = 10 * np.log10(np.mean((got - want)[middle] ** 2) / np.mean(want[middle] ** 2))
    assert error_db < -60


# ---------------------------------------------------------------- the playback worklet

PLAY = """async ({rate_hz, pieces, stop_s, duration_s}) => {
  const context = new OfflineAudioContext(1, rate_hz * duration_s, rate_hz);
  await context.audioWorklet.addModule('playback.worklet.js');
  const options = {numberOfInputs: 0, processorOptions: {originFrame: 0}};
  const node = new AudioWorkletNode(context, 'playback', options);
  node.connect(context.destination);
  const told = [];
  node.port.onmessage = ({data: {pcm, ...rest}}) => told.push({...rest, pcm: pcm && [...pcm]});
  const post = (message) => new Promise((done) => (node.port.postMessage(message), setTimeout(done, 60)));
  for (const {item, samples, at_s} of pieces) {
    const message = samples ? {type: 'push', item, samples: Float32Array.from(samples)} : {type: 'end', item};
    context.suspend(at_s).then(() => post(message)).then(() => context.resume());
  }
  if (stop_s) context.suspend(stop_s).then(() => post({type: 'stop'})).then(() => context.resume());
  const out = [...(await context.startRendering()).getChannelData(0)];
  await new Promise((done) => setTimeout(done, 60));
  return {out, told};
}"""


def played(page: Page, pieces: Pieces, **how: float) -> tuple[Audio, Told]:
    """What leaves the loudspeaker when `pieces` (item, samples or its end, second) are pushed; and what is told."""
    rows = [
        {"item": item, "samples": None if sound is None else sound.tolist(), "at_s": at_s}
        for item, sound, at_s in pieces
    ]
    got = page.evaluate(PLAY, {"rate_hz": 48_000, "duration_s": 1, "stop_s": 0, **how, "pieces": rows})
    return np.array(got["out"], np.float32), got["told"]


def kinds(told: Told, *names: str) -> Told:
    return [message for message in told if message["type"] in names]


def test_playing_waits_for_100_ms_and_refills_after_running_dry(workshop: Page) -> None:
    pieces: Pieces = [
        ("a", tone(0.08), 0.064),
        ("a", tone(0.08), 0.128),
        ("a", tone(0.08), 0.512),
        ("a", None, 0.64),
    ]
    out, told = played(workshop, pieces)
    sounding = np.abs(out.reshape(-1, 480)).max(axis=1) > 0.05
    assert not sounding[:12].any(), "80 ms in hand are not enough to begin"
    assert sounding[13:28].all()
    assert not sounding[30:63].any(), "80 ms are not enough to go on, until the item is known to be complete"
    assert sounding[65:71].all()
    assert kinds(told, "played")[-1]["underruns"] == 1
    assert [(m["item"], round(m["atS"], 2)) for m in kinds(told, "finished")] == [("a", 0.72)]


@pytest.mark.parametrize("stop_s", [0.256, 0.384])
def test_stopping_fades_for_ten_ms_and_tells_what_was_played(workshop: Page, stop_s: float) -> None:
    out, told = played(workshop, [("a", tone(0.9), 0.064)], stop_s=stop_s)
    [stopped] = kinds(told, "stopped")
    last_s = np.flatnonzero(np.abs(out) > 1e-3)[-1] / 48_000
    assert stop_s < last_s < stop_s + 0.013
    assert stopped["playedSamples"] / HZ == pytest.approx(stop_s - 0.064 + 0.01, abs=0.006)
    fade = out[round((stop_s - 0.02) * 48_000) :]
    steepest = 0.3 * 2 * np.pi * TONE_HZ / 48_000
    assert np.abs(np.diff(fade)).max() < 1.05 * steepest, "no click"


def test_what_is_reported_is_what_was_played(workshop: Page) -> None:
    sound = np.random.default_rng(3).uniform(-0.5, 0.5, 12_000).astype(np.float32)
    _, told = played(workshop, [("a", sound, 0.064), ("a", None, 0.128)])
    reported = np.concatenate([m["pcm"] for m in kinds(told, "played")]) / 32_768
    start = int(np.flatnonzero(reported)[0])
    assert start / HZ == pytest.approx(0.064, abs=0.004)
    np.testing.assert_allclose(reported[start : start + len(sound)], sound, atol=1e-4)
    assert not reported[start + len(sound) :].any()
