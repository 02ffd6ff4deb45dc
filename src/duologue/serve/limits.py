"""How much of everything one caller, and all of them together, may have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Every limit of the server. What lies beyond each is a typed error, or a close, never a surprise."""

    slots: int = 16
    """Callers at the same time; the next one gets `session_limit_reached` and close 1013."""
    message_bytes: int = 16 * 2**20
    append_characters: int = 15 * 2**20
    """Base64 of one append."""
    input_buffer_s: float = 600.0
    live_ahead_s: float = 2.0
    """How far ahead of the clock a full-duplex caller may be, and how much of its sound may wait; beyond it the
    client is not read."""
    live_message_s: float = 60.0
    unsent_audio_ms: int = 2_000
    unsent_bytes: int = 2**20
    """Other events that wait for the client to read; beyond it the client itself is not read."""
    blocked_write_s: float = 10.0
    items: int = 2_000
    item_text_bytes: int = 64 * 2**10
    tools: int = 128
    idle_s: float = 300.0
    session_s: float = 3_600.0
    ping_s: float = 20.0
    handshake_s: float = 10.0
    pending_handshakes: int = 100
    drain_s: float = 30.0
    stuck_s: float = 10.0
    """`/health` says "stuck" when sessions have steps to make and none was finished for so long."""


class Slots:
    """A fixed number of places; `take` says whether there was one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.in_use = 0

    def take(self) -> bool:
        if self.in_use >= self.size:
            return False
        self.in_use += 1
        return True

    def free(self) -> None:
        self.in_use -= 1
