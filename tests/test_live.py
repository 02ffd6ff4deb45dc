"""Full duplex over the network: what a caller gets is what the session says, and no caller harms another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from duet import (
    FRAME_S,
    FRAME_SAMPLES,
    Duet,
    LiveCaller,
    Message,
    calling_live,
    directly,
    serving_duplex,
    speech,
    until,
)
from duologue.serve.house import Duplex
from duologue.serve.limits import Limits
from duologue.serve.live import Pace
from duologue.serve.server import app
from duologue.session import Audio, Said
from serving import Served, Teller, calling

KEY = "a-key-of-mine"
FRAME_BYTES = 2 * FRAME_SAMPLES


class Kept:
    """Makes sessions and remembers them."""

    def __init__(self, make: Any = Duet) -> None:
        self._make, self.sessions = make, list[Any]()

    def __call__(self) -> Any:
        self.sessions.append(self._make())
        return self.sessions[-1]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving_duplex({"duet": Duet}, limits=Limits(live_ahead_s=60)) as up:
        yield up


async def answers(served: Served, sound: bytes, chunks: list[bytes], query: str = "") -> list[Message]:
    """Everything that a caller gets for `sound`, sent in these chunks."""
    async with calling_live(served, query) as caller:
        await caller.say(chunks)
        got: list[Message] = []
        while sum(isinstance(message, bytes) for message in got) < len(sound) // FRAME_BYTES:
            got.append(await caller.next())
        for message in await caller.rest():
            assert isinstance(message, dict), "sound that answers to none"
            got.append({name: value for name, value in message.items() if name != "event_id"})
        return got


# ---------------------------------------------------------------- what is said

CONVERSATION = speech(0.3, 0.5, 0.2, 1.8, 0.01)


def test_the_caller_is_told_what_to_send(served: Served) -> None:
    async def scene() -> Message:
        async with connect(f"ws://127.0.0.1:{served.port}/v1/live") as socket:
            return await LiveCaller(socket).next()

    rates = {"heard_hz": 16_000, "said_hz": 24_000, "frame_ms": 40}
    assert asyncio.run(scene()) == {"type": "ready", "system": "duet", **rates}


def test_the_conversation_of_these_tests_has_everything_in_it() -> None:
    kinds = [m["kind"] for m in directly(Duet(), CONVERSATION) if isinstance(m, dict)]
    assert set(kinds) == {"turn", "heard", "wrote", "said", "stopped", "done"}


@settings(max_examples=12)
@given(st.lists(st.integers(0, len(CONVERSATION) // 2), max_size=12))
@example([])
@example(list(range(0, 4000, 100)))
def test_the_caller_gets_frame_for_frame_what_the_session_says_however_the_sound_is_cut(
    served: Served, cuts: list[int]
) -> None:
    edges = [0, *sorted(2 * cut for cut in cuts), len(CONVERSATION)]
    chunks = [CONVERSATION[start:end] for start, end in pairwise(edges)]
    assert asyncio.run(answers(served, CONVERSATION, chunks)) == directly(Duet(), CONVERSATION)


def test_two_callers_have_a_session_each(served: Served) -> None:
    sounds = [speech(0.4, 0.9, seed=1), speech(0.1, 0.6, seed=2)]

    async def scene() -> list[list[Message]]:
        return await asyncio.gather(*(answers(served, s, [s[:1000], s[1000:]]) for s in sounds))

    assert asyncio.run(scene()) == [directly(Duet(), sound) for sound in sounds]


def test_a_system_is_chosen_by_name() -> None:
    duplex: dict[str, Callable[[], Duet]] = {
        "high": lambda: Duet(pitch_hz=880),
        "low": lambda: Duet(said_hz=16_000, pitch_hz=220),
    }
    sound = speech(0.1, 0.6)

    async def refused(served: Served, query: str) -> str:
        async with connect(f"ws://127.0.0.1:{served.port}/v1/live{query}") as socket:
            ended, [error] = await closing(LiveCaller(socket))
            assert (ended, error["code"]) == (1008, "system_not_found")
            message: str = error["message"]
            return message

    async def scene() -> None:
        with serving_duplex(duplex) as served:
            for name, make in duplex.items():
                assert await answers(served, sound, [sound], f"?system={name}") == directly(make(), sound)
            assert "ask for high or low" in await refused(served, "")
            assert "'middle'" in await refused(served, "?system=middle")

    asyncio.run(scene())


# ---------------------------------------------------------------- what is sent by mistake


BAD: dict[str, tuple[str | bytes, str]] = {
    "half a sample": (b"\0" * 1281, "1281 bytes are no whole number of samples"),
    "no JSON": ("{", "not JSON"),
    "a list": ("[]", 'JSON object with a string "type"'),
    "no type": ("{}", 'JSON object with a string "type"'),
    "an event of the other protocol": ('{"type": "response.create"}', "no message 'response.create'"),
    "too long": (bytes(61 * 32_000), "One message holds 60 s"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_clear_error_and_the_call_goes_on(served: Served, name: str) -> None:
    message, words = BAD[name]

    async def scene() -> None:
        async with calling_live(served) as caller:
            await caller.socket.send(CONVERSATION[:1000])
            await caller.socket.send(message)
            error = await caller.told("error")
            assert set(error) == {"type", "code", "message"}
            assert words in error["message"]
            await caller.socket.send(CONVERSATION[1000:])
            rest = [m for m in await caller.rest() if isinstance(m, bytes)]
            assert rest == [m for m in directly(Duet(), CONVERSATION) if isinstance(m, bytes)]

    asyncio.run(scene())


# ---------------------------------------------------------------- how a call ends


async def closing(caller: LiveCaller) -> tuple[int, list[dict[str, Any]]]:
    """The close code, and the events until then."""
    told: list[dict[str, Any]] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            message = await caller.next()
            told += [message] if isinstance(message, dict) else []
    assert caller.socket.close_code is not None
    return caller.socket.close_code, told


def test_whoever_closes_gets_the_answer_to_what_was_sent_first() -> None:
    async def scene() -> None:
        with serving_duplex({"duet": (kept := Kept())}, limits=Limits(live_ahead_s=60)) as served:
            async with calling_live(served) as caller:
                await caller.socket.send(CONVERSATION)
                rest = await caller.rest()
                assert [m for m in rest if isinstance(m, bytes)] == [
                    m for m in directly(Duet(), CONVERSATION) if isinstance(m, bytes)
                ]
                assert caller.socket.close_code == 1000
            await until(lambda: kept.sessions[0].closed == 1 and served.house.slots.in_use == 0)

    asyncio.run(scene())


def test_the_session_is_closed_when_the_caller_is_gone() -> None:
    async def scene() -> None:
        with serving_duplex({"duet": (kept := Kept())}) as served:
            async with calling_live(served) as caller:
                await caller.socket.send(CONVERSATION[:5000])
            async with calling_live(served) as caller:
                await caller.socket.send(CONVERSATION)
                caller.socket.transport.abort()
            await until(lambda: [session.closed for session in kept.sessions] == [1, 1])
            await until(lambda: served.house.slots.in_use == 0)
            assert not served.house.at_work
            assert not served.house.outboxes
            assert 'input"} 0.0' in served.house.metrics_text().decode()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("limits", "code", "status"),
    [
        (Limits(idle_s=0.2), "idle_timeout", 1008),
        (Limits(session_s=0.2), "session_expired", 1001),
    ],
)
def test_a_call_ends_in_time(limits: Limits, code: str, status: int) -> None:
    async def scene() -> None:
        with serving_duplex({"duet": (kept := Kept())}, limits=limits) as served:
            async with calling_live(served) as caller:
                ended, [error] = await closing(caller)
                assert (ended, error["code"]) == (status, code)
            await until(lambda: kept.sessions[0].closed == 1)

    asyncio.run(scene())


def test_a_server_that_stops_says_so() -> None:
    async def scene() -> None:
        with serving_duplex({"duet": Duet}) as served:
            async with calling_live(served) as caller:
                served.house.drain()
                ended, [error] = await closing(caller)
                assert (ended, error["code"]) == (1012, "server_draining")

    asyncio.run(scene())


# ---------------------------------------------------------------- no caller harms another


class Broken(Duet):
    """Fails in its third frame, in the way of `how`."""

    how: str | BaseException = ""

    def step(self, heard: Audio) -> Said:
        said = super().step(heard)
        if self._frames < 3:
            return said
        if isinstance(self.how, BaseException):
            raise self.how
        return Said(said.audio[1:] if self.how == "short" else said.audio * np.float32(np.nan))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (KeyError("no such unit"), "KeyError: 'no such unit'"),
        (StopIteration("no more units"), "no more units"),
        (SystemExit("a library gives up"), "a library gives up"),
        ("short", "[959] samples"),
        ("not a number", "finite"),
    ],
)
def test_a_session_that_fails_ends_its_own_call_alone(how: str | BaseException, words: str) -> None:
    def broken() -> Broken:
        session = Broken()
        session.how = how
        return session

    async def scene() -> None:
        kept = Kept(broken)
        duplex: Duplex = {"duet": Duet, "broken": kept}
        with serving_duplex(duplex, limits=Limits(live_ahead_s=60)) as served:
            async with (
                calling_live(served, "?system=broken") as caller,
                calling_live(served, "?system=duet") as other,
            ):
                await caller.socket.send(bytes(20 * FRAME_BYTES))
                status, told = await closing(caller)
                assert (status, told[-1]["code"]) == (1011, "internal_error")
                assert "broken failed" in told[-1]["message"]
                assert words in told[-1]["message"]
                await until(lambda: kept.sessions[0].closed == 1)
                await other.socket.send(CONVERSATION)
                rest = [m for m in await other.rest() if isinstance(m, bytes)]
                assert rest == [m for m in directly(Duet(), CONVERSATION) if isinstance(m, bytes)]

    asyncio.run(scene())


def test_a_system_that_cannot_be_started_says_why() -> None:
    def broken() -> Duet:
        raise OSError("no weights")

    async def scene() -> None:
        with serving_duplex({"broken": broken}) as served:
            async with connect(f"ws://127.0.0.1:{served.port}/v1/live") as socket:
                status, [error] = await closing(LiveCaller(socket))
                assert (status, error["message"]) == (1011, "broken could not be started: no weights")

    asyncio.run(scene())


class Stuck(Duet):
    """Does not come back from its second step until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def step(self, heard: Audio) -> Said:
        said = super().step(heard)
        if self._frames == 2:
            assert self.go_on.wait(10)
        return said


