"""The official Python client holds conversations with the server, unchanged."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from duologue.dialogue import Message, Tool, ToolCall
from duologue.session import Heard, Speech
from serving import Scripted, Served, Teller, pcm, serving, sine, speech

CHECK: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


class Talk:
    """A conversation through the official client; every frame is checked before the client reads it."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[Any] = []

    async def until(self, *kinds: str) -> Any:
        while True:
            frame = await asyncio.wait_for(self.connection.recv_bytes(), 10)
            CHECK.validate_json(frame, strict=True)
            event = self.connection.parse_event(frame)
            self.events.append(event)
            if event.type in kinds:
                return event
            assert event.type != "error", event

    async def say(self, seconds: float, silence_s: float = 0.7) -> None:
        await self.connection.input_audio_buffer.append(audio=pcm(speech(seconds, silence_s)))

    def sound(self, response_id: str) -> np.ndarray[Any, Any]:
        deltas = [
            base64.b64decode(event.delta)
            for event in self.events
            if event.type == "response.output_audio.delta" and event.response_id == response_id
        ]
        return np.frombuffer(b"".join(deltas), "<i2").astype(np.float32) / 32768


@asynccontextmanager
async def talking(served: Served) -> AsyncIterator[Talk]:
    client = AsyncOpenAI(base_url=f"{served.http}/v1", api_key="none")
    async with client, client.realtime.connect(model="any") as connection:
        talk = Talk(connection)
        await talk.until("session.created")
        yield talk


def run(conversation: Coroutine[Any, Any, None]) -> None:
    asyncio.run(conversation)


PUSH_TO_TALK: Any = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
TRANSCRIBED: Any = {"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}


def test_a_spoken_turn_is_answered_aloud() -> None:
    async def conversation(served: Served) -> None:
        async with talking(served) as talk:
            await talk.connection.session.update(session=TRANSCRIBED)
            await talk.say(0.5)
            heard = await talk.until("conversation.item.input_audio_transcription.completed")
            assert heard.transcript == "something"
            done = await talk.until("response.done")
            assert done.response.status == "completed"
            assert done.response.output[0].content[0].transcript == "word0 word1 word2 word3 "
            np.testing.assert_allclose(talk.sound(done.response.id), sine(0.8, 440), atol=1e-3)

    with serving({"teller": Teller}, lead_ms=60_000) as served:
        run(conversation(served))


def test_push_to_talk() -> None:
    teller = Teller()

    async def conversation(served: Served) -> None:
        async with talking(served) as talk:
            await talk.connection.session.update(session=PUSH_TO_TALK)
            await talk.say(0.3, 0)
            await talk.connection.input_audio_buffer.commit()
            committed = await talk.until("input_audio_buffer.committed")
            added = await talk.until("conversation.item.done")
            assert added.item.id == committed.item_id
            await talk.connection.response.create()
            assert (await talk.until("response.done")).response.status == "completed"
            assert not [event for event in talk.events if "speech_" in event.type]

    with serving({"teller": lambda: teller}, lead_ms=60_000) as served:
        run(conversation(served))
    sound = teller.turns[0].audio
    assert sound is not None
    assert abs(len(sound) - 0.3 * 16_000) < 32
    np.testing.assert_allclose(sound[200:-200], 0.5, atol=0.01)


def test_text_in_text_out() -> None:
    async def conversation(served: Served) -> None:
        async with talking(served) as talk:
            await talk.connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            said: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
            await talk.connection.conversation.item.create(item=said)
            await talk.connection.response.create()
            done = await talk.until("response.done")
            assert done.response.output[0].content[0].text == "word0 word1 word2 word3 "
            assert not [event for event in talk.events if "output_audio" in event.type]

    teller = Teller()
    with serving({"teller": lambda: teller}) as served:
        run(conversation(served))
    assert teller.turns[0].text == "hello"
    assert teller.turns[0].audio is None


def test_barge_in_stops_the_reply_and_what_was_not_heard_is_not_remembered() -> None:
    teller = Teller(words=100)

    async def conversation(served: Served) -> None:
        async with talking(served) as talk:
            await talk.say(0.5)
            for _ in range(20):
                await talk.until("response.output_audio.delta")
            await talk.say(0.5, 0)
            await talk.until("input_audio_buffer.speech_started")
            done = await talk.until("response.done")
            assert done.response.status == "cancelled"
            assert done.response.status_details.reason == "turn_detected"
            item = done.response.output[0]
            assert item.status == "incomplete"
            await talk.connection.conversation.item.truncate(item_id=item.id, content_index=0, audio_end_ms=450)
            truncated = await talk.until("conversation.item.truncated")
            assert truncated.audio_end_ms == 450
            await talk.say(0, 0.7)
            created = await talk.until("response.created")
            await talk.until("response.output_audio.delta")
            await talk.connection.response.cancel()
            assert (await talk.until("response.done")).response.id == created.response.id

    with serving({"teller": lambda: teller}, lead_ms=1_000) as served:
        run(conversation(served))
    assert teller.turns[1].history == (
        Message("user", "something"),
        Message("assistant", "word0 word1", interrupted=True),
    )


def test_cancel() -> None:
    async def conversation(served: Served) -> None:
        async with talking(served) as talk:
            await talk.say(0.5)
            await talk.until("response.output_audio.delta")
            await talk.connection.response.cancel()
            done = await talk.until("response.done")
            assert (done.response.status, done.response.status_details.reason) == ("cancelled", "client_cancelled")
            await talk.connection.response.create()
            assert (await talk.until("response.created")).response.id != done.response.id

    with serving({"teller": lambda: Teller(words=100)}) as served:
        run(conversation(served))


@pytest.mark.parametrize("speaks_first", [False, True])
def test_a_function_call_goes_to_the_client_and_its_result_comes_back(speaks_first: bool) -> None:
    call = ToolCall("call_1", "weather", '{"city": "Wien"}')
    before = [Speech(sine(0.2, 440), "Let me see. ")] if speaks_first else []
    system = Scripted([Heard("how warm is it"), *before, call], [Speech(sine(0.2, 440), "It is 21 degrees.")])
    tool: Any = {
        "type": "function",
        "name": "weather",
        "description": "the weather",
        "parameters": {"type": "object"},
    }

    async def conversation(served: Served) -> None:
        async with talking(served) as talk:
            await talk.connection.session.update(session={"type": "realtime", "tools": [tool]})
            await talk.say(0.5)
            arguments = await talk.until("response.function_call_arguments.done")
            assert (arguments.name, arguments.arguments) == ("weather", call.arguments)
            item = (await talk.until("response.output_item.done")).item
            assert (item.type, item.status, item.call_id) == ("function_call", "completed", arguments.call_id)
            done = await talk.until("response.done")
            kinds = ["message"] * speaks_first + ["function_call"]
            assert [item.type for item in done.response.output] == kinds
            result: Any = {"type": "function_call_output", "call_id": arguments.call_id, "output": "21"}
            await talk.connection.conversation.item.create(item=result)
            await talk.connection.response.create()
            done = await talk.until("response.done")
            assert done.response.output[0].content[0].transcript == "It is 21 degrees."

    with serving({"system": lambda: system}) as served:
        run(conversation(served))
    assert system.turns[0].tools == (Tool("weather", "the weather", {"type": "object"}),)
    spoken = (Message("assistant", "Let me see. "),) if speaks_first else ()
    assert system.turns[1].history == (
        Message("user", "how warm is it"),
        *spoken,
        Message("assistant", tool_calls=(call,)),
        Message("tool", "21", call_id="call_1"),
    )
