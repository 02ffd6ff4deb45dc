"""Training: the same learning however a batch is cut and whoever computes it, and what is told of it."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import little_training
from duologue.data.batch import Batches, share
from duologue.data.tensors import Example, collate
from duologue.train import DivergedError, NextToken, OwnLoss, Stage, train
from duologue.train.curve import read
from duologue.train.learner import Learner
from duologue.train.loss import shares, weigh
from duologue.train.optimizer import height
from little_training import STREAMS, Little, examples, learnt, losses, run
from little_transformer import Talker, by_heart, recited

# ---------------------------------------------------------------- however it is cut


@pytest.mark.parametrize("mean_over", ["cells", "streams"])
def test_the_curve_does_not_depend_on_the_size_of_a_microbatch(tmp_path: Path, mean_over: Any) -> None:
    stage = replace(little_training.stage(), mean_over=mean_over)
    for microbatch_tokens in (20, 31, 60):
        name = str(microbatch_tokens)
        learnt(tmp_path / name, stage, microbatch_tokens=microbatch_tokens)
    np.testing.assert_allclose(losses(tmp_path / "20"), losses(tmp_path / "60"), rtol=2e-6)
    np.testing.assert_allclose(losses(tmp_path / "31"), losses(tmp_path / "60"), rtol=2e-6)


def test_two_processes_learn_as_one_process_does_that_has_the_batches_of_both(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    data = Batches(examples(0, 40), little_training.stage().batching)
    cut = [share(batch, data.lengths, 24, rank=1, processes=2) for batch in data.epoch(0)]
    assert any(part.idle for mine in cut for part in mine), "no process is ever idle: choose other sizes"
    one = Little(noise=0)
    given = examples(0, 40), examples(1, 6), NextToken(STREAMS)
    train(one, little_training.stage(), run(tmp_path / "one"), *given)
    ran = subprocess.run(
        [*program, little_training.__file__, tmp_path / "two", "--noise", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr

    logs = [read(tmp_path / name / "log.jsonl") for name in ("one", "two")]
    assert [list(entry) for entry in logs[0]] == [list(entry) for entry in logs[1]]
    for name in ("loss", "loss/text", "gradient_norm", "validation_loss", "validation_loss/speech"):
        curves = [[entry[name] for entry in log if name in entry] for log in logs]
        np.testing.assert_allclose(curves[0], curves[1], rtol=1e-5)
    kept = [torch.load(tmp_path / name / "last.pt", weights_only=True)["model"] for name in ("one", "two")]
    for name, tensor in kept[0].items():
        torch.testing.assert_close(kept[1][name], tensor, rtol=1e-3, atol=1e-5)


@given(st.integers(0, 999), st.integers(1, 3))
def test_the_loss_of_streams_is_the_mean_over_said_cells_one_by_one(seed: int, lanes: int) -> None:
    draw = np.random.default_rng(seed)
    rows = [[_lanes(draw, int(steps), lanes) for steps in draw.integers(2, 6, 2)] for _ in range(2)]
    batch = collate(rows)
    logits = torch.from_numpy(draw.normal(size=(*batch["tokens"].shape, 5)))
    objective = NextToken(("a", "b"))
    nats, cells = objective.nats(logits, batch), objective.cells(batch)
    slow: dict[str, list[float]] = {"a": [], "b": []}
    for row in range(2):
        for step in range(1, batch["said"].shape[1]):
            for lane in range(lanes):
                if batch["said"][row, step, lane] and batch["position"][row, step] > 0:
                    odds = logits[row, step - 1, lane].log_softmax(-1)[batch["tokens"][row, step, lane]]
                    slow["ab"[int(batch["stream"][row, step, lane])]].append(-float(odds))
    for name, each in slow.items():
        assert int(cells[name]) == len(each)
        assert float(nats[name]) == pytest.approx(sum(each), rel=1e-5)


def _lanes(draw: np.random.Generator, steps: int, lanes: int) -> Example:
    shape = (steps, lanes)
    said, stream = draw.random(shape) < 0.7, draw.integers(0, 2, shape)
    return {"tokens": draw.integers(0, 5, shape), "said": said, "stream": stream}


def test_weights_of_streams() -> None:
    cells, nats = {"text": 2.0, "speech": 6.0}, {"text": torch.tensor(4.0), "speech": torch.tensor(6.0)}
    assert float(weigh(nats, shares(cells, {}, "cells"))) == pytest.approx(10 / 8)
    assert float(weigh(nats, shares(cells, {"text": 3}, "cells"))) == pytest.approx((3 * 4 + 6) / (3 * 2 + 6))
    assert float(weigh(nats, shares(cells, {"text": 3}, "streams"))) == pytest.approx(3 * 2 + 1)
    assert shares({"text": 2.0, "speech": 0.0}, {}, "streams") == {"text": 0.5, "speech": 0.0}
    with pytest.raises(ValueError, match=r"loss weights for \['txt'\]"):
        shares(cells, {"txt": 1}, "cells")
    with pytest.raises(ValueError, match="no cell that is asked for"):
        shares({"text": 0.0}, {}, "cells")


def test_a_model_that_gives_its_own_loss_learns_from_the_mean_over_all_its_cells(tmp_path: Path) -> None:
    class Squared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.guess = nn.Parameter(torch.zeros(1))

        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            wrong: Tensor = ((self.guess - batch["target"]) ** 2)[batch["said"]].mean()
            return wrong

    data: list[Example] = [
        {"said": np.ones(steps, bool), "target": np.full(steps, float(steps), np.float32)} for steps in (1, 2, 5)
    ]
    stage = Stage("mean", learning_rate=0.1, batch_tokens=8, steps=150, weight_decay=0, schedule="linear", final_rate=0)
    model = Squared()
    train(model, stage, run(tmp_path, microbatch_tokens=5), data, objective=OwnLoss())
    assert model.guess.item() == pytest.approx((1 + 2 * 2 + 5 * 5) / 8, abs=0.01)


# ---------------------------------------------------------------- a transformer


@pytest.mark.parametrize("row_tokens", [None, 26])
def test_a_language_model_learns_four_sequences_by_heart(tmp_path: Path, row_tokens: int | None) -> None:
    """With the sequences apart, and packed two in a row."""
    stage = Stage("by heart", 1e-2, 60, steps=70, row_tokens=row_tokens, warmup_steps=5, weight_decay=0)
    model = Talker()
    train(model, stage, run(tmp_path, microbatch_tokens=30), by_heart())
    assert [recited(model, example) for example in by_heart()] == [list(example["tokens"]) for example in by_heart()]
    assert losses(tmp_path)[-1] < 0.1


def test_bfloat16_learns_the_same_but_for_rounding(tmp_path: Path) -> None:
    stage = Stage("by heart", learning_rate=1e-2, batch_tokens=60, steps=25, weight_decay=0)
    models = {bf16: Talker() for bf16 in (False, True)}
    for bf16, model in models.items():
        train(model, stage, run(tmp_path / str(bf16), bf16=bf16), by_heart())
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    exact, rounded = losses(tmp_path / "False"), losses(tmp_path / "True")
    assert exact != rounded
    np.testing.assert_allclose(rounded, exact, atol=0.05)


def test_packed_sequences_do_not_see_each_other() -> None:
    """The logits of a row of two are those of each alone."""
    model = Talker().eval()
    one, two = by_heart()[:2]
    row = model(collate([[one, two], [two]]))
    torch.testing.assert_close(row[0, : len(one["said"])], model(collate([[one]]))[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(row[0, len(one["said"]) :], model(collate([[two]]))[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(row[1, : len(two["said"])], model(collate([[two]]))[0], rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- one update


@given(st.sampled_from(["constant", "linear", "cosine"]), st.integers(0, 20), st.integers(1, 60), st.floats(0, 1))
def test_the_rate_climbs_to_its_peak_and_falls_to_its_end(schedule: Any, warmup: int, falls: int, final: float) -> None:
    steps = warmup + falls
    stage = Stage("s", 1e-3, 10, steps=steps, schedule=schedule, warmup_steps=warmup, final_rate=final)
    heights = [height(stage, step, steps) for step in range(steps)]
    assert all(low < high for low, high in pairwise(heights[: warmup + 1]))
    assert heights[warmup] == pytest.approx(1)
    assert all(high >= low - 1e-12 for high, low in pairwise(heights[warmup:]))
    assert all(0 < each <= 1 + 1e-12 for each in heights[:-1])
    if schedule != "constant" and falls > 1:
        assert heights[-1] == pytest.approx(final)


def test_the_gradient_is_clipped_before_the_update(tmp_path: Path) -> None:
    stage = replace(little_training.stage(), clip_norm=0.05)
    learner = Learner(Little(), stage, run(tmp_path), NextToken(STREAMS))
    seen: list[float] = []

    def look(*_: object) -> None:
        gradients = [parameter.grad for parameter in learner.model.parameters() if parameter.grad is not None]
        seen.append(math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients)))

    learner.optimizers[0].register_step_pre_hook(look)
    data = Batches(examples(0, 40), stage.batching)
    measured = learner.update(data, data.epoch(0)[0], 0, 10)
    assert measured["gradient_norm"] > 0.1
    assert seen == [pytest.approx(0.05, rel=1e-3)]


def test_validation_is_the_mean_over_all_cells_of_the_model_at_rest(tmp_path: Path) -> None:
    objective, model = NextToken(), Little()
    stage = replace(little_training.stage(), loss_weights={})
    learner = Learner(model, stage, run(tmp_path), objective)
    model.train()
    measured = learner.validate(Batches(examples(1, 6), stage.batching))
    model.eval()
    alone = [collate([[example]]) for example in examples(1, 6)]
    nats = sum(objective.nats(model(batch), batch)["said"].item() for batch in alone)
    cells = sum(objective.cells(batch)["said"].item() for batch in alone)
    assert measured == {"validation_loss": pytest.approx(nats / cells, rel=1e-6)}


class Poisoned(Little):
    """Its logits are not a number from the third update on."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        self.seen: int = getattr(self, "seen", 0) + 1
        return super().forward(batch) * (math.nan if self.seen > 2 else 1)