def waiting_ms(served: Served) -> float:
    """The sound that waits to be heard, as the metrics tell it."""
    lines = served.house.metrics_text().decode().splitlines()
    [value] = [line.split()[-1] for line in lines if line.startswith('duologue_queue_ms{direction="input"}')]
    return float(value)


def test_a_session_that_hangs_holds_up_nobody_and_little_waits_for_it() -> None:
    limits = Limits(live_ahead_s=0.8, stuck_s=0.1)
    sound = speech(*[0.4, 0.6] * 30)

    async def scene() -> None:
        with serving_duplex({"duet": Duet, "stuck": (kept := Kept(Stuck))}, limits=limits) as served:
            async with calling_live(served, "?system=stuck") as caller:
                chunks = [sound[start : start + 32_000] for start in range(0, len(sound), 32_000)]
                sending = asyncio.create_task(caller.say(chunks))
                await until(lambda: waiting_ms(served) == 800)
                async with calling_live(served, "?system=duet") as other:
                    short = speech(0.1, 0.6)
                    await other.socket.send(short)
                    rest = [m for m in await other.rest() if isinstance(m, bytes)]
                    assert rest == [m for m in directly(Duet(), short) if isinstance(m, bytes)]
                assert waiting_ms(served) == 800
                await until(lambda: served.house.status == "stuck")
                kept.sessions[0].go_on.set()
                assert (await caller.told("event"))["kind"] == "turn"
                assert served.house.status == "ok"
                sending.cancel()
                caller.socket.transport.abort()
            await until(lambda: kept.sessions[0].closed == 1)

    asyncio.run(scene())


