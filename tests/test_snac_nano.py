"""SNAC of the nano size: its own layers are their plain twins, it streams, it learns, its file is read safely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from duologue.data.tensors import Example
from duologue.train import Run, Stage, train
from duologue.units import snac_nano
from duologue.units.centred import Passage, Signal
from duologue.units.codec import decode_whole, encode_whole
from duologue.units.lookahead import Aloud
from duologue.units.snac import Snac
from duologue.units.snac_learning import Learning, SoundAndCodes
from duologue.units.snac_nano import Energies, Sounding, untrained
from small_mini import LEVELS, levels
from test_snac import drawn, pieces_of, same

UNIT = LEVELS.unit_samples
CUTS = st.lists(st.integers(0, 3000), max_size=6)


def sound(rows: int, samples: int, seed: int) -> Tensor:
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed)) / 10


# ---------------------------------------------------------------- layers


def test_energies_are_those_of_a_plain_spectrum() -> None:
    """Of torch's own transform, every frame in the middle of its window."""
    x, units = sound(2, 8 * UNIT, 0), 8
    found = Energies(16_000, 160)(Signal(x[:, None], UNIT), Passage(torch.ones(2, units + 1, dtype=torch.bool), 3))
    window = torch.hann_window(640)
    padded = functional.pad(x, (240, 640))
    spectra = torch.stft(padded, 640, 160, window=window, center=False, return_complex=True).abs().square()
    plain = torch.log1p(Energies(16_000, 160).bands.T @ spectra / snac_nano.QUIET)
    same(found.x[..., found.late :], plain[..., : found.x.shape[-1] - found.late])
    assert found.rate == 8


def test_what_is_told_of_a_spectrum_is_heard() -> None:
    """Magnitudes and phases of a sound, put together again, are the sound."""
    x = sound(1, 4 * UNIT, 1)
    window = torch.hann_window(640)
    spectra = torch.stft(functional.pad(x, (240, 240)), 640, 160, 640, window, False, return_complex=True)
    told = torch.cat((spectra.abs().clamp_min(1e-9).log(), spectra.angle()), 1)
    sounding = Sounding(160)
    sounding.window = sounding.window * 0 + window / (window.square().view(4, 160).sum(0).repeat(4))
    made = sounding(Signal(told, 8), Passage(torch.ones(1, 4, dtype=torch.bool), 3))
    same(made.x[0, 0, made.late :][600:3000], x[0, 600:3000])


# ---------------------------------------------------------------- streaming


def test_its_sizes() -> None:
    codec = levels()
    assert (codec.books, codec.unit_hz, codec.heard_hz, codec.unit_samples) == (7, 12.5, 16_000, 1280)
    assert codec.ahead_units == 2
    assert codec.heard_ahead_s == pytest.approx(0.24)


@given(CUTS, st.integers(0, 100))
def test_codes_do_not_depend_on_how_the_sound_comes(cuts: list[int], seed: int) -> None:
    codec, x = levels(), sound(2, 6 * UNIT + 311, seed)
    state = codec.start_encoder(2)
    parts = pieces_of(x, cuts)
    found = [codec.encode(part, state, last=part is parts[-1]) for part in parts]
    assert torch.equal(torch.cat(found, -1), encode_whole(codec, x))


@given(st.lists(st.integers(0, 4), max_size=6), st.integers(0, 100))
def test_sound_does_not_depend_on_how_the_codes_come(cuts: list[int], seed: int) -> None:
    codec, aloud = levels(), Aloud(levels())
    codes = drawn(codec, 1, 9, seed)
    state, parts = aloud.start(1), pieces_of(codes[0], cuts)
    with torch.no_grad():
        found = torch.cat([aloud.say([part], state, last=part is parts[-1])[0] for part in parts])
        same(found, codec(codes)[0])
        same(decode_whole(codec, codes)[0, : 7 * UNIT], codec(codes)[0, : 7 * UNIT])


def test_a_row_in_a_batch_is_what_it_is_alone() -> None:
    codec, one, two = levels(), drawn(levels(), 1, 5, 0), drawn(levels(), 1, 8, 1)
    with torch.no_grad():
        both = codec(torch.cat((functional.pad(one, (0, 3), value=-1), two)))
        same(both[0, : 5 * UNIT], codec(one)[0])
        assert not both[0, 5 * UNIT :].any()
        same(both[1], codec(two)[0])


# ---------------------------------------------------------------- learning


def learning() -> Learning:
    torch.manual_seed(0)
    return Learning(untrained(replace(LEVELS, encoder_dim=8, decoder_dim=32)), apart)


