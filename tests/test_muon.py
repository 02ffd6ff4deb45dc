"""Muon beside AdamW: who trains what at which rate, the same curve after a kill; and logits of asked cells alone."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import AdamW, Muon

from duologue.data.tensors import Example, collate
from duologue.train import Causal, NextToken, Run, Stage, train
from duologue.train.curve import read
from duologue.train.loss import asked
from duologue.train.optimizer import height, optimizers, set_rate
from little_training import Mortal
from small_models import model_of

STREAMS = ("text", "speech")
MATRICES = ("*.layers.*",)


def stage(**changes: Any) -> Stage:
    usual = Stage("muon", 5e-3, 60, epochs=2, warmup_steps=2, muon=MATRICES, rates={"*embed_tokens*": 1e-3})
    return replace(usual, **changes)


def causal() -> Causal:
    """A fresh small Qwen2, always the same one."""
    model_of.cache_clear()
    return Causal(model_of("qwen2"))


def examples(seed: int = 0, count: int = 20) -> list[Example]:
    draw = np.random.default_rng(seed)
    return [_example(draw, int(steps)) for steps in draw.integers(4, 21, count)]


def _example(draw: np.random.Generator, steps: int) -> Example:
    said = draw.random(steps) < 0.7
    said[1] = True
    return {"tokens": draw.integers(0, 50, steps), "said": said, "stream": draw.integers(0, 2, steps)}


def run(folder: Path) -> Run:
    return Run(folder, microbatch_tokens=30, save_every_steps=3, quiet=True)


def learnt(folder: Path, how: Stage | None = None, model: Causal | None = None) -> Causal:
    model = model or causal()
    train(model, how or stage(), run(folder), examples(), objective=NextToken(STREAMS))
    return model


def curve(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in entry.items() if k != "elapsed_s"} for entry in read(folder / "log.jsonl")]


# ---------------------------------------------------------------- who trains what


def named(model: nn.Module, how: Stage) -> dict[str, tuple[str, float, float]]:
    """Optimizer, peak rate and decay of each parameter."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (type(optimizer).__name__, group["peak"], group["weight_decay"])
        for optimizer in optimizers(model, how)
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_muon_trains_the_matrices_that_are_named_and_adamw_all_else() -> None:
    model = causal()
    trained = named(model, stage(rates={"*q_proj.weight": 1e-2, "*embed_tokens*": 1e-3}))
    assert set(trained) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        by_muon = ".layers." in name and parameter.dim() == 2
        peak = 1e-2 if name.endswith("q_proj.weight") else 1e-3 if "embed_tokens" in name else 5e-3
        decay = 0.1 if parameter.dim() == 2 else 0.0
        assert trained[name] == ("Muon" if by_muon else "AdamW", peak, decay), name
    assert {kind for kind, *_ in trained.values()} == {"Muon", "AdamW"}


def test_what_is_frozen_is_not_trained() -> None:
    model = causal()
    model.lm.get_input_embeddings().weight.requires_grad_(False)
    trained = named(model, stage())
    assert not any("embed_tokens" in name for name in trained)


def test_without_names_all_is_adamws_and_with_every_matrix_both_or_one() -> None:
    (only,) = optimizers(causal(), stage(muon=()))
    assert isinstance(only, AdamW)
    muon, adamw = optimizers(causal(), stage(muon=("*",)))
    assert isinstance(muon, Muon)
    assert isinstance(adamw, AdamW)
    (alone,) = optimizers(nn.Linear(3, 3, bias=False), stage(muon=("*",), rates={}))
    assert isinstance(alone, Muon)


@pytest.mark.parametrize("pattern", ["*.layer.*", "*norm*", "lm.*.bias"])
def test_a_pattern_that_fits_no_matrix_is_refused(pattern: str, tmp_path: Path) -> None:
    """Also beside one that fits: a misspelt name is an error."""
    for muon in ((pattern,), (*MATRICES, pattern)):
        with pytest.raises(ValueError, match=f"stage 'muon': no trained matrix has a name like .*{pattern[1:4]}"):
            train(causal(), stage(muon=muon), run(tmp_path / "run"), examples(), objective=NextToken(STREAMS))


