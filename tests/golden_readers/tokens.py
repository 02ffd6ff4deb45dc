"""Tokens added to a tokenizer and to a tied and an untied model: ids, rows and logits."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from duologue.model.backbone import backbone
from duologue.model.tokens import Copied, Described, Group, add_to_tokenizer, add_tokens


def special(tokens: list[str]) -> dict[str, bool]:
    return {token: token.startswith("<|") for token in tokens}


def cases(path: Path) -> None:
    golden = json.loads(path.read_text())
    tokenizer = AutoTokenizer.from_pretrained(path.parent / "tokenizer")
    assert len(tokenizer) == golden["tokens_before"]
    for row in golden["descriptions"]:
        assert tokenizer.encode(row["description"]) == row["ids"]
    for _ in range(2):
        ids = add_to_tokenizer(tokenizer, special(golden["asked"]))
        new = {token: token_id for token, token_id in ids.items() if token_id >= golden["tokens_before"]}
        assert list(new.items()) == list(golden["new_ids"].items())
        assert len(tokenizer) == golden["tokens_after"]
    mixed = golden["mixed_text"]
    assert tokenizer.encode(mixed["text"]) == mixed["ids"]
    assert tokenizer.decode(mixed["ids"]) == mixed["decoded"]
    assert tokenizer.decode(mixed["ids"], skip_special_tokens=True) == mixed["decoded_skip_special"]
    few(path.parent, golden)


def few(folder: Path, golden: dict[str, Any]) -> None:
    """Tokens that fit into the spare rows."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder / "tokenizer"), backbone(folder / "tied")
    case = golden["small_case"]
    ids = add_tokens(model, tokenizer, [Group("units", case["asked"])])
    assert dict(zip(case["asked"], ids["units"].ids, strict=True)) == case["new_ids"]
    assert (ids.tokens, len(tokenizer)) == (case["tokens_after"],) * 2
    assert model.get_input_embeddings().weight.shape[0] == case["rows_after"]


def rows_and_logits(kind: str, path: Path) -> None:
    folder = path.parent if path.name == "expected.safetensors" else path.parent.parent
    golden, expected = (
        json.loads((folder / "cases.json").read_text()),
        load_file(folder / "expected.safetensors"),
    )
    tokenizer, model = AutoTokenizer.from_pretrained(folder / "tokenizer"), backbone(folder / kind)
    probe, probe_with_new = golden["probe"]["ids"], golden["probe_with_new"]["ids"]
    compare(logits(model, probe), expected[f"{kind}.logits_before"], 1e-5)
    before, old = golden["tokens_before"], {name: m.detach().clone() for name, m in matrices(model).items()}
    old_logits = logits(model, probe)

    control = {row["token"]: row["description"] for row in golden["descriptions"]}
    units = [token for token in golden["new_ids"] if token not in control]
    sources = {unit: tokenizer.convert_ids_to_tokens((7 * i + 3) % before) for i, unit in enumerate(units)}
    groups = [
        Group("control", [*control], Described(control), special=True),
        Group("units", units, Copied(sources)),
    ]
    ids = add_tokens(model, tokenizer, groups)

    assert ids.tokens == golden["mask_logits_from"]
    for name, matrix in matrices(model).items():
        assert matrix.shape[0] == golden["rows_after"]
        assert torch.equal(matrix[:before], old[name][:before])
        for token, token_id in zip(control, ids["control"].ids, strict=True):
            compare(matrix[token_id], expected[f"{kind}.{name}.mean.{token}"], 1e-7)
        copy = golden["copy"]
        assert torch.equal(old[name][copy["from_id"]], expected[f"{kind}.{name}.copy.{copy['token']}"])
    compare(logits(model, probe)[:, :before], old_logits[:, :before], 1e-6)
    compare(logits(model, probe), expected[f"{kind}.logits_after"], 1e-5)
    compare(logits(model, probe_with_new), expected[f"{kind}.logits_after_with_new"], 1e-5)


def matrices(model: Any) -> dict[str, torch.Tensor]:
    return {"input": model.get_input_embeddings().weight, "output": model.get_output_embeddings().weight}


@torch.no_grad()
def logits(model: Any, ids: list[int]) -> torch.Tensor:
    found: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return found


def compare(ours: torch.Tensor, golden: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, golden, atol=tolerance, rtol=0)


def both(path: Path) -> None:
    for kind in ("tied", "untied"):
        rows_and_logits(kind, path)


READERS = {
    "tokens/cases.json": cases,
    "tokens/expected.safetensors": both,
    "tied/config.json": partial(rows_and_logits, "tied"),
    "tied/model.safetensors": partial(rows_and_logits, "tied"),
    "untied/config.json": partial(rows_and_logits, "untied"),
    "untied/model.safetensors": partial(rows_and_logits, "untied"),
}
HELD = {"tokens": "expected.safetensors"}
