"""CosyVoice 3's detokenizer: chunks equal the whole, nothing is computed twice, rows keep to themselves."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from duologue.units.centred import Passage, Signal
from duologue.units.codec import decode_whole
from duologue.units.cosyvoice3 import CosyVoice3, load
from duologue.units.dit import DiT
from duologue.units.flow import Drawn, Flow, FlowConfig
from duologue.units.harmonics import Source, hashed_noise
from duologue.units.hift import HiFT, HiFTConfig, named_here
from duologue.units.lookahead import NOTHING
from duologue.units.released import fill
from duologue.units.voice import Voice

BANDS, CODES, CHUNK, AHEAD = 8, 20, 4, 3
FRAME = 48
"""Samples of a frame."""
MORE = 5
"""Frames after the end, so that all of the sound comes out."""
FIELDS: dict[str, Any] = {
    "vocab_size": CODES,
    "spk_embed_dim": 6,
    "token_mel_ratio": 2,
    "pre_lookahead_len": AHEAD,
    "pre_lookahead_layer": {"channels": 8},
    "decoder": {
        "cfm_params": {"inference_cfg_rate": 0.7, "training_cfg_rate": 0.2},
        "estimator": {
            "mel_dim": BANDS, "dim": 32, "depth": 2, "heads": 2, "dim_head": 8, "ff_mult": 2,
            "static_chunk_size": 2 * CHUNK, "num_decoding_left_chunks": -1,
        },
    },
}  # fmt: skip
VOCODER_FIELDS: dict[str, Any] = {
    "in_channels": BANDS, "base_channels": 16, "nb_harmonics": 2, "sampling_rate": 50 * FRAME, "nsf_alpha": 0.1,
    "nsf_sigma": 0.003, "nsf_voiced_threshold": 10, "upsample_rates": [2, 3, 2], "upsample_kernel_sizes": [4, 5, 3],
    "istft_params": {"n_fft": 16, "hop_len": 4}, "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]], "source_resblock_kernel_sizes": [3, 3, 3],
    "source_resblock_dilation_sizes": [[1], [1], [1]], "lrelu_slope": 0.1, "audio_limit": 0.99,
    "conv_pre_look_right": 4, "f0_predictor": {"cond_channels": 8},
}  # fmt: skip
"""Configurations as they are released, of small models."""
CUTS = st.lists(st.integers(0, 6), max_size=8)


@lru_cache
def flow(left_chunks: int | None = None) -> Flow:
    torch.manual_seed(0)
    config = FlowConfig.read(FIELDS)
    return Flow(replace(config, steps=3, dit=replace(config.dit, left_chunks=left_chunks))).eval()


@lru_cache
def hift() -> HiFT:
    torch.manual_seed(0)
    small = HiFT(HiFTConfig.read(VOCODER_FIELDS)).eval()
    with torch.no_grad():
        small.f0_predictor.classifier.weight *= 100
        small.f0_predictor.classifier.bias.fill_(30)
    return small


def voice(units: int = 0) -> Voice:
    drawn = torch.Generator().manual_seed(9)
    vector, codes = torch.randn(6, generator=drawn), torch.randint(CODES, (units,), generator=drawn)
    return Voice(vector, codes, torch.randn(BANDS, 2 * units, generator=drawn)) if units else Voice(vector)


@lru_cache
def decoder(sample_units: int = 0, left_chunks: int | None = None) -> CosyVoice3:
    return CosyVoice3(flow(left_chunks), hift(), voice(sample_units))


def units(rows: int, count: int, seed: int = 0) -> Tensor:
    return torch.randint(CODES, (rows, 1, count), generator=torch.Generator().manual_seed(seed))


def pieces_of(whole: Tensor, cuts: Sequence[int]) -> list[Tensor]:
    """Pieces of the lengths `cuts`, as far as it goes, and what is left."""
    ends = torch.tensor([0, *cuts]).cumsum(0).clamp_max(whole.shape[-1]).tolist()
    return [whole[..., a:b] for a, b in zip(ends, [*ends[1:], whole.shape[-1]], strict=True)]


def said(model: CosyVoice3, codes: Tensor, cuts: Sequence[int] = ()) -> Tensor:
    """One row, [1, T], aloud."""
    state = model.start_aloud(1)
    pieces = [model.say([piece], state)[0] for piece in pieces_of(codes, cuts)]
    return torch.cat([*pieces, *model.say([codes[:, :0]], state, last=True)])


# ---------------------------------------------------------------- the flow


@settings(max_examples=20)
@given(st.integers(1, 4 * CHUNK), st.sampled_from([None, 0, 1, 2]))
def test_a_network_that_remembers_sees_what_a_mask_shows(frames: int, left_chunks: int | None) -> None:
    network, drawn = flow(left_chunks).dit, torch.Generator().manual_seed(frames)
    given_ = torch.randn(2, frames, 4 * BANDS, generator=drawn)
    place = torch.arange(frames).expand(2, -1)
    with torch.no_grad():
        told = network.timed(torch.tensor([0.3]))
        whole, _ = network(given_, told, place, network.start(2), network.chunks_seen(frames))
        past, chunks = network.start(2), list[Tensor]()
        for part in torch.split(torch.arange(frames), 2 * CHUNK):
            chunk, past = network(given_[:, part], told, place[:, part], past)
            chunks.append(chunk)
    torch.testing.assert_close(torch.cat(chunks, 1), whole, atol=1e-5, rtol=0)


def test_a_frame_sees_its_own_chunk_and_no_later_one() -> None:
    seen = flow().dit.chunks_seen(20)[0, 0]
    assert all(seen[q, k] == (k // 8 <= q // 8) for q in range(20) for k in range(20))
    seen = flow(1).dit.chunks_seen(20)[0, 0]
    assert all(seen[q, k] == (q // 8 - 1 <= k // 8 <= q // 8) for q in range(20) for k in range(20))


def test_what_is_remembered_is_bounded_by_left_chunks() -> None:
    def remembered(model: CosyVoice3, count: int) -> int:
        state = model.start_decoder(1)
        model.decode(units(1, count), state)
        return sum(tensor.numel() for tensor in state.tensors)

    bounded, all_seen = decoder(left_chunks=2), decoder()
    assert remembered(bounded, 40) == remembered(bounded, 60) < remembered(all_seen, 40)
    a_chunk = remembered(all_seen, 60) - remembered(all_seen, 56)
    assert a_chunk == 3 * 2 * 2 * 2 * 16 * 2 * CHUNK


def test_a_step_goes_from_noise_to_speech_slowly_at_first() -> None:
    times, sizes = Flow(replace(flow().config, steps=10))._steps()
    for k, (t, size) in enumerate(zip(times.tolist(), sizes.tolist(), strict=True)):
        assert t == pytest.approx(1 - math.cos(math.pi * k / 20), abs=1e-6)
        assert t + size == pytest.approx(1 - math.cos(math.pi * (k + 1) / 20), abs=1e-6)


def test_the_noise_of_a_long_speech_begins_anew() -> None:
    """A frame that sees itself alone is what another one with the same noise is."""
    model, nothing = flow(0), torch.zeros(1, BANDS, 1)
    first, late, other = (
        model.sample(nothing, nothing[..., 0], nothing, torch.tensor([[place]]), model.start(1))[0]
        for place in (1, 30_001, 2)
    )
    torch.testing.assert_close(first, late)
    assert not torch.allclose(first, other)


# ---------------------------------------------------------------- learning


def batch(seed: int, lengths: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Drawn]:
    drawn, longest = torch.Generator().manual_seed(seed), max(lengths)
    there = torch.arange(longest) < torch.tensor(lengths)[:, None]
    codes = torch.randint(CODES, (len(lengths), longest), generator=drawn).where(there, NOTHING)
    mel = torch.randn(len(lengths), BANDS, 2 * longest, generator=drawn)
    chance = Drawn.by(drawn, mel, 2 * torch.tensor(lengths), 0.2)
    return codes, torch.randn(len(lengths), 6, generator=drawn), mel, chance


@settings(max_examples=10)
@given(st.integers(0, 99), st.booleans())
def test_the_loss_of_a_batch_is_that_of_its_rows_and_padding_counts_for_nothing(seed: int, chunked: bool) -> None:
    lengths = (9, 5)
    codes, vectors, mel, drawn = batch(seed, lengths)
    drawn = replace(drawn, chunked=chunked)
    together = flow().loss(codes, vectors, mel, drawn)
    alone = 0.0
    for row, length in enumerate(lengths):
        own = slice(row, row + 1)
        part = Drawn(drawn.t[own], drawn.z[own, :, : 2 * length], drawn.kept[own], drawn.prompt_frames[own], chunked)
        alone += length * flow().loss(codes[own, :length], vectors[own], mel[own, :, : 2 * length], part).item()
    assert together.item() == pytest.approx(alone / sum(lengths), rel=1e-5)


def test_conditions_that_are_dropped_do_not_reach_the_loss() -> None:
    codes, vectors, mel, drawn = batch(0, (8, 8))
    dropped = replace(drawn, kept=torch.tensor([False, False]))
    other = (codes + 1) % CODES
    assert flow().loss(codes, vectors, mel, dropped) == flow().loss(other, -vectors, mel, dropped)
    kept = replace(drawn, kept=torch.tensor([True, True]))
    assert flow().loss(codes, vectors, mel, kept) != flow().loss(other, -vectors, mel, kept)


def test_what_chance_decides() -> None:
    mel, frames = torch.zeros(4000, 1, 10), torch.full((4000,), 100)
    drawn = [Drawn.by(torch.Generator().manual_seed(seed), mel, frames, 0.2) for seed in range(40)]
    assert float(drawn[0].kept.float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float((drawn[0].prompt_frames > 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert int(drawn[0].prompt_frames.max()) in (28, 29)
    assert {each.chunked for each in drawn} == {True, False}
    assert torch.equal(drawn[7].z, Drawn.by(torch.Generator().manual_seed(7), mel, frames, 0.2).z)


def test_a_flow_learns_one_utterance_by_heart() -> None:
    torch.manual_seed(0)
    model = Flow(flow().config)
    mel, codes, vector = torch.randn(1, BANDS, 16), units(1, 8)[0], torch.randn(1, 6)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    rows = [tensor.expand(8, *tensor.shape[1:]) for tensor in (codes, vector, mel)]
    generator, losses = torch.Generator().manual_seed(0), list[float]()
    for _ in range(60):
        drawn = Drawn.by(generator, rows[2], torch.full((8,), 16), 0.2)
        loss = model.loss(rows[0], rows[1], rows[2], replace(drawn, prompt_frames=torch.zeros(8)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    model.eval()
    said_mel = model(codes, vector)
    assert (said_mel - mel).square().mean() < 0.5 * (model.noise[:, :16] - mel).square().mean()


# ---------------------------------------------------------------- the vocoder


@settings(max_examples=20)
@given(CUTS, st.integers(1, 20), st.integers(0, 9))
def test_a_mel_in_pieces_sounds_as_the_whole(cuts: list[int], frames: int, seed: int) -> None:
    model = hift()
    mel = torch.randn(2, BANDS, frames, generator=torch.Generator().manual_seed(seed))
    past, sounds = model.start(2), list[Tensor]()
    inside = torch.arange(frames + MORE).expand(2, -1) < frames
    with torch.no_grad():
        for piece, there in zip(pieces_of(pad(mel, (0, MORE)), cuts), pieces_of(inside, cuts), strict=True):
            if piece.shape[-1]:
                sound, past = model.late(piece, there, past)
                sounds.append(sound)
    late = torch.cat(sounds, -1)
    assert not late[:, : model.late_samples].any()
    torch.testing.assert_close(late[:, model.late_samples :][:, : frames * FRAME], model(mel), atol=1e-5, rtol=0)


def test_rows_that_end_at_different_times_sound_as_alone() -> None:
    model, lengths = hift(), (7, 11)
    mel = torch.randn(2, BANDS, 11, generator=torch.Generator().manual_seed(0))
    inside = torch.arange(11 + MORE) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        late, _ = model.late(pad(mel, (0, MORE)) * inside[:, None], inside, None)
    for row, length in enumerate(lengths):
        sound = late[row, model.late_samples :]
        torch.testing.assert_close(sound[: length * FRAME], model(mel[row : row + 1, :, :length])[0], atol=1e-5, rtol=0)
        assert not sound[length * FRAME :].any()


def test_sound_that_is_out_does_not_wait_for_later_mel_and_no_less_is_out_than_could_be() -> None:
    model = hift()
    mel = torch.randn(1, BANDS, 14, generator=torch.Generator().manual_seed(0))
    other = torch.cat([mel[..., :9], -mel[..., 9:]], -1)
    changed = int((model(mel) != model(other))[0].nonzero().min())
    first = 9 * FRAME - model.late_samples
    assert first <= changed < first + model.config.window_samples


def test_spectra_are_those_of_windows_around_every_fourth_sample() -> None:
    """Against torch's transform, which mirrors the sound at both ends."""
    model, frames = hift(), 5
    sound = torch.randn(1, 1, frames * FRAME, generator=torch.Generator().manual_seed(0))
    passage = Passage(torch.ones(1, frames + 1, dtype=torch.bool), 6)
    ours = model._spectrum(Signal(pad(sound, (0, FRAME)), FRAME), torch.tensor([frames]), passage)
    theirs = torch.stft(sound[0], 16, 4, window=model.window, return_complex=True)
    parts = torch.cat([theirs.real, theirs.imag], 1)
    torch.testing.assert_close(ours.x[..., ours.late :][..., : parts.shape[-1]], parts, atol=1e-5, rtol=0)


