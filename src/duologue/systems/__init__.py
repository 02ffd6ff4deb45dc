"""The systems, by name. Registering one here is all it takes to talk with it, serve it and test it.

A factory makes the system for one caller; its arguments have defaults; what is heavy is shared between callers.
`SYSTEMS` answer when it is their turn, and `TurnSession` makes sessions of them; those of `DUPLEX` hear while they
speak, and make sessions themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from duologue.session import TurnTaker
from duologue.systems.clean_s2s import cascade

if TYPE_CHECKING:
    from pathlib import Path

    from duologue.duplex import LayoutSession


def _omni_flatten(model: str | Path | None = None, now: Callable[[], datetime] = datetime.now) -> LayoutSession:
    """`omni_flatten.session`. Who talks with the cascade does not wait for torch to be loaded."""
    from duologue.systems import omni_flatten

    return omni_flatten.session(model, now)


SYSTEMS: dict[str, Callable[..., TurnTaker]] = {"clean_s2s": cascade}
DUPLEX: dict[str, Callable[..., LayoutSession]] = {"omni_flatten": _omni_flatten}
