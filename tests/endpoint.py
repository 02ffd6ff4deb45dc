"""A small OpenAI-compatible endpoint on loopback, whose every answer the test decides."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


class Endpoint:
    """Keeps what it was asked. `deltas` is what the next chat completion streams; `pcm` what speech gives."""

    def __init__(self) -> None:
        self.deltas: list[dict[str, Any]] = []
        self.pcm = b""
        self.fails = False
        self.asked: list[Any] = []
        self.sent = 0
        self.base_url = ""

    async def chat(self, request: Request) -> Response:
        self.asked.append(await request.json())
        if self.fails:
            return JSONResponse({"error": {"message": "out of order"}}, 400)
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> Any:
        for delta in self.deltas:
            self.sent += 1
            row = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
            yield f"data: {json.dumps(row | {'choices': [{'index': 0, 'delta': delta}]})}\n\n"
        yield "data: [DONE]\n\n"

    async def speech(self, request: Request) -> Response:
        self.asked.append(await request.json())
        if self.fails:
            return JSONResponse({"error": {"message": "out of order"}}, 400)
        return Response(self.pcm, media_type="audio/pcm")

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        app = Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/audio/speech", self.speech, methods=["POST"]),
            ]
        )
        server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.should_exit = True
            thread.join()
