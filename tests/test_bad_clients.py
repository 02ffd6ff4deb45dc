"""What clients may send by mistake or on purpose: one clear error each, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from duologue.serve.limits import Limits
from serving import Caller, Served, Teller, calling, pcm, serving, speech


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    limits = Limits(slots=60, items=5, tools=3, item_text_bytes=1000, input_buffer_s=2.0, handshake_s=0.3)
    with serving({"teller": Teller}, lead_ms=60_000, limits=limits) as up:
        yield up


def update(**session: Any) -> str:
    return json.dumps({"type": "session.update", "event_id": "mine", "session": {"type": "realtime", **session}})


def create(**item: Any) -> str:
    return json.dumps({"type": "conversation.item.create", "event_id": "mine", "item": item})


def detection(**fields: Any) -> str:
    return update(audio={"input": {"turn_detection": {"type": "server_vad", **fields}}})


def append(audio: Any) -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


BAD: dict[str, tuple[str | bytes, str, str | None]] = {
    "no JSON": ("{", "invalid_json", None),
    "empty": ("", "invalid_json", None),
    "deep": ("[" * 100_000, "invalid_json", None),
    "deep and closed": ('{"type":' + "[" * 50_000 + "]" * 50_000 + "}", "invalid_json", None),
    "digits": ('{"type": "session.update", "session": ' + "9" * 5_000 + "}", "invalid_json", None),
    "NaN": ('{"type": NaN}', "invalid_json", None),
    "half a pair of surrogates": ('{"type": "\\ud800"}', "invalid_json", None),
    "binary": (b"\x00\x01", "invalid_message", None),
    "a list": ("[]", "invalid_event", "type"),
    "a string": ('"session.update"', "invalid_event", "type"),
    "no type": ("{}", "invalid_event", "type"),
    "type of a wrong type": ('{"type": 3}', "invalid_event", "type"),
    "unknown event": ('{"type": "session.destroy", "event_id": "mine"}', "unknown_event", "type"),
    "of WebRTC": ('{"type": "output_audio_buffer.clear"}', "unsupported_event", "type"),
    "no session": ('{"type": "session.update"}', "missing_required_parameter", "session"),
    "no session type": ('{"type": "session.update", "session": {}}', "missing_required_parameter", "session.type"),
    "transcription only": (
        '{"type": "session.update", "session": {"type": "transcription"}}',
        "invalid_value",
        "session.type",
    ),
    "unknown field": (update(mood="sunny"), "unknown_parameter", "session.mood"),
    "unknown deep field": (detection(mood=1), "unknown_parameter", "session.audio.input.turn_detection.mood"),
    "wrong type": (update(instructions=3), "invalid_type", "session.instructions"),
    "wrong value": (detection(threshold=7), "invalid_value", "session.audio.input.turn_detection.threshold"),
    "infinite": (
        detection(threshold=0).replace(": 0}", ": 1e999}"),
        "invalid_value",
        "session.audio.input.turn_detection.threshold",
    ),
    "infinite schema": (
        update(tools=[{"name": "f", "parameters": {"x": 7}}]).replace("7", "1e999"),
        "invalid_value",
        "session.tools[0].parameters",
    ),
    "both modalities": (update(output_modalities=["text", "audio"]), "invalid_value", "session.output_modalities"),
    "another rate": (
        update(audio={"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}),
        "invalid_value",
        "session.audio.input.format.rate",
    ),
    "unknown detection": (
        update(audio={"input": {"turn_detection": {"type": "telepathy"}}}),
        "invalid_value",
        "session.audio.input.turn_detection.type",
    ),
    "too many tools": (update(tools=[{"name": f"f{i}"} for i in range(4)]), "invalid_value", "tools"),
    "bad tool choice": (update(tool_choice="perhaps"), "invalid_value", "session.tool_choice"),
    "long instructions": (update(instructions="x" * 1001), "invalid_value", "instructions"),
    "unknown item": (create(type="poem"), "invalid_value", "item.type"),
    "item without type": (create(role="user"), "missing_required_parameter", "item.type"),
    "part that does not fit": (
        create(type="message", role="user", content=[{"type": "output_text", "text": "x"}]),
        "invalid_value",
        "item.content[0].type",
    ),
    "part without text": (
        create(type="message", role="user", content=[{"type": "input_text"}]),
        "missing_required_parameter",
        "item.content[0].text",
    ),
    "long item": (create(**said("ä" * 501)), "invalid_value", "item"),
    "half a millisecond": (
        '{"type":"conversation.item.truncate","item_id":"i","content_index":0,"audio_end_ms":12.5}',
        "invalid_type",
        "audio_end_ms",
    ),
    "before the beginning": (
        '{"type":"conversation.item.truncate","item_id":"i","content_index":0,"audio_end_ms":-1}',
        "invalid_value",
        "audio_end_ms",
    ),
    "truncate nothing": (
        '{"type":"conversation.item.truncate","item_id":"i","content_index":0,"audio_end_ms":1}',
        "item_truncate_invalid_item_id",
        "item_id",
    ),
    "retrieve nothing": (
        '{"type": "conversation.item.retrieve", "item_id": "i"}',
        "item_retrieve_invalid_item_id",
        "item_id",
    ),
    "delete nothing": (
        '{"type": "conversation.item.delete", "item_id": "i"}',
        "item_delete_invalid_item_id",
        "item_id",
    ),
    "after nothing": (
        json.dumps({"type": "conversation.item.create", "previous_item_id": "i", "item": said("x")}),
        "item_create_invalid_previous_item_id",
        "previous_item_id",
    ),
    "cancel nothing": ('{"type": "response.cancel"}', "response_cancel_not_active", None),
    "commit nothing": ('{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty", None),
    "number as sound": (append(3), "invalid_type", "audio"),
    "no base64": (append("*" * 8), "invalid_base64", "audio"),
    "no padding": (append("AAAAA"), "invalid_base64", "audio"),
    "padding inside": (append("AA==AAAA"), "invalid_base64", "audio"),
    "padding inside, far from the end": (append("A" * (2**18 - 2) + "==AAAA"), "invalid_base64", "audio"),
    "line breaks": (append("AAAA\nAAAA"), "invalid_base64", "audio"),
    "another alphabet": (append("AA-_"), "invalid_base64", "audio"),
    "no ASCII": (append("ÄÖÜß"), "invalid_base64", "audio"),
    "odd bytes": (append("AAAA"), "invalid_audio", "audio"),
    "too long": (append("A" * (15 * 2**20 + 4)), "invalid_value", "audio"),
    "more than the buffer": (append(pcm(np.zeros(24_000 * 3, np.float32))), "input_audio_buffer_overflow", "audio"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_clear_error_and_the_session_goes_on(served: Served, name: str) -> None:
    message, code, param = BAD[name]

    async def scene() -> None:
        async with calling(served) as caller:
            await caller.push_to_talk()
            await caller.socket.send(message)
            event = await caller.next()
            assert event["type"] == "error", event
            error = event["error"]
            assert (error["code"], error["param"]) == (code, param), error
            assert error["type"] == "invalid_request_error"
            assert error["message"]
            assert error["event_id"] == ("mine" if b"mine" in _bytes(message) else None)
            await still_answers(caller)

    asyncio.run(scene())


def _bytes(message: str | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.encode()


async def still_answers(caller: Caller) -> None:
    """The next thing that happens is what the client asks for next."""
    await caller.send("input_audio_buffer.clear")
    assert (await caller.next())["type"] == "input_audio_buffer.cleared"


def test_nothing_of_a_bad_update_is_applied(served: Served) -> None:
    async def scene() -> None:
        async with calling(served) as caller:
            before = caller.events[0]["session"]
            sound = {"output": {"voice": "alloy"}, "input": {"turn_detection": None}}
            await caller.send("session.update", session={"type": "realtime", "audio": sound, "instructions": 7})
            assert (await caller.next())["type"] == "error"
            after = (await caller.configure())["session"]
            assert after == before

    asyncio.run(scene())


def test_nothing_of_a_bad_append_is_used(served: Served) -> None:
    async def scene() -> None:
        async with calling(served) as caller:
            await caller.push_to_talk()
            good = pcm(speech(0.05, 0))
            await caller.send("input_audio_buffer.append", audio=pcm(speech(1.0, 0)) + "*")
            assert (await caller.next())["error"]["code"] == "invalid_base64"
            await caller.send("input_audio_buffer.append", audio=good)
            await caller.send("input_audio_buffer.commit")
            assert (await caller.next())["error"]["code"] == "input_audio_buffer_commit_empty"

    asyncio.run(scene())


def test_a_second_response_and_a_second_item_of_one_name(served: Served) -> None:
    async def scene() -> None:
        async with calling(served) as caller:
            await caller.send("conversation.item.create", item={**said("hello"), "id": "twin"})
            await caller.until("conversation.item.done")
            await caller.send("conversation.item.create", item={**said("hello"), "id": "twin"})
            assert (await caller.next())["error"]["code"] == "item_create_duplicate_item_id"
            await caller.send("response.create")
            await caller.send("response.create")
            created = await caller.until("response.created")
            while (event := await caller.next())["type"] != "error":
                pass
            assert event["error"]["code"] == "conversation_already_has_active_response"
            assert created["response"]["id"] in event["error"]["message"]

    asyncio.run(scene())


def test_a_full_conversation_takes_no_more_items(served: Served) -> None:
    async def scene() -> None:
        async with calling(served) as caller:
            for _ in range(5):
                await caller.send("conversation.item.create", item=said("x"))
                await caller.until("conversation.item.done")
            await caller.send("conversation.item.create", item=said("x"))
            assert (await caller.next())["error"]["code"] == "invalid_value"
            await caller.say(speech(0.5))
            assert (await caller.until("response.done"))["response"]["status"] == "completed"

    asyncio.run(scene())


# ---------------------------------------------------------------- below the protocol


def raw(served: Served) -> socket.socket:
    """A bare socket after a WebSocket handshake."""
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    connection.sendall(
        b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    answer = b""
    while b"session.created" not in answer:
        received = connection.recv(65536)
        assert received, f"the server hung up before the session began: {answer[-200:]!r}"
        answer += received
    return connection


def masked(opcode: int, payload: bytes, length: int | None = None) -> bytes:
    """A frame of a client; `length` is what it claims to be long."""
    return struct.pack("!BBQ4x", 0x80 | opcode, 0xFF, len(payload) if length is None else length) + payload


def close_code(connection: socket.socket) -> int | None:
    """The code of the close frame that comes, or None when the socket just ends."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        return None
    place = received.rfind(b"\x88")
    return struct.unpack("!H", received[place + 2 : place + 4])[0] if place >= 0 else None


