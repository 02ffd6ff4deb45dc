"""Did a system fire when something happened, and only then? The rule of TurnBench.

An event at t is found by a shot in [t - 250 ms, min(t + 3 s, next event)]; each shot finds one event at most. A
shot into a stretch where nothing happens (a pause inside a turn, a back-channel) is false, once a stretch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from duologue.evaluate.distribution import Spread
from duologue.evaluate.timing import Span

EARLY_MS = 250
"""How long before an event an answer to it may come."""

LATE_MS = 3000
"""How long after it."""


@dataclass(frozen=True)
class Detection:
    """Events found and missed, quiet stretches kept and broken, and how long after its event each shot came."""

    found: int
    missed: int
    false: int
    kept: int
    latencies_ms: tuple[int, ...]

    @property
    def recall(self) -> float | None:
        return self.found / (self.found + self.missed) if self.found + self.missed else None

    @property
    def false_rate(self) -> float | None:
        return self.false / (self.false + self.kept) if self.false + self.kept else None

    @property
    def latency_ms(self) -> Spread:
        return Spread.of(self.latencies_ms)

    def __add__(self, other: Detection) -> Detection:
        """Of two conversations together."""
        return Detection(
            self.found + other.found,
            self.missed + other.missed,
            self.false + other.false,
            self.kept + other.kept,
            self.latencies_ms + other.latencies_ms,
        )


def detect(events_ms: Sequence[int], quiet: Sequence[Span], shots_ms: Sequence[int]) -> Detection:
    """Score the times a system committed to, for one speaker and one kind of event of one conversation."""
    windows = _windows(sorted(events_ms))
    free, latencies = sorted(shots_ms), list[int]()
    for event_ms, (start_ms, end_ms) in windows:
        shot_ms = next((s for s in free if start_ms <= s <= end_ms), None)
        if shot_ms is not None:
            free.remove(shot_ms)
            latencies.append(shot_ms - event_ms)
    stray = [s for s in free if not any(start_ms <= s <= end_ms for _, (start_ms, end_ms) in windows)]
    broken = sum(any(q.start_ms - EARLY_MS <= s <= q.end_ms for s in stray) for q in quiet)
    return Detection(len(latencies), len(windows) - len(latencies), broken, len(quiet) - broken, tuple(latencies))


def _windows(events_ms: list[int]) -> list[tuple[int, tuple[int, int]]]:
    ends_ms = [min(a + LATE_MS, b) for a, b in pairwise(events_ms)]
    ends_ms += [t + LATE_MS for t in events_ms[-1:]]
    return [(t, (t - EARLY_MS, end_ms)) for t, end_ms in zip(events_ms, ends_ms, strict=True)]
