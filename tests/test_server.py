"""The server around the conversations: who may, what is told to whoever watches, and how it stops."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from duologue import __version__
from duologue.serve.access import Keys, Secrets, is_loopback, is_own_page
from duologue.serve.limits import Limits
from duologue.serve.server import ServeConfig, app, serve
from duologue.session import Heard
from serving import Caller, Served, Teller, calling, serving, speech

KEY = "a-key-of-mine"

INSTRUMENTS = [
    "duologue_slots",
    "duologue_admissions_total",
    "duologue_closes_total",
    "duologue_errors_total",
    "duologue_session_seconds",
    "duologue_step_seconds",
    "duologue_step_budget_seconds",
    "duologue_late_steps_total",
    "duologue_stop_seconds",
    "duologue_input_dropped_ms_total",
    "duologue_output_dropped_ms_total",
    "duologue_queue_ms",
]


@pytest.fixture(scope="module")
def open_house() -> Iterator[Served]:
    with serving({"first": Teller, "second": Teller}, lead_ms=60_000) as served:
        yield served


@pytest.fixture(scope="module")
def locked_house() -> Iterator[Served]:
    with serving({"teller": Teller}, keys=(KEY, "another"), lead_ms=60_000) as served:
        yield served


def call(served: Served, query: str = "", **options: Any) -> dict[str, Any]:
    """The session of a call that is ended at once."""

    async def scene() -> dict[str, Any]:
        async with calling(served, query, **options) as caller:
            session: dict[str, Any] = caller.events[0]["session"]
            return session

    return asyncio.run(scene())


def refusal(served: Served, **options: Any) -> int:
    """The HTTP status with which a call is refused before the upgrade."""
    with pytest.raises(InvalidStatus) as refused:
        call(served, **options)
    return refused.value.response.status_code


# ---------------------------------------------------------------- watching


def test_health_and_metrics(open_house: Served) -> None:
    async def scene() -> None:
        async with httpx.AsyncClient(base_url=open_house.http) as client, calling(open_house) as caller:
            await caller.say(speech(0.3))
            await caller.until("response.done")
            health = await client.get("/health")
            assert health.status_code == 200
            assert health.json() == {
                "status": "ok",
                "model": "first",
                "version": __version__,
                "sessions": {"in_use": 1, "size": 16},
            }
            metrics = (await client.get("/metrics")).text
            assert 'duologue_sessions{protocol="realtime"} 1.0' in metrics
            assert 'duologue_first_audio_seconds_count{from="speech"} 1.0' in metrics
            for name in INSTRUMENTS:
                assert name in metrics

    asyncio.run(scene())


def test_two_servers_count_apart(open_house: Served, locked_house: Served) -> None:
    assert open_house.house.metrics is not locked_house.house.metrics


def test_a_system_that_does_not_move_is_seen() -> None:
    class Stuck:
        said_hz = 24_000

        def reply(self, turn: Any) -> Any:
            yield Heard("x")
            time.sleep(0.5)

    async def scene() -> None:
        with serving({"stuck": Stuck}, limits=Limits(stuck_s=0.1)) as served:
            async with httpx.AsyncClient(base_url=served.http) as client, calling(served) as caller:
                await caller.say(speech(0.3))
                await caller.until("response.created")
                while (health := await client.get("/health")).status_code == 200:
                    await asyncio.sleep(0.02)
                assert health.json()["status"] == "stuck"
                await caller.until("response.done")
                assert (await client.get("/health")).json()["status"] == "ok"

    asyncio.run(scene())


# ---------------------------------------------------------------- models and pages


def test_models(open_house: Served) -> None:
    models = httpx.get(f"{open_house.http}/v1/models").json()
    assert models["object"] == "list"
    assert [(model["id"], model["object"]) for model in models["data"]] == [("first", "model"), ("second", "model")]


def test_the_model_that_is_asked_for_is_served(open_house: Served, locked_house: Served) -> None:
    assert call(open_house)["model"] == "first"
    assert call(open_house, "?model=second")["model"] == "second"
    key = {"Authorization": f"Bearer {KEY}"}
    assert call(locked_house, "?model=whatever", additional_headers=key)["model"] == "teller"


def test_an_unknown_model_among_several_is_an_error(open_house: Served) -> None:
    async def scene() -> None:
        async with connect(f"{open_house.realtime}?model=third") as socket:
            caller = Caller(socket)
            assert (await caller.next())["error"]["code"] == "model_not_found"
            with pytest.raises(ConnectionClosed) as closed:
                await caller.next()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008

    asyncio.run(scene())


def test_the_page_loads_nothing_from_elsewhere(open_house: Served) -> None:
    page = httpx.get(f"{open_house.http}/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    if (Path(__file__).parent.parent / "src/duologue/serve/page/index.html").exists():
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/../server.py", 404),
        ("DELETE", "/v1/models", 405),
        ("POST", "/v1/realtime/calls", 501),
        ("POST", "/v1/live/sessions", 501),
    ],
)
def test_other_paths_and_methods(open_house: Served, method: str, path: str, status: int) -> None:
    assert httpx.request(method, open_house.http + path).status_code == status


def test_there_are_no_conversations_elsewhere(open_house: Served) -> None:
    async def scene() -> int:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{open_house.port}/v1/elsewhere")
        return refused.value.response.status_code

    assert asyncio.run(scene()) == 404


# ---------------------------------------------------------------- who may


def test_a_key_opens_and_nothing_else(locked_house: Served) -> None:
    assert call(locked_house, additional_headers={"Authorization": f"Bearer {KEY}"})
    assert refusal(locked_house) == 401
    assert refusal(locked_house, additional_headers={"Authorization": "Bearer wrong"}) == 401
    assert httpx.get(f"{locked_house.http}/v1/models").status_code == 401
    assert httpx.get(f"{locked_house.http}/health").status_code == 200


def test_counters_are_told_to_other_machines_only_for_a_key() -> None:
    application = app({"teller": Teller}, ServeConfig(host="0.0.0.0", keys=(KEY,)))

    async def statuses() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://x") as client:
            key = {"Authorization": f"Bearer {KEY}"}
            return [(await client.get("/metrics", headers=headers)).status_code for headers in ({}, key)]

    assert asyncio.run(statuses()) == [401, 200]


def test_a_browser_shows_its_key_as_a_subprotocol(locked_house: Served) -> None:
    offered = [Subprotocol(name) for name in ("realtime", f"openai-insecure-api-key.{KEY}", "openai-agents-sdk.0.20")]

    async def scene() -> str | None:
        async with connect(locked_house.realtime, subprotocols=offered) as socket:
            return socket.subprotocol

    assert asyncio.run(scene()) == "realtime"


def test_pages_from_elsewhere_may_not_talk_to_a_server_without_keys(open_house: Served) -> None:
    own = f"http://127.0.0.1:{open_house.port}"
    assert call(open_house, additional_headers={"Origin": own})
    for foreign in ("https://example.org", f"http://127.0.0.1:{open_house.port + 1}", "null"):
        assert refusal(open_house, additional_headers={"Origin": foreign}) == 403
        assert httpx.get(f"{open_house.http}/v1/models", headers={"Origin": foreign}).status_code == 403


def test_a_foreign_name_for_this_machine_is_foreign() -> None:
    assert is_own_page({"origin": "http://localhost:8765", "host": "localhost:8765"})
    assert not is_own_page({"origin": "http://evil.example:8765", "host": "evil.example:8765"})


def test_secrets_open_sessions_with_their_own_beginning(locked_house: Served) -> None:
    session = {"type": "realtime", "instructions": "Be kind.", "audio": {"input": {"turn_detection": None}}}
    body = {"session": session, "expires_after": {"anchor": "created_at", "seconds": 60}}
    asked = f"{locked_house.http}/v1/realtime/client_secrets"
    assert httpx.post(asked, json=body).status_code == 401
    secret = httpx.post(asked, json=body, headers={"Authorization": f"Bearer {KEY}"}).json()
    assert secret["value"].startswith("ek_")
    assert 50 < secret["expires_at"] - time.time() < 61
    assert secret["session"]["instructions"] == "Be kind."
    for _ in range(2):
        opened = call(locked_house, additional_headers={"Authorization": f"Bearer {secret['value']}"})
        assert opened["instructions"] == "Be kind."
        assert opened["audio"]["input"]["turn_detection"] is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "invalid_json"),
        ('{"session": {"type": "realtime", "mood": 1}}', "unknown_parameter"),
        ('{"expires_after": {"anchor": "created_at", "seconds": 5}}', "invalid_value"),
    ],
)
def test_a_bad_request_for_a_secret(open_house: Served, body: str, code: str) -> None:
    answer = httpx.post(f"{open_house.http}/v1/realtime/client_secrets", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code


def test_secrets_expire() -> None:
    now = 1000.0
    secrets: Secrets[str] = Secrets(lambda: now)
    value, expires_at = secrets.make("held", 10)
    assert expires_at == 1010
    assert secrets.find(value) == "held"
    now = 1010.0
    assert secrets.find(value) is None


def test_keys() -> None:
    keys = Keys(["one", "two"])
    assert [keys.accept(key) for key in ("one", "two", "three", "", None)] == [True, True, False, False, False]
    with pytest.raises(ValueError, match="a key may hold"):
        ServeConfig(keys=("two words",))


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("my.pc", False)],
)
def test_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) == local


def test_other_machines_are_not_served_without_a_key() -> None:
    with pytest.raises(ValueError, match="give a key"):
        serve({"teller": Teller}, ServeConfig(host="0.0.0.0"))


def test_there_has_to_be_something_to_serve() -> None:
    with pytest.raises(ValueError, match="at least one system"):
        app({})


# ---------------------------------------------------------------- the ends of sessions


@pytest.mark.parametrize(
    ("limits", "code", "status"),
    [
        (Limits(idle_s=0.2), "idle_timeout", 1008),
        (Limits(session_s=0.2), "session_expired", 1001),
    ],
)
def test_a_session_ends_in_time(limits: Limits, code: str, status: int) -> None:
    async def scene() -> None:
        with serving({"teller": Teller}, limits=limits) as served:
            async with calling(served) as caller:
                assert (await caller.next())["error"]["code"] == code
                with pytest.raises(ConnectionClosed) as closed:
                    await caller.next()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == status

    asyncio.run(scene())


def test_a_system_that_cannot_be_started_ends_that_session_only() -> None:
    def broken() -> Teller:
        raise OSError("no weights")

    async def scene() -> None:
        with serving({"broken": broken, "teller": Teller}) as served:
            async with connect(f"{served.realtime}?model=broken") as socket:
                error = (await Caller(socket).next())["error"]
                assert "no weights" in error["message"]
            async with calling(served, "?model=teller"):
                pass

    asyncio.run(scene())


async def read_on(caller: Caller) -> None:
    while True:
        await caller.next()


SERVER = """
import sys
sys.path.insert(0, {tests!r})
from scripted import LevelVad
from serving import Teller
from duologue.serve.server import ServeConfig, serve
from duologue.serve.limits import Limits
config = ServeConfig(port=0, vad=LevelVad(), limits=Limits(drain_s={drain_s}), lead_ms=100)
sys.exit(serve({{"teller": lambda: Teller(words={words})}}, config))
"""


@pytest.mark.parametrize(("words", "drain_s"), [(10, 30), (10_000, 0.5)])
def test_a_stopped_server_lets_replies_end_but_does_not_wait_for_ever(words: int, drain_s: float) -> None:
    """On SIGTERM: not healthy, no new callers, idle callers go at once, replies may end; exit code 0."""

    async def scene(port: int) -> None:
        served = Served(None, port)  # type: ignore[arg-type]
        async with calling(served) as idle, calling(served) as talker:
            await talker.say(speech(0.3))
            await talker.until("response.output_audio.delta")
            os.kill(server.pid, signal.SIGTERM)
            assert (await idle.next())["error"]["code"] == "server_draining"
            async with httpx.AsyncClient(base_url=served.http) as client:
                health = await client.get("/health")
                assert (health.status_code, health.json()["status"]) == (503, "draining")
            with pytest.raises(InvalidStatus) as refused:
                await connect(served.realtime)
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"]
            with pytest.raises(ConnectionClosed) as closed:
                await read_on(talker)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            ended = [event["response"]["status"] for event in talker.events if event["type"] == "response.done"]
            assert ended == (["completed"] if words == 10 else [])

    code = SERVER.format(tests=str(Path(__file__).parent), drain_s=drain_s, words=words)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            asyncio.run(scene(int(address.rstrip("/").rsplit(":", 1)[1])))
            assert server.wait(timeout=10) == 0
        finally:
            server.kill()
