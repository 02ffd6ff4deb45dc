"""A transformer of two small layers, and four sequences to learn by heart."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from duologue.data.tensors import Example
from little_training import VOCABULARY


class Talker(nn.Module):
    """Qwen2 with tied embeddings. Without a cache, it keeps packed sequences apart by their positions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = Qwen2Config(vocab_size=VOCABULARY, num_key_value_heads=1, tie_word_embeddings=True, **size)
        self.language_model = Qwen2ForCausalLM(config)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        given = {"position_ids": batch["position"], "use_cache": False}
        logits: Tensor = self.language_model(batch["tokens"], **given).logits
        return logits


def by_heart() -> list[Example]:
    """Four sequences of 10 to 13 tokens. Each begins with another token and is random from there on."""
    draw = np.random.default_rng(0)
    return [
        {
            "tokens": np.array([first, *draw.integers(0, VOCABULARY, 9 + first)]),
            "said": np.ones(10 + first, bool),
        }
        for first in range(4)
    ]


def recited(model: nn.Module, example: Example) -> list[int]:
    """What the model says after the first token, each time the likeliest."""
    model.eval()
    said = [int(example["tokens"][0])]
    while len(said) < len(example["tokens"]):
        logits = model({"tokens": torch.tensor([said]), "position": torch.arange(len(said))[None]})
        said.append(int(logits[0, -1].argmax()))
    return said
