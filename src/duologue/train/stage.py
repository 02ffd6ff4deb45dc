"""A phase of training, as frozen data: what is learnt and how. Where it is run is a `Run`.

A stage is made by a function that returns one, and varied by `dataclasses.replace`: a misspelt name is an
error.

    def alignment() -> Stage:
        return Stage("alignment", learning_rate=2e-5, epochs=5, batch_tokens=100_000, warmup_steps=200)
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from duologue.data.batch import Batching
from duologue.train.loss import MeanOver


@dataclass(frozen=True)
class Lora:
    """Low-rank changes to the linear layers whose names end in one of `targets` (Hu et al. 2021), by peft."""

    targets: tuple[str, ...]
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0


@dataclass(frozen=True)
class Stage:
    """All that decides what is learnt: the same stage, data and model give the same loss curve.

    trains          patterns of the names of the parameters that are trained, as in file names: "adapter.*"
    lora            low-rank changes, trained besides; a model that has some already keeps those
    muon            patterns of the names of matrices that Muon trains (Jordan 2024; at AdamW's rates by the scale of
                    Liu et al. 2025, arXiv 2502.16982); for models that learn from nothing. Not for sharded ones
    learning_rate   at its peak, reached after `warmup_steps`; falls to `final_rate` of it along the schedule
    rates           other peaks for some parameters, by pattern; the first that fits counts
    clip_norm       the gradient's norm over all trained parameters is at most this
    weight_decay    of matrices; vectors (norms, biases) do not decay
    loss_weights    by stream of the objective, 1 where not named; see `loss.shares`
    steps, epochs   how long: one of the two
    """

    name: str
    learning_rate: float
    batch_tokens: int
    steps: int | None = None
    epochs: int | None = None
    trains: tuple[str, ...] = ("*",)
    lora: Lora | None = None
    muon: tuple[str, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_steps: int = 0
    final_rate: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    mean_over: MeanOver = "cells"
    row_tokens: int | None = None
    pool_batches: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"stage {self.name!r}: give steps or epochs, one of the two")
        if self.schedule not in ("constant", "linear", "cosine"):
            raise ValueError(f"stage {self.name!r}: schedule {self.schedule!r} is none of constant, linear, cosine")
        if self.mean_over not in ("cells", "streams"):
            raise ValueError(f"stage {self.name!r}: mean over {self.mean_over!r} is none of cells, streams")
        for name in ("learning_rate", "clip_norm", "batch_tokens", "steps", "epochs"):
            size = getattr(self, name)
            if size is not None and not size > 0:
                raise ValueError(f"stage {self.name!r}: {name} is {size}: it must be above 0")

    @property
    def batching(self) -> Batching:
        return Batching(self.batch_tokens, self.row_tokens, self.pool_batches, self.seed)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as they come back from JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


@dataclass(frozen=True)
class Run:
    """Where and how a stage is run. Nothing here changes what is learnt, but for rounding.

    folder              last.pt, best.pt, stage.json, log.jsonl, loss.png and the tensorboard's events
    microbatch_tokens   what one process computes at once, padding included; None: as many as the stage's batch
    bf16                compute in bfloat16; parameters, their moments and the loss stay float32
    """

    folder: Path
    microbatch_tokens: int | None = None
    bf16: bool = False
    save_every_steps: int = 100
    validate_every_steps: int = 100
    quiet: bool = False

    def __post_init__(self) -> None:
        for name in ("microbatch_tokens", "save_every_steps", "validate_every_steps"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"{name} is {size}: at least 1 is needed")