def source() -> Source:
    torch.manual_seed(1)
    return Source(24_000, 480, 2, loudness=0.1, breath=0.003, voiced_hz=10)


def test_a_source_is_sines_where_there_is_a_voice_and_noise_where_there_is_none() -> None:
    """Against the sum over all samples, one by one."""
    model, hz = source(), torch.tensor([[[100.0, 120.5, 4.0, 90.0]]])
    passage = Passage(torch.ones(1, 4, dtype=torch.bool), 6)
    with torch.no_grad():
        ours, _ = model(Signal(hz), torch.zeros(1, 3, dtype=torch.float64), passage)
    noise = hashed_noise(torch.arange(4 * 480)[None], 3)[0]
    weight, bias = model.l_linear.weight[0].tolist(), model.l_linear.bias.item()
    for n in range(0, 4 * 480, 97):
        frame, total = n // 480, bias
        for order in (1, 2, 3):
            cycles = sum(480 * order * float(each) / 24_000 for each in hz[0, 0, : frame + 1])
            folds = 0.1 * math.sin(2 * math.pi * cycles) if hz[0, 0, frame] > 10 else 0.0
            folds += (0.003 if hz[0, 0, frame] > 10 else 0.1 / 3) * float(noise[n, order - 1])
            total += weight[order - 1] * folds
        assert float(ours.x[0, 0, n]) == pytest.approx(math.tanh(total), abs=1e-4)


