"""A model that learns: one update from one batch, and a look at how well it does.

A batch is cut into microbatches, over the processes and one after the other. The cells that they ask for are
counted, then each microbatch is run forward and back with its share of the loss: the sum is the same however
it was cut.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate.utils import send_to_device
from torch import nn

from duologue.data.batch import Batch, Batches, share
from duologue.train import parallel
from duologue.train.loss import Objective, Tensors, shares, weigh
from duologue.train.optimizer import optimizers, set_rate
from duologue.train.parts import choose, training_mode
from duologue.train.stage import Run, Stage

Measured = dict[str, float]


class DivergedError(ArithmeticError):
    """The loss or its gradient is no finite number any more. The model has not been updated with it."""


class Learner:
    """A model, changed in place, with its optimizers, in a group of processes."""

    def __init__(self, model: nn.Module, stage: Stage, run: Run, objective: Objective) -> None:
        self._stage, self._objective, self._bf16 = stage, objective, run.bf16
        self._microbatch_tokens = run.microbatch_tokens or stage.batch_tokens
        self.group = parallel.accelerator()
        parallel.seed(stage.seed)
        choose(model, stage)
        self.model, *prepared = self.group.prepare(model, *optimizers(model, stage))
        self.optimizers: list[torch.optim.Optimizer] = [each.optimizer for each in prepared]

    def update(self, data: Batches, batch: Batch, step: int, steps: int) -> Measured:
        """Learn from one batch, after `step` of `steps` updates. Raises DivergedError."""
        parallel.seed(self._stage.seed, step + 1, self.group.process_index)
        training_mode(self.model)
        parts = self._parts(data, batch)
        cells = parallel.total(self.group, [part.counted(self._objective.cells(part.tensors)) for part in parts])
        share_of = self._shares(cells)
        nats = parallel.total(self.group, [self._backward(part, share_of, part is parts[-1]) for part in parts])
        losses = _losses("loss", nats, cells, share_of)
        norm = float(self.group.clip_grad_norm_(self.model.parameters(), self._stage.clip_norm))
        set_rate(self.optimizers, self._stage, step, steps)
        self._all_finite(losses, norm, step + 1, batch)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return {**losses, "gradient_norm": norm, "learning_rate": self._rate}

    @property
    def _rate(self) -> float:
        rate: float = self.optimizers[0].param_groups[0]["lr"]
        return rate

    def validate(self, data: Batches) -> Measured:
        """The loss over all of the data, as one batch; what the model says without being taught."""
        self.model.eval()
        each_cells, each_nats = [], []
        with torch.no_grad():
            for part in (part for batch in data.epoch(0) for part in self._parts(data, batch)):
                each_cells.append(part.counted(self._objective.cells(part.tensors)))
                each_nats.append(self._forward(part))
        cells, nats = parallel.total(self.group, each_cells), parallel.total(self.group, each_nats)
        return _losses("validation_loss", nats, cells, self._shares(cells))

    # ------------------------------------------------------------ parts of a batch

    def _parts(self, data: Batches, batch: Batch) -> list[_Part]:
        rank, processes = self.group.process_index, self.group.num_processes
        mine = share(batch, data.lengths, self._microbatch_tokens, rank, processes)
        return [_Part(data.tensors(microbatch), microbatch.idle) for microbatch in mine]

    def _shares(self, cells: Measured) -> Measured:
        return shares(cells, self._stage.loss_weights, self._stage.mean_over)

    def _forward(self, part: _Part) -> Tensors:
        here = send_to_device(part.tensors, self.group.device)
        with torch.autocast(self.group.device.type, torch.bfloat16, enabled=self._bf16):
            output = self.model(here)
        return part.counted(self._objective.nats(output, here))

    def _backward(self, part: _Part, share_of: Measured, last: bool) -> Tensors:
        """Processes add their gradients up with the last part; what they do is to take the mean."""
        with nullcontext() if last else self.group.no_sync(self.model):
            nats = self._forward(part)
            self.group.backward(weigh(nats, share_of) * self.group.num_processes)
        return {name: value.detach() for name, value in nats.items()}

    def _all_finite(self, losses: Measured, norm: float, step: int, batch: Batch) -> None:
        wrong = {name: loss for name, loss in losses.items() if not math.isfinite(loss)}
        if not wrong and math.isfinite(norm):
            return
        what = f"the loss is {wrong}" if wrong else f"the norm of the gradient is {norm}"
        raise DivergedError(
            f"stage {self._stage.name!r}, step {step}: {what} "
            f"(learning rate {self._rate:.3g}, examples {_some(batch)}). "
            "The last checkpoint is from before: look at these examples, or begin anew with a lower learning_rate"
        )


@dataclass(frozen=True)
class _Part:
    """A microbatch in tensors. An idle one is computed as any other, and counts for nothing."""

    tensors: Tensors
    idle: bool

    def counted(self, by_stream: Tensors) -> Tensors:
        return {name: value * 0 for name, value in by_stream.items()} if self.idle else by_stream


def _losses(name: str, nats: Measured, cells: Measured, share_of: Measured) -> Measured:
    """The loss, and where there are several streams, the mean over the cells of each."""
    losses = {name: sum(nats[stream] * share_of[stream] for stream in sorted(nats))}
    if len(cells) > 1:
        losses |= {f"{name}/{stream}": nats[stream] / count for stream, count in cells.items() if count}
    return losses


def _some(batch: Batch) -> str:
    indices = sorted(index for row in batch for index in row)
    return ", ".join(map(str, indices[:8])) + (", ..." if len(indices) > 8 else "")
