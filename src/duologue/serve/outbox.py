"""What waits to be sent to one client, in the order in which it happened.

Whatever happens in a session is put here at once and in order; one task sends it as fast as the client reads. So no
event can overtake another, and a client that reads slowly holds up nobody but itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from duologue.serve.events import EventError
from duologue.serve.limits import Limits

ServerEvent = dict[str, Any]

AUDIO_DELTA = "response.output_audio.delta"


class SlowConsumerError(Exception):
    """The client has not read for too long."""


@dataclass(frozen=True)
class _Waiting:
    send: Callable[[], Awaitable[None]]
    size: int
    response_id: str | None = None
    audio_ms: float = 0.0


class Outbox:
    """Events out, by way of `send`, which takes one message and returns when the socket has taken it."""

    def __init__(self, send: Callable[[str], Awaitable[None]], limits: Limits) -> None:
        self._send, self._limits = send, limits
        self._waiting: deque[_Waiting] = deque()
        self._unsent_bytes = 0
        self.unsent_audio_ms = 0.0
        """Sound that waits."""
        self._events = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Condition()
        self._sending = False

    def put(self, event: ServerEvent, audio_ms: float = 0.0) -> None:
        """Number the event and let it wait for its turn; `audio_ms` is the sound in it."""
        self._events += 1
        numbered = {"event_id": f"event_{self._events}"} | event
        message = json.dumps(numbered, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        self._line_up(_Waiting(partial(self._send, message), len(message), event.get("response_id"), audio_ms))

    def fail(self, error: EventError) -> None:
        """Tell the client what went wrong."""
        self.put({"type": "error", "error": error.to_json()})

    def _line_up(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._account(waiting, +1)
        self._filled.set()

    def drop_audio(self, response_id: str) -> float:
        """Take back the response's sound that was not sent yet. How many milliseconds that was."""
        dropped = [w for w in self._waiting if w.audio_ms and w.response_id == response_id]
        for waiting in dropped:
            self._waiting.remove(waiting)
            self._account(waiting, -1)
        return sum(waiting.audio_ms for waiting in dropped)

    async def room_for_events(self) -> None:
        """Wait until the client has read enough that it may cause more events."""
        async with self._emptied:
            await self._emptied.wait_for(lambda: self._unsent_bytes <= self._limits.unsent_bytes)

    async def room_for_sound(self) -> None:
        """Wait until the client has read enough that more may be said to it."""
        async with self._emptied:
            await self._emptied.wait_for(self._may_say_more)

    def _may_say_more(self) -> bool:
        few = self._unsent_bytes <= self._limits.unsent_bytes
        return few and self.unsent_audio_ms <= self._limits.unsent_audio_ms

    def _account(self, waiting: _Waiting, sign: int) -> None:
        if waiting.audio_ms:
            self.unsent_audio_ms += sign * waiting.audio_ms
        else:
            self._unsent_bytes += sign * waiting.size

    async def run(self) -> None:
        """Send, for ever. Raises SlowConsumerError when one message waits too long for the socket."""
        while True:
            while self._waiting:
                await self._deliver(self._waiting.popleft())
            self._filled.clear()
            await self._filled.wait()

    async def _deliver(self, waiting: _Waiting) -> None:
        self._sending = True
        try:
            async with asyncio.timeout(self._limits.blocked_write_s):
                await waiting.send()
        except TimeoutError:
            raise SlowConsumerError from None
        finally:
            self._sending = False
            self._account(waiting, -1)
        async with self._emptied:
            self._emptied.notify_all()

    async def flush(self, within_s: float) -> None:
        """Wait until everything was sent, but no longer than `within_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._emptied:
                await self._emptied.wait_for(lambda: not self._waiting and not self._sending)


class LiveOutbox(Outbox):
    """Events as text, sound as binary messages: by way of `send_sound`, in the same line."""

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        send_sound: Callable[[bytes], Awaitable[None]],
        limits: Limits,
    ) -> None:
        super().__init__(send, limits)
        self._send_sound = send_sound

    def put_sound(self, pcm: bytes, audio_ms: float) -> None:
        """Let `audio_ms` of sound wait for its turn."""
        self._line_up(_Waiting(partial(self._send_sound, pcm), len(pcm), audio_ms=audio_ms))

    def fail(self, error: EventError) -> None:
        self.put({"type": "error", "code": error.code, "message": error.message})
