"""How long until the assistant answers, and how long until it gives way.

A response is timed from the end of the user's turn to the first audible sample of the answer, signed; a stop from
the onset of the user's speech to the last audible sample of what is being yielded. Both are stream time, on the
clock of the recording: in lock-step they are the same on any machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from duologue.evaluate.detection import EARLY_MS, LATE_MS
from duologue.evaluate.distribution import Spread
from duologue.evaluate.timing import Span, joined

JOIN_MS = 500
"""Speech up to this far apart is one utterance; the silence in it is a breath."""

Verdict = Literal["none", "early", "on_time", "late"]


@dataclass(frozen=True)
class Speech:
    """One utterance of the assistant. A `short` one ("mm-hm", "yes") does not claim the floor by itself."""

    span: Span
    short: bool = False


def utterances(spans: Iterable[Span]) -> tuple[Speech, ...]:
    """What a VAD heard, as utterances. Nothing is known of words, so each claims the floor."""
    return tuple(Speech(span) for span in joined(spans, JOIN_MS))


# ---------------------------------------------------------------- answering


@dataclass(frozen=True)
class Response:
    """The answer at the end of a user's turn: `latency_ms` is signed, None where there is no answer."""

    latency_ms: int | None

    @property
    def verdict(self) -> Verdict:
        if self.latency_ms is None:
            return "none"
        if self.latency_ms < -EARLY_MS:
            return "early"
        return "late" if self.latency_ms > LATE_MS else "on_time"


def response(said: Iterable[Speech], user_end_ms: int) -> Response:
    """The earliest that answers a turn ending at `user_end_ms`: a claim that goes on beyond the end, or a short
    utterance that does not begin more than `EARLY_MS` before it. Short ones inside the turn are listening aloud."""
    answers = [
        s.span.start_ms
        for s in said
        if (s.span.start_ms >= user_end_ms - EARLY_MS if s.short else s.span.end_ms > user_end_ms)
    ]
    return Response(min(answers) - user_end_ms if answers else None)


# ---------------------------------------------------------------- giving way


@dataclass(frozen=True)
class Yielding:
    """What became of the assistant's speech when the user came in. `stop_ms` from the user's onset to its end, and
    whether that was while the user spoke; both None where it was not talking."""

    stop_ms: int | None
    yielded: bool | None

    @property
    def was_talking(self) -> bool:
        return self.stop_ms is not None


def yielding(said: Iterable[Speech], user: Span) -> Yielding:
    """Does the assistant stop while `user` speaks?"""
    for speech in said:
        if speech.span.start_ms < user.start_ms < speech.span.end_ms:
            return Yielding(speech.span.end_ms - user.start_ms, speech.span.end_ms <= user.end_ms)
    return Yielding(None, None)


def interruption(said: Iterable[Speech], user: Span) -> tuple[Yielding, Response]:
    """The user cuts in: does the assistant stop, and answer with a *new* utterance?"""
    said = tuple(said)
    new = [s for s in said if s.span.start_ms >= user.start_ms]
    return yielding(said, user), response(new, user.end_ms)


# ---------------------------------------------------------------- over many


@dataclass(frozen=True)
class Delays:
    """Of `n` turns: how many answers were early, on time, late or missing; the spread is of those on time alone."""

    n: int
    verdicts: Mapping[Verdict, int]
    on_time_ms: Spread


def delays(responses: Sequence[Response]) -> Delays:
    counts = Counter(r.verdict for r in responses)
    verdicts: tuple[Verdict, ...] = ("early", "on_time", "late", "none")
    on_time = [r.latency_ms for r in responses if r.latency_ms is not None and r.verdict == "on_time"]
    return Delays(len(responses), {v: counts[v] for v in verdicts}, Spread.of(on_time))


@dataclass(frozen=True)
class Stops:
    """Of `n` interruptions of a talking assistant: how many it yielded to, and how long those stops took; those it
    talked through, and those where it was silent, are counted."""

    n: int
    yielded: int
    talked_on: int
    silent: int
    yielded_ms: Spread


def stops(yieldings: Sequence[Yielding]) -> Stops:
    talking = [y for y in yieldings if y.was_talking]
    yielded = [y.stop_ms for y in talking if y.yielded and y.stop_ms is not None]
    return Stops(
        len(talking),
        len(yielded),
        len(talking) - len(yielded),
        len(yieldings) - len(talking),
        Spread.of(yielded),
    )
