"""A causal language model of one lane, as the loop calls it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from duologue.model.logits import logits
from duologue.train.loss import Tensors, asked


class Causal(nn.Module):
    """`lm` is any causal language model of transformers. Gives the logits of the asked cells alone, [cells, V].

    Rows are filled up on their right, and nobody looks ahead, so no mask is needed. Of packed examples, one sees those
    before it in its row, as turns of one long conversation.

    Examples of which not every place is there have `steps` [S] beside their tokens: how many places each lies behind
    the one before it, 1 where none is left out.
    """

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.lm = lm

    def forward(self, batch: Tensors) -> Tensor:
        hidden = self.lm.get_decoder()(input_ids=batch["tokens"], use_cache=False, **_placed(batch)).last_hidden_state
        return logits(self.lm, hidden[:, :-1][asked(batch)])


def _placed(batch: Tensors) -> Tensors:
    """Where tokens lie. Without a mask, transformers takes a place that is left out for the end of a text."""
    if "steps" not in batch:
        return {}
    return {"position_ids": batch["steps"].cumsum(1) - 1, "attention_mask": torch.ones_like(batch["tokens"])}
