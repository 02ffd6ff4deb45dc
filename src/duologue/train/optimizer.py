"""AdamW over the trained parameters. The learning rate is a pure function of the step: nothing of it is saved."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

from torch import nn
from torch.optim import AdamW, Optimizer

from duologue.train.stage import Stage


def optimizer(model: nn.Module, stage: Stage) -> AdamW:
    """One group for each peak rate, with and without decay. A group's `peak` is its highest rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = stage.weight_decay if parameter.dim() > 1 else 0.0
            groups.setdefault((_peak(name, stage), decay), []).append(parameter)
    return AdamW(
        [{"params": group, "lr": peak, "peak": peak, "weight_decay": decay} for (peak, decay), group in groups.items()],
        betas=stage.betas,
    )


def _peak(name: str, stage: Stage) -> float:
    return next((rate for pattern, rate in stage.rates.items() if fnmatchcase(name, pattern)), stage.learning_rate)


def set_rate(optimizer: Optimizer, stage: Stage, step: int, steps: int) -> None:
    """Set the rate of the update that follows `step` of `steps` updates."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * height(stage, step, steps)


def height(stage: Stage, step: int, steps: int) -> float:
    """The learning rate of the update after `step` others, as a part of its peak.

    A straight climb over the warm-up, then from 1 down to `final_rate` at the last update.
    """
    if step < stage.warmup_steps:
        return (step + 1) / (stage.warmup_steps + 1)
    way = min(1.0, (step - stage.warmup_steps) / max(1, steps - 1 - stage.warmup_steps))
    falls = {"constant": 1.0, "linear": 1 - way, "cosine": (1 + math.cos(math.pi * way)) / 2}
    return stage.final_rate + (1 - stage.final_rate) * falls[stage.schedule]