def violate(attack: Callable[[socket.socket], None]) -> Callable[[Served], Awaitable[int | None]]:
    async def run(served: Served) -> int | None:
        def blocking() -> int | None:
            with raw(served) as connection:
                attack(connection)
                return close_code(connection)

        return await asyncio.to_thread(blocking)

    return run


VIOLATIONS: dict[str, tuple[Callable[[socket.socket], None], set[int | None]]] = {
    "garbage": (lambda c: c.sendall(b"\xff" * 100), {1002}),
    "no mask": (lambda c: c.sendall(b"\x81\x02{}"), {1002}),
    "no UTF-8": (lambda c: c.sendall(masked(1, b"\xff\xfe")), {1007}),
    "too large": (lambda c: c.sendall(masked(1, b"", 17 * 2**20)), {1009}),
    "half closed": (lambda c: c.shutdown(socket.SHUT_WR), {None, 1006, 1000}),
    "large ping": (lambda c: c.sendall(masked(9, b"x" * 126)), {1002}),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_closes_that_socket_and_nothing_else(served: Served, name: str) -> None:
    attack, codes = VIOLATIONS[name]

    async def scene() -> None:
        async with calling(served) as neighbour:
            assert await violate(attack)(served) in codes
            await still_answers(neighbour)

    asyncio.run(scene())


def test_a_vanished_client_frees_its_place(served: Served) -> None:
    async def scene() -> None:
        before = served.house.slots.in_use
        for _ in range(5):
            connection = await asyncio.to_thread(raw, served)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        await until(lambda: served.house.slots.in_use == before)

    asyncio.run(scene())


def test_half_a_handshake_is_dropped(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(b"GET /v1/realtime HTTP/1.1\r\nHost")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_fifty_callers_at_once_are_admitted_or_refused() -> None:
    async def one(served: Served) -> str:
        try:
            async with calling(served) as caller:
                await caller.say(speech(0.3))
                await caller.until("response.done")
                return "admitted"
        except AssertionError:
            return "refused"

    async def scene() -> None:
        with serving({"teller": Teller}, lead_ms=60_000, limits=Limits(slots=7)) as full:
            results = await asyncio.gather(*(one(full) for _ in range(50)))
            await until(lambda: full.house.slots.in_use == 0)
            assert results.count("admitted") >= 7
            assert set(results) <= {"admitted", "refused"}

    asyncio.run(scene())


def test_the_caller_after_the_last_place_is_told_so() -> None:
    async def scene() -> None:
        with serving({"teller": Teller}, limits=Limits(slots=1)) as full:
            async with calling(full) as first:
                async with connecting(full) as second:
                    refused = await second.next()
                    assert refused["error"]["code"] == "session_limit_reached"
                    with pytest.raises(ConnectionClosed) as closed:
                        await second.next()
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code == 1013
                await still_answers(first)

    asyncio.run(scene())


@contextlib.asynccontextmanager
async def connecting(served: Served) -> AsyncIterator[Caller]:
    """A caller of whom nothing is known yet."""
    async with connect(served.realtime, compression=None) as socket:
        yield Caller(socket)


def test_a_client_that_never_reads_is_let_go_and_delays_nobody() -> None:
    """Replies are made no further than the unread part may grow; then the client is closed."""
    limits = Limits(blocked_write_s=0.3)
    teller = Teller(words=100_000)

    async def scene() -> None:
        with serving({"teller": lambda: teller}, lead_ms=10**9, limits=limits) as up:
            connection = await asyncio.to_thread(raw, up)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            item = {"type": "conversation.item.create", "item": said("x")}
            for event in (item, {"type": "response.create"}):
                connection.sendall(masked(1, json.dumps(event).encode()))
            async with calling(up) as neighbour:
                await still_answers(neighbour)
            await until(lambda: up.house.slots.in_use == 0)
            connection.close()
            closes = up.house.metrics.text().decode()
            assert 'duologue_closes_total{code="1013"} 1.0' in closes

    asyncio.run(scene())


def test_an_append_of_fifteen_megabytes_holds_nobody_up() -> None:
    """While minutes of sound are heard, another caller's turn is answered."""

    async def scene() -> None:
        with serving({"teller": Teller}, lead_ms=60_000) as up:
            async with calling(up) as giant, calling(up) as neighbour:
                await giant.send("input_audio_buffer.append", audio="AAAA" * (15 * 2**18))
                await neighbour.say(speech(0.3))
                await neighbour.until("response.done")
                await still_answers(giant)

    asyncio.run(scene())
