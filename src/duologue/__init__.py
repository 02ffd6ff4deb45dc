"""duologue: models that converse by voice, listening while they speak.

The names below are the public ones; each is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from duologue.desk import Desk
    from duologue.dialogue import Dialogue, Message, Tool, ToolCall, Utterance
    from duologue.session import Event, Said, Session, Turn, TurnTaker
    from duologue.sound.wav import read, write
    from duologue.systems import SYSTEMS
    from duologue.talk import Conversation, converse
    from duologue.turns import TurnSession, TurnSettings

_HOMES = {
    "desk": ("Desk",),
    "dialogue": ("Dialogue", "Message", "Tool", "ToolCall", "Utterance"),
    "session": ("Event", "Said", "Session", "Turn", "TurnTaker"),
    "sound.wav": ("read", "write"),
    "systems": ("SYSTEMS",),
    "talk": ("Conversation", "converse"),
    "turns": ("TurnSession", "TurnSettings"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "SYSTEMS",
    "Conversation",
    "Desk",
    "Dialogue",
    "Event",
    "Message",
    "Said",
    "Session",
    "Tool",
    "ToolCall",
    "Turn",
    "TurnSession",
    "TurnSettings",
    "TurnTaker",
    "Utterance",
    "converse",
    "read",
    "write",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'duologue' has no attribute {name!r}")
    return getattr(import_module(f"duologue.{_HOME_OF[name]}"), name)
