"""What is made small: by stream, the mean over the cells that the model is asked for.

A sum over cells is the same however the cells are split, a mean is not. So an objective says two things of a
batch: how many cells of each stream it asks for, and the sum of their losses. The loop counts the cells of a
whole optimizer step first, over all microbatches and processes; `shares` turns the counts into what one nat
of each stream is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Tensors = dict[str, Tensor]
"""A batch, by name; or one number for each stream, by its name."""

MeanOver = Literal["cells", "streams"]


class Objective(Protocol):
    """What a stage makes small. Both answers are by stream, and have the same streams for every batch."""

    def cells(self, batch: Tensors) -> Tensors:
        """How many cells are asked for: known before the model is run."""
        ...

    def nats(self, output: Tensor, batch: Tensors) -> Tensors:
        """Sums of the losses of those cells, given what the model made of the batch. Differentiable."""
        ...


# ---------------------------------------------------------------- objectives


@dataclass(frozen=True)
class NextToken:
    """Cross-entropy of each said token, given all that stands before it.

    Of the batch it looks at `tokens` [B, S] or [B, S, K]; `said`, true where the model is asked; `stream`, an
    index into `streams` for each cell (without it, all are the first stream's); `segment` [B, S], where
    examples are packed: the first step of each has nothing before it. The model's output is logits [B, S,
    (K,) V], at step s for step s + 1; or those of the asked cells alone, [cells, V], in the order of `asked`.
    """

    streams: tuple[str, ...] = ("said",)

    def cells(self, batch: Tensors) -> Tensors:
        cells = asked(batch)
        return self._by_stream(batch, cells, cells[cells])

    def nats(self, output: Tensor, batch: Tensors) -> Tensors:
        cells = asked(batch)
        logits = output if output.dim() == 2 else output[:, :-1][cells]
        targets = batch["tokens"][:, 1:][cells]
        return self._by_stream(batch, cells, functional.cross_entropy(logits.float(), targets, reduction="none"))

    def _by_stream(self, batch: Tensors, cells: Tensor, values: Tensor) -> Tensors:
        """Sums of the values of the cells."""
        if len(self.streams) == 1:
            return {self.streams[0]: values.sum()}
        stream = batch["stream"][:, 1:][cells]
        return {name: values[stream == index].sum() for index, name in enumerate(self.streams)}


def asked(batch: Tensors) -> Tensor:
    """Which of the steps from the second on are asked for: [B, S - 1, (K)]."""
    said = batch["said"][:, 1:]
    if "segment" in batch:
        same = batch["segment"][:, 1:] == batch["segment"][:, :-1]
        said = said & same.reshape(*same.shape, *[1] * (said.dim() - 2))
    return said


@dataclass(frozen=True)
class OwnLoss:
    """For a model whose output is its loss: one number, the mean over the cells that `said` marks in its batch."""

    stream: str = "loss"

    def cells(self, batch: Tensors) -> Tensors:
        return {self.stream: batch["said"].sum()}

    def nats(self, output: Tensor, batch: Tensors) -> Tensors:
        return {self.stream: output * batch["said"].sum()}


# ---------------------------------------------------------------- one number


def shares(cells: Mapping[str, float], weights: Mapping[str, float], mean_over: MeanOver) -> dict[str, float]:
    """What one nat of each stream adds to the loss. A stream that `weights` does not name weighs 1.

    over cells     sum of weight * nats, divided by the sum of weight * cells
    over streams   sum of weight * (nats divided by cells); a stream without cells adds nothing

    Raises ValueError where weights name no stream of the objective, or nothing at all is asked for.
    """
    if unknown := set(weights) - set(cells):
        raise ValueError(f"loss weights for {sorted(unknown)}: the streams of the objective are {sorted(cells)}")
    weight = {name: weights.get(name, 1.0) for name in cells}
    weighted = sum(weight[name] * count for name, count in cells.items())
    if not weighted:
        raise ValueError(f"no cell that is asked for in a whole batch: {dict(cells)}; look at `said` of the examples")
    if mean_over == "cells":
        return {name: weight[name] / weighted for name in cells}
    return {name: weight[name] / count if count else 0.0 for name, count in cells.items()}


def weigh(nats: Tensors, share: Mapping[str, float]) -> Tensor:
    """The loss of these nats: one number."""
    return torch.stack([nats[name] * share[name] for name in sorted(nats)]).sum()
