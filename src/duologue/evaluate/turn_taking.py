"""How two people share the floor: stretches of speech, pauses, gaps, overlaps, turns, transfers, back-channels.

IPU, pause, gap, overlap and turn as in dGSLM (Nguyen et al. 2023, section 4); the offset of a floor transfer as in
SyncLLM (Veluri et al. 2024), made precise: a turn that lies inside a turn of the other takes the floor from nobody.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from duologue.dialogue import Speaker
from duologue.evaluate.timing import SPEAKERS, Span, Tracks, joined, outside, shared

IPU_SILENCE_MS = 200
"""A silence of one's own up to this long is part of an inter-pausal unit."""

BACKCHANNEL_MS = 1000
"""A back-channel is at most this long, with at least this much silence of one's own on both sides, and speech of
the other at most this far away on both sides."""

INTERRUPTION_MS = 1000
"""Taking the floor more than this long before the other is done counts as an interruption."""


# ---------------------------------------------------------------- what is found


@dataclass(frozen=True)
class Pause:
    """A silence of both, after which somebody goes on who had stopped: one speaker, or both at once."""

    span: Span
    speakers: tuple[Speaker, ...]


@dataclass(frozen=True)
class Gap:
    """Any other silence between speech: `before` stopped, `after` starts."""

    span: Span
    before: Speaker
    after: Speaker


@dataclass(frozen=True)
class SpokenTurn:
    """A speaker's units joined across the speaker's own pauses."""

    speaker: Speaker
    span: Span


@dataclass(frozen=True)
class Transfer:
    """The floor goes over, `offset_ms` from the end of one floor turn to the start of the next; overlap is < 0."""

    offset_ms: int
    before: Speaker
    after: Speaker


@dataclass(frozen=True)
class Events:
    """All that happens between two speakers. `ipus` and `turns` in order; `edge_silence` is the silence before the
    first and after the last speech, neither pause nor gap; `floor_turns` lie in no turn of the other."""

    tracks: Tracks
    ipus: Mapping[Speaker, tuple[Span, ...]]
    pauses: tuple[Pause, ...]
    gaps: tuple[Gap, ...]
    overlaps: tuple[Span, ...]
    edge_silence: tuple[Span, ...]
    turns: tuple[SpokenTurn, ...]
    floor_turns: tuple[SpokenTurn, ...]
    transfers: tuple[Transfer, ...]
    backchannels: tuple[SpokenTurn, ...]

    @property
    def interruptions(self) -> tuple[Transfer, ...]:
        return tuple(t for t in self.transfers if t.offset_ms < -INTERRUPTION_MS)


def events(tracks: Tracks) -> Events:
    """Everything that happens, from who makes sound when."""
    ipus = {speaker: joined(tracks.of(speaker), IPU_SILENCE_MS) for speaker in SPEAKERS}
    silences = outside((*ipus["user"], *ipus["assistant"]), tracks.duration_ms)
    edge = tuple(s for s in silences if s.start_ms == 0 or s.end_ms == tracks.duration_ms)
    pauses, gaps = _pauses_and_gaps([s for s in silences if s not in edge], ipus)
    turns = _turns(ipus, pauses)
    floor_turns = _floor_turns(turns)
    return Events(
        tracks=tracks,
        ipus=ipus,
        pauses=pauses,
        gaps=gaps,
        overlaps=shared(ipus["user"], ipus["assistant"]),
        edge_silence=edge,
        turns=turns,
        floor_turns=floor_turns,
        transfers=_transfers(floor_turns),
        backchannels=_backchannels(turns, ipus, tracks.duration_ms),
    )


# ---------------------------------------------------------------- silences


def _pauses_and_gaps(
    silences: list[Span], ipus: Mapping[Speaker, tuple[Span, ...]]
) -> tuple[tuple[Pause, ...], tuple[Gap, ...]]:
    starts = {speaker: {s.start_ms for s in ipus[speaker]} for speaker in SPEAKERS}
    ends = {speaker: {s.end_ms for s in ipus[speaker]} for speaker in SPEAKERS}
    pauses, gaps = [], []
    for silence in silences:
        before = tuple(s for s in SPEAKERS if silence.start_ms in ends[s])
        after = tuple(s for s in SPEAKERS if silence.end_ms in starts[s])
        if same := tuple(s for s in before if s in after):
            pauses.append(Pause(silence, same))
        else:
            gaps.append(Gap(silence, before[0], after[0]))
    return tuple(pauses), tuple(gaps)


