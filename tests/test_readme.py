"""What README and the examples show, runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from duologue.__main__ import VERBS
from duologue.sound import wav
from duologue.systems import SYSTEMS
from serving import serving
from spoken import spoken

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def question(tmp_path: Path) -> Path:
    wav.write(tmp_path / "question.wav", spoken("what is twelve plus seven"), 16_000)
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_calls_the_server(question: Path) -> None:
    (block,) = (block for block in BLOCKS if "realtime" in block)
    head, body = block.split("\nclient = ", 1)
    indented = "\n    ".join(f"client = {body}".splitlines())
    script = f"import asyncio\n{head}\nasync def main():\n    {indented}\nasyncio.run(main())\n"
    with serving(SYSTEMS) as server:
        (question / "script.py").write_text(script.replace("http://127.0.0.1:8765/v1", f"{server.http}/v1"))
        assert "nineteen" in run(question, "script.py")


def test_readme_uses_the_core(question: Path) -> None:
    (block,) = (block for block in BLOCKS if "converse" in block)
    (question / "script.py").write_text(block)
    run(question, "script.py")
    assert (question / "answer.wav").stat().st_size > 100_000


def test_the_parrot_says_back_what_it_hears(question: Path) -> None:
    assert "said.wav" in run(question, str(ROOT / "examples/parrot.py"), "question.wav", "said.wav")
    both = wav.read(question / "said.wav", 24_000)
    assert len(both) / 24_000 > 4


def test_the_example_client_gets_its_answer(question: Path) -> None:
    with serving(SYSTEMS) as server:
        arguments = ("question.wav", "answer.wav", f"{server.http}/v1")
        printed = run(question, str(ROOT / "examples/realtime_client.py"), *arguments)
    assert "nineteen" in printed
    assert len(wav.read(question / "answer.wav", 24_000)) / 24_000 > 1


def test_every_command_in_the_readme_is_a_verb() -> None:
    verbs = set(re.findall(r"^duologue (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert verbs == set(VERBS)


def test_every_file_that_the_documents_name_exists() -> None:
    for name in ("README.md", "TOUR.md", "CONTRIBUTING.md", "AGENTS.md"):
        text = (ROOT / name).read_text()
        for path in re.findall(r"[\w/]+\.(?:py|md|png)\b", text):
            homes = (ROOT, ROOT / "src/duologue", ROOT / "tests")
            assert any((home / path).exists() for home in homes) or "wav" in path, f"{name} names {path}"
