"""Checkpoints: killed at any moment, a stage goes on as if it had not been; what is on the disk is always whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from torch import nn

import little_training
from conftest import need
from duologue.train import CheckpointError, NextToken, Stage, Trained, load_weights, train
from duologue.train.curve import read
from little_training import Little, examples, run

PROGRAM = Path(little_training.__file__)


def little(folder: Path, stage: Stage | None = None, count: int = 40, **changes: Any) -> tuple[Little, Trained]:
    model = Little()
    data = examples(0, count), examples(1, 6), NextToken(little_training.STREAMS)
    return model, train(model, stage or little_training.stage(), run(folder, **changes), *data)


def curve(folder: Path) -> list[dict[str, float]]:
    """The log without its clock."""
    return [
        {name: value for name, value in entry.items() if name != "elapsed_s"} for entry in read(folder / "log.jsonl")
    ]


def killed(folder: Path, *how: str) -> None:
    died = subprocess.run([sys.executable, PROGRAM, folder, *how], capture_output=True, text=True, check=False)
    assert died.returncode == -9, died.stderr


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# ---------------------------------------------------------------- killed


def test_killed_twice_and_gone_on_with_the_curve_is_the_one_it_would_have_been(tmp_path: Path) -> None:
    whole, _ = little(tmp_path / "whole")
    folder = tmp_path / "killed"
    killed(folder, "--die-at-forward", "23")
    first = curve(folder)
    killed(folder, "--die-in-save", "3")
    assert list(folder.glob(".last.pt.*.tmp")), "the second one did not die in the middle of a save"
    load_weights(folder / "last.pt", Little())
    load_weights(folder / "best.pt", Little())
    second = curve(folder)
    again, _ = little(folder)

    assert 0 < len(first) < len(second) < len(curve(tmp_path / "whole"))
    assert curve(folder) == curve(tmp_path / "whole")
    assert same_weights(again, whole)
    assert not list(folder.glob(".*.tmp"))


def test_a_line_cut_off_in_the_log_is_written_again(tmp_path: Path) -> None:
    little(tmp_path)
    whole = curve(tmp_path)
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 99, "lo')
    little(tmp_path)
    assert curve(tmp_path) == whole


def test_a_finished_stage_is_not_run_again(tmp_path: Path) -> None:
    once, trained = little(tmp_path)
    saved = (tmp_path / "last.pt").read_bytes()
    again, the_same = little(tmp_path)
    assert the_same == trained
    assert same_weights(again, once)
    assert (tmp_path / "last.pt").read_bytes() == saved


def test_the_same_stage_gives_the_same_curve_whatever_happened_before(tmp_path: Path) -> None:
    little(tmp_path / "one")
    torch.rand(7)
    little(tmp_path / "two", validate_every_steps=100)
    losses = [[entry["loss"] for entry in curve(tmp_path / name) if "loss" in entry] for name in ("one", "two")]
    assert losses[0] == losses[1]


# ---------------------------------------------------------------- best and last


def test_best_holds_the_weights_of_the_best_validation_and_last_those_of_the_last_step(
    tmp_path: Path,
) -> None:
    """Six sequences by heart, while others are held out: the validation first falls, then rises."""
    stage = replace(little_training.stage(), epochs=None, steps=80, learning_rate=3e-2, schedule="constant")
    model, trained = little(tmp_path, stage, count=6)
    validations = {entry["step"]: entry["validation_loss"] for entry in curve(tmp_path) if "validation_loss" in entry}
    best_step = int(min(validations, key=lambda step: validations[step]))
    assert (trained.best_step, trained.best_loss) == (best_step, validations[best_step])
    assert best_step < trained.steps == 80

    last = Little(noise=0)
    load_weights(tmp_path / "last.pt", last)
    assert same_weights(last, model)
    best = Little(noise=0)
    load_weights(tmp_path / "best.pt", best)
    assert not same_weights(best, last)
    until_best, _ = little(tmp_path / "shorter", replace(stage, steps=best_step), count=6)
    assert same_weights(best, until_best)


def test_frozen_parts_are_not_saved(tmp_path: Path) -> None:
    little(tmp_path, replace(little_training.stage(), trains=("head.*",)))
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert set(kept["model"]) == {"head.weight", "head.bias"}
    assert set(kept["optimizer"]["state"]) == {"head.weight", "head.bias"}


# ---------------------------------------------------------------- the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a checkpoint or two."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, check=False
    )
    need(mounted.returncode == 0, "the right to mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_on_a_full_disk_the_error_says_what_to_do_and_nothing_is_lost(small_disk: Path, tmp_path: Path) -> None:
    """Room is taken away until training fails, in a log or a checkpoint; given back, it goes on."""
    whole, _ = little(tmp_path / "whole")
    folder = small_disk / "run"
    for room_bytes in (60_000, 30_000, 1_000, 0):
        taken = small_disk / "taken"
        taken.unlink(missing_ok=True)
        take_all_but(taken, room_bytes)
        with pytest.raises(CheckpointError, match=r"could not be written \(.*No space left.*checkpoint.*make room"):
            little(folder)
        assert not list(folder.glob(".*.tmp"))
    taken.unlink()
    again, _ = little(folder)
    assert curve(folder) == curve(tmp_path / "whole")
    assert same_weights(again, whole)


def take_all_but(path: Path, room_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    path.write_bytes(bytes(max(0, free - room_bytes)))


class FullDisk:
    """A file that takes so many bytes and no more."""

    def __init__(self, file: IO[bytes], room_bytes: int) -> None:
        self._file, self._room_bytes = file, room_bytes

    def write(self, content: Any) -> int:
        self._room_bytes -= memoryview(content).nbytes
        if self._room_bytes < 0:
            raise OSError(28, "No space left on device")
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_save_that_fails_at_any_byte_leaves_the_one_before_and_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little(tmp_path / "whole")
    save, saves = torch.save, iter(range(100))

    def failing(content: Any, file: IO[bytes]) -> None:
        if "optimizer" in content and (number := next(saves)) >= 2:
            return save(content, FullDisk(file, room_bytes=number * 3_000))
        return save(content, file)

    with monkeypatch.context() as full:
        full.setattr(torch, "save", failing)
        for _ in range(4):
            with pytest.raises(CheckpointError, match="No space left on device"):
                little(tmp_path / "full")
            assert torch.load(tmp_path / "full" / "last.pt", weights_only=True)["reached"]["step"] == 8
    little(tmp_path / "full")
    assert curve(tmp_path / "full") == curve(tmp_path / "whole")


# ---------------------------------------------------------------- what does not belong together


def test_another_stage_or_other_examples_are_not_gone_on_with(tmp_path: Path) -> None:
    little(tmp_path)
    with pytest.raises(CheckpointError, match=r"learning_rate was 0.003 and is 0.5.*another folder"):
        little(tmp_path, replace(little_training.stage(), learning_rate=0.5))
    with pytest.raises(CheckpointError, match="the examples are others"):
        little(tmp_path, count=39)
    assert json.loads((tmp_path / "stage.json").read_text())["learning_rate"] == 0.003


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    little(tmp_path)
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:5_000] if content is None else content)
    with pytest.raises(CheckpointError, match=r"last\.pt: not a checkpoint that can be read"):
        little(tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    little(tmp_path)
    with pytest.raises(CheckpointError, match="is of another model"):
        load_weights(tmp_path / "best.pt", Little(width=8))
    with pytest.raises(CheckpointError, match="is of another model"):
        load_weights(tmp_path / "best.pt", nn.Linear(3, 3))