def test_a_session_that_hangs_keeps_its_place_until_it_is_closed() -> None:
    async def scene() -> None:
        with serving_duplex({"stuck": (kept := Kept(Stuck))}) as served:
            async with calling_live(served) as caller:
                await caller.socket.send(bytes(5 * FRAME_BYTES))
                await until(lambda: kept.sessions[0]._frames == 2)
            await asyncio.sleep(0.05)
            assert (kept.sessions[0].closed, served.house.slots.in_use) == (0, 1)
            kept.sessions[0].go_on.set()
            await until(lambda: kept.sessions[0].closed == 1 and served.house.slots.in_use == 0)
            assert kept.sessions[0]._frames == 2, "what waited is not heard any more"

    asyncio.run(scene())


def test_a_client_that_does_not_read_is_dropped_and_little_waits_for_it() -> None:
    limits = Limits(live_ahead_s=60, blocked_write_s=0.2, unsent_audio_ms=400)
    unsent_ms = [0.0]

    def gone(served: Served, session: Duet) -> bool:
        unsent_ms.extend(outbox.unsent_audio_ms for outbox in list(served.house.outboxes))
        return session.closed == 1

    async def scene() -> None:
        kept = Kept(lambda: Duet(said_hz=2_400_000))
        with serving_duplex({"vast": kept}, limits=limits) as served:
            small = socket.create_connection(("127.0.0.1", served.port))
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            async with calling_live(served, sock=small, max_queue=1) as caller:
                await caller.socket.send(bytes(1000 * FRAME_BYTES))
                await until(lambda: gone(served, kept.sessions[0]))
                told = served.house.metrics_text().decode()
                assert 'duologue_errors_total{code="slow_consumer"} 1.0' in told
                caller.socket.transport.abort()

    asyncio.run(scene())
    assert 400 <= max(unsent_ms) <= 440 + 1e-6


