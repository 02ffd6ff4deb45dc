"""What waits for a client that reads slowly, and what a long append leaves to others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from duologue.serve.house import House, ServeConfig
from duologue.serve.limits import Limits
from duologue.serve.listening import Ear
from duologue.serve.outbox import Outbox, SlowConsumerError
from duologue.turns import TurnSession
from scripted import LevelVad
from serving import Teller, pcm


class Reader:
    """A socket that takes `ready` messages and then no more."""

    def __init__(self, ready: int = 10**9) -> None:
        self.taken: list[dict[str, Any]] = []
        self.ready = asyncio.Semaphore(ready)

    async def take(self, message: str) -> None:
        await self.ready.acquire()
        self.taken.append(json.loads(message))


async def is_blocked(waiting: Coroutine[Any, Any, None]) -> bool:
    """Whether it waits still after everything else had its turn."""
    task = asyncio.create_task(waiting)
    for _ in range(20):
        await asyncio.sleep(0)
    blocked = not task.done()
    task.cancel()
    return blocked


def audio_delta(outbox: Outbox, response_id: str, audio_ms: float = 100.0) -> None:
    outbox.put({"type": "response.output_audio.delta", "response_id": response_id, "delta": "x" * 50}, audio_ms)


def test_events_leave_in_order_each_with_a_name_of_its_own() -> None:
    async def scene() -> None:
        reader = Reader()
        outbox = Outbox(reader.take, Limits())
        sending = asyncio.create_task(outbox.run())
        for number in range(100):
            outbox.put({"type": "x", "number": number})
        await outbox.flush(5)
        sending.cancel()
        assert [event["number"] for event in reader.taken] == list(range(100))
        assert len({event["event_id"] for event in reader.taken}) == 100

    asyncio.run(scene())


def test_no_more_is_said_than_the_client_reads() -> None:
    async def scene() -> None:
        reader = Reader(ready=0)
        outbox = Outbox(reader.take, Limits(unsent_audio_ms=1_000))
        sending = asyncio.create_task(outbox.run())
        for _ in range(10):
            audio_delta(outbox, "r")
        assert not await is_blocked(outbox.room_for_sound())
        audio_delta(outbox, "r")
        assert await is_blocked(outbox.room_for_sound())
        assert not await is_blocked(outbox.room_for_events()), "the client may still speak"
        reader.ready.release()
        assert not await is_blocked(outbox.room_for_sound())
        sending.cancel()

    asyncio.run(scene())


def test_a_client_that_asks_and_does_not_read_is_not_read() -> None:
    async def scene() -> None:
        outbox = Outbox(Reader(ready=0).take, Limits(unsent_bytes=1_000))
        while not await is_blocked(outbox.room_for_events()):
            outbox.put({"type": "error"})
        assert outbox._events < 50

    asyncio.run(scene())


def test_sound_that_was_not_sent_is_taken_back() -> None:
    async def scene() -> None:
        reader = Reader()
        outbox = Outbox(reader.take, Limits())
        for response_id in ("old", "old", "new"):
            audio_delta(outbox, response_id)
        outbox.put({"type": "response.done", "response_id": "old"})
        assert outbox.drop_audio("old") == 200
        assert outbox.unsent_audio_ms == 100
        sending = asyncio.create_task(outbox.run())
        await outbox.flush(5)
        sending.cancel()
        assert [(event["type"], event["response_id"]) for event in reader.taken] == [
            ("response.output_audio.delta", "new"),
            ("response.done", "old"),
        ]

    asyncio.run(scene())


def test_a_blocked_socket_is_given_up() -> None:
    async def scene() -> None:
        outbox = Outbox(Reader(ready=0).take, Limits(blocked_write_s=0.01))
        outbox.put({"type": "x"})
        with pytest.raises(SlowConsumerError):
            await outbox.run()

    asyncio.run(scene())


@pytest.mark.parametrize("detecting", [True, False])
def test_others_have_their_turn_while_a_long_append_is_heard(detecting: bool) -> None:
    async def scene() -> int:
        house = House({"teller": Teller}, ServeConfig())
        ear = Ear(TurnSession(Teller(), LevelVad()), house, "audio/pcm", lambda events: None)
        ear.detect(detecting)
        hearing = asyncio.create_task(ear.append(pcm(np.zeros(24_000 * 60, np.float32))))
        turns_of_others = 0
        while not hearing.done():
            turns_of_others += 1
            await asyncio.sleep(0)
        return turns_of_others

    assert asyncio.run(scene()) >= 120