@given(st.integers(0, 19))
def test_rates_of_both_rise_and_fall_together(step: int) -> None:
    how, both = stage(), optimizers(causal(), stage())
    set_rate(both, how, step, 20)
    for group in (group for optimizer in both for group in optimizer.param_groups):
        assert group["lr"] == group["peak"] * height(how, step, 20)


def test_muon_turns_a_gradient_into_a_step_of_equal_strength_in_all_directions() -> None:
    """Its step is (nearly) orthogonal; scaled so that its root mean square is as AdamW's: 0.2 of the rate."""
    torch.manual_seed(0)
    layer = nn.Linear(128, 64, bias=False)
    before = layer.weight.detach().clone()
    (muon,) = optimizers(layer, stage(muon=("*",), rates={}, weight_decay=0.0, learning_rate=0.1))
    layer.weight.grad = torch.randn(64, 2) @ torch.randn(2, 128) + 0.3 * torch.randn(64, 128)
    muon.step()
    moved = before - layer.weight.detach()
    strengths = torch.linalg.svdvals(moved)
    assert float(strengths.max() / strengths.median()) < 2
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.2 * 0.1, rel=0.25)


# ---------------------------------------------------------------- killed


class Dying(Mortal, Causal):
    def __init__(self, at_forward: int) -> None:
        super().__init__(causal().lm)
        self.left = at_forward


def test_killed_and_gone_on_with_the_curve_is_the_one_it_would_have_been(tmp_path: Path) -> None:
    whole = learnt(tmp_path / "whole")
    folder = tmp_path / "killed"
    died = subprocess.run([sys.executable, __file__, folder], capture_output=True, text=True, check=False)
    assert died.returncode == -9, died.stderr
    assert 0 < len(curve(folder)) < len(curve(tmp_path / "whole"))
    assert (folder / "last.pt").exists()
    again = learnt(folder)
    assert curve(folder) == curve(tmp_path / "whole")
    pairs = zip(whole.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


def test_the_moments_of_both_are_kept(tmp_path: Path) -> None:
    learnt(tmp_path)
    kept = torch.load(tmp_path / "last.pt", weights_only=True)["optimizer"]["state"]
    matrix, table = "lm.model.layers.0.mlp.up_proj.weight", "lm.model.embed_tokens.weight"
    assert set(kept[matrix]) == {"momentum_buffer"}
    assert {"exp_avg", "exp_avg_sq"} <= set(kept[table])


def test_another_choice_of_matrices_is_not_gone_on_with(tmp_path: Path) -> None:
    learnt(tmp_path)
    with pytest.raises(RuntimeError, match=r"muon was .*layers.* and is \[\]"):
        learnt(tmp_path, stage(muon=()))
    assert json.loads((tmp_path / "stage.json").read_text())["muon"] == list(MATRICES)


# ---------------------------------------------------------------- logits of the asked cells alone


@settings(max_examples=15)
@given(st.integers(0, 999), st.booleans())
def test_the_loss_of_the_asked_cells_alone_is_that_of_all_logits(seed: int, packed: bool) -> None:
    model, objective = causal().eval(), NextToken(STREAMS)
    one, two, three = examples(seed, 3)
    batch = collate([[one, two], [three]] if packed else [[one], [two], [three]])
    with torch.no_grad():
        alone, whole = model(batch), model.lm(batch["tokens"], use_cache=False).logits
    assert alone.shape == (int(asked(batch).sum()), 50)
    few, all_of = objective.nats(alone, batch), objective.nats(whole, batch)
    for name, nats in all_of.items():
        assert float(few[name]) == pytest.approx(float(nats), rel=1e-5, abs=1e-5)


def test_their_gradients_are_the_same_too() -> None:
    batch, objective, found = collate([[one] for one in examples()]), NextToken(STREAMS), []
    for whole in (False, True):
        model = causal()
        output = model.lm(batch["tokens"], use_cache=False).logits if whole else model(batch)
        loss: Any = torch.stack(list(objective.nats(output, batch).values())).sum()
        loss.backward()
        found.append([parameter.grad for parameter in model.parameters()])
    for alone, all_of in zip(*found, strict=True):
        torch.testing.assert_close(alone, all_of, rtol=1e-4, atol=1e-5)


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("folder", type=Path)
    torch.set_num_threads(1)
    learnt(asked.parse_args().folder, model=Dying(at_forward=11))


if __name__ == "__main__":
    main()
