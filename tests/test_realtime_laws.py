"""What holds of the events of any conversation, whatever the client does and whenever it does it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest

from serving import Caller, Event, Teller, calling, serving, sine, speech

KINDS_OF_SPEECH = {
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
}


class Laws:
    """Reads the events of one session in their order, and fails at the first that breaks a law."""

    def __init__(self) -> None:
        self.open_response: str | None = None
        self.done_responses: set[str] = set()
        self.announced: set[str] = set()
        self.parts: dict[str, str] = {}
        self.closed_parts: set[str] = set()
        self.item_order: list[str] = []

    def read(self, event: Event) -> None:
        kind = event["type"]
        if kind == "response.created":
            assert self.open_response is None, "two active responses"
            self.open_response = event["response"]["id"]
        elif kind == "response.done":
            assert event["response"]["id"] == self.open_response
            self.done_responses.add(event["response"]["id"])
            self.open_response = None
        elif "response_id" in event:
            assert event["response_id"] == self.open_response, f"{kind} belongs to no active response"
        self._read_item(kind, event)
        self._read_part(kind, event)

    def _read_item(self, kind: str, event: Event) -> None:
        if kind in ("conversation.item.added", "response.output_item.added"):
            self.announced.add(event["item"]["id"])
        if kind == "conversation.item.added":
            before, item_id = event["previous_item_id"], event["item"]["id"]
            assert before is None or before in self.item_order
            self.item_order.insert(0 if before is None else self.item_order.index(before) + 1, item_id)
        if kind == "conversation.item.deleted":
            self.item_order.remove(event["item_id"])
        if "item_id" in event and kind not in KINDS_OF_SPEECH:
            assert event["item_id"] in self.announced, f"{kind} names an item before it was added"

    def _read_part(self, kind: str, event: Event) -> None:
        if not kind.startswith("response."):
            return
        if kind == "response.content_part.added":
            self.parts[event["item_id"]] = ""
        elif kind == "response.content_part.done":
            self.closed_parts.add(event["item_id"])
            told = event["part"].get("transcript", event["part"].get("text"))
            assert told == self.parts[event["item_id"]]
        elif "content_index" in event:
            assert event["item_id"] in self.parts, f"{kind} before its part was added"
            assert event["item_id"] not in self.closed_parts, f"{kind} after its part was done"
        if kind in ("response.output_audio_transcript.delta", "response.output_text.delta"):
            self.parts[event["item_id"]] += event["delta"]
        if kind in ("response.output_audio_transcript.done", "response.output_text.done"):
            assert event.get("transcript", event.get("text")) == self.parts[event["item_id"]]

    def end(self) -> None:
        assert self.open_response is None, "a response without its end"
        assert set(self.parts) == self.closed_parts


class Fickle:
    """A client that does anything at any time."""

    def __init__(self, caller: Caller, seed: int) -> None:
        self.caller, self.dice = caller, random.Random(seed)
        self.items: list[str] = ["nothing"]

    async def act(self) -> None:
        often = [self.speak, self.create, self.wait] * 2
        seldom = [self.fall_silent, self.commit, self.clear, self.type, self.cancel, self.truncate, self.delete]
        action = self.dice.choice([*often, *seldom, self.configure])
        await action()

    async def speak(self) -> None:
        await self.caller.say(speech(self.dice.uniform(0.05, 0.5), 0))

    async def fall_silent(self) -> None:
        await self.caller.say(speech(0, self.dice.uniform(0.1, 0.8)))

    async def commit(self) -> None:
        await self.caller.send("input_audio_buffer.commit")

    async def clear(self) -> None:
        await self.caller.send("input_audio_buffer.clear")

    async def type(self) -> None:
        item_id = f"mine_{self.dice.randrange(10**6)}"
        self.items.append(item_id)
        content = [{"type": "input_text", "text": "hello"}]
        item = {"id": item_id, "type": "message", "role": "user", "content": content}
        after: dict[str, Any] = self.dice.choice([{}, {"previous_item_id": self.dice.choice([*self.items, "root"])}])
        await self.caller.send("conversation.item.create", item=item, **after)

    async def create(self) -> None:
        response = self.dice.choice([{}, {"output_modalities": ["text"]}, {"conversation": "none"}])
        await self.caller.send("response.create", response=response)

    async def cancel(self) -> None:
        await self.caller.send("response.cancel")

    async def truncate(self) -> None:
        self.items += [
            event["item"]["id"] for event in self.caller.events if event["type"] == "conversation.item.added"
        ]
        played_ms = self.dice.randrange(2000)
        await self.caller.send(
            "conversation.item.truncate",
            item_id=self.dice.choice(self.items),
            content_index=0,
            audio_end_ms=played_ms,
        )

    async def delete(self) -> None:
        await self.caller.send("conversation.item.delete", item_id=self.dice.choice(self.items))

    async def configure(self) -> None:
        detection: Any = self.dice.choice(
            [None, {"type": "server_vad", "interrupt_response": self.dice.random() < 0.5}, {"type": "semantic_vad"}]
        )
        transcription: Any = self.dice.choice([None, {"model": "any"}])
        sound = {"input": {"turn_detection": detection, "transcription": transcription}}
        await self.caller.send("session.update", session={"type": "realtime", "audio": sound})

    async def wait(self) -> None:
        await asyncio.sleep(self.dice.uniform(0, 0.05))


@pytest.mark.parametrize("seed", range(8))
def test_the_laws_hold_whatever_the_client_does(seed: int) -> None:
    async def conversation() -> None:
        teller = Teller(words=3 + seed)
        with serving({"teller": lambda: teller}, lead_ms=[50, 300, 60_000][seed % 3]) as served:
            async with calling(served) as caller:
                reading = asyncio.create_task(_read_until_the_end(caller))
                client = Fickle(caller, seed)
                for _ in range(40):
                    await client.act()
                for _ in range(2):
                    await caller.send("response.cancel")
                end = {"type": "realtime", "instructions": "the end", "audio": {"input": {"turn_detection": None}}}
                await caller.send("session.update", session=end)
                await reading

    asyncio.run(conversation())


async def _read_until_the_end(caller: Caller) -> None:
    """Check every event, until the session answers the last thing that it was asked."""
    laws = Laws()
    while True:
        event = await caller.next()
        laws.read(event)
        if event["type"] == "session.updated" and event["session"]["instructions"] == "the end":
            break
    laws.end()


def test_callers_never_hear_each_other() -> None:
    """Each caller's system speaks in a pitch of its own; nobody hears another pitch, while others come and go."""
    pitches = iter(range(300, 3000, 100))

    async def one(served: Any, seed: int) -> None:
        await asyncio.sleep(seed * 0.02)
        async with calling(served) as caller:
            for _ in range(2):
                await caller.say(speech(0.4))
                done = await caller.until("response.done")
            assert done["response"]["status"] == "completed"
        loudest = pitch_hz(caller.audio())
        assert abs(caller.audio() - np.tile(sine(0.8, loudest), 2)).max() < 2e-3, "another sound is mixed in"
        heard.append(loudest)

    heard: list[int] = []

    async def all_of_them() -> None:
        with serving({"teller": lambda: Teller(pitch_hz=next(pitches))}, lead_ms=400) as served:
            await asyncio.gather(*(one(served, seed) for seed in range(8)))

    asyncio.run(all_of_them())
    assert len(set(heard)) == 8, "two callers heard the same voice"


def pitch_hz(audio: Any) -> int:
    spectrum = np.abs(np.fft.rfft(audio[:19_200]))
    return round(float(np.argmax(spectrum)) * 24_000 / 19_200 / 100) * 100
