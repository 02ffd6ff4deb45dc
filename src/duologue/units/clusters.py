"""From features to units: the nearest of the clusters that k-means found.

Letters in shapes: T units in time, K clusters, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from duologue.units.inert_pickle import Inert, unpickled
from duologue.units.released import tensors_of

_NAMES = ("cluster_centers_", "cluster_centers", "centroids")
"""What the centres of the clusters are called in the files of others."""
_NPY = b"\x93NUMPY"
_ZIP = b"PK"
"""How torch's own files begin."""


class Clusters:
    """The centres [K, D]; unit k is what is nearest to centre k. Raises ValueError for other shapes and for NaN."""

    def __init__(self, centres: Tensor) -> None:
        if centres.ndim != 2 or not centres.isfinite().all():
            raise ValueError(f"centres of shape {list(centres.shape)}: give finite numbers, [clusters, width]")
        self.centres = centres.float()
        self.codes, self.width = self.centres.shape
        self._half_squares = self.centres.square().sum(1) / 2

    def nearest(self, features: Tensor) -> Tensor:
        """[T, D] → [T]."""
        return (features.float() @ self.centres.T - self._half_squares).argmax(1)


def read(path: str | Path) -> Clusters:
    """The clusters of a file: .npy, safetensors or a torch file with a tensor named as in scikit-learn, or the pickle
    of a fitted scikit-learn model, by joblib or not (fairseq's `…_km1000.bin`). Nothing of a pickle is run.

    Raises FileNotFoundError; ValueError where no centres are in it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file; give the clusters that belong to the model and layer")
    centres = _centres(_held(Path(path)))
    if centres is None:
        raise ValueError(f"{path}: no centres of clusters in it; give an array [clusters, width] or a k-means model")
    return Clusters(torch.from_numpy(np.array(centres, np.float32)))


def _held(path: Path) -> Any:
    with path.open("rb") as file:
        begin = file.read(len(_NPY))
    if begin == _NPY:
        return np.load(path, allow_pickle=False)
    if path.suffix == ".safetensors" or begin.startswith(_ZIP):
        return {name: tensor.numpy() for name, tensor in tensors_of(path).items()}
    return unpickled(path)


def _centres(held: Any) -> np.ndarray[Any, Any] | None:
    if isinstance(held, np.ndarray):
        return held
    named = held.__dict__ if isinstance(held, Inert) else held if isinstance(held, dict) else {}
    found = [named[name] for name in _NAMES if isinstance(named.get(name), np.ndarray)]
    return found[0] if found else None
