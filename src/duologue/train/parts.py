"""Which parts of a model a stage trains: parameters by name, low-rank changes, and the mode of each module."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from duologue.train.stage import Lora, Stage


def choose(model: nn.Module, stage: Stage) -> None:
    """Let the stage's parameters be trained, and no others. Low-rank changes are added where there are none yet.

    Raises ValueError for a pattern that fits no parameter, and where nothing is left to train.
    """
    if stage.lora is not None and not any(map(is_lora, _names(model))):
        _add_lora(model, stage.lora)
    for pattern in (*stage.trains, *stage.rates):
        if not any(fnmatchcase(name, pattern) for name in _names(model)):
            raise ValueError(f"stage {stage.name!r}: no parameter fits {pattern!r}; there are {_some(_names(model))}")
    for name, parameter in model.named_parameters():
        chosen = any(fnmatchcase(name, pattern) for pattern in stage.trains)
        parameter.requires_grad_(chosen or (stage.lora is not None and is_lora(name)))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"stage {stage.name!r} trains nothing: name parameters in `trains`, or give it `lora`")


def is_lora(name: str) -> bool:
    return ".lora_" in name


def training_mode(module: nn.Module) -> None:
    """Training mode, but for frozen parts: there no dropout is drawn and no statistics move."""
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    module.training = True
    for child in module.children():
        training_mode(child)


def _add_lora(model: nn.Module, lora: Lora) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    found = [name for name, _ in model.named_modules() if name.endswith(lora.targets)]
    if not found:
        raise ValueError(f"lora: no layer's name ends in one of {lora.targets}; there are {_some(_names(model))}")
    settings = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.targets)
    )
    inject_adapter_in_model(settings, model)


def _names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
