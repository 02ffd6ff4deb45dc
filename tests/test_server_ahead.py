"""Replies made in a thread: the same parts in the same order, never far ahead, and no thread stays behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from duologue.dialogue import Message
from duologue.serve.ahead import Ahead
from duologue.session import Audio, Failed, Part, Turn, Wrote

TURN = Turn(1)


@dataclass
class Counter:
    """Writes numbers; `made` is how far it has come, `closed` whether it was told to stop."""

    last: int = 10**9
    fails_at: int = -1
    made: int = 0
    closed: threading.Event = field(default_factory=threading.Event)
    said_hz: int = 24_000

    def reply(self, turn: Turn) -> Iterator[Part | None]:
        try:
            for number in range(self.last):
                if number == self.fails_at:
                    raise RuntimeError("out of numbers")
                self.made = number + 1
                yield None if number % 3 == 0 else Wrote(str(number))
        finally:
            self.closed.set()


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.002)


def take(parts: Iterator[Part | None], number: int) -> list[Part]:
    """The next parts, however often there is nothing yet."""
    taken: list[Part] = []
    while len(taken) < number and (part := next(parts, Failed("over"))) != Failed("over"):
        if part is None:
            time.sleep(0.001)
        else:
            taken.append(part)
    return taken


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("reply-")]


def test_the_parts_come_in_order_and_then_the_end() -> None:
    parts = take(Ahead(Counter(last=20)).reply(TURN), 100)
    assert parts == [Wrote(str(number)) for number in range(20) if number % 3]


def test_nothing_is_made_before_somebody_asks() -> None:
    counter = Counter()
    Ahead(counter).reply(TURN)
    assert counter.made == 0


def test_only_a_few_parts_are_made_ahead() -> None:
    counter = Counter()
    parts = Ahead(counter, parts=2).reply(TURN)
    take(parts, 2)
    eventually(lambda: counter.made >= 6)
    time.sleep(0.05)
    assert counter.made <= 9, "2 taken, 2 waiting, 1 in hand, and the Nones between them"
    parts.close()  # type: ignore[attr-defined]


def test_giving_up_closes_the_system_s_generator_and_ends_the_thread() -> None:
    counter = Counter()
    parts = Ahead(counter).reply(TURN)
    take(parts, 3)
    parts.close()  # type: ignore[attr-defined]
    assert counter.closed.wait(timeout=10)
    eventually(lambda: not threads())


def test_an_exception_becomes_a_part() -> None:
    parts = take(Ahead(Counter(fails_at=2)).reply(TURN), 100)
    assert parts == [Wrote("1"), Failed("RuntimeError: out of numbers")]


def test_each_part_is_announced() -> None:
    ahead, woken = Ahead(Counter(last=4)), threading.Semaphore(0)
    ahead.woke = lambda: woken.release()
    parts = ahead.reply(TURN)
    assert next(parts) is None or woken.acquire(timeout=10)
    assert woken.acquire(timeout=10)
    assert take(parts, 1)


def test_a_stopped_reply_may_go_on_after_the_next_one() -> None:
    """Both are under way: the system is asked for one part at a time."""
    at_once, most_at_once = 0, 0

    class Watchful:
        said_hz = 24_000

        def reply(self, turn: Turn) -> Iterator[Part | None]:
            nonlocal at_once, most_at_once
            for number in range(6):
                at_once += 1
                most_at_once = max(at_once, most_at_once)
                time.sleep(0.002)
                at_once -= 1
                yield Wrote(f"{turn.id}.{number}")

    ahead = Ahead(Watchful())
    first, second = ahead.reply(Turn(1)), ahead.reply(Turn(2))
    assert take(first, 2) == [Wrote("1.0"), Wrote("1.1")]
    assert take(second, 9) == [Wrote(f"2.{number}") for number in range(6)]
    assert take(first, 9) == [Wrote(f"1.{number}") for number in range(2, 6)]
    assert most_at_once == 1


@dataclass
class Eavesdropper(Counter):
    """Keeps what it overhears, and takes as long as it is told to."""

    overheard: list[int] = field(default_factory=list)
    goes_on: threading.Event = field(default_factory=threading.Event)

    def overhear(self, audio: Audio, history: tuple[Message, ...]) -> None:
        self.overheard.append(len(audio))
        self.goes_on.wait(10)


def spoken(samples: int) -> tuple[Audio, tuple[Message, ...]]:
    return np.zeros(samples, np.float32), ()


def test_what_comes_while_it_still_listens_is_overheard_at_once_and_the_reply_waits() -> None:
    system = Eavesdropper(last=5)
    ahead = Ahead(system)
    ahead.overhear(*spoken(1))
    eventually(lambda: system.overheard == [1])
    for samples in (2, 3, 4):
        ahead.overhear(*spoken(samples))
    parts = ahead.reply(TURN)
    assert next(parts) is None
    time.sleep(0.05)
    assert system.made == 0
    system.goes_on.set()
    assert [part.text for part in take(parts, 3)] == ["1", "2", "4"]  # type: ignore[union-attr]
    assert system.overheard == [1], "what was said before the turn was over is in the turn"
    ahead.overhear(*spoken(5))
    eventually(lambda: system.overheard == [1, 5])


def test_who_overhears_nothing_is_not_asked_to() -> None:
    ahead, before = Ahead(Counter(last=3)), threading.active_count()
    ahead.overhear(*spoken(1))
    assert threading.active_count() == before
