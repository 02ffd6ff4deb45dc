"""Turn-taking: laws of the floor, and a grid of booleans as slow twin."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from duologue.dialogue import Speaker
from duologue.evaluate.timing import SPEAKERS, Span, Tracks, joined
from duologue.evaluate.timing import shared as both
from duologue.evaluate.turn_taking import Events, SpokenTurn, events, onset_order, without_backchannels

laws = settings()

STEP_MS = 50
CELLS = 160
"""The twin's grid: recordings of 8 s."""

Grid = NDArray[np.bool_]


@st.composite
def tracks(draw: st.DrawFn) -> Tracks:
    """Two speakers for 8 s, in steps of 50 ms: stretches and silences long enough to make every kind of event."""
    sides = []
    for _ in SPEAKERS:
        lengths = draw(st.lists(st.integers(1, 50), min_size=1, max_size=12))
        edges = [e for e in np.cumsum(lengths).tolist() if e <= CELLS]
        pairs = zip(edges[::2], edges[1::2], strict=False)
        sides.append(tuple(Span(a * STEP_MS, b * STEP_MS) for a, b in pairs))
    return Tracks(sides[0], sides[1], CELLS * STEP_MS)


def moved(spans: tuple[Span, ...], by_ms: int) -> tuple[Span, ...]:
    return tuple(Span(s.start_ms + by_ms, s.end_ms + by_ms) for s in spans)


def swapped(given_: Tracks) -> Tracks:
    return Tracks(given_.assistant, given_.user, given_.duration_ms)


# ---------------------------------------------------------------- the slow twin


def runs(grid: Grid) -> list[Span]:
    out, start = [], None
    for cell, on in enumerate([*grid.tolist(), False]):
        if on and start is None:
            start = cell
        elif not on and start is not None:
            out.append(Span(start * STEP_MS, cell * STEP_MS))
            start = None
    return out


