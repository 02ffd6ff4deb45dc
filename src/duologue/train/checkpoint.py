"""What is kept of a stage while it runs: `last.pt` to go on from, `best.pt` to use. Each is written whole or
not at all.

Both hold what the stage trains, and the model's buffers; frozen parameters are where the model came from.
Tensors are whole, also where the model is sharded over processes.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from duologue.data.batch import Position
from duologue.whole import whole_file

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True, strict=False)


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or used. The message names it, says what is wrong and what to do."""


@dataclass(frozen=True)
class Reached:
    """How far a stage has come: updates made, the batch that is next, the best validation so far."""

    step: int = 0
    position: Position = field(default_factory=Position)
    best_step: int = 0
    best_loss: float = float("inf")
    elapsed_s: float = 0.0


@dataclass(frozen=True)
class Origin:
    """What a stage began with. Only a run of the same origin is gone on with."""

    stage: dict[str, Any]
    examples: int


# ---------------------------------------------------------------- saving


def weights(model: nn.Module) -> dict[str, Tensor]:
    """What the stage trains, and buffers: whole, on the CPU, tied ones once.

    All processes call it; where the model is sharded, only the first one gets them.
    """
    state = cast(dict[str, Tensor], get_model_state_dict(model, options=_WHOLE))
    kept = _kept(model)
    return {name: tensor for name, tensor in state.items() if name in kept}


def _kept(model: nn.Module) -> dict[str, torch.Size]:
    """Names and whole shapes of what is saved."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    left_out = {name for name, _ in model.named_parameters(remove_duplicate=False)} - trained
    state = model.state_dict()
    return {name.removeprefix("module."): state[name].shape for name in state if name not in left_out}


def save_best(path: Path, model: nn.Module, reached: Reached, main: bool) -> None:
    """Write the weights, by the process that is `main`. Raises CheckpointError where they cannot be written."""
    trained = weights(model)
    if main:
        _write(path, {"model": trained, "step": reached.best_step, "loss": reached.best_loss})


def save_last(
    path: Path, model: nn.Module, optimizers: Iterable[Optimizer], origin: Origin, reached: Reached, main: bool
) -> None:
    """Write all that going on needs. Raises CheckpointError where that fails; the one before is intact."""
    trained = weights(model)
    moments = get_optimizer_state_dict(model, optimizers, options=_WHOLE)
    if main:
        _write(
            path,
            {"model": trained, "optimizer": moments, "origin": asdict(origin), "reached": asdict(reached)},
        )


def _write(path: Path, content: dict[str, Any]) -> None:
    with writing(path):
        whole_file(path, lambda file: torch.save(content, file))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Writing to `path`: where it fails (disk full), a CheckpointError that says what is left and what to do."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        last = "the last checkpoint is intact" if (path.parent / "last.pt").exists() else "there is no checkpoint yet"
        raise CheckpointError(
            f"{path} could not be written ({_reason(error)}); {last}: make room on the disk, "
            "then run the same command again to go on"
        ) from error


def _reason(error: BaseException) -> BaseException:
    """The error of the disk behind the one that torch makes of it."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, OSError):
        behind = behind.__context__
    return behind or error


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process was writing. For the first process alone, before it writes."""
    for unfinished in folder.glob(".*.tmp"):
        unfinished.unlink()


# ---------------------------------------------------------------- loading


def load_weights(path: str | Path, model: nn.Module) -> None:
    """Put the weights of a `best.pt` or `last.pt` into the model that was trained, or one made by the same code.

    Raises CheckpointError where they do not fit: a stage with `lora` fits a model that has its low-rank changes.
    """
    _fill(Path(path), _read(Path(path))["model"], model)


def go_on(path: Path, model: nn.Module, optimizers: Iterable[Optimizer], origin: Origin) -> Reached:
    """Take model and optimizers to where `path` left them; to the beginning where there is no such file.

    Raises CheckpointError where the file cannot be read or is of another stage or other examples.
    """
    if not path.exists():
        return Reached()
    kept = _read(path)
    _same_origin(path, Origin(**kept["origin"]), origin)
    _fill(path, kept["model"], model)
    set_optimizer_state_dict(model, optimizers, kept["optimizer"], options=_WHOLE)
    return Reached(**{**kept["reached"], "position": Position(**kept["reached"]["position"])})


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such checkpoint")
    try:
        kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: not a checkpoint that can be read ({error}); remove it to begin anew"
        ) from error
    return kept


def _fill(path: Path, trained: dict[str, Tensor], model: nn.Module) -> None:
    found, needed = {name: tensor.shape for name, tensor in trained.items()}, _kept(model)
    if wrong := sorted(name for name in set(found) | set(needed) if found.get(name) != needed.get(name)):
        raise CheckpointError(f"{path}: is of another model, {len(wrong)} tensors differ ({wrong[0]}, ...)")
    set_model_state_dict(model, dict(trained), options=_WHOLE)


def _same_origin(path: Path, kept: Origin, origin: Origin) -> None:
    changed = [
        f"{name} was {kept.stage.get(name)!r} and is {origin.stage.get(name)!r}"
        for name in sorted(set(kept.stage) | set(origin.stage))
        if kept.stage.get(name) != origin.stage.get(name)
    ]
    if kept.examples != origin.examples:
        changed.append("the examples are others")
    if changed:
        raise CheckpointError(
            f"{path}: this run began otherwise ({'; '.join(changed)}); choose another folder, "
            "or remove it to begin anew"
        )
