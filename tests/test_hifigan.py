"""Unit HiFi-GAN: the network equals its plain twin, streamed equals whole, rows are as alone, files are read safely."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from duologue.units import hifigan
from duologue.units.codec import decode_whole
from duologue.units.hifigan import HifiGan, HifiGanConfig
from duologue.units.hifigan_voice import UnitVoice
from duologue.units.lookahead import NOTHING, Aloud
from duologue.units.released import fields_of, fill, folded, found, tensors_of

SMALL = HifiGanConfig(
    codes=11,
    width=6,
    channels=8,
    rates=(3, 2),
    up_taps=(7, 4),
    block_taps=(3, 5),
    block_dilations=((1, 3), (1, 2)),
    duration_width=5,
)
HOP = 6
OTHERS = (SMALL, replace(SMALL, rates=(2, 1, 4), up_taps=(2, 1, 10), block_dilations=((2,), (1,))))
CUTS = st.lists(st.integers(0, 7), max_size=8)


@lru_cache
def vocoder(config: HifiGanConfig = SMALL) -> HifiGan:
    torch.manual_seed(0)
    model = HifiGan(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def drawn(length: int, seed: int) -> Tensor:
    return torch.randint(SMALL.codes, (length,), generator=torch.Generator().manual_seed(seed))


def same(mine: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(mine.detach(), other.detach(), atol=1e-5, rtol=0)


def pieces_of(row: Tensor, cuts: list[int]) -> list[Tensor]:
    """Pieces of the lengths `cuts`, as far as it goes, and what is left."""
    ends = [min(end, row.shape[-1]) for end in itertools.accumulate(cuts)]
    return [row[..., a:b] for a, b in zip([0, *ends], [*ends, row.shape[-1]], strict=True)]


# ---------------------------------------------------------------- the plain twin


def plain_sound(model: HifiGan, codes: Tensor) -> Tensor:
    """Of one row [T], as the papers draw it: every layer padded, all at once."""
    x = model.dict(codes).mT[None]
    x = conv(model.conv_pre, x)
    kinds = len(model.config.block_taps)
    ups: Any = model.ups
    for stage, up in enumerate(ups):
        x = functional.conv_transpose1d(functional.leaky_relu(x, 0.1), up.weight, up.bias, up.stride, up.padding)
        x = torch.stack([block(b, x) for b in list(model.resblocks)[stage * kinds : (stage + 1) * kinds]]).mean(0)
    return torch.tanh(conv(model.conv_post, functional.leaky_relu(x, 0.01)))[0, 0]


def block(module: Any, x: Tensor) -> Tensor:
    for wide, narrow in zip(module.convs1, module.convs2, strict=True):
        x = x + conv(narrow, functional.leaky_relu(conv(wide, functional.leaky_relu(x, 0.1)), 0.1))
    return x


def conv(layer: Any, x: Tensor) -> Tensor:
    return functional.conv1d(x, layer.weight, layer.bias, padding=layer.padding, dilation=layer.dilation)


def plain_log_durations(model: HifiGan, units: Tensor) -> Tensor:
    predictor: Any = model.dur_predictor
    x = model.dict(units).mT[None]
    for layer, norm in ((predictor.conv1[0], predictor.ln1), (predictor.conv2[0], predictor.ln2)):
        x = norm(conv(layer, x).relu().mT).mT
    logs: Tensor = predictor.proj(x.mT)[0, :, 0]
    return logs


@pytest.mark.parametrize("config", OTHERS)
@pytest.mark.parametrize("length", [1, 2, 9, 30])
def test_the_network_is_its_plain_twin(config: HifiGanConfig, length: int) -> None:
    model, codes = vocoder(config), drawn(length, length)
    same(model(codes[None, None])[0], plain_sound(model, codes))
    same(UnitVoice(model).log_durations(codes), plain_log_durations(model, codes))


def test_it_learns_through_every_weight_that_makes_sound() -> None:
    model = vocoder()
    sound = model(drawn(9, 0)[None, None])
    named = dict(model.named_parameters())
    making = {name: weight for name, weight in named.items() if not name.startswith("dur_predictor")}
    gradients = torch.autograd.grad(sound.square().sum(), list(making.values()))
    assert all(bool(gradient.abs().sum() > 0) for gradient in gradients)


# ---------------------------------------------------------------- streamed equals whole


@pytest.mark.parametrize("config", OTHERS)
@settings(deadline=None, max_examples=15)
@given(cuts=CUTS, length=st.integers(0, 20), seed=st.integers(0, 99))
def test_frames_in_step_do_not_depend_on_how_they_were_cut(
    config: HifiGanConfig, cuts: list[int], length: int, seed: int
) -> None:
    model, hop = vocoder(config), vocoder(config).unit_samples
    codes = torch.stack([drawn(length, seed), drawn(length, seed + 1)])[:, None]
    after = torch.full((2, 1, model.ahead_units), NOTHING)
    state = model.start_decoder(2)
    pieces = [model.decode(piece, state) for piece in pieces_of(torch.cat([codes, after], -1), cuts)]
    streamed = torch.cat(pieces, -1)
    assert torch.all(streamed[:, : model.ahead_units * hop] == 0)
    same(streamed[:, model.ahead_units * hop :], model(codes))
    same(decode_whole(model, codes), model(codes))


@settings(deadline=None, max_examples=25)
@given(cuts=CUTS, length=st.integers(0, 20), seed=st.integers(0, 99))
def test_merged_units_aloud_do_not_depend_on_how_they_were_cut(cuts: list[int], length: int, seed: int) -> None:
    voice, units = UnitVoice(vocoder()), drawn(length, seed)
    state = voice.start(1)
    pieces = [sound for piece in pieces_of(units, cuts) for sound in voice.say([piece], state)]
    streamed = torch.cat([*pieces, *voice.say([units[:0]], state, last=True)])
    (whole,) = voice.whole([units])
    assert len(whole) == HOP * int(voice.durations(units).sum())
    same(streamed, whole)


def test_what_comes_out_is_all_that_is_final() -> None:
    voice, units = UnitVoice(vocoder()), drawn(30, 3)
    durations, state, given = voice.durations(units), voice.start(1), 0
    for unit in range(30):
        (sound,) = voice.say([units[unit : unit + 1]], state)
        given += len(sound)
        timed = int(durations[: max(0, unit + 1 - voice.ahead_units)].sum())
        assert given == max(0, timed * HOP - voice.vocoder.ahead_samples)


def test_after_the_last_unit_a_row_is_as_at_the_start() -> None:
    voice, units = UnitVoice(vocoder()), drawn(12, 0)
    state = voice.start(1)
    first = voice.say([units], state, last=True)
    again = voice.say([units], state, last=True)
    assert torch.equal(first[0], again[0])
    assert all(map(torch.equal, state.tensors, voice.start(1).tensors))


@pytest.mark.parametrize("config", OTHERS)
def test_sound_waits_for_the_stated_samples_and_no_more(config: HifiGanConfig) -> None:
    model = HifiGan(config).double()
    length = 2 * model.ahead_units + 3
    codes, changed = drawn(length, 0)[None, None], length // 2
    other = codes.clone()
    other[..., changed] = (other[..., changed] + 1) % config.codes
    apart = (model(other) - model(codes))[0]
    first = changed * model.unit_samples - model.ahead_samples
    assert torch.all(apart[:first] == 0)
    assert torch.any(apart[first : first + model.unit_samples] != 0)


def test_a_duration_hears_two_units_on_each_side() -> None:
    voice, units = UnitVoice(vocoder()), drawn(11, 0)
    other = units.clone()
    other[5] = (other[5] + 1) % SMALL.codes
    changed = (voice.log_durations(units) != voice.log_durations(other)).nonzero().flatten().tolist()
    assert changed == [3, 4, 5, 6, 7]


# ---------------------------------------------------------------- rows are as alone


@settings(deadline=None, max_examples=20)
@given(lengths=st.lists(st.integers(0, 12), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_rows_of_unequal_length_are_what_they_are_alone(lengths: list[int], seed: int) -> None:
    voice = UnitVoice(vocoder())
    rows = [drawn(length, seed + length) for length in lengths]
    for row, together in zip(rows, voice.whole(rows), strict=True):
        same(together, voice.whole([row])[0])


def test_rows_at_their_own_pace_are_what_they_are_alone() -> None:
    voice = UnitVoice(vocoder())
    rows = [drawn(14, 1), drawn(9, 2), drawn(14, 3)]
    paces = [[3, 0, 5, 6], [0, 0, 1, 8], [3, 4, 0, 7]]
    state, sounds = voice.start(3), [[], [], []]  # type: tuple[Any, list[list[Tensor]]]
    for chunk in zip(*(torch.split(row, pace) for row, pace in zip(rows, paces, strict=True)), strict=True):
        for heard, sound in zip(sounds, voice.say(chunk, state), strict=True):
            heard.append(sound)
    ends = voice.say([row[:0] for row in rows], state, last=True)
    for row, heard, end in zip(rows, sounds, ends, strict=True):
        same(torch.cat([*heard, end]), voice.whole([row])[0])


def test_a_row_in_a_crowd_and_a_fork_go_on_as_they_would_alone() -> None:
    voice, units = UnitVoice(vocoder()), drawn(16, 0)
    state = voice.start(1)
    voice.say([units[:9]], state)
    crowd = voice.start(3)
    crowd.scatter(state.fork(), [2])
    nobody = units[:0]
    together = voice.say([nobody, units[:4], units[9:]], crowd, last=True)
    (alone,) = voice.say([units[9:]], state, last=True)
    same(together[2], alone)
    same(together[1], voice.whole([units[:4]])[0])
    assert len(together[0]) == 0


def test_codes_below_nought_are_dropped_and_nothing_is_silence() -> None:
    voice = UnitVoice(vocoder())
    assert torch.equal(*voice.whole([torch.tensor([3, -1, 4, -1]), torch.tensor([3, 4])]))
    state = voice.vocoder.start_decoder(1)
    quiet = voice.vocoder.decode(torch.full((1, 1, 30), NOTHING), state)
    assert torch.all(quiet == 0)


def test_what_is_no_code_is_refused() -> None:
    model = vocoder()
    with pytest.raises(ValueError, match=r"shape \[1, 2, 3\]: give \[B, 1, T\]"):
        model(torch.zeros(1, 2, 3, dtype=torch.int64))
    for bad in (11, -2):
        with pytest.raises(ValueError, match="there are 0 to 10"):
            model.decode(torch.tensor([[[0, bad]]]), model.start_decoder(1))
    with pytest.raises(ValueError, match="1 rows for 2 streams"):
        model.decode(torch.zeros(1, 1, 3, dtype=torch.int64), model.start_decoder(2))
    with pytest.raises(ValueError, match="1 rows for 2 streams"):
        Aloud(model).say([torch.zeros(1, 3, dtype=torch.int64)], Aloud(model).start(2))
    with pytest.raises(ValueError, match="there are 0 to 10"):
        UnitVoice(model).whole([torch.tensor([12])])
    with pytest.raises(ValueError, match="predicts no durations"):
        UnitVoice(vocoder(replace(SMALL, duration_width=None)))


def test_aloud_takes_frames_too() -> None:
    model, frames = vocoder(), drawn(20, 5)
    aloud = Aloud(model)
    state = aloud.start(2)
    first = aloud.say([frames[None, :7], frames[None]], state)
    rest = aloud.say([frames[None, 7:], frames[None, :0]], state, last=True)
    for begun, ended in zip(first, rest, strict=True):
        same(torch.cat([begun, ended]), model(frames[None, None])[0])
    assert all(map(torch.equal, state.tensors, aloud.start(2).tensors))


# ---------------------------------------------------------------- files


def released(model: HifiGan) -> dict[str, Tensor]:
    """The weights as fairseq saves them: each convolution outside of the predictor as length and direction."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        stem = name.removesuffix(".weight")
        if name.endswith(".weight") and stem.startswith(("conv_", "ups", "resblocks")):
            tensors[f"{stem}.weight_g"] = tensor.flatten(1).norm(dim=1).view(-1, 1, 1)
            longer = torch.linspace(0.5, 2, len(tensor), device=tensor.device)
            tensors[f"{stem}.weight_v"] = tensor * longer.view(-1, 1, 1)
        else:
            tensors[name] = tensor
    return tensors


