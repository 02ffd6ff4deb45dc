"""Figures of turn-taking: rates, distances and correlations against slow twins, people's own numbers, delays,
detections, and accuracy at K."""

from __future__ import annotations

import statistics
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.evaluate.acc_at_k import KS, accuracy, takes_turn, yields
from duologue.evaluate.delay import Response, Speech, delays, interruption, stops, yielding
from duologue.evaluate.detection import Detection, detect
from duologue.evaluate.distribution import bootstrap, pearson, wasserstein_1
from duologue.evaluate.timing import Span, Tracks
from duologue.evaluate.turn_statistics import as_people_counted, correlations, likeness, rates
from duologue.evaluate.turn_taking import Events, events
from duologue.synthesis.human_timing import BODY_S, HUMAN

laws = settings()

VALUES = st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=8)


# ---------------------------------------------------------------- distances and correlations


def slow_wasserstein(a: list[float], b: list[float]) -> float:
    """Both samples repeated to one length, then the mean distance of sorted pairs."""
    pairs = zip(sorted(a * len(b)), sorted(b * len(a)), strict=True)
    return statistics.fmean(abs(x - y) for x, y in pairs)


@laws
@given(VALUES, VALUES, st.integers(-9, 9))
def test_wasserstein_is_the_mean_move(a: list[float], b: list[float], by: int) -> None:
    assert wasserstein_1(a, b) == pytest.approx(slow_wasserstein(a, b), abs=1e-9)
    assert wasserstein_1(b, a) == pytest.approx(wasserstein_1(a, b))
    assert wasserstein_1(a, [v + by for v in a]) == pytest.approx(abs(by))


@laws
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=12))
def test_pearson_is_that_of_the_standard_library(pairs: list[tuple[int, int]]) -> None:
    x, y = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert pearson(x, y) is None
    else:
        assert pearson(x, y) == pytest.approx(statistics.correlation(x, y), abs=1e-9)
        assert pearson([*x, None, 7.0], [*y, 3.0, None]) == pearson(x, y)


def test_an_interval_narrows_with_more_and_repeats_by_its_seed() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=20).tolist(), rng.normal(size=2000).tolist()
    wide, narrow = bootstrap(few, statistics.fmean, seed=3), bootstrap(many, statistics.fmean, seed=3)
    assert wide == bootstrap(few, statistics.fmean, seed=3) != bootstrap(few, statistics.fmean, seed=4)
    assert wide.low is not None
    assert wide.high is not None
    assert narrow.low is not None
    assert narrow.high is not None
    assert wide.low < statistics.fmean(few) < wide.high
    assert narrow.high - narrow.low < (wide.high - wide.low) / 5
    assert bootstrap([1.0], statistics.fmean).low is None


# ---------------------------------------------------------------- people


def test_people_have_the_published_means() -> None:
    means = {"fto": 0.010, "fto_body": 0.104, "pause": 0.632, "gap": 0.652, "overlap": -0.845}
    assert {kind: float(HUMAN[kind].sample.mean()) for kind in means} == pytest.approx(means, abs=0.01)


def test_simple_rules_are_as_far_from_people_as_published() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    rules = {
        "at once": (np.zeros(n), 0.53),
        "an endpointer": (np.full(n, 0.7), 0.78),
        "narrow normal": (rng.normal(0.2, 0.2, n), 0.37),
        "half at once": (np.where(rng.random(n) < 0.5, 0, np.maximum(0, rng.normal(0.6, 0.4, n))), 0.31),
        "Laplace": (rng.laplace(0.09, 0.5, n), 0.04),
    }
    for name, (offsets_s, published) in rules.items():
        assert wasserstein_1(offsets_s, HUMAN["fto_body"].sample) == pytest.approx(published, abs=0.025), name


