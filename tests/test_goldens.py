"""Numbers recorded from the reference implementations, and hand-worked cases.

`pytest tests/test_goldens.py --goldens DIR` compares every golden file under DIR that duologue has a reader for,
and names those it has none for. A reader is found by the file's name, or by its folder's kind and its name where
several kinds of folders have a file of that name, and takes its path. Of which kind a folder is, its name tells
("llama_omni", "llama_omni_unseen"), or else what it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import golden_readers
from conftest import need

Reader = Callable[[Path], None]
READERS: dict[str, Reader] = {}
HELD: dict[str, str] = {}
"""A file of each kind of folder that no other has."""
for part in iter_modules(golden_readers.__path__):
    module = import_module(f"golden_readers.{part.name}")
    READERS |= module.READERS
    HELD |= getattr(module, "HELD", {})


KINDS = {key.partition("/")[0] for key in READERS if "/" in key}


def kind_of(folder: Path) -> str | None:
    """By its name, or where that tells none, or several, by a file that only this kind has."""
    name = folder.absolute().name
    named = {kind for kind in KINDS if re.search(rf"(?<![a-z0-9]){kind}(?![a-z0-9])", name)}
    held = {kind for kind, file in HELD.items() if (folder / file).is_file()}
    return min(named & held or named or held, default=None)


def reader(path: Path) -> Reader | None:
    return READERS.get(f"{kind_of(path.parent)}/{path.name}") or READERS.get(path.name)


def found(folder: Path) -> tuple[list[Path], list[Path]]:
    """The golden files under `folder` with a reader, and those without."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "README.md")
    return [p for p in files if reader(p)], [p for p in files if not reader(p)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden" in metafunc.fixturenames:
        folder: Path = metafunc.config.getoption("--goldens")
        readable, _ = found(folder)
        names = [str(path.relative_to(folder)) for path in readable]
        metafunc.parametrize("golden", readable or [None], ids=names or ["none"])


def test_golden(golden: Path | None, pytestconfig: pytest.Config) -> None:
    need(golden is not None, f"a golden file with a reader under {pytestconfig.getoption('--goldens')}")
    assert golden is not None
    compare = reader(golden)
    assert compare is not None
    compare(golden)


def test_what_has_no_reader_is_named(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> None:
    folder: Path = pytestconfig.getoption("--goldens")
    need(folder.is_dir(), f"the golden folder {folder}")
    _, unread = found(folder)
    with capsys.disabled():
        for parent in sorted({path.parent for path in unread}):
            names = ", ".join(path.name for path in unread if path.parent == parent)
            print(f"\n  no reader yet for {parent.relative_to(folder.parent)}: {names}", end="")


# ---------------------------------------------------------------- which reader is taken


@pytest.mark.parametrize(
    ("name", "held", "kind"),
    [
        ("llama_omni", (), "llama_omni"),
        ("llama_omni_unseen", (), "llama_omni"),
        ("unseen-sync_llm.2", (), "sync_llm"),
        ("untied", (), "untied"),
        ("llama_omni2", (), None),
        ("set_7", (), None),
        ("set_7", ("model.safetensors", "decode.json"), None),
        ("set_7", ("speech_encoder_dims.json",), "llama_omni"),
        ("set_7", ("model_config.yaml",), "mini_omni"),
        ("fun_audio_chat_cosyvoice3", ("hift.safetensors",), "cosyvoice3"),
        ("fun_audio_chat_cosyvoice3", ("sft_sequence.json",), "fun_audio_chat"),
    ],
)
def test_the_kind_of_a_folder_is_in_its_name_or_in_what_it_holds(
    tmp_path: Path, name: str, held: tuple[str, ...], kind: str | None
) -> None:
    (folder := tmp_path / name).mkdir()
    for file in held:
        (folder / file).touch()
    assert kind_of(folder) == kind


@pytest.mark.parametrize("new", ["{}_unseen", "set_7"])
def test_every_reader_is_found_under_another_name(tmp_path: Path, shared: Path, new: str) -> None:
    for folder in filter(Path.is_dir, (shared / "goldens").iterdir()):
        (other := tmp_path / folder.name).mkdir()
        (copy := other / new.format(folder.name)).symlink_to(folder.resolve())
        assert [reader(path) for path in _files(copy)] == [reader(path) for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    return sorted(folder / path.relative_to(folder.resolve()) for path in folder.resolve().rglob("*") if path.is_file())
