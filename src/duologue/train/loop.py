"""One loop for every stage of every system: learn, and where it is time, validate, keep the best and keep the
last.

Killed at any moment, the same call goes on from the last checkpoint, and the loss curve is the one it would
have been.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from duologue.data.batch import Batches
from duologue.data.tensors import Example
from duologue.train import checkpoint
from duologue.train.attention import in_blocks
from duologue.train.checkpoint import Origin, Reached
from duologue.train.curve import Curve
from duologue.train.learner import Learner, Measured
from duologue.train.loss import NextToken, Objective
from duologue.train.progress import Shown
from duologue.train.stage import Run, Stage
from duologue.whole import whole_file


@dataclass(frozen=True)
class Trained:
    """What came of a stage: its updates, and the best validation (nats per cell), None where there was none."""

    steps: int
    best_step: int | None = None
    best_loss: float | None = None


def train(
    model: nn.Module,
    stage: Stage,
    run: Run,
    examples: Sequence[Example],
    validation: Sequence[Example] = (),
    objective: Objective | None = None,
    pad: Mapping[str, float] | None = None,
) -> Trained:
    """Train `model` in place; it is left with the weights of the last step, `best.pt` holds those of the best one.

    The model is called with a batch (a dict of tensors, see `batch.collate`); the objective, NextToken()
    where none is named, makes a loss of what it returns. Goes on where `run.folder` was left, and does
    nothing where it was finished. Raises ValueError for a stage that does not fit the model or the examples,
    CheckpointError and DivergedError.
    """
    data = Batches(examples, stage.batching, pad or {})
    held_out = Batches(validation, replace(stage.batching, seed=None), pad or {}) if validation else None
    _all_fit(run, stage, [data, held_out or data])
    learner = Learner(model, stage, run, objective or NextToken())
    reached = _Loop(learner, stage, run, data, held_out).to_the_end()
    return Trained(reached.step, reached.best_step, reached.best_loss) if reached.best_step else Trained(reached.step)


def _all_fit(run: Run, stage: Stage, batches: list[Batches]) -> None:
    widest, room = max(b.widest_row for b in batches), run.microbatch_tokens or stage.batch_tokens
    if widest > room:
        raise ValueError(
            f"rows of up to {widest} steps do not fit into microbatches of {room} tokens: "
            "raise microbatch_tokens, or cut the examples"
        )


class _Loop:
    def __init__(self, learner: Learner, stage: Stage, run: Run, data: Batches, held_out: Batches | None) -> None:
        self._learner, self._stage, self._run, self._data, self._held_out = (
            learner,
            stage,
            run,
            data,
            held_out,
        )
        self._steps = stage.steps or data.steps(stage.epochs or 0)
        self._origin = Origin(stage.to_json(), data.fingerprint)
        self._main = learner.group.is_main_process

    def to_the_end(self) -> Reached:
        self._run.folder.mkdir(parents=True, exist_ok=True)
        reached = checkpoint.go_on(self._file("last.pt"), self._learner.model, self._learner.optimizers, self._origin)
        began_s = time.monotonic() - reached.elapsed_s
        with (
            closing(_Record(self._run, self._stage, reached, self._steps, self._main)) as record,
            in_blocks(self._learner.model),
        ):
            for batch, position in self._data.since(reached.position):
                if reached.step >= self._steps:
                    break
                measured = self._learner.update(self._data, batch, reached.step, self._steps)
                elapsed_s = time.monotonic() - began_s
                reached = replace(reached, step=reached.step + 1, position=position, elapsed_s=elapsed_s)
                record.learnt(reached, measured)
                reached = self._look_and_save(reached, record)
            record.finish()
        return reached

    def _look_and_save(self, reached: Reached, record: _Record) -> Reached:
        if self._held_out and self._due(reached, self._run.validate_every_steps):
            measured = self._learner.validate(self._held_out)
            record.validated(reached, measured)
            if measured["validation_loss"] < reached.best_loss:
                reached = replace(reached, best_step=reached.step, best_loss=measured["validation_loss"])
                checkpoint.save_best(self._file("best.pt"), self._learner.model, reached, self._main)
        if self._due(reached, self._run.save_every_steps):
            model, optimizers = self._learner.model, self._learner.optimizers
            checkpoint.save_last(self._file("last.pt"), model, optimizers, self._origin, reached, self._main)
        return reached

    def _due(self, reached: Reached, every_steps: int) -> bool:
        return reached.step % every_steps == 0 or reached.step == self._steps

    def _file(self, name: str) -> Path:
        return self._run.folder / name


class _Record:
    """What the first process tells of the stage: description, curve, progress. The others tell nothing."""

    def __init__(self, run: Run, stage: Stage, reached: Reached, steps: int, main: bool) -> None:
        self._curve = _begun(run.folder, stage, reached) if main else None
        self._shown = Shown(stage.name, reached.step, steps, quiet=run.quiet or not main)

    def learnt(self, reached: Reached, measured: Measured) -> None:
        self.validated(reached, measured | {"epoch": reached.position.epoch})
        self._shown.step(reached.step, measured["loss"])

    def validated(self, reached: Reached, measured: Measured) -> None:
        if self._curve:
            self._curve.add({"step": reached.step, **measured, "elapsed_s": round(reached.elapsed_s, 3)})

    def finish(self) -> None:
        if self._curve:
            self._curve.draw()

    def close(self) -> None:
        self._shown.close()


def _begun(folder: Path, stage: Stage, reached: Reached) -> Curve:
    checkpoint.remove_unfinished(folder)
    description = json.dumps(stage.to_json(), indent=2) + "\n"
    with checkpoint.writing(folder / "stage.json"):
        whole_file(folder / "stage.json", lambda file: file.write(description.encode()))
    return Curve(folder, reached.step)