def test_after_an_hour_a_voice_is_as_clear_as_at_the_beginning() -> None:
    model, pitch_hz = source(), 123.0
    frames = 3600 * 50
    turned = (torch.arange(1, 4, dtype=torch.float64) * frames * pitch_hz / 24_000)[None]
    sines, _ = model._sines(torch.full((1, 3), pitch_hz), turned)
    cycles = torch.arange(1, 4)[:, None] * torch.arange(1, 4) * pitch_hz / 50
    exact = torch.sin(2 * math.pi * ((480 * turned % 1) + cycles.double()) % (2 * math.pi))
    torch.testing.assert_close(sines[0].double(), exact.squeeze(0), atol=2e-3, rtol=0)


def test_noise_depends_on_its_place_alone_and_is_even() -> None:
    place = torch.arange(50_000)[None]
    noise = hashed_noise(place, 9)
    assert noise.shape == (1, 50_000, 9)
    assert torch.equal(hashed_noise(place[:, 777:999], 9), noise[:, 777:999])
    assert noise.min() >= 0
    assert noise.max() < 1
    counts = torch.histc(noise, 20, 0, 1)
    assert (counts / counts.mean() - 1).abs().max() < 0.05
    centred = (noise[0] - 0.5).T
    for lag in (1, 2, 3, 50, 480):
        assert (centred[:, lag:] * centred[:, :-lag]).mean(-1).abs().max() < 12 * 0.02 / 12
    spectrum = torch.fft.rfft(centred).abs().square()
    assert spectrum[:, 1:].max() < 25 * spectrum[:, 1:].mean()


