"""AdamW over the trained parameters, Muon over those matrices that the stage names. The learning rate is a pure
function of the step: nothing of it is saved."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from duologue.train.stage import Stage


def optimizers(model: nn.Module, stage: Stage) -> list[Optimizer]:
    """One or both of them, with a group for each peak rate, with and without decay. A group's `peak` is its highest
    rate. Raises ValueError for a pattern of Muon's that fits no matrix that is trained."""
    plain, matrices = _Groups(), _Groups()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for pattern in stage.muon:
        if not any(fnmatchcase(name, pattern) and parameter.dim() == 2 for name, parameter in trained.items()):
            raise ValueError(f"stage {stage.name!r}: no trained matrix has a name like {pattern}")
    for name, parameter in trained.items():
        by_muon = parameter.dim() == 2 and any(fnmatchcase(name, pattern) for pattern in stage.muon)
        decay = stage.weight_decay if parameter.dim() > 1 else 0.0
        (matrices if by_muon else plain).setdefault((_peak(name, stage), decay), []).append(parameter)
    found: list[Optimizer] = []
    if matrices:
        found.append(Muon(_listed(matrices), adjust_lr_fn="match_rms_adamw"))
    if plain:
        found.append(AdamW(_listed(plain), betas=stage.betas))
    return found


_Groups = dict[tuple[float, float], list[nn.Parameter]]
"""Parameters by their peak rate and their decay."""


def _listed(groups: _Groups) -> list[dict[str, object]]:
    return [
        {"params": group, "lr": peak, "peak": peak, "weight_decay": decay} for (peak, decay), group in groups.items()
    ]


def _peak(name: str, stage: Stage) -> float:
    return next((rate for pattern, rate in stage.rates.items() if fnmatchcase(name, pattern)), stage.learning_rate)


def set_rate(optimizers: Iterable[Optimizer], stage: Stage, step: int, steps: int) -> None:
    """Set the rate of the update that follows `step` of `steps` updates."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
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
