"""Many recordings in figures: how often and how long, how like the truth, how like people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from duologue.evaluate.distribution import Interval, Spread, bootstrap, pearson, wasserstein_1
from duologue.evaluate.timing import SPEAKERS, Span
from duologue.evaluate.turn_taking import Events, Transfer, onset_order, without_backchannels
from duologue.synthesis.human_timing import BODY_S, HUMAN

SIGNED = ("fto", "interruption")
"""Events that are offsets: they have no duration to add up."""


def values_s(found: Events) -> dict[str, tuple[float, ...]]:
    """Every event of a recording by kind, in seconds: durations, and signed offsets for `SIGNED`."""
    return {
        "ipu": _lengths_s(tuple(s for speaker in SPEAKERS for s in found.ipus[speaker])),
        "pause": _lengths_s(tuple(p.span for p in found.pauses)),
        "gap": _lengths_s(tuple(g.span for g in found.gaps)),
        "overlap": _lengths_s(found.overlaps),
        "turn": _lengths_s(tuple(t.span for t in found.turns)),
        "backchannel": _lengths_s(tuple(t.span for t in found.backchannels)),
        "fto": _offsets_s(found.transfers),
        "interruption": _offsets_s(found.interruptions),
    }


def _lengths_s(spans: tuple[Span, ...]) -> tuple[float, ...]:
    return tuple(s.length_ms / 1000 for s in spans)


def _offsets_s(transfers: tuple[Transfer, ...]) -> tuple[float, ...]:
    return tuple(t.offset_ms / 1000 for t in transfers)


# ---------------------------------------------------------------- how often, how long


@dataclass(frozen=True)
class Rate:
    """One kind of event over all recordings, pooled: per minute of recording, and the spread in seconds.
    `seconds_per_minute` is None for offsets, everything per minute where nothing was recorded."""

    count: int
    per_minute: float | None
    seconds_per_minute: float | None
    spread_s: Spread


def rates(recordings: Sequence[Events]) -> dict[str, Rate]:
    """A `Rate` for each kind of event."""
    minutes = sum(found.tracks.duration_ms for found in recordings) / 60_000
    each = [values_s(found) for found in recordings]
    kinds = each[0] if each else ()
    return {kind: _rate(kind, [v for values in each for v in values[kind]], minutes) for kind in kinds}


def _rate(kind: str, values: list[float], minutes: float) -> Rate:
    adds_up = minutes > 0 and kind not in SIGNED
    return Rate(
        count=len(values),
        per_minute=len(values) / minutes if minutes > 0 else None,
        seconds_per_minute=sum(values) / minutes if adds_up else None,
        spread_s=Spread.of(values),
    )


# ---------------------------------------------------------------- how like the truth

CORRELATED = ("ipu", "pause", "fto")
"""What SyncLLM's Table 2 correlates."""


@dataclass(frozen=True)
class Correlation:
    """Pearson's r over recordings; `dropped` of them have no such event on one side."""

    r: Interval
    pairs: int
    dropped: int


def correlations(made: Sequence[Events], true: Sequence[Events], seed: int = 0) -> dict[str, Correlation]:
    """Mean duration of an event in each recording made against the true one, correlated over recordings (SyncLLM,
    section 5.3); the interval is over recordings. Raises ValueError unless they come in pairs."""
    if len(made) != len(true):
        raise ValueError(f"each recording needs its true one: {len(made)} made, {len(true)} true")
    ours, truth = [values_s(found) for found in made], [values_s(found) for found in true]
    return {
        kind: _correlation([(_mean(a[kind]), _mean(b[kind])) for a, b in zip(ours, truth, strict=True)], seed)
        for kind in CORRELATED
    }


def _correlation(means: list[tuple[float | None, float | None]], seed: int) -> Correlation:
    pairs = [pair for pair in means if None not in pair]
    return Correlation(bootstrap(pairs, _r, seed), len(pairs), len(means) - len(pairs))


def _r(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    return pearson([a for a, _ in pairs], [b for _, b in pairs])


def _mean(values: tuple[float, ...]) -> float | None:
    return float(np.mean(values)) if values else None


# ---------------------------------------------------------------- how like people


@dataclass(frozen=True)
class Likeness:
    """Wasserstein-1 distance to people in seconds, with its interval over recordings; `by_chance` is what as many
    draws from the people themselves show on average."""

    distance_s: Interval
    n: int
    by_chance_s: float | None


def likeness(recordings: Sequence[Events], seed: int = 0) -> dict[str, Likeness]:
    """Distance to each distribution of `HUMAN`, whose way of counting is followed."""
    each = [as_people_counted(found) for found in recordings]
    return {kind: _likeness(kind, [values[kind] for values in each], seed) for kind in HUMAN}


def as_people_counted(found: Events) -> dict[str, tuple[float, ...]]:
    """A recording's offsets and pauses in seconds as the statistics of Switchboard count them: in onset order,
    back-channels taken out."""
    left = without_backchannels(found)
    fto = _offsets_s(onset_order(left))
    return {
        "fto": fto,
        "fto_body": tuple(v for v in fto if BODY_S[0] <= v <= BODY_S[1]),
        "pause": _lengths_s(tuple(p.span for p in left.pauses)),
        "gap": tuple(v for v in fto if v > 0),
        "gap_within_1s": tuple(v for v in fto if 0 < v <= 1),
        "overlap": tuple(v for v in fto if v < 0),
    }


def _likeness(kind: str, groups: list[tuple[float, ...]], seed: int) -> Likeness:
    n = sum(map(len, groups))
    return Likeness(bootstrap(groups, partial(_distance_s, kind), seed), n, _by_chance_s(kind, n, seed))


def _distance_s(kind: str, groups: Sequence[tuple[float, ...]]) -> float | None:
    return wasserstein_1([v for values in groups for v in values], HUMAN[kind].sample)


def _by_chance_s(kind: str, n: int, seed: int, trials: int = 20) -> float | None:
    rng, people = np.random.default_rng(seed), HUMAN[kind]
    distances = [wasserstein_1(people(rng.random(n)), people.sample) for _ in range(trials)]
    return float(np.mean([d for d in distances if d is not None])) if n else None
