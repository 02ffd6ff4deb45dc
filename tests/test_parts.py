"""Parts of a model: only those that a stage names learn, and what was learnt can be merged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn

import little_training
from duologue.data.tensors import collate
from duologue.train import Lora, Stage, blend, fold_lora, train
from duologue.train.learner import Learner
from duologue.train.parts import choose, training_mode
from little_training import Little, learnt, losses, run
from little_transformer import Talker, by_heart


def test_lora_trains_its_own_parameters_only_and_folds_into_the_same_model(tmp_path: Path) -> None:
    stage = Stage("low rank", 1e-2, 60, steps=4, trains=("*.norm.weight",), lora=Lora(("q_proj", "v_proj"), rank=2))
    model, before = Talker(), Talker().state_dict()
    train(model, stage, run(tmp_path), by_heart())
    after = {name.replace(".base_layer", ""): tensor for name, tensor in model.state_dict().items()}
    changed = {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}
    assert changed == {"language_model.model.norm.weight"}
    low_rank = {name for name in after if ".lora_" in name}
    assert len(low_rank) == 2 * 2 * 2
    assert set(torch.load(tmp_path / "last.pt", weights_only=True)["model"]) == changed | low_rank

    batch = collate([[example] for example in by_heart()])
    said = model.eval()(batch)
    fold_lora(model)
    assert set(model.state_dict()) == set(before)
    torch.testing.assert_close(model(batch), said, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(said, Talker().eval()(batch), atol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [{"trains": (), "lora": Lora(("q_proj",), rank=2, dropout=0.1)}, {"trains": ("*",)}],
    ids=["lora", "tied"],
)
def test_a_transformer_goes_on_where_it_was(tmp_path: Path, changes: dict[str, Any]) -> None:
    stage = Stage("onward", 1e-2, 30, steps=6, **changes)
    train(Talker(), stage, run(tmp_path / "whole"), by_heart())

    update = Learner.update

    def stopped(self: Learner, *arguments: Any) -> Any:
        if arguments[2] == 5:
            raise KeyboardInterrupt
        return update(self, *arguments)

    with mock.patch.object(Learner, "update", stopped), pytest.raises(KeyboardInterrupt):
        train(Talker(), stage, run(tmp_path / "stopped"), by_heart())
    train(Talker(), stage, run(tmp_path / "stopped"), by_heart())
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


def test_only_the_chosen_parts_learn_and_each_at_its_rate(tmp_path: Path) -> None:
    stage = replace(little_training.stage(), trains=("head.*", "past.*"), rates={"head.*": 1e-5, "*hh*": 0.0})
    before, model = Little(noise=0).state_dict(), learnt(tmp_path, stage)
    moved = {name: float((tensor - before[name]).abs().max()) for name, tensor in model.state_dict().items()}
    assert {name for name, way in moved.items() if not way} == {
        "tokens.weight",
        "past.weight_hh_l0",
        "past.bias_hh_l0",
    }
    assert 0 < moved["head.weight"] < 27 * 2e-5 < moved["past.weight_ih_l0"]


def test_frozen_parts_draw_no_dropout() -> None:
    model = nn.Sequential(
        nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.BatchNorm1d(2)), nn.Linear(2, 2), nn.Dropout()
    )
    choose(model, Stage("head", 1e-3, 10, steps=1, trains=("1.*",)))
    training_mode(model)
    modes = {name: module.training for name, module in model.named_modules()}
    assert modes == {"": True, "0": False, "0.0": False, "0.1": False, "0.2": False, "1": True, "2": True}


def test_parts_that_are_not_there_are_named() -> None:
    for changes in ({"trains": ("heads.*",)}, {"rates": {"heads.*": 1.0}}):
        with pytest.raises(ValueError, match=r"no parameter fits 'heads.\*'; there are tokens.weight"):
            choose(Little(), replace(little_training.stage(), **changes))
    with pytest.raises(ValueError, match="trains nothing"):
        choose(Little(), replace(little_training.stage(), trains=()))
    with pytest.raises(ValueError, match="no layer's name ends in"):
        choose(Little(), replace(little_training.stage(), lora=Lora(("q_proj",))))


def test_blending_leaves_new_rows_and_other_parts_as_trained() -> None:
    base = {"lm.rows": torch.zeros(2, 3), "head.rows": torch.zeros(2, 3)}
    trained = {"lm.rows": torch.ones(3, 3), "head.rows": torch.ones(2, 3), "lm.new": torch.ones(1)}
    blended = blend(trained, base, trained_share=0.25, parts=("lm.*",))
    assert blended["lm.rows"].tolist() == [[0.25] * 3, [0.25] * 3, [1.0] * 3]
    assert torch.equal(blended["head.rows"], trained["head.rows"])
    assert torch.equal(blended["lm.new"], trained["lm.new"])
    assert torch.equal(trained["lm.rows"], torch.ones(3, 3))
    with pytest.raises(ValueError, match="do not belong together"):
        blend({"lm.rows": torch.ones(1, 3)}, base, 0.5)
