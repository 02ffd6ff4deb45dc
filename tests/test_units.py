"""Units: the bottleneck's arithmetic, and what holds for every codec however its sound is cut."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from duologue.units.codec import Codec, decode_whole, encode_whole, samples_per_unit
from duologue.units.nano_codec import NanoCodec, load, save
from duologue.units.quantize import FSQ, usage
from duologue.units.s3 import VERSIONS, S3Encoder, UnitsError
from small_units import UNIT, codec, decoder, noise, tokenizer

LEVELS = st.lists(st.integers(2, 9), min_size=1, max_size=4).map(tuple)


# ---------------------------------------------------------------- the bottleneck


@settings(deadline=None)
@given(LEVELS)
def test_every_code_is_the_code_of_its_own_values(levels: tuple[int, ...]) -> None:
    fsq = FSQ(levels)
    codes = torch.arange(fsq.codes)
    values = fsq.values(codes)
    assert len(torch.unique(values, dim=0)) == fsq.codes == math.prod(levels)
    before = torch.erfinv(values) * math.sqrt(2)
    again, same = fsq(before)
    torch.testing.assert_close(again, values)
    assert torch.equal(same, codes)


@settings(deadline=None)
@given(LEVELS, st.integers(0, 99))
def test_a_vector_gets_the_nearest_values_there_are(levels: tuple[int, ...], seed: int) -> None:
    fsq = FSQ(levels)
    x = torch.randn(5, len(levels), generator=torch.Generator().manual_seed(seed)) * 2
    values, codes = fsq(x)
    everything = fsq.values(torch.arange(fsq.codes))
    squeezed = torch.erf(x / math.sqrt(2))
    best = torch.cdist(squeezed.double(), everything.double()).min(-1).values
    assert torch.all((squeezed - fsq.values(codes)).norm(dim=-1) <= best + 1e-5)
    torch.testing.assert_close(values, fsq.values(codes))


def test_the_gradient_passes_the_rounding_straight_through() -> None:
    x = torch.tensor([[0.3, -1.2]], requires_grad=True)
    rounded = torch.autograd.grad(FSQ((4, 5))(x)[0].sum(), x)
    torch.testing.assert_close(rounded, torch.autograd.grad(torch.erf(x / math.sqrt(2)).sum(), x))


def test_normal_input_uses_all_levels_alike_and_the_largest_input_the_last_one() -> None:
    fsq = FSQ((8, 5, 5, 5))
    codes = fsq(torch.randn(200_000, 4, generator=torch.Generator().manual_seed(0)))[1]
    assert usage(codes, fsq.codes).share == 1
    assert usage(codes, fsq.codes).perplexity > 980
    assert fsq(torch.tensor([[1e9] * 4, [-1e9] * 4]))[1].tolist() == [999, 0]


def test_usage_of_a_book() -> None:
    assert usage(torch.tensor([[3, 3], [3, 3]]), 8) == usage(torch.tensor([1]), 8)
    even = usage(torch.tensor([0, 1, 2, 3]), 8)
    assert even.share == 0.5
    assert even.perplexity == pytest.approx(4)
    assert usage(torch.tensor([0, 0, 1]), 2).perplexity == pytest.approx(2**0.9182958)


@pytest.mark.parametrize("levels", [(), (4, 1)])
def test_levels_that_round_to_nothing_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two or more levels"):
        FSQ(levels)


def test_codes_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="there are 0 to 19"):
        FSQ((4, 5)).values(torch.tensor([20]))
    with pytest.raises(ValueError, match="there are 0 to 19"):
        FSQ((4, 5)).values(torch.tensor([-1]))


# ---------------------------------------------------------------- streamed equals whole

CUTS = st.lists(st.integers(0, 2000), max_size=12)


@settings(deadline=None, max_examples=30)
@given(CUTS, st.integers(0, 99))
def test_units_do_not_depend_on_how_the_sound_was_cut(cuts: list[int], seed: int) -> None:
    model, audio = tokenizer(), noise(2, 4 * UNIT + 123, seed)
    state = model.start_encoder(2)
    pieces = [model.encode(piece, state) for piece in pieces_of(audio, cuts)]
    streamed = torch.cat([*pieces, model.encode(audio[:, :0], state, last=True)], -1)
    assert streamed.shape == (2, 1, 5)
    assert torch.equal(streamed, encode_whole(model, audio))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 5), max_size=8), st.integers(0, 99), st.integers(0, 3))
def test_sound_does_not_depend_on_how_the_units_were_cut(cuts: list[int], seed: int, ahead: int) -> None:
    model = decoder(ahead)
    codes = torch.randint(60, (2, 1, 9), generator=torch.Generator().manual_seed(seed))
    state = model.start_decoder(2)
    after = torch.full((2, 1, ahead), model.silence[0])
    streamed = torch.cat([model.decode(piece, state) for piece in pieces_of(torch.cat([codes, after], -1), cuts)], -1)
    assert torch.all(streamed[:, : ahead * UNIT] == 0)
    torch.testing.assert_close(streamed[:, ahead * UNIT :], decode_whole(model, codes), atol=1e-5, rtol=0)


def pieces_of(whole: Tensor, cuts: list[int]) -> list[Tensor]:
    """Pieces of the lengths `cuts`, as far as it goes, and what is left."""
    ends = torch.tensor([0, *cuts]).cumsum(0).clamp_max(whole.shape[-1]).tolist()
    return [whole[..., a:b] for a, b in zip(ends, [*ends[1:], whole.shape[-1]], strict=True)]


def test_a_row_among_others_is_what_it_is_alone_though_it_began_later() -> None:
    whole, codes = codec(), torch.randint(60, (2, 1, 8), generator=torch.Generator().manual_seed(1))
    early, late = whole.start_decoder(1), whole.start_decoder(1)
    whole.decode(codes[:1, :, :5], early)
    crowd = whole.start_decoder(3)
    crowd.scatter(early, [2])
    crowd.scatter(late, [0])
    together = whole.decode(torch.stack([codes[1, :, :3], codes[1, :, :3], codes[0, :, 5:]]), crowd)
    torch.testing.assert_close(together[2:], whole.decode(codes[:1, :, 5:], early), atol=1e-5, rtol=0)
    torch.testing.assert_close(together[:1], whole.decode(codes[1:, :, :3], late), atol=1e-5, rtol=0)


def test_a_fork_goes_on_as_its_origin_does_and_leaves_it_alone() -> None:
    model, audio = tokenizer(), noise(1, 12 * UNIT, 0)
    state = model.start_encoder(1)
    model.encode(audio[:, : 5 * UNIT + 50], state)
    both = state.fork([0, 0])
    twice = model.encode(audio[:, 5 * UNIT + 50 :].repeat(2, 1), both)
    assert torch.equal(twice[0], twice[1])
    assert torch.equal(twice[:1], model.encode(audio[:, 5 * UNIT + 50 :], state))


def test_saying_something_to_a_fork_changes_nothing_for_its_origin() -> None:
    model, codes = decoder(), torch.arange(12).view(1, 1, 12)
    state, untouched = model.start_decoder(1), model.start_decoder(1)
    for each in (state, untouched):
        model.decode(codes[..., :6], each)
    model.decode(codes[..., 6:].flip(-1), state.fork())
    assert torch.equal(model.decode(codes[..., 6:], state), model.decode(codes[..., 6:], untouched))


def test_rows_that_stand_at_different_samples_do_not_go_together() -> None:
    model = tokenizer()
    one, crowd = model.start_encoder(1), model.start_encoder(2)
    model.encode(noise(1, 100, 0), one)
    with pytest.raises(ValueError, match="by feeding whole units"):
        crowd.scatter(one, [0])


# ---------------------------------------------------------------- nothing from the future


def test_no_unit_hears_what_comes_after_it() -> None:
    model = tokenizer()
    audio = noise(1, 8 * UNIT, 0).requires_grad_()
    narrow = model.narrow(model.all_vectors(audio))
    for unit in range(8):
        (gradient,) = torch.autograd.grad(narrow[0, unit].sum(), audio, retain_graph=True)
        assert torch.all(gradient[0, (unit + 1) * UNIT :] == 0)
        assert torch.any(gradient[0, unit * UNIT : (unit + 1) * UNIT] != 0)


@pytest.mark.parametrize("ahead", [0, 2])
def test_sound_waits_for_the_stated_units_and_no_more(ahead: int) -> None:
    model = decoder(ahead)
    codes = torch.randint(60, (1, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(codes)
        for changed in range(9):
            other = codes.clone()
            other[0, changed] = (other[0, changed] + 7) % 60
            apart = (model(other) - before)[0]
            first = max(0, changed - ahead) * UNIT
            assert torch.all(apart[:first] == 0)
            assert changed < ahead or torch.any(apart[first : first + UNIT] != 0)


# ---------------------------------------------------------------- the contract


def contract(whole: Codec) -> None:
    units, silence = 7, torch.tensor(whole.silence)
    assert samples_per_unit(whole.said_hz, whole.unit_hz) == whole.unit_samples
    assert whole.books == len(whole.silence)
    audio = noise(2, round(units * whole.heard_hz / whole.unit_hz), 0)
    codes = encode_whole(whole, audio)
    assert codes.shape == (2, whole.books, units)
    assert codes.dtype == torch.int64
    assert 0 <= int(codes.min()) <= int(codes.max()) < whole.codes
    said = decode_whole(whole, codes)
    assert said.shape == (2, units * whole.unit_samples)
    assert torch.isfinite(said).all()
    quiet = encode_whole(whole, torch.zeros(1, 6 * whole.heard_hz))
    assert torch.equal(quiet[0, :, -1], silence)
    assert whole.encode(audio[:, :0], whole.start_encoder(2)).shape == (2, whole.books, 0)
    assert whole.decode(codes[..., :0], whole.start_decoder(2)).shape == (2, 0)


def test_the_nano_codec_keeps_the_contract() -> None:
    contract(codec())


def test_units_that_are_no_whole_number_of_samples_are_refused() -> None:
    assert samples_per_unit(24_000, 12.5) == 1920
    with pytest.raises(ValueError, match="do not fit 16000 Hz"):
        samples_per_unit(16_000, 21.53)


def test_sound_and_codes_of_another_shape_are_refused() -> None:
    whole = codec()
    with pytest.raises(ValueError, match=r"give \[B, N\]"):
        whole.encode(torch.zeros(640), whole.start_encoder(1))
    with pytest.raises(ValueError, match=r"give \[B, 1, T\]"):
        whole.decode(torch.zeros(1, 7, dtype=torch.int64), whole.start_decoder(1))


def test_parts_of_two_trainings_are_refused() -> None:
    with pytest.raises(ValueError, match="of one training"):
        NanoCodec(tokenizer((4, 4)), decoder())


# ---------------------------------------------------------------- weights


def test_a_saved_codec_comes_back(tmp_path: Path) -> None:
    save(codec(), tmp_path / "codec.safetensors")
    first = load(tmp_path / "codec.safetensors")
    save(first, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "codec.safetensors").read_bytes()
    second, audio = load(tmp_path / "again.safetensors"), noise(1, 20 * UNIT, 3)
    assert first.silence == second.silence == codec().silence
    codes = encode_whole(first, audio)
    assert torch.equal(codes, encode_whole(second, audio))
    assert torch.equal(decode_whole(first, codes), decode_whole(second, codes))
    torch.testing.assert_close(decode_whole(first, codes), decode_whole(codec(), codes), atol=1e-2, rtol=0)


def test_another_file_is_no_codec(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"x\.safetensors: not the weights of a nano codec"):
        load(tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError, match="nano_units"):
        load(tmp_path / "y.safetensors")


# ---------------------------------------------------------------- S3


class Model:
    """As s3tokenizer's: a code for each four frames of mel."""

    def eval(self) -> Model:
        return self

    def quantize(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        codes = mel.mean(1).unfold(1, 4, 4).mean(-1).abs().mul(100).to(torch.int32) % 6561
        return codes, lengths // 4


def test_s3_hears_the_whole_utterance_first(monkeypatch: pytest.MonkeyPatch) -> None:
    package = SimpleNamespace(load_model=lambda *_: Model(), log_mel_spectrogram=mel_of)
    monkeypatch.setitem(sys.modules, "s3tokenizer", package)
    encoder, audio = S3Encoder(), noise(2, 20 * UNIT, 0)
    state = encoder.start_encoder(2)
    for piece in torch.split(audio, 700, 1):
        assert encoder.encode(piece, state).shape == (2, 1, 0)
    codes = encoder.encode(audio[:, :0], state, last=True)
    assert codes.shape == (2, 1, 20)
    assert torch.equal(codes, encode_whole(encoder, audio))
    assert encoder.silence == (0,)
    assert math.isinf(encoder.heard_ahead_s)


def mel_of(audio: Tensor, n_mels: int) -> Tensor:
    return audio.unfold(0, 160, 160).square().mean(-1).expand(n_mels, -1)


def test_s3_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, folder: str | None) -> None:
        raise RuntimeError(f"{name} not in {folder}")

    with pytest.raises(UnitsError, match="choose one of: speech_tokenizer_v1"):
        S3Encoder("s4")
    monkeypatch.setitem(sys.modules, "s3tokenizer", None)
    with pytest.raises(UnitsError, match="pip install s3tokenizer"):
        S3Encoder()
    monkeypatch.setitem(sys.modules, "s3tokenizer", SimpleNamespace(load_model=missing))
    for name in VERSIONS:
        with pytest.raises(UnitsError, match=f"put {name}.onnx"):
            S3Encoder(name, "weights")
