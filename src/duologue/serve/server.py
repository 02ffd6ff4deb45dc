"""The server: every route on one port, from the page to the protocol, until it is told to stop.

GET  /                            the page
WS   /v1/realtime?model=NAME      a conversation in turns
WS   /v1/live?system=NAME         a conversation in full duplex
GET  /v1/models                   what is served
POST /v1/realtime/client_secrets  a short-lived key with a configuration of its own
GET  /health, /metrics            for whoever watches
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from duologue import __version__
from duologue.serve.access import is_own_page, shown_key
from duologue.serve.ahead import Ahead
from duologue.serve.configuration import DEFAULT_VOICE, Configuration
from duologue.serve.connection import Connection, refuse
from duologue.serve.conversation import new_id
from duologue.serve.events import EventError, read_session_request
from duologue.serve.house import Duplex, House, ServeConfig, Systems
from duologue.serve.live import converse
from duologue.serve.outbox import LiveOutbox, Outbox
from duologue.serve.realtime import Realtime
from duologue.serve.static import Page, problem
from duologue.serve.uvicorn_server import DrainingServer
from duologue.session import TurnTaker

__all__ = ["ServeConfig", "app", "serve"]

_M_MMAP_THRESHOLD = -3
_BODY_BYTES = 2**20
_BODY_S = 10.0


def app(systems: Systems, config: ServeConfig | None = None, duplex: Duplex | None = None) -> Starlette:
    """The application that serves `systems`, which take turns, and `duplex`, which hear while they speak: by name,
    what makes one for a caller."""
    house = House(systems, config or ServeConfig(), duplex)
    routes = Routes(house)
    application = Starlette(
        routes=[
            Route("/health", routes.health),
            Route("/metrics", routes.metrics),
            Route("/v1/models", routes.models),
            Route("/v1/realtime/client_secrets", routes.client_secrets, methods=["POST"]),
            Route("/v1/realtime/calls", routes.not_served, methods=["POST"]),
            Route("/v1/live/sessions", routes.not_served, methods=["POST"]),
            WebSocketRoute("/v1/realtime", routes.realtime),
            WebSocketRoute("/v1/live", routes.live),
            Mount("/", Page()),
        ]
    )
    application.state.house = house
    return application


def serve(systems: Systems, config: ServeConfig | None = None, duplex: Duplex | None = None) -> int:
    """Serve until a signal says stop; the exit code. Raises ValueError for an address that others can reach
    when no key is set."""
    config = config or ServeConfig()
    if not config.is_local and not config.keys:
        raise ValueError(
            f"refusing to listen on {config.host} without a key: anybody there could talk to this server; "
            "give a key, or listen on 127.0.0.1"
        )
    _return_huge_messages()
    application = app(systems, config, duplex)
    return DrainingServer(application, application.state.house).serve_until_stopped()


def _return_huge_messages() -> None:
    """Let glibc give the memory of huge messages back to the system at once; left to itself it keeps more and more."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)


# ---------------------------------------------------------------- the routes


