"""One caller's connection: however it ends, the conversation is let go of."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any, cast

from duologue.serve.connection import Connection
from duologue.serve.house import House
from duologue.serve.outbox import Outbox
from duologue.serve.server import ServeConfig
from serving import Teller


@dataclass
class Lingering:
    """Talks for ever, and takes its time to stop."""

    replying = True
    talking: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    async def talk(self) -> None:
        self.talking.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopping.set()
            await asyncio.Event().wait()

    async def handle(self, text: str) -> None: ...
    async def hear(self, sound: bytes) -> None: ...

    async def close(self) -> None:
        self.closed = True


class Silent:
    """A socket on which nothing comes."""

    async def receive(self) -> Any:
        await asyncio.Event().wait()


def test_a_server_that_stops_while_a_call_is_ending_still_closes_its_conversation() -> None:
    async def scene() -> Lingering:
        house, conversing, socket = House({"teller": Teller}, ServeConfig()), Lingering(), cast(Any, Silent())
        connection = Connection(socket, house, Outbox(socket.receive, house.limits), conversing)
        running = asyncio.create_task(connection.run())
        await conversing.talking.wait()
        running.cancel()
        await conversing.stopping.wait()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return conversing

    assert asyncio.run(scene()).closed