# ---------------------------------------------------------------- both


@settings(max_examples=15)
@given(CUTS, st.integers(0, 22), st.sampled_from([0, 3, 4, 6]), st.sampled_from([None, 1]))
def test_however_units_are_cut_they_sound_the_same(
    cuts: list[int], count: int, sample_units: int, left_chunks: int | None
) -> None:
    model, codes = decoder(sample_units, left_chunks), units(1, count, seed=count)
    whole = said(model, codes[0])
    assert whole.shape == (count * model.unit_samples,)
    assert torch.equal(said(model, codes[0], cuts), whole)


@settings(max_examples=15)
@given(CUTS, st.integers(1, 22), st.sampled_from([0, 3, 4]))
def test_in_step_units_sound_as_they_do_aloud_but_later(cuts: list[int], count: int, sample_units: int) -> None:
    model, codes = decoder(sample_units), units(2, count, seed=count)
    after = torch.full((2, 1, model.ahead_units), model.silence[0])
    everything, state = torch.cat([codes, after], -1), model.start_decoder(2)
    sound = torch.cat([model.decode(piece, state) for piece in pieces_of(everything, cuts)], -1)
    assert not sound[:, : model.ahead_units * model.unit_samples].any()
    assert torch.equal(sound[:, model.ahead_units * model.unit_samples :], decode_whole(model, codes))
    aloud = said(model, everything[0])[: count * model.unit_samples]
    torch.testing.assert_close(decode_whole(model, codes)[0], aloud, atol=1e-4, rtol=0)