def fields(config: HifiGanConfig) -> dict[str, Any]:
    return {
        "resblock": "1",
        "num_embeddings": config.codes,
        "embedding_dim": config.width,
        "upsample_initial_channel": config.channels,
        "upsample_rates": list(config.rates),
        "upsample_kernel_sizes": list(config.up_taps),
        "resblock_kernel_sizes": list(config.block_taps),
        "resblock_dilation_sizes": [list(each) for each in config.block_dilations],
        "dur_predictor_params": {"var_pred_hidden_dim": config.duration_width, "var_pred_kernel_size": 3},
        "sampling_rate": 16_000,
        "f0": False,
    }


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(fields(SMALL)))
    return path


def test_a_released_pickle_is_the_vocoder_it_was_made_of(tmp_path: Path, config_file: Path) -> None:
    torch.save({"generator": released(vocoder())}, tmp_path / "g_00500000")
    model = hifigan.load(tmp_path / "g_00500000", config_file)
    assert model.config == SMALL
    codes = drawn(9, 0)[None, None]
    same(model(codes), vocoder()(codes))


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_folding_is_torchs_weight_norm(kind: type[nn.Module]) -> None:
    layer = nn.utils.parametrizations.weight_norm(kind(4, 6, 3))
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(torch.linspace(0.5, 3, len(layer.weight)).view(-1, 1, 1))
    normed, plain = nn.Sequential(layer), nn.Sequential(kind(4, 6, 3))
    fill(plain, folded(normed.state_dict()), "one layer")
    x = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plain(x), normed(x))


