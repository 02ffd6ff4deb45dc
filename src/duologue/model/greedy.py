"""Many continuations at once: each prompt's likeliest next tokens until its end, in one batch of unequal lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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
    allowed, head = torch.cat((may_hold, torch.tensor([end]))), lm.get_output_embeddings()
    found: list[list[int]] = [[] for _ in prompts]
    going = list(range(len(prompts)))
    for _ in range(most):
        chosen = allowed[head(hidden)[:, allowed].argmax(-1)].tolist()
        kept = [place for place, token in enumerate(chosen) if token != end]
        going, chosen = [going[place] for place in kept], [chosen[place] for place in kept]
        if not going:
            break
        for row, token in zip(going, chosen, strict=True):
            found[row].append(token)
        hidden = step(lm, state, torch.tensor(chosen, device=lm.device)[:, None], rows=going)[:, -1]
    return found