@pytest.mark.parametrize("sample_units", [0, 3, 4, 6])
def test_chunks_equal_flow_and_vocoder_at_once(sample_units: int) -> None:
    model, codes, who = decoder(sample_units), units(1, 19)[0], voice(sample_units)
    sample = codes[:, :0] if who.codes is None else who.codes[None]
    prompt = None if who.mel is None else who.mel[None]
    mel = model.flow(torch.cat([sample, codes], 1), who.vector[None], prompt)
    whole = model.hift(mel[..., who.sample_frames :])[0]
    torch.testing.assert_close(said(model, codes, [5, 1, 7]), whole, atol=1e-4, rtol=0)


def test_the_look_ahead_is_what_is_stated_and_no_more() -> None:
    """In step, sound comes just in time; aloud, a chunk's sound comes with the last unit that it waits for."""
    model = decoder()
    assert model.ahead_units == CHUNK - 1 + AHEAD + 3
    assert (
        CosyVoice3(
            Flow(replace(flow().config, dit=replace(flow().config.dit, chunk_frames=50))), hift(), voice()
        ).ahead_units
        == 30
    )
    state, first = model.start_aloud(1), list[int]()
    for unit in torch.split(units(1, 12)[0], 1, -1):
        first.append(len(model.say([unit], state)[0]))
    chunk = CHUNK * model.unit_samples
    assert first == [0] * 6 + [chunk - hift().late_samples] + [0] * 3 + [chunk] + [0]


def test_no_frame_is_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    model, codes, computed = decoder(), units(1, 20)[0], list[int]()
    network, vocoder = DiT.forward, HiFT.late

    def counted(self: DiT, given_: Tensor, *rest: Any) -> Any:
        computed.append(given_.shape[1])
        return network(self, given_, *rest)

    def heard(self: HiFT, mel: Tensor, *rest: Any) -> Any:
        frames.append(mel.shape[-1])
        return vocoder(self, mel, *rest)

    frames = list[int]()
    monkeypatch.setattr(DiT, "forward", counted)
    monkeypatch.setattr(HiFT, "late", heard)
    said(model, codes, [1] * 20)
    assert sum(computed) == 3 * 2 * 20
    assert sum(frames) == 2 * 20 + MORE


