"""Full-Duplex-Bench: rules that no output breaks, time that may be shifted, and skill that a metronome lacks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.evaluate import full_duplex_bench_table as table
from duologue.evaluate.distribution import jensen_shannon_bits
from duologue.evaluate.full_duplex_bench import (
    TimedWord,
    backchannel,
    histogram,
    interruption,
    pause,
    skill,
    smooth_turn,
    spoken,
    words_of,
)
from duologue.evaluate.timing import Span

laws = settings()


@st.composite
def transcripts(draw: st.DrawFn) -> tuple[TimedWord, ...]:
    """Words as an ASR may write them: in any order, overlapping, without an end, without any time."""
    words = []
    for start_ms in draw(st.lists(st.integers(0, 15_000), max_size=10)):
        length_ms = draw(st.none() | st.integers(0, 900))
        end_s = None if length_ms is None else (start_ms + length_ms) / 1000
        start_s = None if draw(st.integers(0, 2)) == 0 else start_ms / 1000
        words.append(TimedWord("word", start_s, end_s))
    return tuple(words)


def later(words: tuple[TimedWord, ...], by_s: int) -> tuple[TimedWord, ...]:
    return tuple(TimedWord(w.text, *(None if t is None else t + by_s for t in (w.start_s, w.end_s))) for w in words)


@laws
@given(transcripts())
def test_every_word_lies_in_one_utterance_and_breaths_join(words: tuple[TimedWord, ...]) -> None:
    said = spoken(words)
    for span in (w.span for w in words):
        if span is not None:
            assert sum(s.span.contains(span) for s in said) == 1
    assert all(b.span.start_ms - a.span.end_ms > 500 for a, b in pairwise(said))


@laws
@given(transcripts(), st.integers(0, 30))
def test_scores_do_not_depend_on_when_the_recording_starts(words: tuple[TimedWord, ...], by_s: int) -> None:
    moved = later(words, by_s)
    cut_in = Span(3000, 6000)
    assert smooth_turn(words, 5) == smooth_turn(moved, 5 + by_s)
    assert interruption(words, cut_in) == interruption(moved, Span(3000 + 1000 * by_s, 6000 + 1000 * by_s))
    waits = [Span(4000, 4700)], [Span(4000 + 1000 * by_s, 4700 + 1000 * by_s)]
    assert pause(words, waits[0], 7) == pause(moved, waits[1], 7 + by_s)


@settings(laws, max_examples=30)
@given(st.lists(transcripts(), max_size=4))
def test_no_transcript_breaks_the_table(samples: list[tuple[TimedWord, ...]]) -> None:
    for scores in (
        [table.pause(words, [(4.0, 4.7)], 7.0) for words in samples],
        [table.smooth_turn(words, 5.0) for words in samples],
        [table.interruption(words, words, (3.0, 6.0)) for words in samples],
        [table.backchannel([(1.0, 1.4)], words, 15.0, [1.0] * 75) for words in samples],
        [table.timing([(3.0, 6.0)], [s for s in [(2.0, 4.0)] if words], (3.0, 6.0)) for words in samples],
    ):
        found = table.side_by_side(scores)
        assert found.samples == len(samples)
        for row in (found.official, found.corrected):
            assert all(
                spread.n <= len(samples) and (spread.n > 0) == (spread.mean is not None) for spread in row.values()
            )


@laws
@given(transcripts())
def test_a_claim_takes_a_pause_or_lies_around_it(words: tuple[TimedWord, ...]) -> None:
    found = pause(words, [Span(4000, 4700)], 7)
    claims = [s for s in spoken(words) if not s.short]
    assert any((found.tor, found.spoke_before, found.spoke_after)) == bool(claims)


def evenly(count: int, start_s: float, word_s: float) -> tuple[TimedWord, ...]:
    """Words in a row without a breath."""
    return tuple(TimedWord("word", start_s + word_s * i, start_s + word_s * (i + 1)) for i in range(count))


def test_a_word_that_ends_before_it_starts_stands_at_its_start() -> None:
    turned = words_of({"chunks": [{"text": "a", "timestamp": [1.2, 1.1]}, {"text": "b", "timestamp": [4, None]}]})
    assert [s.span for s in spoken(turned)] == [Span(1200, 1200), Span(4000, 4000)]
    assert table.smooth_turn(turned, 1.0).corrected["latency_s"] == pytest.approx(0.2)


def test_three_words_in_less_than_a_second_claim_nothing() -> None:
    assert [s.short for s in spoken(evenly(3, 2, 0.3))] == [True]
    assert [s.short for s in spoken(evenly(4, 2, 0.2))] == [False]
    assert [s.short for s in spoken(evenly(2, 2, 0.5))] == [False]


def test_speech_that_ends_as_the_pause_begins_does_not_take_it() -> None:
    found = pause(evenly(4, 3, 0.25), [Span(4000, 4700)], 7)
    assert (found.tor, found.spoke_before, found.spoke_after) == (False, True, False)
    found = pause(evenly(4, 7, 0.25), [Span(4000, 4700)], 7)
    assert (found.tor, found.spoke_before, found.spoke_after) == (False, False, True)


def test_talking_over_the_user_is_best_officially_and_early_here() -> None:
    eager = evenly(4, 1, 0.4)
    patient = later(eager, 2)
    found = table.side_by_side([table.smooth_turn(words, 2.0) for words in (eager, patient)])
    assert found.official["tor"].mean == 1
    assert found.official["latency_s"].mean == pytest.approx(0.5)
    assert (found.corrected["tor"].mean, found.corrected["early"].mean) == (0.5, 0.5)
    assert (found.corrected["latency_s"].n, found.corrected["latency_s"].mean) == (1, 1)


# ---------------------------------------------------------------- back-channels


@st.composite
def vocalisations(draw: st.DrawFn) -> list[Span]:
    starts_ms = draw(st.lists(st.integers(0, 9_000), max_size=6))
    return [Span(at, at + draw(st.integers(1, 999))) for at in starts_ms]


@laws
@given(vocalisations())
def test_an_event_counts_in_every_bin_that_it_touches(events: list[Span]) -> None:
    slow = [sum(e.overlaps(Span(200 * i, 200 * i + 200)) for e in events) for i in range(50)]
    assert histogram(events, 10_000).tolist() == slow


def people(seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Where listeners say "mm-hm": in some places and nowhere else."""
    reference = np.zeros(300)
    for at in np.random.default_rng(seed).choice(290, 12, replace=False):
        reference[at : at + 3] += 1
    return reference


