"""A small Fun-Audio-Chat as released: a folder with its names, of random weights, and CosyVoice 3 beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from duologue.systems.fun_audio_chat import TAG_TOKENS
from duologue.systems.fun_audio_chat_released import TIED, built, released_name
from duologue.systems.fun_audio_chat_trained import COSYVOICE, SPEAKER, SPEAKERS
from test_cosyvoice3 import CODES, released, voice

SPECIAL = ("<|im_start|>", "<|im_end|>", *TAG_TOKENS)
TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


def letters() -> Any:
    """A tokenizer of bytes, and of the marks of Qwen's chat."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in SPECIAL])
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)


def config(words: Any) -> dict[str, Any]:
    """As it is released, of small sizes."""
    heard, opens, closes, silent = words.convert_tokens_to_ids(list(TAG_TOKENS))
    body = {"model_type": "qwen3", "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    body |= {"head_dim": 16, "initializer_range": 0.2, "intermediate_size": 48}
    ids = {"audio_bos_index": opens, "audio_eos_index": closes, "sil_index": silent}
    units = {"bos_token_id": CODES, "eos_token_id": CODES + 1, "pad_token_id": CODES + 2, "codebook_size": CODES + 4}
    ears = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "num_mel_bins": 80}
    return {
        "model_type": "funaudiochat",
        "audio_token_index": heard,
        "text_config": body
        | ids
        | {
            "hidden_size": 32,
            "vocab_size": len(words),
            "eos_token_id": words.convert_tokens_to_ids("<|im_end|>"),
            "tie_word_embeddings": False,
        },
        "audio_config": units
        | ears
        | {
            "output_dim": 32,
            "n_window": 100,
            "group_size": 5,
            "continuous_features_mode": "replace",
            "crq_transformer_config": body | {"hidden_size": 24, "vocab_size": 8},
        },
    }


def kept(folder: Path, speaks: bool = True) -> Path:
    """What `duologue talk` takes."""
    folder.mkdir(parents=True)
    words = letters()
    words.save_pretrained(folder)
    sizes = config(words)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = built(sizes, words)
    (folder / "config.json").write_text(json.dumps(sizes))
    tensors = {released_name(name): tensor for name, tensor in model.state_dict().items()}
    save_file({name: tensor.clone() for name, tensor in tensors.items() if name != TIED}, folder / "model.safetensors")
    if speaks:
        (folder / COSYVOICE).mkdir()
        released(folder / COSYVOICE, "generator.", ".weight_g", ".weight_v")
        torch.save({SPEAKER: {"embedding": voice().vector[None]}}, folder / COSYVOICE / SPEAKERS[0])
    return folder
