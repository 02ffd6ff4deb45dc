"""The likeliest tokens: the next one, or all up to an end, of many prompts at once in a batch of unequal lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.streaming import Memory, start, step


@torch.inference_mode()
def continued(
    lm: Any, prompts: Sequence[Sequence[int]], end: int, may_hold: Tensor, most: int = 200
) -> list[list[int]]:
    """What the model writes after each prompt: ids of `may_hold`, up to `end` (which is left out), `most` at most."""
    counts = [len(prompt) for prompt in prompts]
    state = start(lm, len(prompts), Memory(max(counts) + most))
    padded = torch.zeros(len(prompts), max(counts), dtype=torch.int64)
    for row, prompt in zip(padded, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(prompt)
    hidden = step(lm, state, padded.to(lm.device), counts=counts)
    hidden = hidden[torch.arange(len(counts)), torch.tensor(counts) - 1]
    allowed = torch.cat((may_hold, torch.tensor([end]))).sort().values
    found: list[list[int]] = [[] for _ in prompts]
    going = list(range(len(prompts)))
    for _ in range(most):
        chosen = likeliest(lm, hidden, allowed)
        kept = [place for place, token in enumerate(chosen) if token != end]
        going, chosen = [going[place] for place in kept], [chosen[place] for place in kept]
        if not going:
            break
        for row, token in zip(going, chosen, strict=True):
            found[row].append(token)
        hidden = step(lm, state, torch.tensor(chosen, device=lm.device)[:, None], rows=going)[:, -1]
    return found


def likeliest(lm: Any, hidden: Tensor, may_hold: Tensor) -> list[int]:
    """Of the ids `may_hold`, in rising order, the likeliest after each of the states [B, D]: [B]."""
    first = int(may_hold[0])
    logits = _logits(lm.get_output_embeddings(), hidden, first, int(may_hold[-1]))
    chosen: list[int] = may_hold[logits[:, may_hold - first].argmax(-1)].tolist()
    return chosen


def _logits(head: Any, hidden: Tensor, first: int, last: int) -> Tensor:
    """Of the ids from the first to the last: a large vocabulary of words costs speech nothing. A head that is not
    plain (quantised, adapted) is asked for all."""
    if type(head) is not nn.Linear:
        logits: Tensor = head(hidden)
        return logits[:, first : last + 1]
    some = slice(first, last + 1)
    return functional.linear(hidden, head.weight[some], None if head.bias is None else head.bias[some])
