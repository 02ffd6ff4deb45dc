"""What recipes keep in their folders: never an old figure for a new one, nothing half written, no minute lost."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from duologue.data import encode
from duologue.data.encode import Encoded
from test_recipes import recipe

FIGURES = dict.fromkeys(
    ("loss", "misheard", "answers", "takes_5", "takes_10", "takes_ms", "yields_10", "yields_25", "yields_ms"), 1.0
)
MARKS = {"codec": 1, "items": 2}


def encoded(name: str) -> Encoded:
    return Encoded(name, (1, 2), ())


def bench(ablation: Any, folder: Path, tokens: float, monkeypatch: pytest.MonkeyPatch) -> Any:
    found = object.__new__(ablation.Bench)
    found._options, found._folder = Namespace(tokens=tokens, users=4), folder
    monkeypatch.setattr(ablation.Bench, "_tried", lambda *_: ablation.Figures(**FIGURES))
    return found


def test_figures_of_other_tokens_are_not_printed_as_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ablation = recipe("omni_flatten_ablation")
    variant, small = ablation.CURRICULUM[2], bench(ablation, tmp_path, 3e5, monkeypatch)
    (tmp_path / "full_recipe_0").mkdir()
    made = small.figures(variant, 0)
    assert small.figures(variant, 0) == made
    kept = json.loads((tmp_path / "full_recipe_0" / "figures.json").read_text())
    assert kept == {**FIGURES, "tokens": 300_000, "users": 4}
    with pytest.raises(ValueError, match=r"full_recipe_0/figures.json is of .*300000.* asked for is .*3000000"):
        bench(ablation, tmp_path, 3e6, monkeypatch).figures(variant, 0)


def test_figures_kept_without_their_tokens_are_taken_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ablation = recipe("omni_flatten_ablation")
    (tmp_path / "full_recipe_0").mkdir()
    (tmp_path / "full_recipe_0" / "figures.json").write_text(json.dumps({**FIGURES, "loss": 2.5}))
    found = bench(ablation, tmp_path, 3e6, monkeypatch).figures(ablation.CURRICULUM[2], 0)
    assert asdict(found)["loss"] == 2.5
    assert "taken as it is" in capsys.readouterr().out


def test_units_of_another_codec_or_of_other_items_are_refused(tmp_path: Path) -> None:
    data = recipe("omni_flatten_data")
    data.check_marks(tmp_path, MARKS)
    encode.write(tmp_path / "00000.jsonl", [encoded("a")])
    assert data.in_blocks(tmp_path, ["a"], encoded, 1, MARKS) == [encoded("a")]
    for other in MARKS:
        with pytest.raises(ValueError, match=f"holds units of other {other}: remove it"):
            data.in_blocks(tmp_path, ["a"], encoded, 1, MARKS | {other: 9})


def test_units_without_a_mark_are_taken_as_they_are(tmp_path: Path) -> None:
    encode.write(tmp_path / "00000.jsonl", [encoded("a")])
    assert recipe("omni_flatten_data").in_blocks(tmp_path, ["b"], encoded, 1, MARKS) == [encoded("a")]
    assert not (tmp_path / "made_of.json").exists()


def test_minutes_count_though_the_part_fails_or_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    omni_flatten = recipe("omni_flatten")
    monkeypatch.setattr(omni_flatten, "KEPT_EVERY_S", 0.001)
    path = tmp_path / "minutes.json"
    with omni_flatten.timed(tmp_path, "killed"):
        while not path.exists():
            pass
    monkeypatch.setattr(omni_flatten, "KEPT_EVERY_S", 60.0)
    (path).write_text(json.dumps({"failed": 2.0}))
    clock = iter((0.0, 180.0))
    monkeypatch.setattr(omni_flatten.time, "monotonic", lambda: next(clock))
    with pytest.raises(RuntimeError, match="full"), omni_flatten.timed(tmp_path, "failed"):
        raise RuntimeError("disk full")
    assert json.loads(path.read_text()) == {"failed": 5.0}


def test_a_text_model_is_there_when_all_its_files_are(tmp_path: Path) -> None:
    nano_text = recipe("nano_text")
    for name in nano_text.SAVED:
        assert not nano_text.saved(tmp_path)
        (tmp_path / name).write_text("{}")
    assert nano_text.saved(tmp_path)


def test_a_line_of_the_peoples_manifest_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    people = recipe("nano_units_speech")._people
    right = json.dumps({"dataset": "fsdd", "path": "a.flac", "text": "one", "speaker": "a"})
    for line in ("{", '["a"]', '{"dataset": "fsdd", "path": "a.flac"}'):
        (tmp_path / "manifest.jsonl").write_text(f"{right}\n{line}\n")
        with pytest.raises(ValueError, match=r"manifest.jsonl:2: no recording .* remove it"):
            people(tmp_path)
