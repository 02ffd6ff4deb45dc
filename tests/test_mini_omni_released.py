"""Weights of Mini-Omni in the layout they were released in: found, cut, refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from duologue.model.precision import Precision
from duologue.model.weights import WeightsError
from duologue.sound import Audio
from duologue.systems.mini_omni import Question
from duologue.systems.mini_omni_decoding import Decoding, answered
from duologue.systems.mini_omni_model import MiniOmni
from duologue.systems.mini_omni_places import HEAD, TABLE, shapes
from duologue.systems.mini_omni_released import RELEASED, SIZES, WEIGHTS, built, features_of, heard_by, load

SMALL = {
    **RELEASED,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "n_query_groups": 2,
    "intermediate_size": 24,
    "block_size": 64,
    "whisper_adapter_dim": 12,
    "text_vocab_size": 80,
    "audio_vocab_size": 72,
    "padded_vocab_size": 80 + 7 * 72,
}
Weights = dict[str, Tensor]


def weights(tts_blocks: int = 0, tied: bool = True) -> Weights:
    draw = torch.Generator().manual_seed(0)
    named = shapes(built(SMALL, tts_blocks=tts_blocks))
    found = {name: torch.randn(shape, generator=draw) for name, shape in named.items()}
    return found | {HEAD: found[TABLE]} if tied else found


def folder(path: Path, tensors: Weights, **sizes: object) -> Path:
    path.mkdir(exist_ok=True)
    torch.save(tensors, path / WEIGHTS)
    (path / SIZES).write_text(yaml.safe_dump({**SMALL, "vocab_size": 50254, "norm_eps": "1e-06", **sizes}))
    return path


def test_every_tensor_finds_its_rows(tmp_path: Path) -> None:
    """Groups of queries, keys and values, spelt out; one table in three parts."""
    tensors = weights(tts_blocks=2)
    model = load(folder(tmp_path, tensors), tts=True)
    for blocks, layers in (("h", model.lm.model.layers), ("post_adapter", model.added.tts.model.layers)):
        for number, layer in enumerate(layers):
            for kind in ("weight", "bias"):
                whole = tensors[f"transformer.{blocks}.{number}.attn.attn.{kind}"]
                heads = torch.split(whole, 4)
                assert torch.equal(getattr(layer.self_attn.q_proj, kind), torch.cat([*heads[0:2], *heads[4:6]]))
                assert torch.equal(getattr(layer.self_attn.k_proj, kind), torch.cat([heads[2], heads[6]]))
                assert torch.equal(getattr(layer.self_attn.v_proj, kind), torch.cat([heads[3], heads[7]]))
            assert torch.equal(layer.mlp.up_proj.weight, tensors[f"transformer.{blocks}.{number}.mlp.fc_2.weight"])
    table = tensors[TABLE]
    assert torch.equal(model.lm.get_input_embeddings().weight, table[:16])
    assert torch.equal(model.added.marks.embedding.weight, table[16:80])
    assert torch.equal(model.added.books.head.weight, table[80:])
    assert torch.equal(model.added.tts.lm_head.weight, tensors["transformer.post_adapter_audio_lm_head.weight"])
    assert not model.training


def test_one_table_stands_for_both_and_two_that_differ_stay_two(tmp_path: Path) -> None:
    both = weights()
    whole = load(folder(tmp_path, both))
    for missing in (TABLE, HEAD):
        one = load(folder(tmp_path, {name: tensor for name, tensor in both.items() if name != missing}))
        assert same(whole, one)
        assert one.lm.lm_head.weight is one.lm.model.embed_tokens.weight
    apart = weights(tied=False)
    model = load(folder(tmp_path, apart))
    assert torch.equal(model.added.books.head.weight, apart[HEAD][80:])
    assert torch.equal(model.lm.lm_head.weight, apart[HEAD][:16])
    assert torch.equal(model.lm.model.embed_tokens.weight, apart[TABLE][:16])


def same(a: MiniOmni, b: MiniOmni) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_second_model_is_read_without_its_pictures(tmp_path: Path) -> None:
    plain = weights()
    pictures = {"vision_adapter.fc_1.weight": torch.zeros(24, 8)}
    assert same(load(folder(tmp_path / "one", plain)), load(folder(tmp_path / "two", plain | pictures)))


def test_it_answers_in_half_precision(tmp_path: Path) -> None:
    model = load(folder(tmp_path, weights()), dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    asked = Question("A1A2", torch.ones(3, 12))
    assert len(list(answered(model, asked, Decoding(parallel=True, most_steps=9)))) > 0


def without(name: str) -> Weights:
    return {other: tensor for other, tensor in weights().items() if other != name}


LAYER = "transformer.h.1.attn.attn.weight"


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        (without("transformer.ln_f.weight"), r"1 missing: transformer\.ln_f\.weight$"),
        (without(LAYER), r"3 missing: .*attn\.attn\.weight \(key\), .*\(query\), .*\(value\)"),
        ({**weights(), "strange.weight": torch.zeros(2)}, r"1 not of this model: strange\.weight"),
        ({**weights(), LAYER: torch.zeros(30, 16)}, r"attn\.attn\.weight is \[30, 16\], not \[32, 16\]"),
        (
            {**weights(), "whisper_adapter.proj.weight": torch.zeros(16, 23)},
            r"proj\.weight is \[16, 23\], not",
        ),
        ({**weights(), TABLE: torch.zeros(600, 16)}, r"wte\.weight is \[600, 16\], not \[584, 16\]"),
        ({}, r"missing: .*weight"),
        (weights(tts_blocks=1), "tts=True"),
    ],
    ids=["missing", "missing part", "strange", "shape", "shape of the adapter", "table", "nothing", "tts"],
)
def test_what_does_not_fit_is_named(tensors: Weights, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=complaint):
        load(folder(tmp_path, tensors))


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        ({"norm_class_name": "LayerNorm"}, "LayerNorm"),
        ({"padded_vocab_size": 50254}, "padded_vocab_size is 50254, text and books need 584"),
        ({"n_embd": "sixteen"}, "n_embd is 'sixteen', not a number like 896: fetch it again"),
        ({"n_layer": 2.5}, "n_layer is 2.5"),
        ({"n_head": 0}, "n_head is 0"),
        ({"block_size": None}, "block_size is None"),
        ({"norm_eps": [1]}, r"norm_eps is \[1\]"),
        ({"n_head": 3}, "n_embd is 16, which n_head, 3, does not divide"),
        ({"n_query_groups": 3}, "n_head is 4, which n_query_groups, 3, does not divide"),
    ],
)
def test_other_sizes_are_refused(sizes: dict[str, object], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=complaint):
        load(folder(tmp_path, weights(), **sizes))


def test_queries_are_not_taken_for_keys_and_values_too(tmp_path: Path) -> None:
    """As many groups as heads: each part is as large as a matrix that holds the queries alone."""
    sizes = {**SMALL, "n_query_groups": 4}
    named = shapes(built(sizes))
    tensors = {name: torch.zeros(shape) for name, shape in named.items()} | {LAYER: torch.zeros(16, 16)}
    with pytest.raises(WeightsError, match=r"attn\.attn\.weight is \[16, 16\], not \[48, 16\]"):
        load(folder(tmp_path, tensors, n_query_groups=4))


@pytest.mark.parametrize("bits", ["bfloat16", "int8"])
def test_it_is_loaded_in_fewer_bits(bits: Precision, tmp_path: Path) -> None:
    model = load(folder(tmp_path, weights()), dtype=bits)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert any(isinstance(layer, torch.nn.Linear) for layer in model.modules()) == (bits == "bfloat16")
    assert len(list(answered(model, Question("A1A2", torch.ones(3, 12)), Decoding(parallel=True, most_steps=9)))) > 0


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"holds no {WEIGHTS}"):
        load(tmp_path)
    full = folder(tmp_path, weights())
    (full / SIZES).write_text("n_layer: 2")
    with pytest.raises(WeightsError, match="says nothing of 'padded_vocab_size'"):
        load(full)
    for nothing in ("", "- 1", "7", "words"):
        (full / SIZES).write_text(nothing)
        with pytest.raises(WeightsError, match="holds no sizes by their names: fetch it again"):
            load(full)
    (full / SIZES).write_text("{")
    with pytest.raises(WeightsError, match="cannot be read"):
        load(full)
    (full / WEIGHTS).write_bytes(b"no weights")
    (full / SIZES).write_text(yaml.safe_dump(SMALL))
    with pytest.raises(WeightsError, match="no weights that can be read"):
        load(full)


@given(st.integers(0, 30 * 16_000))
def test_as_many_features_are_kept_as_the_released_model_was_given(samples: int) -> None:
    ms = samples / 16
    assert features_of(samples) == min(1500, int(ms // 20) + 1)


def test_sound_of_more_than_a_window_is_refused_before_it_is_heard() -> None:
    class Deaf:
        width, hz = 12, 50.0

        def features(self, audio: Audio) -> Tensor:
            assert len(audio) <= 480_000
            return torch.zeros(1500, 12)

    assert len(heard_by(Deaf(), np.zeros(480_000, np.float32))) == 1500
    assert len(heard_by(Deaf(), np.zeros(16_000, np.float32))) == 51
    with pytest.raises(ValueError, match=r"^30\.5 s of sound: Mini-Omni hears 30 s at once; say it in shorter turns$"):
        heard_by(Deaf(), np.zeros(488_000, np.float32))