def test_weights_that_do_not_fit_are_named(tmp_path: Path, config_file: Path) -> None:
    tensors = released(vocoder())
    tensors["stray.weight"] = tensors.pop("conv_pre.bias")
    tensors["dict.weight"] = torch.zeros(7, 6)
    torch.save({"generator": tensors}, tmp_path / "g")
    with pytest.raises(ValueError, match="do not fit") as caught:
        hifigan.load(tmp_path / "g", config_file)
    for part in (
        "missing: conv_pre.bias",
        "not of this model: stray.weight",
        "dict.weight is [7, 6], not [11, 6]",
    ):
        assert part in str(caught.value)
    torch.save({"generator": {}}, tmp_path / "g")
    with pytest.raises(ValueError, match=f"{len(vocoder().state_dict())} missing: .*…"):
        hifigan.load(tmp_path / "g", config_file)


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def test_nothing_of_a_pickle_is_run(tmp_path: Path, config_file: Path) -> None:
    torch.save({"generator": Harmful(tmp_path / "made")}, tmp_path / "g")
    with pytest.raises(ValueError, match="no weights that can be read"):
        hifigan.load(tmp_path / "g", config_file)
    assert not (tmp_path / "made").exists()
    pickle.loads(pickle.dumps(Harmful(tmp_path / "made")))
    assert (tmp_path / "made").exists()


