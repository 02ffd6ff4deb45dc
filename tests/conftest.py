"""What all tests share: where the shared data lies, which goldens to compare, voices that need no program."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import torch

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"

torch.set_num_threads(1)
"""More threads would wait for each other where tests run side by side, and would round otherwise."""

hypothesis.settings.register_profile("duologue", deadline=None, derandomize=True)
hypothesis.settings.load_profile("duologue")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--goldens",
        type=Path,
        default=SHARED / "goldens",
        help="folder of golden folders, or one golden folder (default: ../shared/goldens)",
    )


def need(thing: bool, what: str) -> None:
    """Skip, saying what is missing; where DUOLOGUE_SKIP_NOTHING is set (in CI), fail instead."""
    if not thing and os.environ.get("DUOLOGUE_SKIP_NOTHING"):
        pytest.fail(f"{what} is missing, and nothing may be skipped here")
    if not thing:
        pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared recordings, texts and goldens."""
    need(SHARED.is_dir(), "the shared data (../shared)")
    return SHARED
