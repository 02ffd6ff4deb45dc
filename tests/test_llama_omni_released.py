"""The released weights of LLaMA-Omni: loaded by their names, and one clear error where they cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import need
from duologue.model.weights import WeightsError
from duologue.model.whisper import WhisperSizes
from duologue.streaming import Memory
from duologue.systems import llama_omni_released
from duologue.systems.llama_omni import LlamaOmni
from duologue.systems.llama_omni_conversation import Conversation
from test_llama_omni import answered_slowly, prompted, sound, tokens


@pytest.fixture
def released(shared: Path, tmp_path: Path) -> Path:
    """The small weights under released names, in a folder of their own."""
    golden = shared / "goldens" / "llama_omni"
    need(golden.is_dir(), f"the golden folder {golden}")
    return copytree(golden, tmp_path / "model", copy_function=lambda a, b: Path(b).write_bytes(Path(a).read_bytes()))


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> LlamaOmni:
    return llama_omni_released.load(folder, dtype, WhisperSizes(8, 52, 12, 2, 2))


def test_a_released_folder_talks(released: Path) -> None:
    model = loaded(released)
    talk = Conversation(model, Memory(400))
    talk.hear(sound())
    first = list(talk.answer(10, 5))
    assert tokens(first) == answered_slowly(model, prompted(model, 0), 5)[0]
    assert len(model.heard(sound(0.2))) == len(model.heard(sound(1.0))) == 52 // 5


def test_a_released_folder_talks_in_half_the_memory(released: Path) -> None:
    model = loaded(released, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert torch.equal(model.speech.llama.rotary_emb.inv_freq, loaded(released).speech.llama.rotary_emb.inv_freq)
    talk = Conversation(model, Memory(400))
    talk.hear(sound())
    assert len(list(talk.answer(10, 5))) <= 5


Edit = Callable[[dict[str, Any]], object]


def edited(folder: Path, edit: Edit) -> None:
    fields = json.loads((folder / "config.json").read_text())
    edit(fields)
    (folder / "config.json").write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            lambda fields: fields.update(model_type="llama"),
            "holds a model of type 'llama', not 'omni_speech2s_llama'",
        ),
        (
            lambda fields: fields.update(ctc_decoder_config="__import__('os')"),
            "give it as \\(layers, width, heads, ffn\\)",
        ),
        (
            lambda fields: fields.update(unit_vocab_size=30),
            "speech_generator.output_proj.bias is \\[21\\], not \\[31\\]",
        ),
        (
            lambda fields: fields.update(num_hidden_layers=3),
            "9 missing: model.layers.2.input_layernorm.weight",
        ),
        (
            lambda fields: fields.update(ctc_decoder_config="(1,24,2,40)"),
            "9 not of this model: speech_generator.layers.1",
        ),
        (
            lambda fields: fields.update(ctc_decoder_config="(2,24,0,40)"),
            "give it as \\(layers, width, heads, ffn\\), each 1 or more",
        ),
        (
            lambda fields: fields.update(ctc_decoder_config="(2,24,5,40)"),
            r"cannot be loaded: .*\(24\) is not a multiple of the number of attention heads \(5\)",
        ),
        (
            lambda fields: fields.update(num_attention_heads=3),
            r"cannot be loaded: .*\(32\) is not a multiple of the number of attention heads \(3\)",
        ),
        (lambda fields: fields.update(hidden_size="wide"), "cannot be loaded: .*'hidden_size' expected int"),
        (lambda fields: fields.update(rope_scaling="none"), "cannot be loaded: "),
    ],
)
def test_another_checkpoint_is_refused(released: Path, edit: Edit, said: str) -> None:
    edited(released, edit)
    with pytest.raises(WeightsError, match=said):
        loaded(released)


def test_an_adapter_that_was_saved_alone_is_loaded(released: Path, tmp_path: Path) -> None:
    model = loaded(released)
    expected = {name: tensor + 1 for name, tensor in model.adapter.state_dict().items()}
    for before in (
        "model.speech_projector.",
        "base_model.model.model.speech_projector.",
        "speech_projector.",
    ):
        torch.save({before + name: tensor for name, tensor in expected.items()}, tmp_path / "speech_projector.bin")
        model = loaded(released)
        llama_omni_released.fill_adapter(model, tmp_path / "speech_projector.bin")
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.adapter.state_dict().items())


BROKEN: dict[str, tuple[str, str]] = {
    "tokenizer": ("tokenizer.json", "{"),
    "list": ("config.json", "[]"),
    "index": ("model.safetensors.index.json", '{"metadata": {}}'),
    "no index": ("model.safetensors.index.json", "[1]"),
    "no text": ("config.json", "\udcff"),
}
SAID = {
    "tokenizer": r"no tokenizer that can be read \(.*\); fetch its tokenizer.json again",
    "list": "config.json holds no fields of a model: fetch it again",
    "index": r"index.json names no files of weights \(weight_map\): fetch it again",
    "no index": r"index.json names no files of weights \(weight_map\): fetch it again",
    "no text": "holds no config.json that can be read",
}


@pytest.mark.parametrize("what", list(BROKEN))
def test_a_folder_with_a_broken_file_is_refused(released: Path, what: str) -> None:
    name, text = BROKEN[what]
    (released / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(WeightsError, match=SAID[what]):
        loaded(released)


def test_a_folder_without_a_tokenizer_is_refused(released: Path) -> None:
    (released / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"no tokenizer that can be read \(.*\); fetch its tokenizer.json again"):
        loaded(released)


def test_positions_are_described_as_transformers_5_does(released: Path) -> None:
    theirs = loaded(released).lm.config.rope_parameters
    edited(released, lambda fields: fields.update(rope_parameters=rope_of(fields)))
    assert loaded(released).lm.config.rope_parameters == theirs
    assert (theirs["rope_theta"], theirs["original_max_position_embeddings"]) == (100.0, 64)


def rope_of(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields.pop("rope_scaling"), "rope_theta": fields.pop("rope_theta")}


@pytest.mark.parametrize("stored", ["nothing", "another head"])
def test_tied_embeddings_are_the_head_too(released: Path, stored: str) -> None:
    edited(released, lambda fields: fields.update(tie_word_embeddings=True))
    tensors = load_file(released / "model.safetensors")
    head = tensors.pop("lm_head.weight")
    save_file(
        tensors if stored == "nothing" else tensors | {"lm_head.weight": head + 1}, released / "model.safetensors"
    )
    lm = loaded(released).lm
    assert torch.equal(lm.get_input_embeddings().weight, tensors["model.embed_tokens.weight"])
    assert lm.get_output_embeddings().weight is lm.get_input_embeddings().weight
    del tensors["model.embed_tokens.weight"]
    save_file(tensors, released / "model.safetensors")
    with pytest.raises(WeightsError, match="2 missing: lm_head.weight, model.embed_tokens.weight"):
        loaded(released)


def test_memory_at_the_released_sizes() -> None:
    bf16, int8, int4 = (llama_omni_released.parts_bytes(kept) for kept in ("bf16", "int8", "int4"))
    assert sum(bf16.values()) == 2 * 9_114_381_289
    assert bf16["speech"] == 2 * 425_649_129
    assert all(int4[part] < int8[part] < bf16[part] for part in bf16)
    assert 0.5 < int8["lm"] / bf16["lm"] < 0.56
