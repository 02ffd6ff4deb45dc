"""The systems, by name. Registering one here is all it takes to talk with it, serve it and test it.

A factory makes the system for one caller; its arguments have defaults; what is heavy is shared between callers.
`SYSTEMS` answer when it is their turn, and `TurnSession` makes sessions of them; those of `DUPLEX` hear while they
speak, and make sessions themselves.
"""

from __future__ import annotations

from collections.abc import Callable

from duologue.duplex import LayoutSession
from duologue.session import TurnTaker
from duologue.systems import omni_flatten
from duologue.systems.clean_s2s import cascade

SYSTEMS: dict[str, Callable[..., TurnTaker]] = {"clean_s2s": cascade}
DUPLEX: dict[str, Callable[..., LayoutSession]] = {"omni_flatten": omni_flatten.session}