@laws
@given(st.sampled_from(sorted(HUMAN)), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise(kind: str, p: float, q: float) -> None:
    assert HUMAN[kind](min(p, q)) <= HUMAN[kind](max(p, q))


def call(seed: int, turns: int = 40) -> Events:
    """A call whose transfers are drawn from people."""
    rng = np.random.default_rng(seed)
    sides: tuple[list[Span], list[Span]] = ([], [])
    end_ms = 3000
    for turn in range(turns):
        start_ms = max(end_ms + round(1000 * float(HUMAN["fto_body"](rng.random()))), end_ms - 2000)
        end_ms = start_ms + 3000 + int(rng.integers(5000))
        sides[turn % 2].append(Span(start_ms, end_ms))
    return events(Tracks(tuple(sides[0]), tuple(sides[1]), end_ms))


def test_offsets_drawn_from_people_are_like_people() -> None:
    distances = likeness([call(seed) for seed in range(20)])
    body = distances["fto_body"]
    assert body.n == len([v for s in range(20) for v in as_people_counted(call(s))["fto_body"]]) > 700
    assert body.distance_s.value is not None
    assert body.by_chance_s is not None
    assert body.distance_s.value < 2 * body.by_chance_s < 0.1
    assert distances["pause"].distance_s.value is None
    assert distances == likeness([call(seed) for seed in range(20)])
    assert all(BODY_S[0] <= v <= BODY_S[1] for v in as_people_counted(call(0))["fto_body"])


def test_people_are_counted_in_onset_order_without_backchannels() -> None:
    user = (Span(0, 4000), Span(6000, 8000), Span(8700, 9500))
    assistant = (Span(2000, 2300), Span(4000, 6500))
    counted = as_people_counted(events(Tracks(user, assistant, 10_000)))
    assert counted["fto"] == counted["fto_body"] == (0.0, -0.5)
    assert (counted["gap"], counted["overlap"], counted["pause"]) == ((), (-0.5,), (0.7,))


# ---------------------------------------------------------------- many recordings


def test_rates_are_pooled_not_averaged() -> None:
    busy = events(Tracks((Span(0, 1000),), (Span(1500, 2000),), 6000))
    quiet = events(Tracks((), (), 54_000))
    found = rates([busy, quiet])
    assert found["gap"].per_minute == 1.0
    assert found["gap"].seconds_per_minute == 0.5
    assert found["fto"].seconds_per_minute is None
    assert found["pause"].spread_s.p50 is None
    assert rates([events(Tracks((), (), 0))])["gap"].per_minute is None


def test_a_call_correlates_with_itself_and_what_is_undefined_is_dropped() -> None:
    calls = [call(seed, turns=4) for seed in range(8)]
    silent = events(Tracks((), (), 1000))
    found = correlations([*calls, silent], [*calls, calls[0]])
    assert found["fto"].r.value == pytest.approx(1)
    assert (found["fto"].pairs, found["fto"].dropped) == (8, 1)
    assert found["pause"].r.value is None
    with pytest.raises(ValueError, match="8 made, 9 true"):
        correlations(calls, [*calls, silent])


# ---------------------------------------------------------------- accuracy at K


def slow_accuracy(lane: list[bool], user: int, k: int, taking: bool) -> tuple[bool, bool]:
    def sound(at: int) -> bool:
        return 0 <= at < len(lane) and lane[at]

    def switched(at: int) -> bool:
        return sound(at) if taking else not any(sound(at + i) for i in range(5))

    early = sound(user) if taking else any(switched(user - i) for i in range(5))
    within = not early and any(switched(user + i) for i in range(1, k + 1))
    return sound(user + k) == taking, within


@laws
@given(st.lists(st.integers(1, 12), max_size=8), st.booleans(), st.integers(0, 50), st.integers(0, 30))
def test_accuracy_at_k_is_read_from_the_lane(runs: list[int], on: bool, user: int, tail: int) -> None:
    lane = [bool((i % 2) ^ on) for i, length in enumerate(runs) for _ in range(length)]
    for measure, taking in ((takes_turn, True), (yields, False)):
        found = measure(np.array(lane, np.bool_), user)
        assert {k: (found.exact[k], found.within[k]) for k in KS} == {
            k: slow_accuracy(lane, user, k, taking) for k in KS
        }
        assert found == measure(np.array(lane + [False] * tail, np.bool_), user)
        assert [found.within[k] for k in KS] == sorted(found.within[k] for k in KS)


def test_early_answers_are_failures_and_nothing_to_yield_is_no_test() -> None:
    talking, silent = np.ones(60, np.bool_), np.zeros(60, np.bool_)
    early = accuracy([takes_turn(talking, 9), takes_turn(silent, 9)])
    assert (early.n, early.early, early.success, early.mean_response_ms) == (2, 1, 0, None)
    untested = accuracy([yields(silent, 20), yields(talking[:30], 20)])
    assert (untested.n, untested.untested, untested.success) == (1, 1, 100)
    assert accuracy([]).within == dict.fromkeys(KS)
    with pytest.raises(ValueError, match="not -1"):
        takes_turn(silent, -1)


# ---------------------------------------------------------------- detection and delay

TIMES = st.lists(st.integers(0, 12_000), max_size=5, unique=True)


def most_found(events_ms: list[int], shots_ms: list[int]) -> int:
    """The largest one-to-one assignment of shots to events, by trying all."""
    ends = [min([t + 3000, *(u for u in events_ms if u > t)]) for t in events_ms]
    choices = [[None, *(s for s in shots_ms if t - 250 <= s <= end)] for t, end in zip(events_ms, ends, strict=True)]
    picks = ([s for s in pick if s is not None] for pick in product(*choices))
    return max(len(p) for p in picks if len(set(p)) == len(p))


@laws
@given(TIMES, TIMES, st.integers(0, 3000))
def test_no_event_that_could_be_found_is_missed(events_ms: list[int], shots_ms: list[int], later: int) -> None:
    quiet = [Span(5000, 6000)]
    found = detect(events_ms, quiet, shots_ms)
    assert found.found == most_found(events_ms, shots_ms)
    assert (found.found + found.missed, found.false + found.kept) == (len(events_ms), 1)
    assert found == detect(events_ms[::-1], quiet, shots_ms[::-1])
    shifted = [[t + later for t in times] for times in (events_ms, shots_ms)]
    assert found == detect(shifted[0], [Span(5000 + later, 6000 + later)], shifted[1])


def test_detections_add_up_and_nothing_has_no_rate() -> None:
    both = Detection(1, 0, 0, 1, (200,)) + Detection(0, 1, 1, 0, ())
    assert (both.recall, both.false_rate, both.latency_ms.p50) == (0.5, 0.5, 200)
    assert (detect([], [], []).recall, detect([], [], []).false_rate) == (None, None)


def test_early_late_and_missing_answers_are_counted_and_not_averaged() -> None:
    found = delays([Response(ms) for ms in (-251, -250, 400, 3000, 3001, None)])
    assert found.verdicts == {"early": 1, "on_time": 3, "late": 1, "none": 1}
    assert (found.n, found.on_time_ms.n, found.on_time_ms.p50) == (6, 3, 400)


def test_stops_are_timed_where_there_was_something_to_stop() -> None:
    user = Span(1000, 2000)
    said = [[Span(0, 1400)], [Span(0, 2500)], [Span(2300, 2600)], []]
    found = stops([yielding([Speech(s) for s in spans], user) for spans in said])
    assert (found.n, found.yielded, found.talked_on, found.silent) == (2, 1, 1, 2)
    assert found.yielded_ms.p50 == 400
    gives_way, answer = interruption([Speech(Span(0, 2500))], user)
    assert (gives_way.yielded, answer.verdict) == (False, "none")
