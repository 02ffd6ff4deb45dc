"""Small random models of several families, and what they say of a whole sequence at once."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from hypothesis import settings
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

laws = settings(max_examples=12)
TOKENS = 60
SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CONFIGS = {
    "qwen2": lambda **sizes: Qwen2Config(**SIZES | sizes),
    "qwen3": lambda **sizes: Qwen3Config(**SIZES | {"head_dim": 12} | sizes),
    "llama": lambda **sizes: LlamaConfig(**SIZES | {"rope_parameters": dict(LLAMA3)} | sizes),
}


@cache
def model_of(name: str, layers: int = 2) -> Any:
    torch.manual_seed(3)
    config = CONFIGS[name](num_hidden_layers=layers, initializer_range=0.2)
    return AutoModelForCausalLM.from_config(config).eval()


def ids(rows: int, tokens: int = TOKENS, seed: int = 0) -> Tensor:
    return torch.randint(50, (rows, tokens), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def whole(model: Any, tokens: Tensor, **more: Any) -> Tensor:
    """Hidden states of the whole sequence at once, without a state."""
    hidden: Tensor = model.get_decoder()(tokens, use_cache=False, **more).last_hidden_state
    return hidden


def close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, atol=1e-5, rtol=0)
