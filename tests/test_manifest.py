"""Manifests: what is read, and one clear fault per line that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duologue.data.manifest import ManifestError, read
from duologue.sound import wav


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings: one.wav of 0.5 s at 16 kHz, two.wav of 1 s at 8 kHz."""
    wav.write(tmp_path / "one.wav", np.zeros(8_000, np.float32), 16_000)
    wav.write(tmp_path / "two.wav", np.zeros(8_000, np.float32), 8_000)
    return tmp_path


def written(folder: Path, *lines: Any) -> Path:
    """A manifest of these lines: objects as JSON, bytes as they are."""
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (folder / "manifest.jsonl").write_bytes(b"\n".join(encoded) + b"\n")
    return folder / "manifest.jsonl"


GOOD = {"path": "one.wav", "text": "one", "speaker": "ann", "language": "en", "sample_rate": 16_000}


def test_clips_are_read_in_order_with_the_rate_and_duration_of_the_file(folder: Path) -> None:
    one, two = read(written(folder, GOOD, b"", {"path": "two.wav", "label": 2}))
    assert (one.path, one.text, one.speaker, one.language) == (folder / "one.wav", "one", "ann", "en")
    assert (one.sample_rate_hz, one.duration_s) == (16_000, 0.5)
    assert (two.text, two.speaker, two.sample_rate_hz, two.duration_s) == (None, None, 8_000, 1.0)
    assert two.rest == {"label": 2}


def test_lines_that_are_not_wanted_are_not_looked_at(folder: Path) -> None:
    manifest = written(folder, GOOD, {"path": "gone.wav", "kind": "text"})
    assert [clip.text for clip in read(manifest, where=lambda row: row.get("kind") != "text")] == ["one"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"path": "one.wav", "te', "not JSON"),
        (b'{"path": "\xff\xfe.wav"}', "not JSON"),
        (b"[1, 2]", "a JSON list where an object is needed"),
        ({"text": "one"}, 'no "path"'),
        ({"path": 7}, 'no "path"'),
        (GOOD | {"text": 1}, '"text" is 1'),
        (GOOD | {"path": "gone.wav"}, "gone.wav: there is no such recording"),
        (GOOD | {"path": "manifest.jsonl"}, "not a sound file"),
        (GOOD | {"sample_rate": 8_000}, "recorded at 16000 Hz, the manifest says 8000 Hz"),
        (GOOD | {"path": "two.wav", "sample_rate": 8_000}, "recorded at 8000 Hz, needed are 16000 Hz"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_with_its_number(folder: Path, line: Any, fault: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(written(folder, GOOD, line, GOOD), hz=16_000)
    (only,) = caught.value.faults
    assert only.startswith(f"{folder / 'manifest.jsonl'}:2: ")
    assert fault in only
    assert any(remedy in only for remedy in ("remove", "convert", "give")), "no remedy"


def test_all_faults_are_named_at_once_and_many_are_counted(folder: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read(written(folder, *[{}] * 30))
    assert len(caught.value.faults) == 30
    assert str(caught.value).endswith("and 10 faults more")


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.jsonl: there is no such manifest"):
        read(tmp_path / "gone.jsonl")


def test_the_shared_recordings_can_all_be_read(shared: Path) -> None:
    clips = read(shared / "data" / "manifest.jsonl", where=lambda row: row.get("dataset") in ("fsdd", "ljspeech"))
    assert len(clips) == 2000 + 359
    assert {clip.sample_rate_hz for clip in clips if clip.rest["dataset"] == "fsdd"} == {8_000}
