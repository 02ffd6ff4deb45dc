"""Causal attention for training in bfloat16 on a CPU.

There torch's fused attention takes half the time of a nano model's step: it does little of its work in the
processor's bfloat16 products. Here queries go in blocks, each against the keys up to its end: plain matrix products,
and nothing computed of the future but what lies within the block. The step takes a third less time
(benchmarks/training_attention.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "duologue_blocks"
BLOCK = 192
"""Queries that are computed together."""


@contextmanager
def in_blocks(model: nn.Module) -> Iterator[None]:
    """While this lasts, the transformers models within `model` that attend by torch's fused kernel do so in blocks."""
    found = [part for part in model.modules() if isinstance(part, PreTrainedModel) and _implementation(part) == "sdpa"]
    _set(found, NAME)
    try:
        yield
    finally:
        _set(found, "sdpa")


def causal(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    """Each place attends to itself and those before it. query [B, H, S, D]; key and value [B, G, S, D], shared by
    groups of H / G heads. Gives [B, H, S, D]."""
    rows, heads, length, width = query.shape
    groups = key.shape[1]
    within = (query * scaling).reshape(rows * groups, heads // groups, length, width)
    attended: Tensor = _InBlocks.apply(within, key.flatten(0, 1), value.flatten(0, 1))  # type: ignore[no-untyped-call]
    return attended.view(rows, heads, length, width)


class _InBlocks(torch.autograd.Function):
    """query [N, R, S, D], of R heads that share key and value [N, S, D]."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        given, weights = torch.empty_like(query), []
        ahead = query.new_full((BLOCK, BLOCK), -torch.inf).triu(1)
        for block, end in _blocks(query):
            scores = _together(query[:, :, block]) @ key[:, :end].mT
            size = end - block.start
            scores.view(len(query), -1, size, end)[..., block] += ahead[:size, :size]
            weights.append(scores.softmax(-1))
            given[:, :, block] = _apart(weights[-1] @ value[:, :end], size)
        context.save_for_backward(query, key, value, given, *weights)
        return given

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, given, *weights = context.saved_tensors
        (of_given,) = gradients
        of_query, of_key, of_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for (block, end), weight in zip(_blocks(query), weights, strict=True):
            arriving = _together(of_given[:, :, block])
            of_value[:, :end].baddbmm_(weight.mT, arriving)
            mean = (arriving * _together(given[:, :, block])).sum(-1, keepdim=True)
            of_scores = (arriving @ value[:, :end].mT).sub_(mean).mul_(weight)
            of_query[:, :, block] = _apart(of_scores @ key[:, :end], end - block.start)
            of_key[:, :end].baddbmm_(of_scores.mT, _together(query[:, :, block]))
        return of_query, of_key, of_value


def _blocks(query: Tensor) -> Iterator[tuple[slice, int]]:
    """Blocks of queries, each with the end of the keys that it sees."""
    length = query.shape[2]
    for begin in range(0, length, BLOCK):
        end = min(begin + BLOCK, length)
        yield slice(begin, end), end


def _together(block: Tensor) -> Tensor:
    """[N, R, s, D] as [N, R s, D]."""
    return block.flatten(1, 2)


def _apart(block: Tensor, size: int) -> Tensor:
    return block.view(len(block), -1, size, block.shape[-1])


def _forward(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    plain = attention_mask is None and not dropout and query.shape[2] == key.shape[2]
    ordered = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if plain and ordered and query.device.type == "cpu" and _dtype(query) == torch.bfloat16:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        query, key, value = (each.bfloat16() for each in (query, key, value))
        return causal(query, key, value, scale).transpose(1, 2).contiguous(), None
    torchs: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout, scaling, is_causal=is_causal, **others
    )
    return torchs


def _dtype(query: Tensor) -> torch.dtype:
    """That products are taken in: turning places makes queries float32 again."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype


def _implementation(part: PreTrainedModel) -> str | None:
    name: str | None = part.config._attn_implementation
    return name


def _set(parts: list[PreTrainedModel], name: str) -> None:
    for part in parts:
        part.config._attn_implementation = name


AttentionInterface.register(NAME, _forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
