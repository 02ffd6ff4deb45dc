"""A full-duplex session whose every sample is known, a server of such sessions, and callers who keep all they get."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from duologue.serve.house import Duplex, Systems
from duologue.session import HEARD_HZ, Audio, Event, Said, Word
from scripted import tone
from serving import Served, serving

FRAME_SAMPLES = 640
FRAME_S = FRAME_SAMPLES / HEARD_HZ
LOUD = 0.1
PAUSE_FRAMES = 5


@dataclass
class Duet:
    """Answers when somebody has spoken and is silent for 200 ms: "piece" by piece, in one pitch; is silent at once
    when somebody speaks. Into all that it says it mixes what it hears, very softly, so that no frame is like another.
    """

    said_hz: int = 24_000
    pieces: tuple[str, ...] = ("Nineteen. ", "Anything else?")
    pitch_hz: float = 440.0
    closed: int = 0
    heard_samples: int = FRAME_SAMPLES
    _frames: int = 0
    _turn: int = 0
    _spoke_from: int | None = None
    _quiet: int = 0
    _answer: list[Audio] = field(default_factory=list)
    _begins: dict[int, str] = field(default_factory=dict)

    @property
    def said_samples(self) -> int:
        return self.heard_samples * self.said_hz // HEARD_HZ

    def close(self) -> None:
        self.closed += 1

    def step(self, heard: Audio) -> Said:
        if heard.shape != (self.heard_samples,):
            raise ValueError(f"a frame has {self.heard_samples} samples, not {heard.shape}")
        self._frames += 1
        events = list(self._listened(bool(np.abs(heard).max() > LOUD)))
        silence = np.zeros(self.said_samples, np.float32)
        turn, audio = (self._turn, self._answer.pop(0)) if self._answer else (None, silence)
        if turn is not None and (text := self._begins.pop(len(self._answer), None)):
            first = Word(0, 4, 0, 40)
            events.append(self._event("said", text=text, samples=self.said_samples, words=(first,)))
        if turn is not None and not self._answer:
            events.append(self._event("done", latency={"first_audio_s": 0.04}))
        trace = np.interp(np.linspace(0, len(heard) - 1, self.said_samples), np.arange(len(heard)), heard)
        return Said((audio + 1e-4 * trace).astype(np.float32), tuple(events), turn)

    def _listened(self, loud: bool) -> Iterator[Event]:
        if loud:
            self._spoke_from = self._frames - 1 if self._spoke_from is None else self._spoke_from
            self._quiet = 0
            if self._answer:
                self._answer.clear()
                yield self._event("stopped", reason="speech", heard_text=self.pieces[0])
        elif self._spoke_from is not None:
            self._quiet += 1
            if self._quiet == PAUSE_FRAMES:
                yield from self._answered(self._spoke_from)

    def _answered(self, spoke_from: int) -> Iterator[Event]:
        self._turn, self._spoke_from = self._turn + 1, None
        end_s = (self._frames - PAUSE_FRAMES) * FRAME_S
        yield self._event("turn", start_s=spoke_from * FRAME_S, end_s=end_s)
        yield self._event("heard", text=f"question {self._turn}")
        for piece in self.pieces:
            yield self._event("wrote", text=piece)
        self._prepare()

    def _prepare(self) -> None:
        """The answer's frames, and by how many frames come after it, the piece that begins with a frame."""
        size = self.said_samples
        self._answer, begins = [], {}
        for piece in self.pieces:
            begins[len(self._answer)] = piece
            sound = tone(piece, self.said_hz, pitch_hz=self.pitch_hz)
            self._answer += [*sound[: len(sound) // size * size].reshape(-1, size)]
        self._begins = {len(self._answer) - 1 - frame: piece for frame, piece in begins.items()}

    def _event(self, kind: str, **data: Any) -> Event:
        return Event(kind, self._frames * FRAME_S, {"turn": self._turn, **data})


# ---------------------------------------------------------------- a server


def serving_duplex(
    duplex: Duplex, systems: Systems | None = None, **config: Any
) -> contextlib.AbstractContextManager[Served]:
    """A server of duplex systems, and of others."""
    return serving(systems or {}, duplex, **config)


# ---------------------------------------------------------------- callers

Message = dict[str, Any] | bytes


def pcm16(audio: Audio) -> bytes:
    return np.clip(np.round(audio * 32768), -32768, 32767).astype("<i2").tobytes()


def speech(*pieces_s: float, seed: int = 0) -> bytes:
    """Noise and silence by turns, each so long: PCM at 16 kHz. All of it differs."""
    rng = np.random.default_rng(seed)
    sound = [rng.normal(0, (0.2, 0.001)[n % 2], round(s * HEARD_HZ)) for n, s in enumerate(pieces_s)]
    return pcm16(np.concatenate(sound).astype(np.float32))


def directly(session: Any, sound: bytes) -> list[Message]:
    """What a caller has to get for `sound`, from a session that is stepped without any server."""
    samples = np.frombuffer(sound, "<i2").astype(np.float32) / 32768
    got: list[Message] = []
    for start in range(0, len(samples) - session.heard_samples + 1, session.heard_samples):
        said = session.step(samples[start : start + session.heard_samples])
        shown: list[dict[str, Any]] = [
            {
                "type": "event",
                "kind": e.kind,
                "at_s": round(e.at_s, 6),
                **json.loads(json.dumps(asdict(e)["data"])),
            }
            for e in said.events
        ]
        done = [event for event in shown if event["kind"] == "done"]
        got += [event for event in shown if event not in done]
        got += [pcm16(said.audio), *done]
    return got


class LiveCaller:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def next(self) -> Message:
        message = await asyncio.wait_for(self.socket.recv(), 10)
        if isinstance(message, bytes):
            return message
        fields: dict[str, Any] = json.loads(message)
        del fields["event_id"]
        return fields

    async def told(self, kind: str) -> dict[str, Any]:
        """The next message of this type, sound passed over."""
        while isinstance(message := await self.next(), bytes) or message["type"] != kind:
            pass
        return message

    async def send(self, **fields: Any) -> None:
        await self.socket.send(json.dumps(fields))

    async def say(self, chunks: Sequence[bytes]) -> None:
        for chunk in chunks:
            await self.socket.send(chunk)

    async def rest(self) -> list[Message]:
        """End the call, and everything that came until the server closed it."""
        await self.send(type="close")
        return [json.loads(m) if isinstance(m, str) else m async for m in self.socket]


@contextlib.asynccontextmanager
async def calling_live(served: Served, query: str = "", **options: Any) -> AsyncIterator[LiveCaller]:
    """A caller who was told that all is ready."""
    url = f"ws://127.0.0.1:{served.port}/v1/live{query}"
    async with connect(url, max_size=None, compression=None, **options) as socket:
        caller = LiveCaller(socket)
        ready = await caller.next()
        assert isinstance(ready, dict)
        assert ready["type"] == "ready", ready
        yield caller


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it; ten seconds at most."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
