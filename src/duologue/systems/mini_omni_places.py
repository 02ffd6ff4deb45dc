"""Which tensor of Mini-Omni as it was released, in the layout of litgpt, goes where.

Queries, keys and values of a layer lie in one matrix, group by group: the group's query heads, its key, its value. One
table holds the rows of all tokens: of text, its marks, then the books.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from duologue.model.weights import Stored, WeightsError
from duologue.systems.mini_omni_model import MiniOmni

TTS = "transformer.post_adapter"
"""How the names of the TTS adapter begin; it was never released."""
TABLE, HEAD = "transformer.wte.weight", "lm_head.weight"


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


def place(ours: str) -> Place:
    """Where the weights of a parameter of `MiniOmni` lie."""
    if layer := _LAYER.fullmatch(ours):
        name, part = _IN_LAYER[layer["name"]]
        blocks = "transformer.h" if layer["of"] == "lm" else TTS
        return Place(f"{blocks}.{layer['layer']}.{name}.{layer['kind']}", part)
    return _ELSEWHERE[ours.removesuffix(".weight")]


def shapes(model: MiniOmni) -> dict[str, tuple[int, ...]]:
    """Of every tensor that a release of this model holds, by name. The model may lie on the meta device."""
    parts = {place(ours): tuple(tensor.shape) for ours, tensor in model.state_dict().items()}
    found: dict[str, tuple[int, ...]] = {}
    for one, (rows, *columns) in parts.items():
        found[one.name] = (rows + found.get(one.name, (0,))[0], *columns)
    return found


def check_wholes(model: MiniOmni, tensors: Mapping[str, Stored], source: str | Path) -> None:
    """Raises WeightsError for a tensor of several parts that is not as large as they are."""
    whole = shapes(model)
    for name in sorted({one.name for one in map(place, model.state_dict()) if one.part} & set(tensors)):
        if (shape := tensors[name].shape) != whole[name]:
            raise WeightsError(f"the weights of {source} do not fit; {name} is {list(shape)}, not {list(whole[name])}")


def pieces(model: MiniOmni, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Released tensors, cut into those of the model. What has no place stays as it is."""
    cut = dict(tensors)
    for ours, tensor in model.state_dict().items():
        one = place(ours)
        if one.part and (found := tensors.get(one.name)):
            cut.pop(one.name, None)
            cut[str(one)] = _cut(found, tuple(tensor.shape), _rows(model, one))
    return cut


def _cut(whole: Stored, shape: tuple[int, ...], rows: Tensor | slice) -> Stored:
    return Stored(shape, lambda: whole.read()[rows])


def _rows(model: MiniOmni, one: Place) -> Tensor | slice:
    """Of a released tensor, those of a part."""
    config, lm = model.config, model.lm.config
    first = config.text + config.text_marks
    of_table = {"text": slice(config.text), "marks": slice(config.text, first), "books": slice(first, None)}
    if one.part in of_table:
        return of_table[one.part]
    groups, width = lm.num_key_value_heads, lm.hidden_size // lm.num_attention_heads
    queries = lm.num_attention_heads // groups
    rows = torch.arange(groups * (queries + 2) * width).view(groups, queries + 2, width)
    of_group = {
        "query": slice(queries),
        "key": slice(queries, queries + 1),
        "value": slice(queries + 1, None),
    }
    return rows[:, of_group[one.part]].flatten()
