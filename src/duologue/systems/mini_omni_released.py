"""The weights of Mini-Omni as they were released: `lit_model.pth` and `model_config.yaml`, in the layout of litgpt.

`mini_omni_places` knows which tensor goes where. Mini-Omni2 is the same with an adapter for pictures, which is left
out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from transformers import Qwen2Config

from duologue.model.adapter import Ears
from duologue.model.backbone import backbone
from duologue.model.precision import Precision, of_precision, rounded
from duologue.model.weights import Stored, WeightsError, fill, folder_of, stored
from duologue.sound import Audio
from duologue.sound.mel import MEL_HZ
from duologue.systems.mini_omni import BOOKS, Config
from duologue.systems.mini_omni_model import MiniOmni
from duologue.systems.mini_omni_places import HEAD, TABLE, TTS, check_wholes, pieces, place

WEIGHTS, SIZES = "lit_model.pth", "model_config.yaml"
PICTURES = "vision_adapter."
SUPPORTED = {
    "norm_class_name": "RMSNorm",
    "mlp_class_name": "LLaMAMLP",
    "asr_adapter": "llamamlp",
    "rotary_percentage": 1,
    "parallel_residual": False,
    "bias": False,
    "lm_head_bias": False,
    "add_qkv_bias": True,
}
FEATURE_SAMPLES, WINDOW_FEATURES = 320, 1500
"""Of Whisper, at 16 kHz."""
Sizes = Mapping[str, Any]
"""What `model_config.yaml` says, by name."""
RELEASED: Sizes = {
    "padded_vocab_size": 181_120,
    "text_vocab_size": 152_000,
    "audio_vocab_size": 4160,
    "whisper_adapter_dim": 768,
    "intermediate_size": 4864,
    "n_embd": 896,
    "n_layer": 24,
    "n_head": 14,
    "n_query_groups": 2,
    "block_size": 2048,
    "norm_eps": 1e-6,
    "rope_base": 1_000_000,
}
"""Of gpt-omni/mini-omni."""

# ---------------------------------------------------------------- loading


def load(source: str | Path, dtype: Precision = torch.float32, tts: bool = False) -> MiniOmni:
    """The model in a folder, or of an id on the hub: "gpt-omni/mini-omni".

    tts   the weights hold a TTS adapter, and the books come from it

    Raises WeightsError for a folder without the two files, and for weights that do not fit the sizes.
    """
    folder = folder_of(source, (WEIGHTS, SIZES))
    for name in (WEIGHTS, SIZES):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder} holds no {name}: Mini-Omni was released as {WEIGHTS} and {SIZES}")
    try:
        sizes = yaml.safe_load((folder / SIZES).read_text())
    except yaml.YAMLError as error:
        raise WeightsError(f"{folder / SIZES} cannot be read ({error}): fetch it again") from error
    model = assembled(sizes, stored(folder / WEIGHTS), folder / WEIGHTS, dtype=of_precision(dtype), tts=tts)
    return rounded(model, dtype)


def assembled(
    sizes: Sizes,
    tensors: Mapping[str, Stored],
    source: str | Path,
    marks: tuple[int, int] = (64, 64),
    dtype: torch.dtype = torch.float32,
    tts: bool = False,
) -> MiniOmni:
    """A model of these sizes with these weights. `marks`: ids of text, and of each book, that are marks."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(PICTURES)}
    if not tts and any(name.startswith(TTS) for name in kept):
        raise WeightsError(f"{source} holds a TTS adapter (names {TTS}…): load it with tts=True")
    kept, tied = _with_both_tables(kept)
    model = built(sizes, marks, tied, _tts_blocks(kept), dtype)
    check_wholes(model, kept, source)
    fill(model, pieces(model, kept), source, lambda ours: str(place(ours)))
    return model


def _with_both_tables(tensors: dict[str, Stored]) -> tuple[dict[str, Stored], bool]:
    """One table may stand for both; and whether it does."""
    table, head = tensors.get(TABLE), tensors.get(HEAD)
    one = table or head
    if one is None or (table and head):
        return tensors, one is None or torch.equal(tensors[TABLE].read(), tensors[HEAD].read())
    return {**tensors, TABLE: one, HEAD: one}, True


