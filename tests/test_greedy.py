"""Continuations of many prompts at once are those of each prompt alone."""

from __future__ import annotations

import torch

from duologue.model.greedy import continued
from small_models import ids, model_of, whole


def alone(prompt: list[int], end: int, may_hold: list[int], most: int) -> list[int]:
    """The slow twin: the whole sequence again for each token."""
    model, found = model_of("qwen2"), list[int]()
    while len(found) < most:
        hidden = whole(model, torch.tensor([[*prompt, *found]]))[0, -1]
        logits = model.get_output_embeddings()(hidden)
        token = max([*may_hold, end], key=lambda one: float(logits[one].detach()))
        if token == end:
            break
        found.append(token)
    return found


def test_prompts_of_unequal_length_go_on_as_each_does_alone() -> None:
    prompts = [ids(1, length, seed=length)[0].tolist() for length in (3, 9, 1, 6)]
    may_hold = list(range(5, 45))
    for end in (2, 48):
        wanted = [alone(prompt, end, may_hold, most=12) for prompt in prompts]
        assert continued(model_of("qwen2"), prompts, end, torch.tensor(may_hold), most=12) == wanted
        assert all(token in may_hold for row in wanted for token in row)


def test_each_ends_at_its_own_end() -> None:
    """The end is a token that the model does say: then rows end at different places."""
    prompts = [ids(1, length, seed=length)[0].tolist() for length in (3, 9, 1, 6)]
    free = continued(model_of("qwen2"), prompts, 49, torch.arange(49), most=12)
    end = next(token for row in free for token in row[2:])
    allowed = [token for token in range(50) if token != end]
    wanted = [alone(prompt, end, allowed, most=12) for prompt in prompts]
    assert continued(model_of("qwen2"), prompts, end, torch.tensor(allowed), most=12) == wanted
    assert len({len(row) for row in wanted}) > 1
