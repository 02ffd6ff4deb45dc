"""Fun-Audio-Chat as released: a folder or an id on the hub, with all that its weights need to be what they were.

    model = load("FunAudioLLM/Fun-Audio-Chat-8B", torch.bfloat16)

Every name has to fit: 9.42 G parameters, 37.7 GB of them in single precision, 18.8 GB in bfloat16. Ids are those of its
config; nothing is known beforehand but the chat's form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2_5OmniAudioEncoderConfig
from transformers.initialization import no_init_weights

from duologue.model.backbone import tokenizer_of
from duologue.model.omni_ears import OmniEars
from duologue.model.weights import Stored, WeightsError, fill, folder_of, stored
from duologue.systems.fun_audio_chat import UnitIds, marks_of
from duologue.systems.fun_audio_chat import released as released_config
from duologue.systems.fun_audio_chat_model import FunAudioChat

HUB_ID = "FunAudioLLM/Fun-Audio-Chat-8B"
TIED = "audio_invert_tower.lm_head.weight"
"""May be stored beside the table of units, which it is."""
STRAY = "audio_invert_tower.crq_transformer.embed_tokens.weight"
"""May be stored; nobody looks at it."""
NAMES = {
    "ears.encoder.": "continuous_audio_tower.",
    "adapter.": "audio_tower.continual_output_matching.",
    "units.table.": "audio_tower.embed_tokens.",
    "units.matching.": "audio_tower.output_matching.",
    "head.spread.": "audio_invert_tower.pre_matching.",
    "head.enter.": "audio_invert_tower.input_matching.",
    "head.body.": "audio_invert_tower.crq_transformer.",
    "head.leave.": "audio_invert_tower.output_matching.",
    "lm.": "language_model.",
}


def load(source: str | Path = HUB_ID, dtype: torch.dtype = torch.float32) -> FunAudioChat:
    """The model in evaluation mode. Raises WeightsError for what is no such checkpoint, naming what does not fit."""
    folder = folder_of(source)
    try:
        config = json.loads((folder / "config.json").read_text())
        words = tokenizer_of(folder)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{source}: config.json and tokenizer cannot be read ({error})") from error
    with no_init_weights():
        model = built(config, words, dtype)
    place(model, stored(folder), source)
    return model.eval()


def built(config: Mapping[str, Any], words: Any, dtype: torch.dtype = torch.float32) -> FunAudioChat:
    """The model of a config.json, its weights not set. Raises WeightsError for a config that is none of its kind."""
    try:
        return _built(config, words, dtype)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"config.json is none of a Fun-Audio-Chat: {error!r}") from error


def _built(config: Mapping[str, Any], words: Any, dtype: torch.dtype) -> FunAudioChat:
    text, audio, ours = config["text_config"], config["audio_config"], released_config()
    if (mode := audio["continuous_features_mode"]) != "replace":
        raise ValueError(f"continuous_features_mode is {mode!r}, not 'replace'")
    tags = [
        config["audio_token_index"],
        *(text[f"{name}_index"] for name in ("audio_bos", "audio_eos", "sil")),
    ]
    marks = marks_of(words, ours.chat, tags)
    if marks.ends[0] != text["eos_token_id"]:
        raise ValueError(f"{ours.chat.end!r} begins with id {marks.ends[0]}, not eos_token_id {text['eos_token_id']}")
    bos, eos, pad = (audio[f"{name}_token_id"] for name in ("bos", "eos", "pad"))
    units = UnitIds(min(bos, eos, pad), bos, eos, pad, audio["codebook_size"])
    known = Qwen2_5OmniAudioEncoderConfig().to_dict().keys() - {"model_type"}
    ears = OmniEars(Qwen2_5OmniAudioEncoderConfig(**{k: v for k, v in audio.items() if k in known}), dtype)
    lm = AutoModelForCausalLM.from_config(AutoConfig.for_model(**text), dtype=dtype)
    head = AutoConfig.for_model(**audio["crq_transformer_config"])
    return FunAudioChat(ears, lm, words, marks, units, head, replace(ours, group=audio["group_size"]))


def place(model: FunAudioChat, tensors: Mapping[str, Stored], source: str | Path) -> None:
    """All tensors by their names. Raises WeightsError, the model untouched, where one is missing, or has no place."""
    table = tensors.get(released_name("units.table.weight"))
    if table and TIED in tensors and not torch.equal(tensors[TIED].read(), table.read()):
        raise WeightsError(f"the weights of {source} do not fit; {TIED} is not the table of units: they are one here")
    fill(model, {k: v for k, v in tensors.items() if k not in (TIED, STRAY)}, source, released_name)


def released_name(name: str) -> str:
    """What the checkpoint calls a parameter of `FunAudioChat`."""
    prefix = next(prefix for prefix in NAMES if name.startswith(prefix))
    return NAMES[prefix] + name.removeprefix(prefix)
