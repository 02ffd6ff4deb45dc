"""Turns on the clock: the rules of a paper, the distributions of people, and who gives way to whom."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.dialogue import Dialogue, Speaker, Utterance
from duologue.evaluate import turn_taking
from duologue.evaluate.distribution import wasserstein_1
from duologue.evaluate.timing import Tracks
from duologue.evaluate.turn_statistics import as_people_counted
from duologue.synthesis.human_timing import BODY_S, HUMAN
from duologue.synthesis.placing import APART_MS, LEAD_MS, Event, place
from duologue.synthesis.script import Script, clauses, joint, scripts
from duologue.synthesis.timing import GIVES_WAY_MS, TIMINGS

Placed = tuple[Event, ...]


@lru_cache
def some_scripts(count: int = 200) -> tuple[Script, ...]:
    return tuple(islice(scripts(0, "train", exchanges=(4, 8)), count))


def length_ms(speaker: Speaker, text: str) -> int:
    """A voice of steady pace."""
    return max(250, 60 * len(text))


@lru_cache
def placed(manner: str) -> tuple[Placed, ...]:
    rng = np.random.default_rng(0)
    return tuple(place(script, TIMINGS[manner](), length_ms, rng) for script in some_scripts())


def turns(events: Placed) -> list[list[Event]]:
    """Stretches of each turn in order; no back-channels."""
    said = [e for e in events if e.kind != "back_channel"]
    numbers = sorted({e.turn for e in said if e.turn is not None})
    return [[e for e in said if e.turn == number] for number in numbers]


def transfers(manner: str) -> Iterator[tuple[list[Event], list[Event]]]:
    """Each turn with the one after it."""
    for events in placed(manner):
        yield from pairwise(turns(events))


def offsets_s(manner: str, speaker: Speaker) -> list[float]:
    """From where the turn before was meant to end to where the speaker starts."""
    found = [e.offset_s for events in placed(manner) for e in events if e.speaker == speaker]
    return [offset_s for offset_s in found if offset_s is not None]


def distance_s(values: list[float], kind: str) -> float:
    distance = wasserstein_1(values, HUMAN[kind].sample)
    assert distance is not None
    return distance


# ---------------------------------------------------------------- laws of every manner


@pytest.mark.parametrize("manner", TIMINGS)
@given(seed=st.integers(0, 2**32), number=st.integers(0, 199), slowness=st.floats(0.2, 3))
def test_nobody_talks_over_oneself_and_nothing_is_lost(manner: str, seed: int, number: int, slowness: float) -> None:
    script = some_scripts()[number]
    rng = np.random.default_rng(seed)
    events = place(script, TIMINGS[manner](), lambda who, text: round(slowness * length_ms(who, text)), rng)
    for speaker in ("user", "assistant"):
        own = [e for e in events if e.speaker == speaker]
        assert all(a.end_s < b.start_s for a, b in pairwise(own)), "talks over oneself"
    assert LEAD_MS[0] <= 1000 * events[0].start_s <= LEAD_MS[1]
    for line, turn in zip(script.lines, turns(events), strict=True):
        assert {e.speaker for e in turn} == {line.speaker}
        kept = joint(script.language).join(e.text for e in turn)
        assert letters(kept) == letters(line.text), "a word was lost"
        assert all(e.start_s < e.end_s for e in turn)


def letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


@pytest.mark.parametrize("manner", TIMINGS)
def test_the_same_seed_places_the_same(manner: str) -> None:
    script = some_scripts()[3]
    first, again, other = (
        place(script, TIMINGS[manner](), length_ms, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first == again != other


@given(st.integers(0, 199))
def test_clauses_joined_are_the_text(number: int) -> None:
    script = some_scripts()[number]
    for line in script.lines:
        assert joint(script.language).join(clauses(line.spoken, script.language)) == line.spoken


# ---------------------------------------------------------------- the paper


def test_on_paper_the_assistant_is_at_once_and_the_user_waits() -> None:
    for before, turn in transfers("paper"):
        gap_s = turn[0].start_s - before[-1].end_s
        if turn[0].speaker == "assistant":
            assert gap_s == pytest.approx(0, abs=1e-6)
        else:
            assert gap_s >= -1e-9
    waits = offsets_s("paper", "user")
    cut_normal = np.maximum(0, np.random.default_rng(1).normal(0.6, 0.4, 100_000))
    assert np.mean(waits) == pytest.approx(cut_normal.mean(), abs=0.03)
    assert np.std(waits) == pytest.approx(cut_normal.std(), abs=0.03)
    assert not any(e.cut or e.kind != "turn" for events in placed("paper") for e in events)


def test_the_second_version_has_barge_ins_as_often_as_it_says() -> None:
    cut = [before[-1].cut for before, turn in transfers("paper_v2") if turn[0].speaker == "user"]
    share = TIMINGS["paper_v2"]().barge_in_share
    assert 0.6 * share < np.mean(cut) <= share * 1.1


# ---------------------------------------------------------------- people


def test_people_to_people_is_as_people_do_it() -> None:
    """Measured on the dialogues as any other's would be, in the way the reference was counted."""
    tracks = [Tracks.of_dialogue(Dialogue(tuple(utterance(e) for e in events))) for events in placed("people")]
    body = [v for t in tracks for v in as_people_counted(turn_taking.events(t))["fto_body"]]
    assert len(body) > 1000
    assert distance_s(body, "fto_body") < 0.06


