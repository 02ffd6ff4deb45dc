"""Full-Duplex-Bench (arXiv 2503.04721, v1.5: 2507.23159), scored so that the score means what it says.

A system turns `input.wav` into `output.wav` on the same clock; an ASR writes down its words with times. These rules
judge what was said around the user's events; `full_duplex_bench_official` has the benchmark's own. Where the two
differ: speech outside the events is not a takeover, latency keeps its sign, a short "yes" is an answer, an
assistant that never stops has not answered, and a back-channel is judged by when it comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from duologue.evaluate.delay import JOIN_MS, Response, Speech, Yielding, response, utterances
from duologue.evaluate.delay import interruption as _interruption
from duologue.evaluate.distribution import jensen_shannon_bits
from duologue.evaluate.timing import Span, whole_ms

SHORT_MS = 1000
"""An utterance shorter than this, of at most `SHORT_WORDS` words, is short; any other claims the floor."""

SHORT_WORDS = 3
LONG_SEGMENT_MS = 3000
BACKCHANNEL_WORDS = 2
BIN_MS = 200
SHIFTS = 1000

# ---------------------------------------------------------------- words


@dataclass(frozen=True)
class TimedWord:
    """A word as the ASR heard it; a time it does not know is None."""

    text: str
    start_s: float | None
    end_s: float | None

    @property
    def span(self) -> Span | None:
        """Where it lies: a point without its end, or with one before its start; nowhere without its start."""
        if self.start_s is None:
            return None
        return Span.of_seconds(self.start_s, self.start_s if self.end_s is None else max(self.start_s, self.end_s))


def words_of(transcript: Mapping[str, Any]) -> tuple[TimedWord, ...]:
    """The words of an `output.json`: {"text", "chunks": [{"text", "timestamp": [start, end]}]}, times in seconds.
    Raises ValueError for anything else."""
    try:
        return tuple(TimedWord(c["text"], *map(_seconds, c["timestamp"])) for c in transcript["chunks"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            'not a transcript of words with times, {"chunks": [{"text": ..., "timestamp": [start, end]}]}; '
            "write it with an ASR that gives them"
        ) from error


def _seconds(value: Any) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"{value!r} is no time of a word")
    return value


def spoken(words: Sequence[TimedWord]) -> tuple[Speech, ...]:
    """Words up to 500 ms apart form an utterance."""
    groups: list[list[Span]] = []
    for span in sorted(s for word in words if (s := word.span) is not None):
        if groups and span.start_ms - max(s.end_ms for s in groups[-1]) <= JOIN_MS:
            groups[-1].append(span)
        else:
            groups.append([span])
    return tuple(_utterance(group) for group in groups)


def _utterance(words: list[Span]) -> Speech:
    span = Span(words[0].start_ms, max(s.end_ms for s in words))
    return Speech(span, short=span.length_ms < SHORT_MS and len(words) <= SHORT_WORDS)


# ---------------------------------------------------------------- pause, turn, interruption


@dataclass(frozen=True)
class PauseScore:
    """Did a claim fall between the user's first pause and the end of the turn? Speech around that is told apart."""

    tor: bool
    spoke_before: bool
    spoke_after: bool


def pause(words: Sequence[TimedWord], pauses: Sequence[Span], user_end_s: float | None) -> PauseScore:
    """User pauses: the assistant should wait. Without the end of the user's turn, all that follows is judged.
    Raises ValueError where there is no pause."""
    if not pauses:
        raise ValueError("a sample of pause handling needs at least one pause of the user")
    start_ms = min(p.start_ms for p in pauses)
    end_ms = float("inf") if user_end_s is None else whole_ms(user_end_s)
    claims = [s.span for s in spoken(words) if not s.short]
    return PauseScore(
        tor=any(c.start_ms < end_ms and c.end_ms > start_ms for c in claims),
        spoke_before=any(c.end_ms <= start_ms for c in claims),
        spoke_after=any(c.start_ms >= end_ms for c in claims),
    )


def smooth_turn(words: Sequence[TimedWord], turn_end_s: float) -> Response:
    """The user's turn ends: the assistant should answer."""
    return response(spoken(words), whole_ms(turn_end_s))