def test_who_sends_all_at_once_is_heard_at_the_speed_of_time() -> None:
    async def scene() -> float:
        with serving_duplex({"duet": Duet}, limits=Limits(live_ahead_s=0.2)) as served:
            async with calling_live(served) as caller:
                began_s = time.monotonic()
                await caller.socket.send(bytes(25 * FRAME_BYTES))
                for _ in range(25):
                    assert isinstance(await caller.next(), bytes)
                return time.monotonic() - began_s

    assert asyncio.run(scene()) >= 24 * FRAME_S - 0.2


@settings(max_examples=30)
@given(st.lists(st.floats(0, 5), max_size=12), st.sampled_from([0.0, 0.5, 2.0]))
def test_nobody_is_further_ahead_of_the_clock_than_allowed(pauses_s: list[float], ahead_s: float) -> None:
    now_s = 100.0
    pace = Pace(FRAME_S, ahead_s, lambda: now_s)
    heard_at_s: list[float] = []
    for pause_s in pauses_s:
        for _ in range(60):
            now_s += pace.wait_s()
            heard_at_s.append(now_s)
        now_s += pause_s
    for first, began_s in enumerate(heard_at_s):
        for count, at_s in enumerate(heard_at_s[first:], start=1):
            assert count * FRAME_S <= at_s - began_s + ahead_s + FRAME_S + 1e-6