def utterance(event: Event) -> Utterance:
    return event.utterance("user" if event.speaker == "user" else "assistant")


def test_users_start_as_people_do_where_they_do_not_barge_in() -> None:
    body = [v for v in offsets_s("people", "user") if BODY_S[0] <= v <= BODY_S[1]]
    assert distance_s(body, "fto_body") < 0.07


def test_the_assistant_answers_within_a_second_and_is_rarely_early() -> None:
    answers = offsets_s("human", "assistant")
    assert distance_s([v for v in answers if v > 0], "gap_within_1s") < 0.02
    assert np.mean([v < 0 for v in answers]) == pytest.approx(0.1, abs=0.03)
    assert -0.25 <= min(answers) < max(answers) <= 1.0


@pytest.mark.parametrize("manner", ["human", "prompt", "people"])
def test_users_pause_as_people_do(manner: str) -> None:
    pauses = [b.start_s - a.end_s for events in placed(manner) for turn in turns(events) for a, b in pairwise(turn)]
    assert len(pauses) > 500
    assert distance_s(pauses, "pause") < 0.04
    assert min(pauses) > 0.199


def test_a_prompt_assistant_is_prompt() -> None:
    answers = offsets_s("prompt", "assistant")
    assert 0.03 < min(answers) <= np.median(answers) < 0.15
    assert np.mean([v <= 0.16 for v in answers]) > 0.95


# ---------------------------------------------------------------- giving way


@pytest.mark.parametrize("manner", ["paper_v2", "human", "prompt"])
def test_the_assistant_gives_way_within_its_time_and_only_then(manner: str) -> None:
    least_s, most_s = (ms / 1000 for ms in GIVES_WAY_MS)
    cuts = 0
    for before, turn in transfers(manner):
        if turn[0].speaker == "user":
            ran_on_s = before[-1].end_s - turn[0].start_s
            assert ran_on_s <= most_s + 1e-6, "talks on over the user"
            assert before[-1].cut == (turn[0].kind == "barge_in")
            if before[-1].cut:
                cuts += 1
                assert least_s - 1e-6 <= ran_on_s
                said_s = before[-1].end_s - before[-1].start_s
                assert said_s < length_ms("assistant", before[-1].spoken) / 1000
        else:
            assert not before[-1].cut, "a user never gives way"
    assert cuts > 50


def test_back_channels_lie_inside_what_the_assistant_says_and_stop_nothing() -> None:
    found = 0
    for events in placed("human"):
        for nod in (e for e in events if e.kind == "back_channel"):
            found += 1
            (under,) = (e for e in events if e.speaker == "assistant" and e.turn == nod.turn)
            assert nod.speaker == "user"
            assert 0.2 <= nod.end_s - nod.start_s <= 1.0
            assert under.start_s + APART_MS / 1000 <= nod.start_s + 1e-6
            assert nod.end_s + APART_MS / 1000 <= under.end_s + 1e-6
    spoken_s = sum(e.end_s - e.start_s for events in placed("human") for e in events if e.speaker == "assistant")
    assert found / (spoken_s / 60) == pytest.approx(3.9, abs=1.0)
