"""Weights from a file, a folder or the hub, into a module: all of them by name, or none.

What is stored is first compared with the module, by names and shapes alone; only where everything fits is anything
read. So a checkpoint of 18 GB that does not fit fails in a moment, and the module is as it was.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

INDEX, WHOLE, PICKLE = "model.safetensors.index.json", "model.safetensors", "pytorch_model.bin"
"""Files of a folder that hold weights, the first of them that is there."""
_NAMED = 5
"""Names that an error lists of each kind."""


class WeightsError(ValueError):
    """Weights that cannot be read, or do not fit. The message names the source and what is wrong with it."""


@dataclass(frozen=True)
class Stored:
    """A tensor that lies in a file: its shape, and how to read it."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]


# ---------------------------------------------------------------- what is stored


def stored(source: str | Path, inside: str | None = None) -> dict[str, Stored]:
    """The tensors of a source, by name; none of safetensors is read yet.

    source   a safetensors file, a pickle (read as weights only: no code in it runs), a folder of transformers with
             either, in shards or whole, or an id on the Hugging Face hub
    inside   key of a pickle under which its tensors may lie, as in `{"model_state_dict": {...}}`

    Raises WeightsError.
    """
    path = Path(source) if Path(source).is_file() else _weights_in(folder_of(source))
    try:
        if path.name.endswith(".index.json"):
            return _sharded(path)
        return _whole(path) if path.suffix == ".safetensors" else _pickled(path, inside)
    except (
        SafetensorError,
        RuntimeError,
        OSError,
        EOFError,
        UnicodeDecodeError,
        pickle.UnpicklingError,
        json.JSONDecodeError,
    ) as error:
        raise WeightsError(f"{path}: no weights that can be read ({error}); fetch the file again") from error


def folder_of(source: str | Path, files: Sequence[str] = ("*.safetensors", "*.json")) -> Path:
    """A folder as it is; an id on the hub as the folder of its snapshot, with these files of it. Raises WeightsError
    where it is neither."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(source), allow_patterns=list(files)))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{str(source)!r} is no file or folder here, and no id on the hub: {error}") from error


def _weights_in(folder: Path) -> Path:
    for name in (INDEX, WHOLE, PICKLE):
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder} holds no weights: there is none of {INDEX}, {WHOLE}, {PICKLE}")


def _whole(path: Path) -> dict[str, Stored]:
    file: Any = safe_open(path, "pt")

    return {
        name: Stored(tuple(file.get_slice(name).get_shape()), partial(file.get_tensor, name))
        for name in file.offset_keys()
    }


def _sharded(index: Path) -> dict[str, Stored]:
    listed = json.loads(index.read_text())
    places: dict[str, str] | None = listed.get("weight_map") if isinstance(listed, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise WeightsError(f"{index} names no files of weights (weight_map): fetch it again")
    if absent := sorted({name for name in places.values() if not (index.parent / name).is_file()}):
        raise WeightsError(f"{index.parent} lacks {_some(absent)}, which {index.name} names: fetch it again")
    shards = {name: _whole(index.parent / name) for name in sorted(set(places.values()))}
    if lost := sorted(name for name, file in places.items() if name not in shards[file]):
        raise WeightsError(f"{index}: its files lack {_some(lost)}: fetch them again")
    return {name: shards[file][name] for name, file in places.items()}


def _pickled(path: Path, inside: str | None) -> dict[str, Stored]:
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    tensors = content.get(inside, content) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise WeightsError(f"{path} holds no dict of tensors" + (f", also not under {inside!r}" if inside else ""))
    return {name: Stored(tuple(tensor.shape), tensor.detach) for name, tensor in tensors.items()}


# ---------------------------------------------------------------- into a module


def fill(
    module: nn.Module,
    tensors: Mapping[str, Stored],
    source: str | Path,
    name_of: Callable[[str], str] = str,
) -> None:
    """Copy each tensor to its place in the module, cast to the type that is there.

    name_of   the stored name of what the module calls so

    Raises WeightsError, the module untouched, where a name is missing, is too many or has another shape.
    """
    places = {name_of(name): tensor for name, tensor in module.state_dict().items()}
    shared = set(tensors) & set(places)
    misshaped = [
        f"{name} is {list(tensors[name].shape)}, not {list(places[name].shape)}"
        for name in sorted(shared)
        if tensors[name].shape != tuple(places[name].shape)
    ]
    wrong = {
        "missing": sorted(set(places) - shared),
        "not of this model": sorted(set(tensors) - shared),
        "of another shape": misshaped,
    }
    if found := [f"{len(names)} {what}: {_some(names)}" for what, names in wrong.items() if names]:
        raise WeightsError(f"the weights of {source} do not fit; {'; '.join(found)}")
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(tensors[name].read())


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_NAMED]) + (", …" if len(listed) > _NAMED else "")


# ---------------------------------------------------------------- how much memory

Kept = Literal["fp32", "bf16", "int8", "int4"]
_GROUP = 128


def weight_bytes(module: nn.Module, kept: Kept) -> int:
    """Bytes of the module's parameters (on the meta device too).

    int8 and int4 are those of linear layers' matrices, with a bf16 scale for each row, or for each 128 of a row's
    weights; everything else is then bf16.
    """
    if kept in ("fp32", "bf16"):
        return sum(parameter.numel() for parameter in module.parameters()) * (4 if kept == "fp32" else 2)
    linear = {id(part.weight) for part in module.modules() if isinstance(part, nn.Linear)}
    return sum(_packed(p, kept) if id(p) in linear else 2 * p.numel() for p in module.parameters())


def _packed(matrix: Tensor, kept: Kept) -> int:
    rows, columns = matrix.shape
    if kept == "int8":
        return rows * (columns + 2)
    return rows * (math.ceil(columns / 2) + 2 * math.ceil(columns / _GROUP))
