"""The files of the page, and the answers in JSON that are not pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from duologue.serve.events import EventError

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob:; worker-src 'self' blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def problem(status: int, error: EventError, **headers: str) -> JSONResponse:
    """An error as the answer to a request."""
    return JSONResponse({"error": error.to_json()}, status, headers)


class Page:
    """The files of the page, with headers that let it load nothing from elsewhere. Every other path ends here."""

    def __init__(self) -> None:
        self._files = StaticFiles(directory=str(files("duologue.serve") / "page"), html=True, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            nothing = EventError("not_found", "Conversations are at /v1/realtime and /v1/live.")
            await WebSocket(scope, receive, send).send_denial_response(problem(404, nothing))
            return
        await self._files(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    headers = [(name.lower().encode(), value.encode()) for name, value in PAGE_HEADERS.items()]

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return send_with_headers
