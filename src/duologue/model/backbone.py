"""The language model that everything is built on: any causal language model of transformers, with its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)


def nano(tokens: int, width: int = 256, layers: int = 6, positions: int = 4096) -> Any:
    """A Qwen2 that trains from nothing on two CPU cores: 4.7 M parameters and `tokens` tied rows of 256."""
    return Qwen2Config(
        vocab_size=tokens,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=max(1, width // 128),
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )


def backbone(source: Any, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """A causal language model, in evaluation mode.

    source   a folder or an id on the Hugging Face hub: trained weights. A config of transformers: random weights
             drawn with `seed`, without touching torch's own random state

    Raises ValueError where there is no such model, or where it is no causal language model.
    """
    if isinstance(source, PreTrainedConfig):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return AutoModelForCausalLM.from_config(source, dtype=dtype).eval()
    try:
        config = AutoConfig.from_pretrained(source)
        loaded: Any = AutoModelForCausalLM.from_pretrained(source, config=config, dtype=dtype, output_loading_info=True)
        model, report = loaded
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"its weights lack {', '.join(missing[:3])} ({len(missing)} in all)")
        return model.eval()
    except (OSError, ValueError, SafetensorError) as error:
        place = "in the folder" if Path(source).is_dir() else "as a folder or on the hub"
        raise ValueError(f"no causal language model {str(source)!r} {place}: {error}") from error


def tokenizer_of(source: str | Path) -> Any:
    """The tokenizer of a folder or an id on the hub. One that was saved in a folder is what it was: AutoTokenizer would
    take the words and split text as the model's family does. Raises ValueError where there is none."""
    saved = (Path(source) / "tokenizer.json").is_file()
    try:
        return (PreTrainedTokenizerFast if saved else AutoTokenizer).from_pretrained(source)
    except Exception as error:  # tokenizers raises nothing more special for a broken file
        raise ValueError(
            f"{source}: no tokenizer that can be read ({error}); fetch its tokenizer.json again"
        ) from error