def test_who_is_in_time_never_waits() -> None:
    now_s = 0.0
    pace = Pace(FRAME_S, 0.0, lambda: now_s)
    for _ in range(100):
        now_s += FRAME_S
        assert pace.wait_s() < 1e-9


# ---------------------------------------------------------------- who may


def status(served: Served, **options: Any) -> int:
    """The HTTP status with which a call is refused before the upgrade."""

    async def scene() -> int:
        with pytest.raises(InvalidStatus) as refused:
            async with calling_live(served, **options):
                pass
        return refused.value.response.status_code

    return asyncio.run(scene())


def test_a_key_opens_and_nothing_else() -> None:
    async def shown(served: Served, **options: Any) -> None:
        async with calling_live(served, **options):
            pass

    with serving_duplex({"duet": Duet}, keys=(KEY,)) as served:
        assert status(served) == 401
        assert status(served, additional_headers={"Authorization": "Bearer wrong"}) == 401
        asyncio.run(shown(served, additional_headers={"Authorization": f"Bearer {KEY}"}))
        browser = [Subprotocol("live"), Subprotocol(f"openai-insecure-api-key.{KEY}")]
        asyncio.run(shown(served, subprotocols=browser, origin="https://elsewhere.example"))


def test_pages_from_elsewhere_may_not_talk_to_a_server_without_keys(served: Served) -> None:
    assert status(served, origin="https://elsewhere.example") == 403


def test_places_are_shared_with_those_who_take_turns() -> None:
    async def scene() -> None:
        with serving_duplex({"duet": Duet}, {"teller": Teller}, limits=Limits(slots=2)) as served:
            third = connect(f"ws://127.0.0.1:{served.port}/v1/live")
            async with calling_live(served), calling(served), third as socket:
                ended, [error] = await closing(LiveCaller(socket))
                assert (ended, error["code"]) == (1013, "session_limit_reached")
            await until(lambda: served.house.slots.in_use == 0)
            async with calling_live(served):
                pass

    asyncio.run(scene())


# ---------------------------------------------------------------- what is told to whoever watches


def test_what_is_served_is_listed() -> None:
    async def scene() -> None:
        with serving_duplex({"duet": Duet}, {"teller": Teller}) as served:
            async with httpx.AsyncClient(base_url=served.http) as client, calling_live(served) as caller:
                await caller.socket.send(bytes(3 * FRAME_BYTES))
                for _ in range(3):
                    await caller.next()
                health = (await client.get("/health")).json()
                assert (health["model"], health["duplex"]) == ("teller", ["duet"])
                assert health["sessions"]["in_use"] == 1
                models = (await client.get("/v1/models")).json()["data"]
                assert [(m["id"], m.get("duplex", False)) for m in models] == [
                    ("teller", False),
                    ("duet", True),
                ]
                metrics = (await client.get("/metrics")).text
                assert 'duologue_sessions{protocol="live"} 1.0' in metrics
                assert 'duologue_admissions_total{protocol="live",result="admitted"} 1.0' in metrics
                assert "duologue_step_seconds_count 3.0" in metrics

    asyncio.run(scene())


def test_turns_are_taken_elsewhere() -> None:
    async def refused(served: Served, query: str) -> str:
        async with connect(served.realtime + query) as socket:
            message: str = json.loads(await socket.recv())["error"]["message"]
            return message

    with serving_duplex({"duet": Duet}, {"teller": Teller}) as served:
        assert "/v1/live?system=NAME" in asyncio.run(refused(served, "?model=duet"))
    with serving_duplex({"duet": Duet}) as served:
        assert "/v1/live?system=NAME" in asyncio.run(refused(served, ""))
        assert httpx.post(f"{served.http}/v1/realtime/client_secrets").status_code == 400
        assert httpx.get(f"{served.http}/health").json()["model"] == "duet"


def test_a_name_means_one_system() -> None:
    with pytest.raises(ValueError, match="two systems are called 'duet'"):
        app({"duet": Teller}, duplex={"duet": Duet})
