"""The released weights of LLaMA-Omni, by the names they have there, and what they weigh."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.initialization import no_init_weights

from duologue.model.backbone import tokenizer_of
from duologue.model.ctc import SpeechSizes
from duologue.model.precision import Precision, of_precision, rounded
from duologue.model.weights import Kept, Stored, WeightsError, fill, folder_of, stored, weight_bytes
from duologue.model.whisper import LARGE_V3, Whisper, WhisperSizes, openai_name
from duologue.systems.llama_omni import Config, LlamaOmni
from duologue.systems.llama_omni import released as sizes

MODEL_TYPES = ("omni_speech2s_llama",)
FIELDS: Mapping[str, Any] = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "tie_word_embeddings": False,
    "eos_token_id": [128001, 128008, 128009],
}
"""Of Llama-3.1-8B, as `config.json` names them; a folder's own go first."""


def load(source: str | Path, dtype: Precision = torch.bfloat16, ears: WhisperSizes = LARGE_V3) -> LlamaOmni:
    """Llama-3.1-8B-Omni from a folder or an id on the hub, in evaluation mode. Its ears keep all 300 vectors of 30 s.
    In 8 or 4 bits it is the language model: with 25 rows a token, the speech decoder would be slower.

    Raises WeightsError, before anything large is read, for another model and for tensors that do not fit.
    """
    folder = folder_of(source)
    fields = _fields(folder)
    tensors = _headed(stored(folder), fields)
    try:
        with no_init_weights():
            model = built(fields, ears, of_precision(dtype), tokenizer_of(folder))
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, StrictDataclassError) as error:
        raise WeightsError(f"{folder} cannot be loaded: {' '.join(str(error).split())}") from error
    fill(model, tensors, source, released_name)
    rounded(model.lm, dtype)
    return model.eval()


def built(fields: Mapping[str, Any], ears: WhisperSizes, dtype: torch.dtype, words: Any = None) -> LlamaOmni:
    """The model of a `config.json`, its weights drawn at random (on the meta device: none)."""
    lm = AutoModelForCausalLM.from_config(_llama(fields), dtype=dtype)
    lm.tie_weights()
    return LlamaOmni(Whisper(ears, "padded", dtype=dtype), lm, words, config_of(fields))


def config_of(fields: Mapping[str, Any]) -> Config:
    """Raises WeightsError for a speech decoder that is not described as `(layers, width, heads, ffn)`."""
    config, described = sizes(), str(fields.get("ctc_decoder_config", "(2,4096,32,11008)"))
    if not re.fullmatch(r"\([1-9]\d*(,\s*[1-9]\d*){3}\)", described):
        raise WeightsError(f"ctc_decoder_config {described!r}: give it as (layers, width, heads, ffn), each 1 or more")
    layers, width, heads, ffn = map(int, re.findall(r"\d+", described))
    speech = SpeechSizes(
        layers,
        width,
        heads,
        ffn,
        units=fields.get("unit_vocab_size", 1000),
        labels_per_token=fields.get("ctc_upsample_factor", 25),
        eps=fields.get("rms_norm_eps", FIELDS["rms_norm_eps"]),
    )
    return replace(
        config,
        speech=speech,
        stacked=fields.get("speech_encoder_ds_rate", config.stacked),
        ctc_weight=fields.get("ctc_loss_weight", config.ctc_weight),
        longest=fields.get("tokenizer_model_max_length", config.longest),
    )


def _fields(folder: Path) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder} holds no config.json that can be read: {error}") from error
    if not isinstance(fields, dict):
        raise WeightsError(f"{folder / 'config.json'} holds no fields of a model: fetch it again")
    if fields.get("model_type") not in MODEL_TYPES:
        raise WeightsError(f"{folder} holds a model of type {fields.get('model_type')!r}, not {MODEL_TYPES[0]!r}")
    return fields


def _headed(tensors: dict[str, Stored], fields: Mapping[str, Any]) -> dict[str, Stored]:
    """Where they are tied, the embeddings are the head too."""
    table = tensors.get("model.embed_tokens.weight")
    return tensors | {"lm_head.weight": table} if table and fields.get("tie_word_embeddings") else tensors


def _llama(fields: Mapping[str, Any]) -> Any:
    """Rotary positions are described as the release has them, or as transformers 5 writes them."""
    own = {name: fields.get(name, default) for name, default in FIELDS.items() if not name.startswith("rope")}
    scaling = fields.get("rope_scaling", FIELDS["rope_scaling"]) or {"rope_type": "default"}
    rope = fields.get("rope_parameters") or scaling
    theta = fields.get("rope_theta", rope.get("rope_theta", FIELDS["rope_theta"]))
    return LlamaConfig(**own, rope_parameters=dict(rope) | {"rope_theta": theta})


# ---------------------------------------------------------------- names

_PARTS = {
    "ears.encoder.": "model.speech_encoder.",
    "adapter.": "model.speech_projector.",
    "speech.llama.": "speech_generator.",
    "speech.": "speech_generator.",
    "lm.": "",
}


def released_name(name: str) -> str:
    """What the released checkpoint calls a parameter of ours."""
    part = next(part for part in _PARTS if name.startswith(part))
    rest = name.removeprefix(part)
    return _PARTS[part] + (openai_name(rest) if part == "ears.encoder." else rest)


def fill_adapter(model: LlamaOmni, source: str | Path) -> None:
    """An adapter that was saved alone: `speech_projector.bin`, or `non_lora_trainables.bin` with what peft puts before
    its names. Raises WeightsError."""
    tensors = {re.sub(r"^(base_model\.)?(model\.)*speech_projector\.", "", n): t for n, t in stored(source).items()}
    fill(model.adapter, tensors, source)


# ---------------------------------------------------------------- memory


def parts_bytes(kept: Kept) -> dict[str, int]:
    """Bytes of each part at the released sizes, counted on the meta device."""
    with torch.device("meta"), no_init_weights():
        model = built(FIELDS, LARGE_V3, torch.bfloat16)
    return {name: weight_bytes(part, kept) for name, part in model.named_children()}
