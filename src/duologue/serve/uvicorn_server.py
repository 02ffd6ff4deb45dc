"""uvicorn, with two manners of its own: half-open handshakes do not stay, and a stop lets replies end."""

from __future__ import annotations

import asyncio
import threading
import webbrowser
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from duologue.serve.house import House


def handshake_guard(handshake_s: float, most_pending: int) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, where a socket that has not sent its request within `handshake_s` is closed, and no
    more than `most_pending` may be in that state."""
    pending: set[GuardedProtocol] = set()

    class GuardedProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(pending) >= most_pending:
                transport.abort()
                return
            pending.add(self)
            self._deadline = self.loop.call_later(handshake_s, transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.scope is not None:
                self._settle()

        def connection_lost(self, exc: Exception | None) -> None:
            self._settle()
            super().connection_lost(exc)

        def _settle(self) -> None:
            pending.discard(self)
            if self._deadline is not None:
                self._deadline.cancel()

    return GuardedProtocol


class DrainingServer(uvicorn.Server):
    """A server that, on the first signal, takes no new callers and waits for the replies in hand; on the second it
    ends at once."""

    def __init__(self, application: Starlette, house: House) -> None:
        limits, self._house = house.limits, house
        config = uvicorn.Config(
            application,
            host=house.config.host,
            port=house.config.port,
            http=handshake_guard(limits.handshake_s, limits.pending_handshakes),
            ws="websockets-sansio",
            ws_max_size=limits.message_bytes,
            ws_ping_interval=limits.ping_s,
            ws_ping_timeout=limits.ping_s,
            ws_per_message_deflate=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=3,
            access_log=False,
            log_level="warning",
        )
        super().__init__(config)

    @property
    def port(self) -> int:
        """The port that is listened on, also where any free one was asked for."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    def serve_until_stopped(self) -> int:
        """Run until a signal; the exit code."""
        self.run()
        return 0 if self.started else 1

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._house.draining:
            self.should_exit = self.force_exit = True
        self._house.drain()

    async def on_tick(self, counter: int) -> bool:
        drained = self._house.draining and self._house.slots.in_use == 0
        return drained or self._house.drain_failed or await super().on_tick(counter)

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        address = f"http://{self.config.host}:{self.port}/"
        print(f"duologue is listening at {address}", flush=True)
        if self._house.config.open_page:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
