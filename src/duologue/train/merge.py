"""Merging weights: low-rank changes into their layers, a trained model with what it was trained from."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import Tensor, nn


def fold_lora(model: nn.Module) -> None:
    """Add the low-rank changes to the layers they belong to, in place: the same model without extra parameters."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(name, module.get_base_layer())


def blend(
    trained: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    trained_share: float,
    parts: tuple[str, ...] = ("*",),
) -> dict[str, Tensor]:
    """trained_share * trained + (1 - trained_share) * base, for the tensors whose names fit `parts` and that
    `base` has (Core-Cocktail, Fun-Audio-Chat). Rows that training has added, new tokens, stay as trained; so
    do all other tensors.

    Raises ValueError where a tensor of `base` has more rows or another width than the trained one.
    """
    chosen = {name for name in trained if name in base and any(fnmatchcase(name, part) for part in parts)}
    return {
        name: _blended(name, tensor, base[name], trained_share) if name in chosen else tensor
        for name, tensor in trained.items()
    }


def _blended(name: str, trained: Tensor, base: Tensor, trained_share: float) -> Tensor:
    if trained.shape[1:] != base.shape[1:] or trained.shape[:1] < base.shape[:1]:
        raise ValueError(f"{name}: {list(trained.shape)} trained from {list(base.shape)}: these do not belong together")
    blended = trained.clone()
    rows = blended[: len(base)] if base.dim() else blended
    rows.lerp_(base.to(trained.dtype), 1 - trained_share)
    return blended