# ---------------------------------------------------------------- turns and the floor


def _in_order(turns: list[SpokenTurn]) -> tuple[SpokenTurn, ...]:
    return tuple(sorted(turns, key=lambda t: (t.span, SPEAKERS.index(t.speaker))))


def _turns(ipus: Mapping[Speaker, tuple[Span, ...]], pauses: tuple[Pause, ...]) -> tuple[SpokenTurn, ...]:
    turns = []
    for speaker in SPEAKERS:
        own_pauses = [p.span for p in pauses if speaker in p.speakers]
        turns += [SpokenTurn(speaker, span) for span in joined((*ipus[speaker], *own_pauses))]
    return _in_order(turns)


def _floor_turns(turns: tuple[SpokenTurn, ...]) -> tuple[SpokenTurn, ...]:
    """Turns that lie in no turn of the other. Only the other's last turn to start by then could hold one."""
    spans = {speaker: [t.span for t in turns if t.speaker == speaker] for speaker in SPEAKERS}

    def inside_other(turn: SpokenTurn) -> bool:
        theirs = spans[_other(turn.speaker)]
        started = bisect_right(theirs, turn.span.start_ms, key=lambda span: span.start_ms)
        return started > 0 and theirs[started - 1].contains(turn.span)

    return tuple(turn for turn in turns if not inside_other(turn))


def _other(speaker: Speaker) -> Speaker:
    return "assistant" if speaker == "user" else "user"


def _transfers(turns: tuple[SpokenTurn, ...]) -> tuple[Transfer, ...]:
    return tuple(
        Transfer(after.span.start_ms - before.span.end_ms, before.speaker, after.speaker)
        for before, after in pairwise(turns)
    )


def onset_order(found: Events) -> tuple[Transfer, ...]:
    """Transfers as the statistics of Switchboard count them: all units by onset, neighbours of one speaker merged.

    A word inside the other's speech gives two transfers here, though nobody yielded the floor: use it only to
    compare with those statistics.
    """
    units = _in_order([SpokenTurn(speaker, span) for speaker in SPEAKERS for span in found.ipus[speaker]])
    merged: list[SpokenTurn] = []
    for unit in units:
        if merged and merged[-1].speaker == unit.speaker:
            span = Span(merged.pop().span.start_ms, unit.span.end_ms)
            unit = replace(unit, span=span)
        merged.append(unit)
    return _transfers(tuple(merged))


# ---------------------------------------------------------------- back-channels


def _backchannels(
    turns: tuple[SpokenTurn, ...], ipus: Mapping[Speaker, tuple[Span, ...]], duration_ms: int
) -> tuple[SpokenTurn, ...]:
    """Short turns, alone on their own side and amid the other's speech. The edges of a recording end a silence."""
    found = []
    for speaker in SPEAKERS:
        own, theirs = [t for t in turns if t.speaker == speaker], ipus[_other(speaker)]
        ends_before = [0, *(t.span.end_ms for t in own)]
        starts_after = [*(t.span.start_ms for t in own[1:]), duration_ms]
        for turn, end_ms, start_ms in zip(own, ends_before, starts_after, strict=False):
            alone = min(turn.span.start_ms - end_ms, start_ms - turn.span.end_ms) >= BACKCHANNEL_MS
            if alone and turn.span.length_ms <= BACKCHANNEL_MS and _amid(turn.span, theirs):
                found.append(turn)
    return _in_order(found)


def _amid(span: Span, theirs: tuple[Span, ...]) -> bool:
    just_before = Span(span.start_ms - BACKCHANNEL_MS, span.start_ms)
    just_after = Span(span.end_ms, span.end_ms + BACKCHANNEL_MS)
    return any(just_before.overlaps(t) for t in theirs) and any(just_after.overlaps(t) for t in theirs)


def without_backchannels(found: Events) -> Events:
    """What happens when the back-channels are taken out of the recording."""
    left: dict[Speaker, tuple[Span, ...]] = {}
    for speaker in SPEAKERS:
        taken = [t.span for t in found.backchannels if t.speaker == speaker]
        left[speaker] = tuple(s for s in found.ipus[speaker] if not any(t.contains(s) for t in taken))
    return events(replace(found.tracks, user=left["user"], assistant=left["assistant"]))
