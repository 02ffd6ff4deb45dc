"""One loop for both parts of the nano units: AdamW, warm-up and cosine, clipped gradients, a checkpoint to go on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from duologue.train.curve import read
from duologue.whole import whole_file

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """How one part learns. `losses` of a step are summed."""

    name: str
    steps: int
    learning_rate: float
    seed: int = 0
    warmup_steps: int = 150
    clip_norm: float = 1.0
    save_every_steps: int = 200
    show_every_steps: int = 50


def learn(plan: Plan, model: nn.Module, losses: Callable[[int], Losses], folder: Path) -> None:
    """Train `model` in place, from where `folder` left it. `losses` gives those of step n."""
    kept, log, began = folder / f"{plan.name}.pt", folder / f"{plan.name}.jsonl", time.monotonic()
    optimizer = torch.optim.AdamW(model.parameters(), plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    step, spent_s = _go_on(kept, model, optimizer)
    _cut(log, step)
    model.train()
    while step < plan.steps:
        torch.manual_seed(plan.seed * 1_000_003 + step)
        shown = _update(plan, model, optimizer, losses(step), step)
        step += 1
        now_s = spent_s + time.monotonic() - began
        if step % plan.show_every_steps == 0:
            _show(log, plan, step, now_s, shown)
        if step % plan.save_every_steps == 0 or step == plan.steps:
            _keep(kept, model, optimizer, step, now_s)
    model.eval()


def _update(
    plan: Plan, model: nn.Module, optimizer: torch.optim.Optimizer, losses: Losses, step: int
) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = plan.learning_rate * height(step, plan)
    optimizer.zero_grad()
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), plan.clip_norm))
    if not math.isfinite(norm):
        raise ArithmeticError(f"{plan.name}, step {step}: the gradient is no finite number; take a lower learning rate")
    optimizer.step()
    return {**{name: float(loss.detach()) for name, loss in losses.items()}, "gradient_norm": norm}


def height(step: int, plan: Plan) -> float:
    """Share of the learning rate at a step: up in a line, down in half a cosine to 2 %."""
    rising = min(1.0, (step + 1) / plan.warmup_steps)
    return rising * (0.51 + 0.49 * math.cos(math.pi * step / plan.steps))


def _show(log: Path, plan: Plan, step: int, spent_s: float, shown: dict[str, float]) -> None:
    left_min = spent_s / step * (plan.steps - step) / 60
    figures = "  ".join(f"{name} {value:.3f}" for name, value in shown.items())
    print(f"{plan.name} {step}/{plan.steps}  {figures}  ({left_min:.1f} min left)", flush=True)
    with log.open("a") as file:
        file.write(json.dumps({"step": step, "elapsed_s": round(spent_s, 1), **shown}) + "\n")


def _cut(log: Path, step: int) -> None:
    """Entries after the step that is gone on from are dropped: they come again."""
    lines = "".join(json.dumps(entry) + "\n" for entry in read(log) if entry["step"] <= step)
    whole_file(log, lambda file: file.write(lines.encode()))


def _keep(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, spent_s: float) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "spent_s": spent_s,
    }
    whole_file(path, lambda file: torch.save(state, file))


def _go_on(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    kept = torch.load(path, weights_only=True)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    return int(kept["step"]), float(kept["spent_s"])