def interruption(words: Sequence[TimedWord], user: Span) -> tuple[Yielding, Response]:
    """The user cuts in: the assistant should stop and answer. `words` are of the whole output, not of a part."""
    return _interruption(spoken(words), user)


def timing(segments: Sequence[Span], user: Span) -> tuple[Yielding, Response]:
    """The same from the segments of a VAD (v1.5)."""
    return _interruption(utterances(segments), user)


# ---------------------------------------------------------------- back-channels

Label = Literal["takeover", "backchannel"]


@dataclass(frozen=True)
class BackchannelScore:
    """What each segment was; how far its back-channels lie from the listeners' of the reference in time, and what
    of that is more than luck. Both are None without a back-channel."""

    labels: tuple[Label, ...]
    per_minute: float
    js_bits: float | None
    skill: float | None

    @property
    def tor(self) -> bool:
        return "takeover" in self.labels

    @property
    def backchannels(self) -> int:
        return self.labels.count("backchannel")


def backchannel(
    segments: Sequence[Span], words: Sequence[TimedWord], duration_s: float, reference: Sequence[float]
) -> BackchannelScore:
    """The user tells something long: the assistant should say "mm-hm" where people do. `segments` come from a VAD,
    `reference` [T] is how often people did in each bin of 200 ms."""
    if duration_s <= 0:
        raise ValueError(f"a sample of back-channelling lasts longer than {duration_s} s")
    duration_ms = whole_ms(duration_s)
    labels = tuple(label(segment, words) for segment in segments)
    events = [s for s, what in zip(segments, labels, strict=True) if what == "backchannel"]
    people = _fitted(reference, bins_of(duration_ms))
    return BackchannelScore(
        labels=labels,
        per_minute=60 * len(events) / duration_s,
        js_bits=jensen_shannon_bits(histogram(events, duration_ms), people),
        skill=skill(events, duration_ms, people),
    )


def label(segment: Span, words: Sequence[TimedWord]) -> Label:
    """Under a second and at most two words, or none, is a back-channel."""
    spoken_words = sum(1 for word in words if (span := word.span) is not None and segment.overlaps(span))
    short = segment.length_ms < SHORT_MS and spoken_words <= BACKCHANNEL_WORDS
    return "backchannel" if short else "takeover"


def bins_of(duration_ms: int) -> int:
    return -(-duration_ms // BIN_MS)


def histogram(events: Sequence[Span], duration_ms: int) -> NDArray[np.float64]:
    """How many events touch each bin of 200 ms: [T]."""
    counts = np.zeros(bins_of(duration_ms))
    for event in events:
        counts[event.start_ms // BIN_MS : -(-event.end_ms // BIN_MS)] += 1
    return counts


def _fitted(reference: Sequence[float], bins: int) -> NDArray[np.float64]:
    part = np.asarray(reference, np.float64)[:bins]
    return np.pad(part, (0, bins - len(part)))


def skill(events: Sequence[Span], duration_ms: int, people: NDArray[np.float64]) -> float | None:
    """1 - J / J0: J0 is the mean divergence when the same events are shifted around the recording in 1000 even
    steps. Events that come regardless of what is said have no skill."""
    actual = jensen_shannon_bits(histogram(events, duration_ms), people)
    if actual is None:
        return None
    shifted = [_shifted(events, i * duration_ms // SHIFTS, duration_ms) for i in range(SHIFTS)]
    at_random = [jensen_shannon_bits(histogram(moved, duration_ms), people) or 0.0 for moved in shifted]
    mean = float(np.mean(at_random))
    return 1 - actual / mean if mean else None


def _shifted(events: Sequence[Span], by_ms: int, duration_ms: int) -> list[Span]:
    """Each moved later, going on from the beginning where the recording ends."""
    out = []
    for event in events:
        start_ms = (event.start_ms + by_ms) % duration_ms
        end_ms = start_ms + event.length_ms
        out.append(Span(start_ms, min(end_ms, duration_ms)))
        if end_ms > duration_ms:
            out.append(Span(0, end_ms - duration_ms))
    return out
