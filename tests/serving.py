"""A server on a port of its own, callers whose every frame is checked, and systems whose every word is known."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection, connect

from duologue.serve.house import Duplex, House, ServeConfig, Systems
from duologue.serve.server import app
from duologue.serve.uvicorn_server import DrainingServer
from duologue.session import Audio, Heard, Part, Speech, Turn, Wrote
from scripted import LevelVad

SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)

Event = dict[str, Any]


# ---------------------------------------------------------------- a server


@dataclass(frozen=True)
class Served:
    """A server that is up."""

    house: House
    port: int

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def realtime(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime"


@contextlib.contextmanager
def serving(systems: Systems, duplex: Duplex | None = None, **config: Any) -> Iterator[Served]:
    """A server in a thread, on any free port, until the end of the block."""
    application = app(systems, ServeConfig(port=0, vad=LevelVad(), **config), duplex)
    server = DrainingServer(application, application.state.house)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.005)
    try:
        yield Served(application.state.house, server.port)
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive(), "the server did not stop"


# ---------------------------------------------------------------- systems


def sine(seconds: float, pitch_hz: float, hz: int = 24_000) -> Audio:
    return (0.3 * np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * hz)) / hz)).astype(np.float32)


@dataclass
class Teller:
    """Answers with words of 200 ms each, all in one pitch: "I heard ..." what was typed, or "something"."""

    pitch_hz: float = 440.0
    said_hz: int = 24_000
    words: int = 4
    turns: list[Turn] = field(default_factory=list)
    closed: int = 0

    def reply(self, turn: Turn) -> Iterator[Part | None]:
        self.turns.append(turn)
        yield Heard(turn.text or "something")
        try:
            for word in range(self.words):
                text = f"word{word} "
                yield Wrote(text)
                yield Speech(sine(0.2, self.pitch_hz, self.said_hz), text)
        except GeneratorExit:
            self.closed += 1
            raise


class Scripted:
    """Answers turn after turn with the parts of the script; a callable in it is called for its side effect."""

    said_hz = 24_000

    def __init__(self, *script: list[Part | Callable[[], object] | None]) -> None:
        self.script, self.turns = list(script), list[Turn]()

    def reply(self, turn: Turn) -> Iterator[Part | None]:
        self.turns.append(turn)
        for part in self.script[len(self.turns) - 1]:
            if callable(part):
                part()
            else:
                yield part


# ---------------------------------------------------------------- callers


def pcm(audio: Audio) -> str:
    return base64.b64encode((audio * 32767).astype("<i2").tobytes()).decode()


def samples(event: Event) -> Audio:
    return np.frombuffer(base64.b64decode(event["delta"], validate=True), "<i2").astype(np.float32) / np.float32(32768)


def speech(seconds: float, silence_s: float = 0.7) -> Audio:
    """Somebody speaks for so long, and is silent then; at 24 kHz."""
    return np.concatenate(
        (np.full(round(seconds * 24_000), 0.5, np.float32), np.zeros(round(silence_s * 24_000), np.float32))
    )


class Caller:
    """A client that checks every frame it gets against the types of the official client, and keeps them all."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[Event] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def say(self, audio: Audio, chunk_ms: int = 100) -> None:
        """Send sound at 24 kHz, as fast as it goes."""
        step = 24 * chunk_ms
        for start in range(0, len(audio), step):
            await self.send("input_audio_buffer.append", audio=pcm(audio[start : start + step]))

    async def next(self) -> Event:
        message = await asyncio.wait_for(self.socket.recv(), 10)
        assert isinstance(message, str)
        assert len(message) <= 64 * 2**10, "a frame of the server is larger than promised"
        SERVER_EVENT.validate_json(message, strict=True)
        event: Event = json.loads(message)
        assert event["event_id"] not in {seen["event_id"] for seen in self.events[-50:]}
        self.events.append(event)
        return event

    async def until(self, *kinds: str) -> Event:
        """The next event of one of these kinds; an error that was not asked for fails."""
        while True:
            event = await self.next()
            if event["type"] in kinds:
                return event
            assert event["type"] != "error", event["error"]

    async def configure(self, **session: Any) -> Event:
        await self.send("session.update", session={"type": "realtime", **session})
        return await self.until("session.updated")

    async def push_to_talk(self) -> None:
        await self.configure(audio={"input": {"turn_detection": None}})

    def kinds(self) -> list[str]:
        """The kinds of events so far; of each kind of delta only the first one in a response."""
        kinds: list[str] = []
        seen: set[str] = set()
        for event in self.events:
            kind = event["type"]
            seen = set() if kind == "response.created" else seen
            if not (kind.endswith("delta") and kind in seen):
                kinds.append(kind)
            seen.add(kind)
        return kinds

    def audio(self, response_id: str | None = None) -> Audio:
        """All sound of a response, or of all."""
        deltas = [
            samples(event)
            for event in self.events
            if event["type"] == "response.output_audio.delta" and response_id in (None, event["response_id"])
        ]
        return np.concatenate(deltas) if deltas else np.zeros(0, np.float32)

    def text(self, kind: str = "response.output_audio_transcript.delta") -> str:
        return "".join(event["delta"] for event in self.events if event["type"] == kind)


@contextlib.asynccontextmanager
async def calling(served: Served, query: str = "", **options: Any) -> AsyncIterator[Caller]:
    """A caller who has got `session.created`."""
    async with connect(served.realtime + query, max_size=None, compression=None, **options) as socket:
        caller = Caller(socket)
        created = await caller.next()
        assert created["type"] == "session.created"
        yield caller
