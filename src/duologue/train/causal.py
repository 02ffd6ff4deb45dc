"""A causal language model of one lane, as the loop calls it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from duologue.train.loss import Tensors, asked


class Causal(nn.Module):
    """`lm` is any causal language model of transformers. Gives the logits of the asked cells alone, [cells, V].

    Rows are filled up on their right, and nobody looks ahead, so no mask is needed. Of packed examples, one sees those
    before it in its row, as turns of one long conversation.
    """

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.lm = lm

    def forward(self, batch: Tensors) -> Tensor:
        hidden = self.lm.get_decoder()(input_ids=batch["tokens"], use_cache=False).last_hidden_state
        logits: Tensor = self.lm.get_output_embeddings()(hidden[:, :-1][asked(batch)])
        return logits