class Routes:
    """What each path answers."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._began_s = int(time.time())

    async def health(self, request: Request) -> Response:
        status = self._house.status
        slots = self._house.slots
        body: dict[str, Any] = {
            "status": status,
            "model": next(iter({**self._house.systems, **self._house.duplex})),
            "version": __version__,
            "sessions": {"in_use": slots.in_use, "size": slots.size},
        }
        if self._house.duplex:
            body["duplex"] = list(self._house.duplex)
        return JSONResponse(body, 200 if status == "ok" else 503)

    async def metrics(self, request: Request) -> Response:
        if not self._house.config.is_local and (refusal := self._refusal(request)):
            return refusal
        return Response(self._house.metrics_text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        plain = {"object": "model", "created": self._began_s, "owned_by": "duologue"}
        shown = [{"id": name} | plain for name in self._house.systems]
        shown += [{"id": name} | plain | {"duplex": True} for name in self._house.duplex]
        return JSONResponse({"object": "list", "data": shown})

    async def client_secrets(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        try:
            model = self._house.model(None)
            asked = read_session_request(await _body(request))
            configuration = self._configuration(request, None, model).updated(asked.session, self._house.limits)
        except EventError as error:
            return problem(400, error)
        value, expires_at = self._house.secrets.make(asked.session, asked.expires_after.seconds)
        session = configuration.to_json(new_id("sess"), expires_at)
        return JSONResponse({"value": value, "expires_at": expires_at, "session": session})

    async def not_served(self, request: Request) -> Response:
        error = EventError("unsupported", "WebRTC is not served here; connect a WebSocket to /v1/realtime.")
        return problem(501, error)

    # ------------------------------------------------ a conversation

    async def realtime(self, socket: WebSocket) -> None:
        """A conversation in turns."""
        outbox = Outbox(socket.send_text, self._house.limits)
        choose = partial(self._house.model, socket.query_params.get("model"))
        await self._receive(socket, "realtime", outbox, choose, partial(self._in_turns, socket, outbox))

    async def live(self, socket: WebSocket) -> None:
        """A conversation in full duplex."""
        outbox = LiveOutbox(socket.send_text, socket.send_bytes, self._house.limits)
        choose = partial(self._house.duplex_system, socket.query_params.get("system"))
        await self._receive(socket, "live", outbox, choose, partial(converse, socket, self._house, outbox))

    async def _receive(
        self,
        socket: WebSocket,
        protocol: str,
        outbox: Outbox,
        choose: Callable[[], str],
        talk: Callable[[str], Awaitable[int]],
    ) -> None:
        """Upgrade, or refuse before the upgrade; then let the caller `talk` to what it may `choose`, until the end."""
        metrics = self._house.metrics
        if refusal := self._draining() or self._refusal(socket):
            metrics.admissions.labels(protocol, "refused").inc()
            await socket.send_denial_response(refusal)
            return
        await socket.accept(protocol if protocol in socket.scope["subprotocols"] else None)
        if not self._house.slots.take():
            full = EventError("session_limit_reached", "All places are taken; try again later.")
            await self._turn_away(socket, protocol, outbox, 1013, full)
            return
        try:
            name = choose()
        except EventError as error:
            await self._turn_away(socket, protocol, outbox, 1008, error)
        else:
            await self._count(protocol, talk(name))
        finally:
            self._house.slots.free()

    async def _count(self, protocol: str, talk: Awaitable[int]) -> None:
        metrics, began_s = self._house.metrics, time.monotonic()
        metrics.admissions.labels(protocol, "admitted").inc()
        with metrics.sessions.labels(protocol).track_inprogress():
            code = await talk
        metrics.closes.labels(str(code)).inc()
        metrics.session_seconds.observe(time.monotonic() - began_s)

    async def _in_turns(self, socket: WebSocket, outbox: Outbox, model: str) -> int:
        """Make a system for the caller, in a thread, and let them talk."""
        try:
            system = await asyncio.to_thread(self._house.systems[model])
        except Exception as error:
            failed = EventError("internal_error", f"{model} could not be started: {error}")
            return await refuse(socket, self._house, outbox, 1011, failed)
        ahead = Ahead(system)
        self._house.at_work.add(ahead)
        try:
            configuration = self._configuration(socket, system, model)
            realtime = Realtime(self._house, ahead, configuration, outbox)
            return await Connection(socket, self._house, outbox, realtime).run()
        finally:
            self._house.at_work.discard(ahead)

    async def _turn_away(self, socket: WebSocket, protocol: str, outbox: Outbox, code: int, error: EventError) -> None:
        self._house.metrics.admissions.labels(protocol, error.code).inc()
        self._house.metrics.closes.labels(str(await refuse(socket, self._house, outbox, code, error))).inc()

    # ------------------------------------------------ who may

    def _draining(self) -> Response | None:
        if not self._house.draining:
            return None
        wait = EventError("server_draining", "The server restarts; try again soon.")
        return problem(503, wait, **{"Retry-After": "30"})

    def _refusal(self, caller: HTTPConnection) -> Response | None:
        """Why this caller may not: a page from elsewhere, or no key."""
        if not self._house.keys and not is_own_page(caller.headers):
            foreign = EventError("foreign_origin", "Without a key, only this server's own page may talk to it.")
            return problem(403, foreign)
        if not self._house.admits(_key_of(caller)):
            missing = EventError("unauthorized", "Show a key: Authorization: Bearer KEY.")
            return problem(401, missing, **{"WWW-Authenticate": "Bearer"})
        return None

    def _configuration(self, caller: HTTPConnection, system: TurnTaker | None, model: str) -> Configuration:
        """What a session begins with: the defaults, and what the caller's secret was made for."""
        voices = tuple(getattr(system, "voices", ())) or (DEFAULT_VOICE,)
        plain = Configuration(model, voices)
        asked = self._house.secrets.find(_key_of(caller))
        return plain if asked is None else plain.updated(asked, self._house.limits)


def _key_of(caller: HTTPConnection) -> str | None:
    return shown_key(caller.headers, caller.scope.get("subprotocols", ()))


async def _body(request: Request) -> bytes:
    """The body, if it is short and comes in time."""
    body = b""
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _BODY_BYTES:
                    raise EventError("invalid_value", f"A body holds {_BODY_BYTES} bytes.")
    except TimeoutError:
        raise EventError("invalid_value", f"The body did not come within {_BODY_S:g} s.") from None
    return body
