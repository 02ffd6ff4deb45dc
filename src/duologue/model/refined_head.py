"""Speech at two rates: a language model goes on by groups of units, a small head beside it speaks each unit.

    group of units → GroupedUnits → one vector, for the language model
    state of the language model → RefinedHead → the units of the next group, one by one

The Speech Refined Head of Fun-Audio-Chat (arXiv 2512.20156, after DrVoice, arXiv 2506.09349). Each state is spread over
the units of the group that follows it; at each of these the unit before is added, and a causal transformer that sees
all units so far says the unit. Its output is compared with the table of units.

Letters in shapes: B rows, S states, k units of a group, D width of the language model, W width of the head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig

from duologue import streaming
from duologue.streaming import Memory, State

Choose = Callable[[Tensor, Sequence[Sequence[int]]], Sequence[int]]
"""A unit for each row, from logits [B, units] and the units that each row has in its group so far."""


class GroupedUnits(nn.Module):
    """A table of units, and one vector for a group of them. The row of `pad` learns nothing where it is read. Rows
    begin with a length of about 1: what is said is compared with them."""

    def __init__(self, units: int, pad: int, width: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        rows = torch.randn(units, width, dtype=dtype) / width**0.5
        self.table = nn.Embedding(units, width, padding_idx=pad, _weight=rows.index_fill(0, torch.tensor(pad), 0))
        self.matching = nn.Linear(width, width, bias=False, dtype=dtype)

    @torch.no_grad()
    def begin_alike(self, known: Tensor, seed: int = 0) -> None:
        """Let units begin the more alike the more alike `known` [units, K] is, what their codec knows of them."""
        spread = torch.randn(known.shape[1], self.table.embedding_dim, generator=torch.Generator().manual_seed(seed))
        self.table.weight[: len(known)] = nn.functional.normalize(known @ spread, dim=-1)

    def forward(self, units: Tensor) -> Tensor:
        """[..., k] → [..., D]"""
        vectors: Tensor = self.matching(self.table(units).mean(-2))
        return vectors

    def logits(self, spoken: Tensor) -> Tensor:
        """What a head says [..., D] → logits of all units [..., units]."""
        return spoken @ self.table.weight.T


class RefinedHead(nn.Module):
    """`body` is any decoder of transformers; it needs no table of its own."""

    def __init__(self, body: PreTrainedConfig, group: int, width: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        inner = body.get_text_config(decoder=True).hidden_size
        self.group = group
        self.spread = nn.Linear(width, group * width, dtype=dtype)
        self.enter = nn.Linear(width, inner, bias=False, dtype=dtype)
        self.body: Any = AutoModel.from_config(body, dtype=dtype)
        self.body.set_input_embeddings(None)
        self.leave = nn.Linear(inner, width, bias=False, dtype=dtype)

    def entered(self, states: Tensor, before: Tensor) -> Tensor:
        """States [..., S, D], and the vectors of the unit before each unit [..., S, k, D] → [..., S * k, W]."""
        spread = self.spread(states).unflatten(-1, (self.group, -1))
        vectors: Tensor = self.enter(spread + before).flatten(-3, -2)
        return vectors

    def forward(self, states: Tensor, before: Tensor, position: Tensor) -> Tensor:
        """Of the group that follows each state, all units before being known, what `leave` makes speech of:
        [B, S, k, W].

        states   [B, S, D]
        before   vectors of the unit before each unit, [B, S, k, D]
        position [B, S]; where it begins anew, another example begins
        """
        finer = (position[..., None] * self.group + torch.arange(self.group, device=position.device)).flatten(-2)
        hidden = self.body(
            inputs_embeds=self.entered(states, before), position_ids=finer, use_cache=False
        ).last_hidden_state
        grouped: Tensor = hidden.unflatten(1, (-1, self.group))
        return grouped

    # ------------------------------------------------------------ live

    def start(self, batch: int, memory: Memory) -> State:
        """A state beside one of the language model, with as many units as that one has groups."""
        sink = None if memory.sink is None else memory.sink * self.group
        finer = replace(memory, slots=memory.slots * self.group, sink=sink, spare=memory.spare * self.group)
        return streaming.start(self.body, batch, finer)

    @torch.no_grad()
    def speak(
        self,
        units: GroupedUnits,
        state: State,
        states: Tensor,
        before: Sequence[int],
        choose: Choose,
        rows: Sequence[int],
    ) -> list[list[int]]:
        """The group that follows a state of each row, unit by unit: [B, k].

        states   of the language model, [B, D]
        before   the unit before the group, of each row
        """
        spread = self.spread(states).unflatten(-1, (self.group, -1))
        groups: list[list[int]] = [[] for _ in rows]
        last = torch.tensor(list(before), device=states.device)
        for place in range(self.group):
            entered = self.enter(spread[:, place] + units.table(last))
            hidden = streaming.step(self.body, state, entered[:, None], rows=rows)[:, -1]
            chosen = choose(units.logits(self.leave(hidden)), groups)
            for group, unit in zip(groups, chosen, strict=True):
                group.append(unit)
            last = torch.tensor(list(chosen), device=states.device)
        return groups
