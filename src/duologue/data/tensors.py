"""Rows of examples as tensors. Letters in shapes: B rows, S steps, K lanes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duologue.layout import Layout, Streams, weave

Example = Mapping[str, NDArray[Any]]
"""Arrays by name: `tokens` [S] or [S, K], `said` of the same shape (the loss mask), and what else a model wants."""


def woven_example(layout: Layout, streams: Streams, names: Sequence[str]) -> Example:
    """What the loop learns from, of a layout of one lane: tokens, the loss mask, and the number in `names` of each
    token's stream, all [S]. A token that is put counts to the first of them."""
    grid = weave(layout, streams)
    number = np.array([*(names.index(name) for name in layout.streams), 0])
    return {"tokens": grid.tokens[:, 0], "said": grid.said[:, 0], "stream": number[grid.stream[:, 0]]}


def collate(rows: Sequence[Sequence[Example]], pad: Mapping[str, float] | None = None) -> dict[str, Tensor]:
    """Rows of examples as tensors [B, S, ...], filled up on the right with `pad[key]`, else with zeros.

    Two more tensors [B, S] keep packed examples apart: `segment` counts the examples of a row from 1 and is 0
    where the row is filled up; `position` counts the steps of each segment from 0. Raises ValueError where
    keys differ.
    """
    keys = set(rows[0][0])
    for example in itertools.chain.from_iterable(rows):
        if set(example) != keys or "said" not in keys:
            raise ValueError(
                f"examples of one batch hold {sorted(keys)} and {sorted(example)}: all need the same, and `said`"
            )
    laid = {
        key: _filled([np.concatenate([e[key] for e in row]) for row in rows], (pad or {}).get(key, 0)) for key in keys
    }
    laid["segment"] = _filled([_segments(row) for row in rows], 0)
    laid["position"] = _positions(laid["segment"])
    return {key: torch.from_numpy(array) for key, array in sorted(laid.items())}


def _filled(arrays: Sequence[NDArray[Any]], value: float) -> NDArray[Any]:
    filled = np.full((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), value, arrays[0].dtype)
    for row, array in zip(filled, arrays, strict=True):
        row[: len(array)] = array
    return filled


def _segments(row: Sequence[Example]) -> NDArray[np.int64]:
    return np.repeat(np.arange(1, len(row) + 1), [len(example["said"]) for example in row])


def _positions(segment: NDArray[np.int64]) -> NDArray[np.int64]:
    steps = np.broadcast_to(np.arange(segment.shape[1]), segment.shape)
    begins = np.diff(segment, axis=1, prepend=-1) != 0
    return steps - np.maximum.accumulate(np.where(begins, steps, 0), axis=1)