def test_chance_is_the_same_event_at_every_moment() -> None:
    """The recording as a ring of a thousand milliseconds, turned one at a time."""
    event, listeners = Span(350, 610), np.array([0.0, 1, 2, 0, 3])
    ring = np.zeros(1000, np.bool_)
    ring[event.start_ms : event.end_ms] = True
    turned = [np.roll(ring, by).reshape(5, 200).any(axis=1).astype(float) for by in range(1000)]
    divergences = [jensen_shannon_bits(bins, listeners) for bins in turned]
    expected = 1 - (divergences[0] or 0) / np.mean([d for d in divergences if d is not None])
    assert skill([event], 1000, listeners) == pytest.approx(expected)


def test_a_metronome_has_no_skill_and_who_follows_people_has() -> None:
    """Over all the moments at which it may be started, a metronome's skill is nothing on average."""
    ticks = [[Span(t, t + 200) for t in range(start, 60_000 + start, 600)] for start in range(0, 600, 60)]
    turned = [[Span(t.start_ms % 60_000, t.start_ms % 60_000 + 200) for t in events] for events in ticks]
    found = [skill(events, 60_000, people()) for events in turned]
    assert np.mean([s for s in found if s is not None]) == pytest.approx(0, abs=2e-3)
    assert np.ptp([s for s in found if s is not None]) > 0.01
    (places,) = np.nonzero(people())
    follower = skill([Span(200 * int(i), 200 * int(i) + 200) for i in places], 60_000, people())
    assert follower is not None
    assert follower > 0.8


def test_no_backchannel_is_undefined_and_a_takeover_is_never_forgotten() -> None:
    nothing = backchannel([], (), 10, [1.0] * 50)
    assert (nothing.js_bits, nothing.skill, nothing.per_minute, nothing.tor) == (None, None, 0, False)
    long_then_short = backchannel([Span(0, 2000), Span(3000, 3200)], (), 10, [1.0] * 50)
    assert long_then_short.tor
    assert long_then_short.backchannels == 1


# ---------------------------------------------------------------- bad input


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="write it with an ASR"):
        words_of({"text": "hello"})
    with pytest.raises(ValueError, match="write it with an ASR"):
        words_of({"chunks": [{"text": "hello", "timestamp": 3}]})
    for times in (["1", "2"], [True, 2.0], [1.0, "2"], "12", [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match="write it with an ASR"):
            words_of({"chunks": [{"text": "hello", "timestamp": times}]})
    with pytest.raises(ValueError, match="at least one pause"):
        pause((), [], 3)
    with pytest.raises(ValueError, match="longer than 0 s"):
        backchannel([], (), 0, [])
