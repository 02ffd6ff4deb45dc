"""A thread that works for one caller: one thing at a time, in the order in which they were asked for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

Done = TypeVar("Done")


class Worker:
    """What hangs in it holds up its own caller alone, and not the end of the process."""

    def __init__(self, name: str) -> None:
        self.moved_at_s = time.monotonic()
        """When it last began or finished something."""
        self.busy = False
        """Whether it is at work."""
        self._asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def do(self, work: Callable[[], Done]) -> Done:
        """What `work` gives, or raises, in the thread. Work that has begun goes on when nobody waits any more."""
        future: Future[Done] = Future()
        self._asked.put(lambda: self._do(work, future))
        return await asyncio.wrap_future(future)

    def stop(self) -> None:
        """End the thread after what was asked for."""
        self._asked.put(None)

    def _run(self) -> None:
        while (ask := self._asked.get()) is not None:
            ask()

    def _do(self, work: Callable[[], Done], future: Future[Done]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        self.busy, self.moved_at_s = True, time.monotonic()
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(_harmless(error))
        finally:
            self.busy, self.moved_at_s = False, time.monotonic()


def _harmless(error: BaseException) -> Exception:
    """What may be raised in the event loop: the end of the process or of a generator may not."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
