"""Weights by name: everything that is stored finds its place and no place stays empty, or nothing is touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from duologue.model import whisper
from duologue.model.weights import WeightsError, fill, folder_of, stored, weight_bytes
from duologue.model.whisper import Whisper, WhisperSizes, openai_name


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(tensor, b.state_dict()[name]) for name, tensor in a.state_dict().items())


# ---------------------------------------------------------------- where weights may lie

Writer = Callable[[dict[str, Tensor], Path], Path]


def one_file(tensors: dict[str, Tensor], folder: Path) -> Path:
    save_file(tensors, folder / "model.safetensors")
    return folder / "model.safetensors"


def a_folder(tensors: dict[str, Tensor], folder: Path) -> Path:
    save_file({"of": torch.zeros(1)}, folder / "another.safetensors")
    return one_file(tensors, folder).parent


def shards(tensors: dict[str, Tensor], folder: Path) -> Path:
    places = {name: f"model-0000{n % 2 + 1}-of-00002.safetensors" for n, name in enumerate(tensors)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in tensors if places[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def a_pickle(tensors: dict[str, Tensor], folder: Path) -> Path:
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def an_old_pickle(tensors: dict[str, Tensor], folder: Path) -> Path:
    content = {"sizes": {"layers": 1}, "inside": tensors}
    torch.save(content, folder / "old.pt", _use_new_zipfile_serialization=False)
    return folder / "old.pt"


@pytest.mark.parametrize("writer", [one_file, a_folder, shards, a_pickle, an_old_pickle])
def test_weights_come_back(writer: Writer, tmp_path: Path) -> None:
    model, other = small(0), small(1)
    assert not equal(model, other)
    source = writer(state(model), tmp_path)
    fill(other, stored(source, inside="inside"), source)
    assert equal(model, other)


def test_an_id_on_the_hub_is_its_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    def snapshot(source: str, allow_patterns: list[str]) -> str:
        asked.append((source, allow_patterns))
        if source != "some/model":
            raise OSError("no such repository")
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert folder_of("some/model") == tmp_path
    assert asked == [("some/model", ["*.safetensors", "*.json"])]
    with pytest.raises(WeightsError, match="'other/model' is no file or folder here, and no id on the hub"):
        stored("other/model")


def test_weights_take_the_type_of_their_place(tmp_path: Path) -> None:
    model, half = small(0), small(1).half()
    source = one_file(state(model), tmp_path)
    fill(half, stored(source), source)
    assert half.state_dict()["0.weight"].dtype == torch.float16
    assert torch.equal(half.state_dict()["0.weight"], model.state_dict()["0.weight"].half())


# ---------------------------------------------------------------- what does not fit


@pytest.fixture
def untouched() -> Iterator[nn.Module]:
    model = small(1)
    before = state(model)
    yield model
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_everything_wrong_is_named_and_nothing_is_touched(untouched: nn.Module, tmp_path: Path) -> None:
    tensors = state(small(0))
    tensors["2.weight"] = torch.zeros(2, 5)
    tensors["head.bias"] = tensors.pop("2.bias")
    with pytest.raises(WeightsError) as error:
        fill(untouched, stored(one_file(tensors, tmp_path)), "here")
    assert str(error.value) == (
        "the weights of here do not fit; 1 missing: 2.bias; 1 not of this model: head.bias; "
        "1 of another shape: 2.weight is [2, 5], not [2, 4]"
    )


def test_of_many_names_the_first_are_told_and_how_many(untouched: nn.Module, tmp_path: Path) -> None:
    source = one_file({f"layer.{n}": torch.zeros(1) for n in range(9)}, tmp_path)
    with pytest.raises(WeightsError, match=r"6 missing: .*; 9 not of this model: layer.0, .*layer.4, …$"):
        fill(untouched, stored(source), source)


def test_names_are_those_of_the_file(untouched: nn.Module, tmp_path: Path) -> None:
    source = one_file({"theirs.0.weight": torch.zeros(4, 3)}, tmp_path)
    with pytest.raises(WeightsError, match=r"5 missing: theirs.0.bias, theirs.1.bias, theirs.1.weight"):
        fill(untouched, stored(source), source, lambda name: f"theirs.{name}")


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    torch.save({"weight": Evil(tmp_path / "was_here")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="no weights that can be read"):
        stored(tmp_path)
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_what_is_no_pickle_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(WeightsError, match="no weights that can be read"):
        stored(tmp_path)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no weights: there is none of"):
        stored(tmp_path)
    torch.save({"step": 3}, tmp_path / "last.pt")
    with pytest.raises(WeightsError, match="holds no dict of tensors, also not under 'model'"):
        stored(tmp_path / "last.pt", inside="model")
    cut = one_file(state(small()), tmp_path)
    cut.write_bytes(cut.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="model.safetensors: no weights that can be read"):
        stored(tmp_path)


def test_shards_that_are_not_there_are_named(tmp_path: Path) -> None:
    shards(state(small()), tmp_path)
    first, second = sorted(tmp_path.glob("*.safetensors"))
    save_file({"0.bias": torch.zeros(4)}, second)
    with pytest.raises(WeightsError, match=r"its files lack .*: fetch them again"):
        stored(tmp_path)
    first.unlink()
    with pytest.raises(WeightsError, match=rf"lacks {first.name}, which model.safetensors.index.json names"):
        stored(tmp_path)


@pytest.mark.parametrize("listed", ["{}", "[]", '{"weight_map": {"0.bias": 1}}', '{"weight_map": []}'])
def test_an_index_that_names_no_files_is_told(tmp_path: Path, listed: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(listed)
    with pytest.raises(WeightsError, match=r"index.json names no files of weights \(weight_map\): fetch it again"):
        stored(tmp_path)


# ---------------------------------------------------------------- Whisper's, by both names

SIZES = WhisperSizes(8, 20, 16, 2, 2)


def ears(seed: int = 0) -> Whisper:
    torch.manual_seed(seed)
    return Whisper(SIZES).eval()


@pytest.mark.parametrize("naming", ["openai", "model.encoder", "encoder"])
def test_a_released_whisper_is_loaded_without_its_decoder(naming: str, tmp_path: Path) -> None:
    model, mel = ears(), torch.randn(1, 40, 8, generator=torch.Generator().manual_seed(0))
    own = {name.removeprefix("encoder."): tensor for name, tensor in state(model).items()}
    decoder = {"decoder.ln.weight": torch.zeros(16)}
    if naming == "openai":
        source = tmp_path / "small.pt"
        tensors = {f"encoder.{openai_name(name)}": tensor for name, tensor in own.items()} | decoder
        torch.save({"dims": {"n_mels": 8}, "model_state_dict": tensors}, source)
        assert "encoder.blocks.1.attn.query.bias" in tensors
        assert "encoder.blocks.1.mlp_ln.bias" in tensors
        assert "encoder.ln_post.weight" in tensors
        assert "encoder.positional_embedding" in tensors
    else:
        before = "model." if naming == "model.encoder" else ""
        names = {f"{before}encoder.{name}": tensor for name, tensor in own.items()}
        source = a_folder(names | {f"{before}{name}": tensor for name, tensor in decoder.items()}, tmp_path)
    assert torch.equal(whisper.load(source, SIZES)(mel), model(mel))


# ---------------------------------------------------------------- memory


def test_bytes_are_those_of_the_tensors() -> None:
    model = small()
    assert weight_bytes(model, "fp32") == sum(p.nbytes for p in model.parameters())
    assert weight_bytes(model, "bf16") == sum(p.nbytes for p in small().bfloat16().parameters())
    biases_and_norm = 2 * (4 + 4 + 4 + 2)
    assert weight_bytes(model, "int8") == biases_and_norm + 4 * (3 + 2) + 2 * (4 + 2)
    assert weight_bytes(model, "int4") == biases_and_norm + 4 * (2 + 2) + 2 * (2 + 2)
    assert weight_bytes(nn.Linear(300, 7, bias=False), "int4") == 7 * (150 + 3 * 2)
