"""The life of one connection: read, send, talk and watch the clock until the client leaves or has to go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from duologue.serve.events import EventError
from duologue.serve.house import House
from duologue.serve.outbox import Outbox, SlowConsumerError

logger = logging.getLogger(__name__)

GOODBYE_S = 1.0
"""How long a close waits for what is still to be sent."""

WATCH_S = 0.1
"""How often the clock is looked at."""

CLIENT_LEFT = 1000


class Close(Exception):  # noqa: N818
    """The server ends the connection: with this code, after this error."""

    def __init__(self, code: int, error: EventError | None = None) -> None:
        super().__init__(error.message if error else "")
        self.code, self.error = code, error


class Conversing(Protocol):
    """One side of a conversation, whatever its protocol. A message that cannot be used raises EventError."""

    @property
    def replying(self) -> bool:
        """Whether a reply is being said."""
        ...

    async def handle(self, text: str) -> None: ...
    async def hear(self, sound: bytes) -> None: ...

    async def talk(self) -> None:
        """Say what there is to say, for ever, or until it raises Close."""
        ...

    async def close(self) -> None: ...


async def refuse(socket: WebSocket, house: House, outbox: Outbox, code: int, error: EventError) -> int:
    """Tell a caller who is connected already why it cannot stay, and close."""
    house.error(error, outbox)
    sending = asyncio.create_task(outbox.run())
    await outbox.flush(GOODBYE_S)
    sending.cancel()
    return await _close(socket, code, error.code)


async def _close(socket: WebSocket, code: int, reason: str | None) -> int:
    with contextlib.suppress(WebSocketDisconnect, WebSocketDisconnected, TimeoutError):
        await asyncio.wait_for(socket.close(code, reason), GOODBYE_S)
    return code


class Connection:
    """One caller, accepted already, who is told by way of `outbox` what `conversing` has to say."""

    def __init__(self, socket: WebSocket, house: House, outbox: Outbox, conversing: Conversing) -> None:
        self._socket, self._house, self._limits = socket, house, house.limits
        self._began_s = self._last_message_s = time.monotonic()
        self._outbox, self._conversing = outbox, conversing

    async def run(self) -> int:
        """Serve until it is over. The close code."""
        jobs = self._read(), self._conversing.talk(), self._watch(), self._outbox.run()
        self._house.outboxes.add(self._outbox)
        *working, sending = (asyncio.create_task(job) for job in jobs)
        try:
            await asyncio.wait((*working, sending), return_when=asyncio.FIRST_COMPLETED)
            close = _why((*working, sending))
            for task in working:
                task.cancel()
            return CLIENT_LEFT if close is None else await self._say_goodbye(close)
        finally:
            self._house.outboxes.discard(self._outbox)
            for task in (*working, sending):
                task.cancel()
            try:
                await asyncio.gather(*working, sending, return_exceptions=True)
            finally:
                await self._conversing.close()

    async def _say_goodbye(self, close: Close) -> int:
        if close.error is not None:
            self._house.error(close.error, self._outbox)
        await self._outbox.flush(GOODBYE_S)
        return await _close(self._socket, close.code, close.error.code if close.error else None)

    # ------------------------------------------------ reading

    async def _read(self) -> None:
        """Take the client's messages one by one, until it leaves."""
        while True:
            await self._outbox.room_for_events()
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._last_message_s = time.monotonic()
            try:
                await self._handle(message.get("text"), message.get("bytes"))
            except EventError as error:
                self._house.error(error, self._outbox)

    async def _handle(self, text: str | None, sound: bytes | None) -> None:
        if text is not None:
            await self._conversing.handle(text)
        else:
            await self._conversing.hear(sound or b"")

    # ------------------------------------------------ the clock

    async def _watch(self) -> None:
        """Raises Close when time is up: for the session, for a silent client, for the server."""
        while True:
            await asyncio.sleep(WATCH_S)
            now_s = time.monotonic()
            if now_s - self._began_s > self._limits.session_s:
                longest = f"A session lasts {self._limits.session_s:g} s; connect again."
                raise Close(1001, EventError("session_expired", longest))
            if now_s - self._last_message_s > self._limits.idle_s:
                silent = f"No message came for {self._limits.idle_s:g} s."
                raise Close(1008, EventError("idle_timeout", silent))
            if self._house.draining_over or (self._house.draining and not self._conversing.replying):
                raise Close(1012, EventError("server_draining", "The server restarts; connect again."))


def _why(tasks: Iterable[asyncio.Task[None]]) -> Close | None:
    """What ended first: None when the client left."""
    failures = [task.exception() for task in tasks if task.done()]
    for failure in failures:
        match failure:
            case None | WebSocketDisconnect() | WebSocketDisconnected():
                return None
            case Close():
                return failure
            case SlowConsumerError():
                return Close(1013, EventError("slow_consumer", "The client does not read what it is sent."))
    logger.error("a session failed", exc_info=failures[0])
    return Close(1011, EventError("internal_error", "This session failed; connect again."))