def cells(span: Span) -> range:
    return range(span.start_ms // STEP_MS, span.end_ms // STEP_MS)


def painted(spans: list[Span]) -> Grid:
    grid = np.zeros(CELLS, np.bool_)
    for span in spans:
        grid[list(cells(span))] = True
    return grid


def slow_ipus(spans: tuple[Span, ...]) -> Grid:
    grid = painted(list(spans))
    for hole in runs(~grid):
        inside = hole.start_ms > 0 and hole.end_ms < CELLS * STEP_MS
        if inside and hole.length_ms <= 200:
            grid[list(cells(hole))] = True
    return grid


def slow(given_: Tracks) -> dict[str, object]:
    """The definitions, cell by cell."""
    talks = {speaker: slow_ipus(given_.of(speaker)) for speaker in SPEAKERS}
    pauses, gaps = list[Span](), list[Span]()
    turn_grids = {speaker: talks[speaker].copy() for speaker in SPEAKERS}
    for silence in runs(~(talks["user"] | talks["assistant"])):
        first, last = cells(silence)[0], cells(silence)[-1]
        if first == 0 or last == CELLS - 1:
            continue
        same = [s for s in SPEAKERS if talks[s][first - 1] and talks[s][last + 1]]
        (pauses if same else gaps).append(silence)
        for speaker in same:
            turn_grids[speaker][first : last + 1] = True
    turns = {speaker: runs(turn_grids[speaker]) for speaker in SPEAKERS}
    other: dict[Speaker, Speaker] = {"user": "assistant", "assistant": "user"}
    floor = sorted(
        (t, s) for s in SPEAKERS for t in turns[s] if not any(set(cells(t)) <= set(cells(u)) for u in turns[other[s]])
    )
    far = 1000 // STEP_MS
    short = [
        t
        for s in SPEAKERS
        for t in turns[s]
        if (a := cells(t)[0]) >= far
        and (b := cells(t)[-1] + 1) <= CELLS - far
        and b - a <= far
        and not turn_grids[s][a - far : a].any()
        and not turn_grids[s][b : b + far].any()
        and talks[other[s]][a - far : a].any()
        and talks[other[s]][b : b + far].any()
    ]
    return {
        "ipus": {s: runs(talks[s]) for s in SPEAKERS},
        "pauses": pauses,
        "gaps": gaps,
        "overlaps": runs(talks["user"] & talks["assistant"]),
        "turns": turns,
        "offsets": [b[0].start_ms - a[0].end_ms for a, b in pairwise(floor)],
        "backchannels": sorted(short),
    }


def fast(given_: Tracks) -> dict[str, object]:
    found = events(given_)
    return {
        "ipus": {s: list(found.ipus[s]) for s in SPEAKERS},
        "pauses": [p.span for p in found.pauses],
        "gaps": [g.span for g in found.gaps],
        "overlaps": list(found.overlaps),
        "turns": {s: [t.span for t in found.turns if t.speaker == s] for s in SPEAKERS},
        "offsets": offsets(found),
        "backchannels": sorted(t.span for t in found.backchannels),
    }


def offsets(found: Events) -> list[int]:
    return [t.offset_ms for t in found.transfers]


@laws
@given(tracks())
def test_events_are_those_of_the_grid(given_: Tracks) -> None:
    assert fast(given_) == slow(given_)


# ---------------------------------------------------------------- laws


@laws
@given(tracks())
def test_gaps_are_the_positive_transfers_and_floor_turns_alternate(given_: Tracks) -> None:
    found = events(given_)
    assert [t.offset_ms for t in found.transfers if t.offset_ms > 0] == [g.span.length_ms for g in found.gaps]
    assert [(t.before, t.after) for t in found.transfers if t.offset_ms > 0] == [
        (g.before, g.after) for g in found.gaps
    ]
    assert all(t.before != t.after for t in found.transfers)


@laws
@given(tracks())
def test_every_negative_transfer_is_an_overlap_and_silences_fill_what_speech_leaves(given_: Tracks) -> None:
    found = events(given_)
    for before, after in pairwise(found.floor_turns):
        if after.span.start_ms < before.span.end_ms:
            yielded = Span(after.span.start_ms, before.span.end_ms)
            assert any(yielded.overlaps(o) for o in found.overlaps)
    silent = [*found.edge_silence, *(p.span for p in found.pauses), *(g.span for g in found.gaps)]
    speech = joined((*found.ipus["user"], *found.ipus["assistant"]))
    assert sum(s.length_ms for s in (*silent, *speech)) == given_.duration_ms
    assert not both(silent, speech)


@laws
@given(tracks())
def test_swapping_the_speakers_mirrors(given_: Tracks) -> None:
    here, there = events(given_), events(swapped(given_))
    mirror: dict[Speaker, Speaker] = {"user": "assistant", "assistant": "user"}

    def mirrored(turns: tuple[SpokenTurn, ...]) -> set[SpokenTurn]:
        return {SpokenTurn(mirror[t.speaker], t.span) for t in turns}

    assert offsets(here) == offsets(there)
    assert mirrored(here.floor_turns) == set(there.floor_turns)
    assert mirrored(here.backchannels) == set(there.backchannels)
    assert [g.span for g in here.gaps] == [g.span for g in there.gaps]


@laws
@given(tracks(), st.integers(0, 5000), st.integers(0, 5000))
def test_silence_at_the_edges_changes_nothing_but_backchannels(given_: Tracks, before: int, after: int) -> None:
    longer = Tracks(moved(given_.user, before), moved(given_.assistant, before), given_.duration_ms + before + after)
    here, there = events(given_), events(longer)
    assert offsets(here) == offsets(there)
    assert moved(here.overlaps, before) == there.overlaps
    assert moved(tuple(p.span for p in here.pauses), before) == tuple(p.span for p in there.pauses)
    assert [t.offset_ms for t in onset_order(here)] == [t.offset_ms for t in onset_order(there)]
    assert {(t.speaker, t.span.length_ms) for t in here.backchannels} <= {
        (t.speaker, t.span.length_ms) for t in there.backchannels
    }


@laws
@given(tracks(), st.data())
def test_a_word_inside_the_others_speech_moves_no_floor(given_: Tracks, data: st.DataObject) -> None:
    theirs = [s for s in events(given_).ipus["assistant"] if s.length_ms > 2 * STEP_MS]
    assume(theirs)
    inside = data.draw(st.sampled_from(theirs))
    start = data.draw(st.integers(inside.start_ms + 1, inside.end_ms - 2))
    word = Span(start, data.draw(st.integers(start + 1, inside.end_ms - 1)))
    near = Span(word.start_ms - 201, word.end_ms + 201)
    assume(not any(near.overlaps(own) for own in given_.user))
    assert offsets(events(replace(given_, user=(*given_.user, word)))) == offsets(events(given_))


@laws
@given(tracks())
def test_taking_the_backchannels_out_leaves_the_other_speech(given_: Tracks) -> None:
    found = events(given_)
    left = without_backchannels(found)
    for speaker in SPEAKERS:
        taken = [t.span for t in found.backchannels if t.speaker == speaker]
        assert left.ipus[speaker] == tuple(s for s in found.ipus[speaker] if not any(t.contains(s) for t in taken))


def test_a_word_within_a_backchannel_of_the_other_stays() -> None:
    user = (Span(0, 3000), Span(3300, 3500), Span(3900, 6000))
    found = events(Tracks(user, (Span(3250, 3600),), 6000))
    assert [t.speaker for t in found.backchannels] == ["assistant"]
    assert without_backchannels(found).tracks.user == user


def test_taking_the_floor_a_second_early_is_an_interruption() -> None:
    both_talk = Tracks((Span(0, 3000),), (Span(1999, 5000),), 5000)
    assert [t.offset_ms for t in events(both_talk).interruptions] == [-1001]
    assert not events(Tracks((Span(0, 3000),), (Span(2000, 5000),), 5000)).interruptions
