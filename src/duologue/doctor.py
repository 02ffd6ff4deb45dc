"""What is installed here, what each missing part would give, and how to get it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Finding:
    """One part: whether it is there (its version or place), what it gives, how to get it where it is missing."""

    part: str
    found: str | None
    gives: str
    remedy: str
    needed: bool = False


def examine() -> list[Finding]:
    """Look at this machine. Nothing is installed, started or downloaded."""
    return [*_packages(), *_programs(), *_settings()]


def _packages() -> Iterator[Finding]:
    for name, gives, needed in (
        ("pocketsphinx", "the embedded recogniser (English)", True),
        ("silero-vad", "noticing speech", True),
        ("onnxruntime", "running the network that notices speech", True),
        ("soundfile", "reading and writing sound", True),
        ("soxr", "changing sampling rates", True),
        ("torch", "running models", True),
        ("transformers", "Whisper, local language models, VITS voices", True),
        ("openai", "engines behind any OpenAI-compatible endpoint", True),
        ("uvicorn", "serving callers and the page", True),
        ("matplotlib", "timelines as pictures", True),
        ("espeakng-loader", "a voice where neither flite nor espeak-ng is installed", False),
        ("sounddevice", "`duologue talk` with this machine's microphone", False),
    ):
        yield Finding(name, _version(name), gives, f"pip install {name}", needed)


def _programs() -> Iterator[Finding]:
    for name, gives in (
        ("flite", "the best embedded English voice"),
        ("espeak-ng", "embedded voices in English, Mandarin and a hundred other languages"),
        ("chromium", "the test that talks through a real browser"),
    ):
        yield Finding(name, shutil.which(name), gives, f"apt-get install {name}")


def _settings() -> Iterator[Finding]:
    for name, gives in (
        ("OPENAI_API_KEY", "the key for engines named openai:…"),
        ("OPENAI_BASE_URL", "where those engines are (default: the openai package's)"),
    ):
        yield Finding(name, "set" if name in os.environ else None, gives, f"export {name}=…")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def can_talk(findings: list[Finding]) -> tuple[bool, str]:
    """Whether the main job can run here, and why not."""
    missing = [finding.part for finding in findings if finding.needed and finding.found is None]
    if missing:
        return False, f"missing: {', '.join(missing)}"
    there = {finding.part for finding in findings if finding.found is not None}
    if not there & {"flite", "espeak-ng", "espeakng-loader"}:
        return False, "no voice: install flite or espeak-ng, or pip install espeakng-loader"
    return True, "ready to talk"
