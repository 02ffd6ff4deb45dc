"""The weights of Mini-Omni as they were released: `lit_model.pth` and `model_config.yaml`, in the layout of litgpt.

Queries, keys and values of a layer lie in one matrix, group by group: the group's query heads, its key, its value. One
table holds the rows of all tokens: of text, its marks, then the books. Mini-Omni2 is the same with an adapter for
pictures, which is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor
from transformers import Qwen2Config

from duologue.model.backbone import backbone
from duologue.model.weights import Stored, WeightsError, fill, folder_of, stored
from duologue.systems.mini_omni import BOOKS, Config
from duologue.systems.mini_omni_model import MiniOmni

WEIGHTS, SIZES = "lit_model.pth", "model_config.yaml"
PICTURES = "vision_adapter."
TTS = "transformer.post_adapter"
"""How the names of the TTS adapter begin; it was never released."""
TABLE, HEAD = "transformer.wte.weight", "lm_head.weight"
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


def load(source: str | Path, dtype: torch.dtype = torch.float32, tts: bool = False) -> MiniOmni:
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
    return assembled(sizes, stored(folder / WEIGHTS), folder / WEIGHTS, dtype=dtype, tts=tts)


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
    fill(model, _pieces(model, kept), source, lambda ours: str(_place(ours)))
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
    """How many features of so many samples the released model was given: one more than are full, of 30 s at most."""
    return min(WINDOW_FEATURES, samples // FEATURE_SAMPLES + 1)


# ---------------------------------------------------------------- sizes


def built(
    sizes: Sizes,
    marks: tuple[int, int] = (64, 64),
    tied: bool = True,
    tts_blocks: int = 0,
    dtype: torch.dtype = torch.float32,
) -> MiniOmni:
    """A model of these sizes, with random weights. Raises WeightsError for sizes that it cannot have."""
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
    if wrong := {name: sizes[name] for name, only in SUPPORTED.items() if name in sizes and sizes[name] != only}:
        raise WeightsError(f"{SIZES} asks for {wrong}; Mini-Omni has { ({name: SUPPORTED[name] for name in wrong}) }")
    rows = sizes["text_vocab_size"] + BOOKS * sizes["audio_vocab_size"]
    if sizes["padded_vocab_size"] != rows:
        raise WeightsError(f"{SIZES}: padded_vocab_size is {sizes['padded_vocab_size']}, text and books need {rows}")


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


# ---------------------------------------------------------------- which tensor goes where


class Place(NamedTuple):
    """A tensor as it was released, and which of its rows: all where there is no part."""

    name: str
    part: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.part})" if self.part else self.name


_LAYER = re.compile(r"(?P<of>lm|added\.tts)\.model\.layers\.(?P<layer>\d+)\.(?P<name>.+)\.(?P<kind>weight|bias)")
_IN_LAYER = {
    "input_layernorm": Place("norm_1"),
    "self_attn.q_proj": Place("attn.attn", "query"),
    "self_attn.k_proj": Place("attn.attn", "key"),
    "self_attn.v_proj": Place("attn.attn", "value"),
    "self_attn.o_proj": Place("attn.proj"),
    "post_attention_layernorm": Place("norm_2"),
    "mlp.gate_proj": Place("mlp.fc_1"),
    "mlp.up_proj": Place("mlp.fc_2"),
    "mlp.down_proj": Place("mlp.proj"),
}
_ELSEWHERE = {
    "lm.model.embed_tokens": Place(TABLE, "text"),
    "added.marks.embedding": Place(TABLE, "marks"),
    "added.books.embedding": Place(TABLE, "books"),
    "lm.model.norm": Place("transformer.ln_f.weight"),
    "lm.lm_head": Place(HEAD, "text"),
    "added.marks.head": Place(HEAD, "marks"),
    "added.books.head": Place(HEAD, "books"),
    "added.asr.gate": Place("whisper_adapter.fc_1.weight"),
    "added.asr.up": Place("whisper_adapter.fc_2.weight"),
    "added.asr.down": Place("whisper_adapter.proj.weight"),
    "added.tts.model.norm": Place(f"{TTS}_audio_ln.weight"),
    "added.tts.model.embed_tokens": Place(f"{TTS}_audio_lm_head.weight"),
    "added.tts.lm_head": Place(f"{TTS}_audio_lm_head.weight"),
}


def _place(ours: str) -> Place:
    """Where the weights of a parameter of `MiniOmni` lie."""
    if layer := _LAYER.fullmatch(ours):
        name, part = _IN_LAYER[layer["name"]]
        blocks = "transformer.h" if layer["of"] == "lm" else TTS
        return Place(f"{blocks}.{layer['layer']}.{name}.{layer['kind']}", part)
    return _ELSEWHERE[ours.removesuffix(".weight")]


def shapes(model: MiniOmni) -> dict[str, tuple[int, ...]]:
    """Of every tensor that a release of this model holds, by name. The model may lie on the meta device."""
    parts = {_place(ours): tuple(tensor.shape) for ours, tensor in model.state_dict().items()}
    found: dict[str, tuple[int, ...]] = {}
    for place, (rows, *columns) in parts.items():
        found[place.name] = (rows + found.get(place.name, (0,))[0], *columns)
    return found


def _pieces(model: MiniOmni, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Released tensors, cut into those of the model. What has another shape, or no place, stays as it is."""
    whole, pieces = shapes(model), dict(tensors)
    for ours, tensor in model.state_dict().items():
        place = _place(ours)
        if place.part and (found := tensors.get(place.name)):
            pieces.pop(place.name, None)
            fits = found.shape == whole[place.name]
            pieces[str(place)] = _cut(found, tuple(tensor.shape), _rows(model, place)) if fits else found
    return pieces


def _cut(whole: Stored, shape: tuple[int, ...], rows: Tensor | slice) -> Stored:
    return Stored(shape, lambda: whole.read()[rows])


def _rows(model: MiniOmni, place: Place) -> Tensor | slice:
    """Of a released tensor, those of a part."""
    config, lm = model.config, model.lm.config
    first = config.text + config.text_marks
    of_table = {"text": slice(config.text), "marks": slice(config.text, first), "books": slice(first, None)}
    if place.part in of_table:
        return of_table[place.part]
    groups, width = lm.num_key_value_heads, lm.hidden_size // lm.num_attention_heads
    queries = lm.num_attention_heads // groups
    rows = torch.arange(groups * (queries + 2) * width).view(groups, queries + 2, width)
    of_group = {
        "query": slice(queries),
        "key": slice(queries, queries + 1),
        "value": slice(queries + 1, None),
    }
    return rows[:, of_group[place.part]].flatten()