def test_a_loss_that_is_no_number_stops_the_stage_and_spoils_nothing(tmp_path: Path) -> None:
    model, closely = Poisoned(), run(tmp_path, microbatch_tokens=60, save_every_steps=1)
    with pytest.raises(
        DivergedError, match=r"'little', step 3: .*nan.*learning rate 0.00225, examples \d+, .*lower"
    ) as caught:
        train(model, little_training.stage(), closely, examples(0, 40), objective=NextToken(STREAMS))
    data = Batches(examples(0, 40), little_training.stage().batching)
    first = min(index for row in data.epoch(0)[2] for index in row)
    assert f"examples {first}, " in str(caught.value)
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["reached"]["step"] == 2
    assert all(bool(tensor.isfinite().all()) for tensor in kept["model"].values())
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


# ---------------------------------------------------------------- what is told


def test_tensorboard_has_the_curve_and_there_is_a_picture(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    train(
        Little(),
        little_training.stage(),
        run(tmp_path),
        examples(0, 40),
        examples(1, 6),
        NextToken(STREAMS),
    )
    (file,) = tmp_path.glob("*tfevents*")
    board = [
        (event.step, value.tag, value.tensor.float_val[0])
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
    ]
    log = [
        (entry["step"], name, value)
        for entry in read(tmp_path / "log.jsonl")
        for name, value in entry.items()
        if name not in ("step", "elapsed_s")
    ]
    assert [place[:2] for place in board] == [place[:2] for place in log]
    np.testing.assert_allclose([place[2] for place in board], [place[2] for place in log], rtol=1e-6)
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_progress_says_how_long_it_will_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(
        Little(),
        little_training.stage(),
        run(tmp_path, quiet=False),
        examples(0, 40),
        objective=NextToken(STREAMS),
    )
    told = capsys.readouterr().err
    assert "little  step 27/27  loss " in told
    assert "left 0:00:00" in told


# ---------------------------------------------------------------- faults


def test_a_stage_with_a_fault_is_refused() -> None:
    with pytest.raises(TypeError, match="learing_rate"):
        replace(little_training.stage(), learing_rate=1.0)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="give steps or epochs"):
        replace(little_training.stage(), steps=3)
    with pytest.raises(ValueError, match="schedule 'cosin'"):
        replace(little_training.stage(), schedule="cosin")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="learning_rate is 0"):
        replace(little_training.stage(), learning_rate=0)


def test_examples_that_do_not_fit_a_microbatch_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rows of up to 20 steps.*raise microbatch_tokens"):
        train(Little(), little_training.stage(), run(tmp_path, microbatch_tokens=10), examples(0, 40))
