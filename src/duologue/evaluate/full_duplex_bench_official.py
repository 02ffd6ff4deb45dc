"""Full-Duplex-Bench as its own scorers count, in seconds, so that published figures can be compared.

A score is None where the benchmark's scorer breaks down. What is wrong with these rules, and better ones, is in
`full_duplex_bench`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from duologue.evaluate.distribution import jensen_shannon_bits
from duologue.evaluate.full_duplex_bench import TimedWord

Segment = tuple[float, float]
"""Start and end in seconds."""

USER_JOIN_S = 0.6
MODEL_JOIN_S = 0.5
_BIN_S = 0.2
_TINY = 1e-10


# ---------------------------------------------------------------- takeovers


def pause_tor(words: Sequence[TimedWord]) -> int | None:
    """Did the output hold more than a short word, anywhere? An open last word lasts no time."""
    if words and words[-1].end_s is None:
        words = (*words[:-1], TimedWord(words[-1].text, words[-1].start_s, words[-1].start_s))
    return turn_tor(words)


def turn_tor(words: Sequence[TimedWord]) -> int | None:
    """The same; an open word at either end breaks the scorer."""
    if not words:
        return 0
    first_s, last_s = words[0].start_s, words[-1].end_s
    if first_s is None or last_s is None:
        return None
    return int(last_s - first_s >= 1 or len(words) > 3)


def latency_s(words: Sequence[TimedWord], turn_end_s: float) -> float | None:
    """From the end of the user's turn (or interruption) to the first word, clipped at 0; of a takeover only."""
    if not turn_tor(words) or words[0].start_s is None:
        return None
    return max(0.0, words[0].start_s - turn_end_s)


# ---------------------------------------------------------------- back-channels


@dataclass(frozen=True)
class OfficialBackchannel:
    """`jsd` is a Jensen-Shannon *distance* in nats, at most 0.8326, and 1 where nothing was said."""

    tor: int
    frequency_hz: float
    jsd: float


def backchannel(
    segments: Sequence[Segment], words: Sequence[TimedWord], duration_s: float, reference: Sequence[float]
) -> OfficialBackchannel:
    """The last segment's verdict; one above 3 s ends the search, and only segments before it count."""
    tor, counted = 0, list[Segment]()
    for segment in segments:
        if segment[1] - segment[0] > 3:
            tor = 1
            break
        counted.append(segment)
        inside = sum(_overlaps(word, segment) for word in words)
        tor = int(inside > 2 or segment[1] - segment[0] >= 1)
    return OfficialBackchannel(tor, len(counted) / duration_s, _jsd(counted, duration_s, reference))


def _overlaps(word: TimedWord, segment: Segment) -> bool:
    if word.start_s is None:
        return False
    end_s = word.start_s if word.end_s is None else word.end_s
    return word.start_s < segment[1] and end_s > segment[0]


def _jsd(segments: Sequence[Segment], duration_s: float, reference: Sequence[float]) -> float:
    """Bins of 200 ms, both ends included, against the reference stretched to as many."""
    if not segments:
        return 1.0
    counts = np.full(int(duration_s / _BIN_S) + 1, _TINY)
    for start_s, end_s in segments:
        counts[int(start_s / _BIN_S) : int(end_s / _BIN_S) + 1] += 1
    places = np.linspace(0, 1, len(counts))
    stretched = np.interp(places, np.linspace(0, 1, len(reference)), reference)
    bits = jensen_shannon_bits(counts, stretched + _TINY)
    return math.sqrt(max(0.0, (bits or 0.0) * math.log(2)))


# ---------------------------------------------------------------- timing (v1.5)


@dataclass(frozen=True)
class OfficialTiming:
    """Stop latency: each stretch in which both speak. Response latency: from each end of the user's speech to the
    next start of the model's."""

    stop: tuple[Segment, ...]
    response: tuple[Segment, ...]


def timing(user: Sequence[Segment], model: Sequence[Segment]) -> OfficialTiming:
    theirs, ours = _joined(user, USER_JOIN_S), _joined(model, MODEL_JOIN_S)
    both = [(max(a[0], b[0]), min(a[1], b[1])) for a in theirs for b in ours]
    answers = [(end_s, min((m[0] for m in ours if m[0] >= end_s), default=None)) for _, end_s in theirs]
    return OfficialTiming(
        stop=tuple(s for s in both if s[0] < s[1]),
        response=tuple((end_s, start_s) for end_s, start_s in answers if start_s is not None),
    )


def _joined(segments: Sequence[Segment], across_s: float) -> list[Segment]:
    out: list[Segment] = []
    for start_s, end_s in sorted(segments):
        if out and start_s - out[-1][1] <= across_s:
            out[-1] = (out[-1][0], max(out[-1][1], end_s))
        else:
            out.append((start_s, end_s))
    return out
