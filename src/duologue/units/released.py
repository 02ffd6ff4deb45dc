"""Weights of codecs as others released them: found, read without running anything, weight norm multiplied out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from duologue.model import weights

_NORMED = (
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)
"""How torch names the length and the direction of a weight under weight norm: in old versions, and in new ones."""


def found(source: str | Path, name: str) -> Path:
    """The file `name` of a folder, or of an id on the Hugging Face hub. Raises FileNotFoundError."""
    if (path := Path(source) / name).is_file():
        return path
    if Path(source).exists():
        raise FileNotFoundError(f"{path}: there is no such file; give the folder as it was released")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(str(source), name))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"no {name} of {str(source)!r}, neither as a folder nor on the hub: {error}") from error


def fields_of(path: str | Path) -> dict[str, Any]:
    """The fields of a JSON file. Raises FileNotFoundError; ValueError where it holds no JSON object."""
    try:
        fields = json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error}); give the configuration that was released") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: not a JSON object; give the configuration that was released")
    return fields


def tensors_of(path: str | Path, inside: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a torch pickle (under the key `inside`, if it has it), by name.

    A pickle may hold nothing but tensors and plain values. Raises FileNotFoundError, and ValueError for another file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    return {name: each.read() for name, each in weights.stored(path, inside).items()}


def folded(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight norm multiplied out: weight = length * direction / |direction| for each index of the first axis."""
    plain = dict(tensors)
    for length, direction in _NORMED:
        for name in [name.removesuffix(length) for name in tensors if name.endswith(length)]:
            if name + direction in plain:
                parts = plain.pop(name + direction), plain.pop(name + length)
                plain[f"{name}.weight"] = torch._weight_norm(*parts, 0)
    return plain


def fill(module: nn.Module, tensors: dict[str, Tensor], source: str | Path) -> None:
    """Put every tensor in its place. Raises ValueError naming what is missing, too many or of another shape."""
    held = {name: weights.Stored(tuple(tensor.shape), tensor.detach) for name, tensor in tensors.items()}
    weights.fill(module, held, source)
