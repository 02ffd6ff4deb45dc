"""Replies made in a thread, so that nothing that thinks ever holds the event loop.

`Ahead` makes of a system one that answers "nothing yet" (None) while the real one is at work. A few parts at
most wait in between: a reply that is given up has not been made much further than it was heard.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Final, Protocol, TypeVar, cast

from duologue.dialogue import Message
from duologue.session import Audio, Failed, Overhears, Part, Turn, TurnTaker

ASK_AGAIN_S = 0.01
"""How soon a system that says "nothing yet" is asked again."""


class _Transcriber(Protocol):
    def transcribe(self, audio: Audio) -> str: ...


class _Over:
    """The end of a reply, in the queue of its parts."""


_OVER: Final = _Over()

Done = TypeVar("Done")


def _nobody() -> None:
    """Nobody waits for parts."""


class Ahead:
    """The system of one caller, with each of its replies made in a thread, `parts` parts ahead at most."""

    def __init__(self, system: TurnTaker, parts: int = 2) -> None:
        self.woke: Callable[[], None] = _nobody
        """Called, in the thread, whenever a part is ready."""
        self.moved_at_s = time.monotonic()
        """When the system last gave a sign of life."""
        self._system, self.parts = system, parts
        self._in_use = threading.Lock()
        self._spoken: tuple[Audio, tuple[Message, ...]] | None = None
        """What of the next turn is there to be overheard, and was not yet."""

    @property
    def said_hz(self) -> int:
        return self._system.said_hz

    @property
    def busy(self) -> bool:
        """Whether the system is at work."""
        return self._in_use.locked()

    @property
    def can_transcribe(self) -> bool:
        return hasattr(self._system, "transcribe")

    def transcribe(self, audio: Audio) -> str:
        """What is said in [N] samples at 16 kHz. Blocks; not to be called in the event loop."""
        return self._work(lambda: cast(_Transcriber, self._system).transcribe(audio))

    def overhear(self, audio: Audio, history: tuple[Message, ...]) -> None:
        """In a thread, if the system does. What comes while it is at work takes the place of what came before."""
        if isinstance(self._system, Overhears):
            waits, self._spoken = self._spoken is not None, (audio, history)
            if not waits:
                threading.Thread(target=self._work, args=(self._overhear,), name="overhearing", daemon=True).start()

    def _overhear(self) -> None:
        """Nothing, where a reply has begun meanwhile."""
        spoken, self._spoken = self._spoken, None
        if spoken is not None:
            cast(Overhears, self._system).overhear(*spoken)

    def reply(self, turn: Turn) -> Iterator[Part | None]:
        self._spoken = None
        work = _Work(self, turn)
        try:
            while not isinstance(part := work.take(), _Over):
                yield part
        finally:
            work.stop()

    def make(self, turn: Turn, given_up: threading.Event) -> Generator[Part]:
        """The parts of a reply as they are made, in the calling thread; an exception becomes `Failed`."""
        parts = self._system.reply(turn)
        try:
            while not isinstance(part := self._work(lambda: next(parts, _OVER)), _Over):
                if part is not None:
                    yield part
                elif given_up.wait(ASK_AGAIN_S):
                    return
        except Exception as error:
            yield Failed(f"{type(error).__name__}: {error}")
        finally:
            self._work(getattr(parts, "close", _nobody))

    def _work(self, work: Callable[[], Done]) -> Done:
        """Let the system do something: one thing at a time, though the replies of two turns may both be under way
        (one that was stopped and may go on, and the one that finds out whether it does)."""
        with self._in_use:
            self.moved_at_s = time.monotonic()
            done = work()
            self.moved_at_s = time.monotonic()
            return done


def in_this_loop(call: Callable[[], None]) -> Callable[[], None]:
    """What a thread may call so that `call` is called in the running event loop; nothing once that is closed."""
    loop = asyncio.get_running_loop()

    def call_from_thread() -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(call)

    return call_from_thread


class _Work:
    """One reply in the making: a thread on one side, `take` and `stop` on the other."""

    def __init__(self, ahead: Ahead, turn: Turn) -> None:
        self._ahead, self._turn = ahead, turn
        self._ready: deque[Part | _Over] = deque()
        self._changed = threading.Condition()
        self._given_up = threading.Event()
        threading.Thread(target=self._run, name=f"reply-{turn.id}", daemon=True).start()

    def take(self) -> Part | _Over | None:
        """The next part, None while there is none."""
        with self._changed:
            part = self._ready.popleft() if self._ready else None
            self._changed.notify_all()
        return part

    def stop(self) -> None:
        """Give the reply up: the system's generator is closed as soon as it comes to its next part."""
        self._given_up.set()
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        with closing(self._ahead.make(self._turn, self._given_up)) as parts:
            while self._put(part := next(parts, _OVER)) and part is not _OVER:
                pass

    def _put(self, part: Part | _Over) -> bool:
        """Wait for room; False when the reply was given up meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) < self._ahead.parts or self._given_up.is_set())
            if self._given_up.is_set():
                return False
            self._ready.append(part)
        self._ahead.woke()
        return True
