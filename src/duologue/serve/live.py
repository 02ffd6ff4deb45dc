"""A full-duplex conversation: sound in and sound out, at the same time and in equal measure.

The client sends binary messages, PCM of 16 bits (little-endian, mono) at 16 kHz in chunks of any size. For each
frame that is complete it gets one back, of PCM at `said_hz`. Beside them go text messages in JSON, each before the
sound of its frame (`done` after it):

server  {"type": "ready", "system", "heard_hz", "said_hz", "frame_ms"}   first of all
        {"type": "event", "kind", "at_s", ...}                           `duologue.session.Event`, its data spread out
        {"type": "error", "code", "message"}                             the call goes on, unless the server closes it
client  {"type": "close"}                                                ends the call when all was answered
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from starlette.websockets import WebSocket

from duologue.serve.connection import Close, Connection, refuse
from duologue.serve.events import EventError, read_fields
from duologue.serve.house import House
from duologue.serve.outbox import LiveOutbox
from duologue.serve.wire import from_pcm16, refuse_half_samples, to_pcm16
from duologue.serve.worker import Worker
from duologue.session import HEARD_HZ, Audio, Event, Said, Session
from duologue.sound.frames import Framer

logger = logging.getLogger(__name__)

_SLICE_BYTES = HEARD_HZ


async def converse(socket: WebSocket, house: House, outbox: LiveOutbox, name: str) -> int:
    """Make a session of the system `name` for the caller, and let them talk; the close code."""
    worker = Worker(f"live-{name}")
    house.at_work.add(worker)
    try:
        try:
            session = await worker.do(house.duplex[name])
        except Exception as error:
            failed = EventError("internal_error", f"{name} could not be started: {error}")
            return await refuse(socket, house, outbox, 1011, failed)
        return await Connection(socket, house, outbox, Live(name, session, worker, house, outbox)).run()
    finally:
        house.at_work.discard(worker)
        worker.stop()


class Live:
    """One caller of the system `name`. Everything the session does, it does in `worker`."""

    def __init__(self, name: str, session: Session, worker: Worker, house: House, outbox: LiveOutbox) -> None:
        self.replying = False
        """Whether the system was speaking in the last frame."""
        self._name, self._session, self._worker = name, session, worker
        self._limits, self._metrics, self._outbox = house.limits, house.metrics, outbox
        self._framer = Framer(session.heard_samples)
        self._frame_s = session.heard_samples / HEARD_HZ
        self._pace = Pace(self._frame_s, house.limits.live_ahead_s, time.monotonic)
        most_frames = max(1, math.ceil(house.limits.live_ahead_s / self._frame_s))
        self._unheard: asyncio.Queue[Audio | None] = asyncio.Queue(most_frames)
        rates = {"heard_hz": HEARD_HZ, "said_hz": session.said_hz, "frame_ms": round(self._frame_s * 1000, 3)}
        outbox.put({"type": "ready", "system": name} | rates)

    # ------------------------------------------------ the client

    async def hear(self, sound: bytes) -> None:
        """Take one chunk, and wait while too much waits already. Raises EventError, with nothing of it used."""
        refuse_half_samples(sound)
        if len(sound) > self._limits.live_message_s * HEARD_HZ * 2:
            longest_s = self._limits.live_message_s
            raise EventError("invalid_audio", f"One message holds {longest_s:g} s of sound; send several.")
        for start in range(0, len(sound), _SLICE_BYTES):
            for frame in self._framer.push(from_pcm16(sound[start : start + _SLICE_BYTES])):
                await self._unheard.put(frame)
                self._metrics.unheard_ms.inc(self._frame_s * 1000)

    async def handle(self, text: str) -> None:
        """A message in JSON; there is one. Raises EventError."""
        name = read_fields(text)["type"]
        if name != "close":
            raise EventError("unknown_event", f"There is no message {name[:80]!r}; there is close.", "type")
        await self._unheard.put(None)

    # ------------------------------------------------ the system

    async def talk(self) -> None:
        """Step by step, until the client has enough. Raises Close."""
        while (frame := await self._unheard.get()) is not None:
            self._metrics.unheard_ms.dec(self._frame_s * 1000)
            await asyncio.sleep(self._pace.wait_s())
            await self._outbox.room_for_sound()
            self._tell(await self._stepped(frame))
        await self._outbox.flush(self._limits.blocked_write_s)
        raise Close(1000)

    async def _stepped(self, frame: Audio) -> Said:
        try:
            return await self._worker.do(partial(self._step, frame))
        except Exception as error:
            logger.exception("%s failed", self._name)
            failed = f"{self._name} failed: {type(error).__name__}: {error}. Connect again."
            raise Close(1011, EventError("internal_error", failed)) from None

    def _step(self, frame: Audio) -> Said:
        """One step, in the worker. Raises ValueError when the session does not give one frame of finite samples."""
        began_s = time.perf_counter()
        said = self._session.step(frame)
        took_s = time.perf_counter() - began_s
        self._metrics.step_seconds.observe(took_s)
        self._metrics.step_budget_seconds.observe(self._frame_s)
        if took_s > self._frame_s:
            self._metrics.late_steps.inc()
        if said.audio.shape != (self._session.said_samples,) or not np.isfinite(said.audio).all():
            wanted = f"[{self._session.said_samples}] finite samples"
            raise ValueError(f"a step gave {list(said.audio.shape)} samples, not {wanted}")
        return said

    def _tell(self, said: Said) -> None:
        self.replying = said.turn is not None
        for event in said.events:
            if event.kind != "done":
                self._outbox.put(_shown(event))
        self._outbox.put_sound(to_pcm16(said.audio), self._frame_s * 1000)
        for event in said.events:
            if event.kind == "done":
                self._outbox.put(_shown(event))

    async def close(self) -> None:
        """Let go of the session, once it has come to the end of its step."""
        while not self._unheard.empty():
            if self._unheard.get_nowait() is not None:
                self._metrics.unheard_ms.dec(self._frame_s * 1000)
        try:
            await self._worker.do(self._session.close)
        except Exception:
            logger.exception("%s could not be closed", self._name)


def _shown(event: Event) -> dict[str, Any]:
    fields = asdict(event)
    return {**fields["data"], "type": "event", "kind": event.kind, "at_s": round(event.at_s, 6)}


class Pace:
    """Frames of `frame_s` may be as much as `ahead_s` ahead of the clock; time that nobody used is not saved up."""

    def __init__(self, frame_s: float, ahead_s: float, now: Callable[[], float]) -> None:
        self._frame_s, self._ahead_s, self._now = frame_s, ahead_s, now
        self._heard_until_s = now()

    def wait_s(self) -> float:
        """One more frame is to be heard: how long it has to wait."""
        now_s = self._now()
        due_s = max(self._heard_until_s, now_s)
        self._heard_until_s = due_s + self._frame_s
        return max(0.0, due_s - now_s - self._ahead_s)