def _tts_blocks(tensors: Mapping[str, Stored]) -> int:
    numbers = [re.match(rf"{re.escape(TTS)}\.(\d+)\.", name) for name in tensors]
    return max((int(number[1]) + 1 for number in numbers if number), default=0)


def features_of(samples: int) -> int:
    """How many features of so many samples the released model was given: one more than are full, of 30 s at most.
    Raises ValueError for longer sound, which the reference cut: in 2048 steps, a second window would take those of the
    answer."""
    if samples > (most := WINDOW_FEATURES * FEATURE_SAMPLES):
        heard_s, most_s = samples / MEL_HZ, most / MEL_HZ
        raise ValueError(f"{heard_s:.1f} s of sound: Mini-Omni hears {most_s:.0f} s at once; say it in shorter turns")
    return min(WINDOW_FEATURES, samples // FEATURE_SAMPLES + 1)


def heard_by(ears: Ears, audio: Audio) -> Tensor:
    """What the released model is given of sound [N] at 16 kHz: [T, F]. Raises ValueError for no sound, and for more
    than 30 s of it."""
    most = features_of(len(audio))
    return ears.features(audio)[:most]


# ---------------------------------------------------------------- sizes


def built(
    sizes: Sizes,
    marks: tuple[int, int] = (64, 64),
    tied: bool = True,
    tts_blocks: int = 0,
    dtype: torch.dtype = torch.float32,
) -> MiniOmni:
    """A model of these sizes, with random weights. Raises WeightsError for sizes that it cannot have."""
    if not isinstance(sizes, Mapping):
        raise WeightsError(f"{SIZES} holds no sizes by their names: fetch it again")
    try:
        _check(sizes)
        text_marks, book_marks = marks
        config = Config(
            text=sizes["text_vocab_size"] - text_marks,
            codes=sizes["audio_vocab_size"] - book_marks,
            features=sizes["whisper_adapter_dim"],
            adapter=sizes["intermediate_size"],
            text_marks=text_marks,
            book_marks=book_marks,
            tts_blocks=tts_blocks,
            delay="learned",
        )
        return MiniOmni(backbone(_language_model(sizes, config.text, tied), dtype), config).eval()
    except KeyError as error:
        raise WeightsError(f"{SIZES} says nothing of {error}: fetch it again") from error


def _check(sizes: Sizes) -> None:
    for name, released in RELEASED.items():
        if not _may_be(sizes[name], released):
            raise WeightsError(f"{SIZES}: {name} is {sizes[name]!r}, not a number like {released}: fetch it again")
    for whole, parts in (("n_embd", "n_head"), ("n_head", "n_query_groups")):
        if sizes[whole] % sizes[parts]:
            raise WeightsError(f"{SIZES}: {whole} is {sizes[whole]}, which {parts}, {sizes[parts]}, does not divide")
    if wrong := {name: sizes[name] for name, only in SUPPORTED.items() if name in sizes and sizes[name] != only}:
        raise WeightsError(f"{SIZES} asks for {wrong}; Mini-Omni has { ({name: SUPPORTED[name] for name in wrong}) }")
    rows = sizes["text_vocab_size"] + BOOKS * sizes["audio_vocab_size"]
    if sizes["padded_vocab_size"] != rows:
        raise WeightsError(f"{SIZES}: padded_vocab_size is {sizes['padded_vocab_size']}, text and books need {rows}")


def _may_be(size: object, released: float) -> bool:
    """A number above 0; a whole one, but for `norm_eps` and `rope_base`. YAML takes 1e-06 for a word."""
    if isinstance(released, int) and released != RELEASED["rope_base"]:
        return type(size) is int and size > 0
    try:
        return not isinstance(size, bool) and 0 < float(str(size)) < inf
    except ValueError:
        return False


def _language_model(sizes: Sizes, text: int, tied: bool) -> Any:
    return Qwen2Config(
        vocab_size=text,
        hidden_size=sizes["n_embd"],
        intermediate_size=sizes["intermediate_size"],
        num_hidden_layers=sizes["n_layer"],
        num_attention_heads=sizes["n_head"],
        num_key_value_heads=sizes["n_query_groups"],
        max_position_embeddings=sizes["block_size"],
        rms_norm_eps=float(sizes["norm_eps"]),
        rope_parameters={"rope_type": "default", "rope_theta": float(sizes["rope_base"])},
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
    )