def apart(made: Tensor, wanted: Tensor) -> Tensor:
    one, other = (
        torch.stft(x, 640, 160, window=torch.hann_window(640), return_complex=True).abs() for x in (made, wanted)
    )
    return ((one - other).square().sum() / other.square().sum()).sqrt()


def clips() -> Sequence[Example]:
    """Two tones by turns, 320 ms of each."""
    time_s = np.arange(4 * UNIT) / 16_000
    tones = [0.3 * np.sin(2 * np.pi * hz * time_s).astype(np.float32).reshape(4, UNIT) for hz in (440, 1100)]
    whole = [np.concatenate([tones[0], tones[1]]), np.concatenate([tones[1], tones[0], tones[1]])]
    return [{"sound": each, "said": np.ones(len(each), bool)} for each in whole]


def test_it_learns_clips_by_heart_and_is_kept_with_all_it_counts(tmp_path: Path) -> None:
    stage = Stage("levels", 3e-3, 100, steps=150, mean_over="streams", loss_weights={"codes": 0.1}, warmup_steps=5)
    one = learning()
    train(one, stage, Run(tmp_path / "one", quiet=True), clips(), (), SoundAndCodes())
    x = torch.from_numpy(clips()[1]["sound"]).view(1, -1)
    codec = one.codec.eval()
    assert float(apart(decode_whole(codec, encode_whole(codec, x)), x)) < 0.35
    again = learning()
    train(again, stage, Run(tmp_path / "one", quiet=True), clips(), (), SoundAndCodes())
    for name, value in one.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_learning_makes_the_sound_that_the_codec_makes() -> None:
    """What is compared with the sound while it learns is what its codes sound like."""
    model = learning().eval()
    x, inside = sound(2, 6 * UNIT, 3), torch.ones(2, 6, dtype=torch.bool)
    with torch.no_grad():
        quantized = model._quantized(model._heard(x, inside), inside)
        same(model._made(quantized.latents, inside), model.codec(encode_whole(model.codec, x)))


def test_a_code_becomes_the_mean_of_what_it_is_chosen_for() -> None:
    model = learning().train()
    level = model.codec.quantizer.levels[0][1]
    vectors = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]).repeat(24, 1)
    codes = torch.tensor([0, 1]).repeat(24)
    for _ in range(300):
        model._remember(level, 0, vectors + 0.1 * torch.randn(48, 4), codes)
    torch.testing.assert_close(level.codebook.weight[:2], torch.eye(4)[:2], atol=0.05, rtol=0)
    assert float(model.chosen[0, 0]) == pytest.approx(24, rel=0.05)
    others = level.codebook.weight[2:]
    assert float((others.detach() - torch.eye(4)[:2].mean(0)).norm(dim=1).max()) < 1.2


def test_gradients_reach_encoder_and_decoder_through_the_codes() -> None:
    model = learning().train()
    batch = {"sound": sound(1, 5 * UNIT, 0).view(1, 5, UNIT), "said": torch.ones(1, 5, dtype=torch.bool)}
    model(batch)[0].backward()
    for name, parameter in model.named_parameters():
        if "codebook" not in name:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_silence_behind_a_row_changes_nothing() -> None:
    model = learning().eval()
    x = sound(1, 5 * UNIT, 0).view(1, 5, UNIT)
    inside = torch.ones(1, 5, dtype=torch.bool)
    longer = {"sound": functional.pad(x, (0, 0, 0, 3)), "said": functional.pad(inside, (0, 3))}
    with torch.no_grad():
        heard, more = (model._heard(s.flatten(1), i) for s, i in ((x, inside), (longer["sound"], longer["said"])))
        same(more[..., :20], heard)
        same(model(longer)[1], model({"sound": x, "said": inside})[1])


# ---------------------------------------------------------------- on the disk


def test_a_file_keeps_the_codec(tmp_path: Path) -> None:
    path = tmp_path / "levels.safetensors"
    snac_nano.save(levels(), path)
    back: Snac = snac_nano.load(path)
    assert back.config == LEVELS
    assert not back.training
    again = tmp_path / "again.safetensors"
    snac_nano.save(back, again)
    assert again.read_bytes() == path.read_bytes()
    codes = drawn(back, 1, 4, 0)
    with torch.no_grad():
        torch.testing.assert_close(back(codes), levels()(codes), atol=1e-3, rtol=0)


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"recipes/nano_levels\.py makes one"):
        snac_nano.load(tmp_path / "none")
    (tmp_path / "other").write_bytes(b"none")
    with pytest.raises(ValueError, match="not the weights of a nano codec with levels"):
        snac_nano.load(tmp_path / "other")
    with pytest.raises(ValueError, match=r"give \(hop, factor\), \(factor, hop\)"):
        untrained(replace(LEVELS, encoder_rates=(80, 4)))