# ---------------------------------------------------------------- rows


def test_a_row_among_others_is_what_it_is_alone_though_it_began_later() -> None:
    model, codes = decoder(), units(2, 30)
    early, late = model.start_decoder(1), model.start_decoder(1)
    model.decode(codes[:1, :, :13], early)
    model.decode(codes[1:, :, :2], late)
    crowd = model.start_decoder(3)
    crowd.scatter(early, [2])
    crowd.scatter(late, [0])
    new = torch.stack([codes[1, :, 2:19], codes[1, :, :17], codes[0, :, 13:]])
    together = torch.cat([model.decode(piece, crowd) for piece in torch.split(new, 1, -1)], -1)
    torch.testing.assert_close(together[2:], model.decode(codes[:1, :, 13:], early), atol=1e-4, rtol=0)
    torch.testing.assert_close(together[:1], model.decode(codes[1:, :, 2:19], late), atol=1e-4, rtol=0)


def test_rows_aloud_go_each_at_its_own_pace() -> None:
    model, codes = decoder(3), [units(1, count, count)[0] for count in (9, 0, 17)]
    state = model.start_aloud(3)
    first = model.say([row[:, : 2 * n] for n, row in enumerate(codes)], state)
    rest = model.say([row[:, 2 * n :] for n, row in enumerate(codes)], state, last=True)
    for row, *sounds in zip(codes, first, rest, strict=True):
        torch.testing.assert_close(torch.cat(sounds), said(model, row), atol=1e-4, rtol=0)
    again = model.say(codes, state, last=True)
    for row, sound in zip(codes, again, strict=True):
        torch.testing.assert_close(sound, said(model, row), atol=1e-4, rtol=0)


def test_a_fork_goes_on_as_its_origin_does_and_leaves_it_alone() -> None:
    model, codes = decoder(), units(1, 30)
    state = model.start_decoder(1)
    model.decode(codes[..., :11], state)
    twice = model.decode(codes[..., 11:].repeat(2, 1, 1), state.fork([0, 0]))
    assert torch.equal(twice[0], twice[1])
    once = model.decode(codes[..., 11:], state)
    torch.testing.assert_close(twice[:1], once, atol=1e-4, rtol=0)


def test_nothing_said_is_nothing_heard() -> None:
    model = decoder(3)
    assert model.decode(units(2, 0), model.start_decoder(2)).shape == (2, 0)
    assert said(model, units(1, 0)[0]).shape == (0,)


# ---------------------------------------------------------------- weights


def released(folder: Path, prefix: str, length: str, direction: str) -> Path:
    """A folder as it is released: pickles, weight norm not multiplied out."""
    torch.save(flow().state_dict(), folder / "flow.pt")
    tensors = dict[str, Tensor]()
    for name, tensor in hift().state_dict().items():
        normed = ("conv_p", "ups.", "resblocks.", "source_resblocks.", "f0_predictor.condnet")
        if name.endswith(".weight") and name.startswith(normed):
            stem = f"{prefix}{name.removesuffix('.weight')}"
            norm = tensor.flatten(1).norm(dim=1).view(-1, *[1] * (tensor.ndim - 1))
            tensors[stem + length], tensors[stem + direction] = norm, 3 * tensor / norm
        else:
            tensors[prefix + name] = tensor
    torch.save(tensors, folder / "hift.pt")
    (folder / "sizes.json").write_text(json.dumps({"flow": FIELDS, "hift": VOCODER_FIELDS}))
    return folder


