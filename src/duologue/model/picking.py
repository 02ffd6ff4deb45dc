"""The next token out of its logits: the likeliest, or drawn, what was said before being less likely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

Seen = Callable[[], Sequence[int]]
"""Gives the ids that were said before; called only by who wants to know."""


class Pick(Protocol):
    def __call__(self, logits: Tensor, seen: Seen, draw: Generator) -> int:
        """An id, from logits [V]."""
        ...


@dataclass(frozen=True)
class Picking:
    """How ids are picked, by the processors of transformers in the order of its `generate`.

    temperature  0 takes the likeliest
    top_p        of the likeliest ids that have so much of the probability together
    top_k        of so many of the likeliest; 0: of all
    penalty      logits of ids that were said before are divided by it where they are positive, multiplied elsewhere
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    penalty: float = 1.0

    def __post_init__(self) -> None:
        fits = self.temperature >= 0 and 0 < self.top_p <= 1 and self.top_k >= 0 and self.penalty > 0
        if not fits:
            raise ValueError(f"{self}: give temperature, top_k >= 0, 0 < top_p <= 1 and a penalty above 0")

    def __call__(self, logits: Tensor, seen: Seen, draw: Generator) -> int:
        if self.temperature == 0:
            return int(self.scores(logits, seen).argmax())
        return int(torch.multinomial(self.scores(logits, seen).softmax(-1).cpu(), 1, generator=draw))

    def scores(self, logits: Tensor, seen: Seen) -> Tensor:
        """What is picked from, [V]."""
        ids = torch.tensor([list(seen()) if self.penalty != 1 else []], dtype=torch.int64, device=logits.device)
        scores: Tensor = self._processors()(ids, logits.float()[None])
        return scores[0]

    def _processors(self) -> LogitsProcessorList:
        chain = LogitsProcessorList()
        if self.penalty != 1:
            chain.append(RepetitionPenaltyLogitsProcessor(self.penalty))
        if self.temperature not in (0, 1):
            chain.append(TemperatureLogitsWarper(self.temperature))
        if self.temperature and self.top_k:
            chain.append(TopKLogitsWarper(self.top_k))
        if self.temperature and self.top_p < 1:
            chain.append(TopPLogitsWarper(self.top_p))
        return chain
