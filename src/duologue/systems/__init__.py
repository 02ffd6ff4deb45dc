"""The systems, by name. Registering one here is all it takes to talk with it, serve it and test it.

A factory makes the system for one caller; its arguments have defaults; what is heavy is shared between callers.
"""

from __future__ import annotations

from collections.abc import Callable

from duologue.session import TurnTaker
from duologue.systems.clean_s2s import cascade

SYSTEMS: dict[str, Callable[..., TurnTaker]] = {"clean_s2s": cascade}
