"""Imports run downhill: a module may import what stands above it in this list, never what stands below."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "duologue"

DOWNHILL = (
    ("dialogue", "whole"),
    ("sound", "desk", "layout"),
    ("session", "streaming"),
    ("model",),
    ("units",),
    ("engines",),
    ("floor", "reply", "telling"),
    ("turns", "duplex"),
    ("data",),
    ("train",),
    ("systems",),
    ("talk", "microphone", "doctor", "synthesis"),
    ("evaluate", "serve"),
    ("verbs",),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(DOWNHILL) for name in names}


def imported(path: Path) -> set[str]:
    """Parts of duologue that the file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("duologue."):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "duologue":
            found |= {alias.name for alias in node.names if alias.name in LEVEL}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("duologue.")}
    return found


def test_every_part_has_its_place() -> None:
    parts = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} == set(LEVEL)


def test_imports_run_downhill() -> None:
    uphill = []
    for path in SOURCE.rglob("*.py"):
        part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if part != "__init__":
            uphill += [
                f"{path.relative_to(SOURCE)} imports {other}" for other in imported(path) if not below(part, other)
            ]
    assert not uphill, "\n".join(uphill)


def below(part: str, other: str) -> bool:
    return part == other or LEVEL[other] < LEVEL[part]


def test_no_system_imports_another() -> None:
    """What belongs to a system beside its own file begins with its name."""
    files = {path.stem for path in (SOURCE / "systems").glob("*.py")} - {"__init__"}
    system_of = {name: min(other for other in files if f"{name}_".startswith(f"{other}_")) for name in files}
    for name in files:
        text = (SOURCE / "systems" / f"{name}.py").read_text()
        others = {other for other in files if system_of[other] != system_of[name]}
        assert not [other for other in others if f"systems.{other} " in text]


def test_no_file_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    assert not [path for path in SOURCE.rglob("*.py") if path.stem in drawers]


def test_the_cascade_does_not_wait_for_torch() -> None:
    """Its names and engines are there without what a system with a language model needs."""
    code = "import sys, duologue.__main__, duologue.systems, duologue.turns; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]