@pytest.mark.parametrize(
    ("prefix", "length", "direction"),
    [
        ("generator.", ".weight_g", ".weight_v"),
        ("", ".parametrizations.weight.original0", ".parametrizations.weight.original1"),
    ],
)
def test_released_weights_come_under_their_names(tmp_path: Path, prefix: str, length: str, direction: str) -> None:
    folder, codes = released(tmp_path, prefix, length, direction), units(1, 12)[0]
    loaded = load(folder, voice(), folder / "sizes.json")
    assert loaded.hift.config == hift().config
    assert replace(loaded.flow.config, steps=3) == flow().config
    loaded.flow.config = flow().config
    torch.testing.assert_close(said(loaded, codes), said(decoder(), codes), atol=1e-3, rtol=0)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    folder = released(tmp_path, "", ".weight_g", ".weight_v")
    stored = torch.load(folder / "flow.pt", weights_only=True)
    del stored["input_embedding.weight"]
    stored["spk_embed_affine_layer.bias"] = torch.zeros(3)
    torch.save({**stored, "stranger": torch.zeros(1)}, folder / "flow.pt")
    with pytest.raises(ValueError, match="flow.pt") as raised:
        load(folder, voice(), folder / "sizes.json")
    for name in ("input_embedding.weight", "spk_embed_affine_layer.bias", "stranger"):
        assert name in str(raised.value)
    (folder / "hift.pt").unlink()
    torch.save(flow().state_dict(), folder / "flow.pt")
    with pytest.raises(FileNotFoundError, match="hift.pt"):
        load(folder, voice(), folder / "sizes.json")


def test_the_released_sizes_have_the_released_names(shared: Path) -> None:
    stored = json.loads((shared / "goldens/fun_audio_chat/released_shapes.json").read_text())
    with torch.device("meta"):
        whole, vocoder = Flow(), HiFT()
        tensors = {
            part: {
                name.replace("{n}", str(n)): torch.empty(entry["shape"])
                for name, entry in stored[f"cosyvoice3_{part}"]["entries"].items()
                for n in range(entry["count"])
            }
            for part in ("flow", "hift")
        }
    fill(whole, tensors["flow"], "flow")
    fill(vocoder, named_here(tensors["hift"]), "hift")
    assert sum(parameter.numel() for parameter in whole.parameters()) // 100_000 == 3322


# ---------------------------------------------------------------- bad input


def test_what_does_not_fit_is_refused() -> None:
    model = decoder()
    with pytest.raises(ValueError, match=r"give \[B, 1, T\]"):
        model.decode(torch.zeros(1, 7, dtype=torch.int64), model.start_decoder(1))
    with pytest.raises(ValueError, match=r"for 2 rows: give \[B, 1, T\]"):
        model.decode(units(1, 4), model.start_decoder(2))
    with pytest.raises(ValueError, match="there are 0 to 19; take special ids out"):
        model.decode(torch.full((1, 1, 2), CODES), model.start_decoder(1))
    with pytest.raises(ValueError, match="no whole number of units"):
        FlowConfig(dit=replace(flow().config.dit, chunk_frames=5))
    with pytest.raises(ValueError, match="chunks of 0 frames"):
        replace(flow().config.dit, chunk_frames=0)
    with pytest.raises(ValueError, match="lacks 'decoder'"):
        FlowConfig.read({})
    with pytest.raises(ValueError, match="lacks 'istft_params'"):
        HiFTConfig.read({})


def test_a_voice_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    vector = voice().vector
    with pytest.raises(ValueError, match="give both, or none"):
        Voice(vector, codes=torch.zeros(3))
    with pytest.raises(ValueError, match="give one row"):
        Voice(vector[None])
    for wrong, told in (
        (Voice(vector[:3]), "vector of 3: the flow takes 6"),
        (
            Voice(vector, torch.zeros(3, dtype=torch.int64), torch.zeros(BANDS, 5)),
            r"a mel of \(8, 6\), not \(8, 5\)",
        ),
        (Voice(vector, torch.full((3,), CODES), torch.zeros(BANDS, 6)), "are 0 to 19"),
    ):
        with pytest.raises(ValueError, match=told):
            CosyVoice3(flow(), hift(), wrong)
    with pytest.raises(ValueError, match="mel of 8 bands for a vocoder of 80"):
        CosyVoice3(flow(), HiFT(replace(hift().config, mel_bands=80)), voice())
    torch.save({"someone": {"embedding": vector[None], "speech_token": torch.zeros(1, 4)}}, tmp_path / "spk2info.pt")
    assert torch.equal(Voice.read(tmp_path / "spk2info.pt", "someone").vector, vector)
    with pytest.raises(ValueError, match="spk2info.pt"):
        Voice.read(tmp_path / "spk2info.pt", "nobody")
