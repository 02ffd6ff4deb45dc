"""Numbers recorded from the reference implementations, and hand-worked cases.

`pytest tests/test_goldens.py --goldens DIR` compares every golden file under DIR that duologue has a reader for,
and names those it has none for. A reader is found by the file's name, or by its folder and name where several
folders have a file of that name, and takes its path.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import golden_readers
from conftest import need

Reader = Callable[[Path], None]
READERS: dict[str, Reader] = {}
for part in iter_modules(golden_readers.__path__):
    READERS |= import_module(f"golden_readers.{part.name}").READERS


def reader(path: Path) -> Reader | None:
    return READERS.get(f"{path.parent.name}/{path.name}") or READERS.get(path.name)


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