def test_files_that_are_no_weights_are_refused(tmp_path: Path, config_file: Path) -> None:
    for name, content in (("g", b"no weights"), ("g.safetensors", b"no weights"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{re.escape(name)}: no weights"):
            tensors_of(tmp_path / name)
    torch.save([1, 2], tmp_path / "list")
    with pytest.raises(ValueError, match="holds no dict of tensors"):
        tensors_of(tmp_path / "list")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        hifigan.load(tmp_path / "nowhere", config_file)
    with pytest.raises(FileNotFoundError, match="give the folder as it was released"):
        found(tmp_path, "nowhere.bin")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        fields_of(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"f0": True}, "'f0' is of another kind"),
        ({"multispkr": "from_input_file"}, "'multispkr' is of another kind"),
        ({"resblock": "2"}, "type '2' are not known"),
        ({"dur_predictor_params": {"var_pred_hidden_dim": 5, "var_pred_kernel_size": 5}}, "3 taps, not 5"),
        ({"num_embeddings": None}, "no 'num_embeddings'"),
    ],
)
def test_vocoders_of_another_kind_are_refused(changed: dict[str, Any], told: str) -> None:
    wrong = {name: value for name, value in (fields(SMALL) | changed).items() if value is not None}
    with pytest.raises(ValueError, match=told):
        HifiGanConfig.read(wrong)
    assert HifiGanConfig.read(fields(SMALL)) == SMALL


def test_the_default_sizes_are_the_released_ones(shared: Path) -> None:
    recorded = json.loads((shared / "goldens/llama_omni/released_shapes.json").read_text())["vocoder"]
    expected = {name: shape for pattern, shape in recorded["shapes"].items() for name in spelt(pattern)}
    with torch.device("meta"):
        model = HifiGan()
    shapes = {name: list(tensor.shape) for name, tensor in released(model).items()}
    assert shapes == expected
    assert len(shapes) == recorded["tensors"] == 302
    assert sum(tensor.numel() for tensor in released(model).values()) == recorded["parameters"]


def spelt(pattern: str) -> Iterator[str]:
    """a.{0..2}.b → a.0.b, a.1.b, a.2.b"""
    parts = re.split(r"\{(\d+)\.\.(\d+)\}", pattern)
    numbers = [range(int(low), int(high) + 1) for low, high in zip(parts[1::3], parts[2::3], strict=True)]
    for chosen in itertools.product(*numbers):
        yield "".join(itertools.chain(*itertools.zip_longest(parts[::3], map(str, chosen), fillvalue="")))
