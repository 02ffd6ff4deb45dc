"""SNAC: networks equal their plain twins, streamed equals whole, noise knows only its place, files are read safely."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from duologue.units.centred import Chain, Conv, UpConv
from duologue.units.codec import encode_whole
from duologue.units.lookahead import NOTHING, Aloud
from duologue.units.snac import Snac, SnacConfig, load
from duologue.units.snac_layers import Block, Decoder, NoiseBlock, Residual, SeededNoise, Snake
from duologue.units.snac_levels import books_of, flatten, unflatten

SMALL = SnacConfig(
    sampling_rate=2_400,
    encoder_dim=2,
    encoder_rates=(2, 3),
    decoder_dim=8,
    decoder_rates=(3, 2),
    codebook_size=16,
    codebook_dim=4,
)
UNIT = 24
OTHERS = (SMALL, replace(SMALL, depthwise=False, vq_strides=(2, 1), encoder_rates=(4,), decoder_rates=(4,)))
CUTS = st.lists(st.integers(0, 5), max_size=8)
STRIDES = st.lists(st.integers(1, 3), max_size=3).map(
    lambda ratios: tuple(itertools.accumulate([1, *ratios], lambda a, b: a * b))[::-1]
)


@lru_cache
def snac(config: SnacConfig = SMALL, seed: int | None = 5) -> Snac:
    torch.manual_seed(0)
    codec = Snac(config, None if seed is None else SeededNoise(seed)).eval()
    for name, weight in codec.named_parameters():
        if name.endswith("alpha"):
            nn.init.uniform_(weight, 0.5, 1.5)
        else:
            nn.init.normal_(weight, std=0.5 / weight[0].numel() ** 0.5)
    return codec


def drawn(codec: Snac, rows: int, units: int, seed: int) -> Tensor:
    return torch.randint(codec.codes, (rows, codec.books, units), generator=torch.Generator().manual_seed(seed))


def sound(rows: int, samples: int, seed: int) -> Tensor:
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed)) / 3


def same(mine: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(mine.detach(), other.detach(), atol=1e-5, rtol=0)


def pieces_of(row: Tensor, cuts: list[int]) -> list[Tensor]:
    """Pieces of the lengths `cuts`, as far as it goes, and what is left."""
    ends = [min(end, row.shape[-1]) for end in itertools.accumulate(cuts)]
    return [row[..., a:b] for a, b in zip([0, *ends], [*ends, row.shape[-1]], strict=True)]


# ---------------------------------------------------------------- the plain twin


def plain(layer: nn.Module, x: Tensor) -> Tensor:
    """Every layer padded, all of the sound at once."""
    match layer:
        case UpConv():
            pads: Any = (layer.padding, layer.output_padding, layer.groups)
            return functional.conv_transpose1d(x, layer.weight, layer.bias, layer.stride, *pads)
        case Conv():
            rest: Any = (layer.padding, layer.dilation, layer.groups)
            return functional.conv1d(x, layer.weight, layer.bias, layer.stride, *rest)
        case Snake():
            return x + torch.sin(layer.alpha * x) ** 2 / (layer.alpha + 1e-9)
        case NoiseBlock():
            places = torch.arange(x.shape[-1])[None]
            return x if layer.noise is None else x + layer.noise(layer.block, places) * plain(layer.linear, x)
        case Residual():
            return x + plain(layer.block, x)
        case Block():
            return plain(layer.block, x)
        case Decoder():
            return torch.tanh(plain(layer.model, x))
        case Chain():
            for each in layer:
                x = plain(each, x)
            return x
    raise TypeError(layer)


def plain_codes(codec: Snac, audio: Tensor) -> list[Tensor]:
    """Of one row [N], whole units: levels, by the distance of normalised vectors."""
    left, levels = plain(codec.encoder, audio[None, None]), []
    quantizers: Any = codec.quantizer.quantizers
    for stride, level in zip(codec.config.vq_strides, quantizers, strict=True):
        narrow = level.in_proj(left.unflatten(-1, (-1, stride)).mean(-1))[0].T  # type: ignore[no-untyped-call]
        book = level.codebook.weight
        away = torch.cdist(functional.normalize(narrow), functional.normalize(book))
        levels.append(away.argmin(1))
        left = left - level.out_proj(book[levels[-1]].T[None]).repeat_interleave(stride, -1)
    return levels


@pytest.mark.parametrize("config", OTHERS)
@pytest.mark.parametrize("units", [1, 2, 13])
def test_the_decoder_is_its_plain_twin(config: SnacConfig, units: int) -> None:
    codec = snac(config)
    codes = drawn(codec, 1, units, 0)
    latents = codec.quantizer.decode(codes)
    assert latents.shape[-1] == units * config.vq_strides[0]
    same(codec(codes), plain(codec.decoder, latents)[:, 0])


@pytest.mark.parametrize("config", OTHERS)
@pytest.mark.parametrize("length", [1, 24, 500])
def test_the_encoder_is_its_plain_twin(config: SnacConfig, length: int) -> None:
    codec, audio = snac(config), sound(1, length, 1)
    filled = functional.pad(audio[0], (0, -length % config.unit_samples))
    levels = plain_codes(codec, filled)
    mine = unflatten(encode_whole(codec, audio), config.vq_strides)
    assert all(torch.equal(level, other[0]) for level, other in zip(levels, mine, strict=True))


def test_it_learns_through_every_weight_that_makes_sound() -> None:
    codec = snac()
    silent = (
        "encoder.",
        "quantizer.quantizers.0.in",
        "quantizer.quantizers.1.in",
        "quantizer.quantizers.2.in",
    )
    making = {name: weight for name, weight in codec.named_parameters() if not name.startswith(silent)}
    gradients = torch.autograd.grad(codec(drawn(codec, 1, 9, 0)).square().sum(), list(making.values()))
    assert all(bool(gradient.abs().sum() > 0) for gradient in gradients)


# ---------------------------------------------------------------- levels and books


def test_seven_books_are_in_the_order_in_which_they_begin() -> None:
    levels = [
        torch.tensor([[0, 10]]),
        torch.tensor([[1, 4, 11, 14]]),
        torch.tensor([[2, 3, 5, 6, 12, 13, 15, 16]]),
    ]
    assert flatten(levels).mT.flatten().tolist() == [*range(7), *range(10, 17)]


@settings(deadline=None, max_examples=30)
@given(STRIDES, st.integers(0, 4))
def test_books_and_levels_are_the_same_codes(strides: tuple[int, ...], units: int) -> None:
    books = torch.arange(2 * len(books_of(strides)) * units).view(2, len(books_of(strides)), units)
    levels = unflatten(books, strides)
    assert [level.shape[-1] for level in levels] == [units * strides[0] // stride for stride in strides]
    assert torch.equal(flatten(levels, strides), books)
    begins = [place * strides[level] for level, place in books_of(strides)]
    assert begins == sorted(begins)


def test_levels_and_books_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="level 2 has 7 codes, 2 units have 8"):
        flatten([torch.zeros(1, n, dtype=torch.int64) for n in (2, 4, 7)])
    with pytest.raises(ValueError, match="6 books: strides .* have 7"):
        unflatten(torch.zeros(1, 6, 3, dtype=torch.int64))


# ---------------------------------------------------------------- streamed equals whole


@pytest.mark.parametrize("config", OTHERS)
@settings(deadline=None, max_examples=15)
@given(cuts=CUTS, units=st.integers(0, 12), seed=st.integers(0, 99))
def test_sound_in_step_does_not_depend_on_how_the_units_were_cut(
    config: SnacConfig, cuts: list[int], units: int, seed: int
) -> None:
    codec = snac(config)
    codes = drawn(codec, 2, units, seed)
    after = torch.full((2, codec.books, codec.ahead_units), NOTHING)
    state = codec.start_decoder(2)
    streamed = torch.cat([codec.decode(p, state) for p in pieces_of(torch.cat([codes, after], -1), cuts)], -1)
    held = codec.ahead_units * codec.unit_samples
    assert torch.all(streamed[:, :held] == 0)
    same(streamed[:, held:], codec(codes))


@settings(deadline=None, max_examples=25)
@given(cuts=CUTS, units=st.integers(0, 12), seed=st.integers(0, 99))
def test_sound_aloud_has_no_lag_and_no_tail_is_lost(cuts: list[int], units: int, seed: int) -> None:
    codec = snac()
    codes, aloud = drawn(codec, 1, units, seed)[0], Aloud(codec)
    state, given, fed = aloud.start(1), codes.new_zeros(0).float(), 0
    for piece in pieces_of(codes, cuts):
        fed += piece.shape[-1] * UNIT
        given = torch.cat([given, *aloud.say([piece], state)])
        assert len(given) == max(0, fed - codec.ahead_samples)
    same(torch.cat([given, *aloud.say([codes[:, :0]], state, last=True)]), codec(codes[None])[0])


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 70), max_size=8), length=st.integers(0, 400), seed=st.integers(0, 99))
def test_units_do_not_depend_on_how_the_sound_was_cut(cuts: list[int], length: int, seed: int) -> None:
    codec, audio = snac(), sound(2, length, seed)
    state = codec.start_encoder(2)
    pieces = [codec.encode(piece, state) for piece in pieces_of(audio, cuts)]
    streamed = torch.cat([*pieces, codec.encode(audio[:, :0], state, last=True)], -1)
    assert streamed.shape == (2, 7, -(-length // UNIT))
    assert torch.equal(streamed, encode_whole(codec, audio))
    assert all(map(torch.equal, state.tensors, codec.start_encoder(2).tensors))


def test_long_sound_in_pieces_is_the_sound_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, audio = snac(), sound(1, 40 * UNIT, 0)
    at_once = encode_whole(codec, audio)
    monkeypatch.setattr("duologue.units.snac._PIECE_UNITS", 3)
    assert torch.equal(encode_whole(codec, audio), at_once)


@pytest.mark.parametrize("config", OTHERS)
def test_sound_waits_for_the_stated_samples_and_no_more(config: SnacConfig) -> None:
    codec = Snac(config).double()
    codes, changed = drawn(codec, 1, 13, 0), 7
    other = codes.clone()
    other[..., changed] = (other[..., changed] + 1) % codec.codes
    apart = (codec(other) - codec(codes))[0]
    first = changed * codec.unit_samples - codec.ahead_samples
    assert torch.all(apart[:first] == 0)
    assert apart[first] != 0


def test_units_hear_no_further_ahead_than_is_stated() -> None:
    codec, audio, units = snac(), sound(1, 20 * UNIT, 0), 10
    ahead = round(codec.heard_ahead_s * codec.heard_hz)
    other = audio.clone()
    other[:, units * UNIT + ahead :] += 1
    first, second = encode_whole(codec, audio), encode_whole(codec, other)
    assert torch.equal(first[..., :units], second[..., :units])
    assert not torch.equal(first, second)


def test_the_released_codec_looks_as_far_ahead_as_was_measured() -> None:
    narrow = SnacConfig(encoder_dim=1, decoder_dim=16)
    assert Snac(narrow).ahead_samples == 4757
    assert Snac(narrow).ahead_units == 3


# ---------------------------------------------------------------- rows, forks, silence


def test_rows_at_their_own_pace_are_what_they_are_alone() -> None:
    codec = snac()
    rows = [drawn(codec, 1, units, units)[0] for units in (14, 9, 12)]
    paces = [[3, 0, 5, 6], [0, 0, 1, 8], [3, 4, 0, 5]]
    aloud = Aloud(codec)
    state, heard = aloud.start(3), [list[Tensor]() for _ in rows]
    for chunk in zip(*(torch.split(row, pace, -1) for row, pace in zip(rows, paces, strict=True)), strict=True):
        for sounds, new in zip(heard, aloud.say(chunk, state), strict=True):
            sounds.append(new)
    ends = aloud.say([row[:, :0] for row in rows], state, last=True)
    for row, sounds, end in zip(rows, heard, ends, strict=True):
        same(torch.cat([*sounds, end]), codec(row[None])[0])


def test_shorter_rows_end_with_nothing() -> None:
    codec = snac()
    codes = drawn(codec, 2, 11, 0)
    codes[1, :, 6:] = NOTHING
    together = codec(codes)
    same(together[:1], codec(codes[:1]))
    same(together[1:, : 6 * UNIT], codec(codes[1:, :, :6]))
    assert torch.all(together[1, 6 * UNIT :] == 0)


def test_a_row_that_began_later_goes_on_in_a_crowd_as_alone() -> None:
    codec = snac()
    codes = drawn(codec, 2, 12, 1)
    early, late = codec.start_decoder(1), codec.start_decoder(1)
    codec.decode(codes[:1, :, :7], early)
    crowd = codec.start_decoder(3)
    crowd.scatter(early, [2])
    together = codec.decode(torch.stack([codes[1, :, :5], codes[1, :, :5], codes[0, :, 7:]]), crowd)
    same(together[2:], codec.decode(codes[:1, :, 7:], early))
    same(together[:1], codec.decode(codes[1:, :, :5], late))


def test_a_fork_leaves_its_origin_alone() -> None:
    codec = snac()
    codes, state = drawn(codec, 1, 12, 1), codec.start_decoder(1)
    codec.decode(codes[..., :6], state)
    fork = state.fork()
    codec.decode(codes[..., 6:].flip(-1), fork)
    again = state.fork()
    assert torch.equal(codec.decode(codes[..., 6:], state), codec.decode(codes[..., 6:], again))


def test_silence_is_what_silence_is_encoded_to() -> None:
    codec = snac()
    assert torch.equal(encode_whole(codec, torch.zeros(1, 40 * UNIT))[0, :, 20], torch.tensor(codec.silence))


def test_rows_that_began_at_different_times_are_encoded_apart_at_first() -> None:
    codec = snac()
    one, crowd = codec.start_encoder(1), codec.start_encoder(2)
    codec.encode(sound(1, 8 * UNIT, 0), one)
    crowd.scatter(one, [1])
    with pytest.raises(ValueError, match="encode them apart"):
        codec.encode(sound(2, UNIT, 0), crowd)


def test_sound_and_codes_of_another_shape_are_refused() -> None:
    codec = snac()
    with pytest.raises(ValueError, match=r"give \[B, N\]"):
        codec.encode(torch.zeros(640), codec.start_encoder(1))
    with pytest.raises(ValueError, match=r"give \[B, 7, T\]"):
        codec.decode(torch.zeros(1, 1, 3, dtype=torch.int64), codec.start_decoder(1))
    with pytest.raises(ValueError, match="take special ids out"):
        codec(torch.full((1, 7, 2), 16))


# ---------------------------------------------------------------- noise


def test_noise_is_standard_normal_and_independent_of_neighbours_blocks_and_seeds() -> None:
    places = torch.arange(200_000)[None]
    draws = SeededNoise(0)(1, places)[0]
    assert abs(draws.mean()) < 0.01
    assert abs(draws.std() - 1) < 0.01
    assert abs((draws**4).mean() - 3) < 0.1
    for other in (draws.roll(1), draws.roll(64), SeededNoise(0)(2, places)[0], SeededNoise(1)(1, places)[0]):
        assert abs((draws * other).mean()) < 0.01


def test_noise_depends_on_the_place_alone() -> None:
    noise, places = SeededNoise(3), torch.tensor([[5, 70_000, 2**33], [0, 5, 5]])
    drawn = noise(0, places)
    assert drawn.isfinite().all()
    assert drawn[0, 0] == drawn[1, 1] == drawn[1, 2] == noise(0, torch.tensor([[5]]))[0, 0]


def test_noise_changes_the_sound_by_its_seed_and_none_gives_none() -> None:
    codes = drawn(snac(), 1, 5, 0)
    quiet, loud, other = (snac(seed=seed)(codes) for seed in (None, 5, 6))
    assert not torch.allclose(loud, other, atol=1e-3)
    assert not torch.allclose(loud, quiet, atol=1e-3)
    hushed = Snac(SMALL, lambda _, places: torch.zeros(places.shape))
    hushed.load_state_dict(snac().state_dict())
    same(quiet, hushed(codes))


# ---------------------------------------------------------------- files


def released(codec: Snac) -> dict[str, Tensor]:
    """The weights as the package saves them: each convolution as length and direction."""
    tensors = {}
    for name, tensor in codec.state_dict().items():
        if name.endswith(".weight") and "codebook" not in name:
            stem, longer = (
                name.removesuffix("weight"),
                torch.linspace(0.5, 2, len(tensor), device=tensor.device),
            )
            tensors[f"{stem}parametrizations.weight.original0"] = tensor.flatten(1).norm(dim=1).view(-1, 1, 1)
            tensors[f"{stem}parametrizations.weight.original1"] = tensor * longer.view(-1, 1, 1)
        else:
            tensors[name] = tensor
    return tensors


def folder_of(codec: Snac, path: Path, **changed: Any) -> Path:
    torch.save(released(codec), path / "pytorch_model.bin")
    (path / "config.json").write_text(json.dumps(asdict(codec.config) | {"attn_window_size": None} | changed))
    return path


@pytest.mark.parametrize("config", OTHERS)
def test_a_released_folder_is_the_codec_it_was_made_of(config: SnacConfig, tmp_path: Path) -> None:
    codec = snac(config)
    again = load(folder_of(codec, tmp_path), SeededNoise(5))
    assert again.config == config
    codes, audio = drawn(codec, 2, 6, 0), sound(1, 300, 0)
    same(again(codes), codec(codes))
    assert torch.equal(encode_whole(again, audio), encode_whole(codec, audio))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"attn_window_size": 32}, "with attention is of another kind"),
        ({"latent_dim": 9}, "latents of width 9"),
        ({"codebok_size": 16}, "unknown fields: codebok_size"),
        ({"decoder_rates": [3, 3]}, "do not match"),
        ({"vq_strides": [4, 3, 1]}, "each is a multiple of the next"),
        ({"codebook_size": 15}, "of another shape: quantizer.quantizers.0.codebook.weight"),
        ({"noise": False}, "missing: decoder.model.2.block.2.block.0.alpha"),
    ],
)
def test_a_codec_of_another_kind_is_refused(changed: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        load(folder_of(snac(), tmp_path, **changed))


def test_a_codec_that_is_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(source: str, name: str) -> str:
        raise OSError(f"no way to {source}/{name}")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(FileNotFoundError, match="no config.json of 'hubertsiuzdak/snac_24khz'.*no way to"):
        load("hubertsiuzdak/snac_24khz")
    folder_of(snac(), tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, name: str(tmp_path / name))
    assert load("hubertsiuzdak/snac_24khz").config == SMALL


def test_the_default_sizes_are_the_released_ones(shared: Path) -> None:
    recorded = json.loads((shared / "goldens/mini_omni/released_shapes.json").read_text())
    with torch.device("meta"):
        tensors = released(Snac())
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == recorded["codec"]
    assert len(tensors) == recorded["codec_entries"] == 269
