"""What the nano model is taught: questions put together of words that were heard elsewhere, calls, two things at once;
and what its groups are said to cost."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.data.encode import Encoded, Stretch
from duologue.desk import Desk
from duologue.evaluate.bfcl import exactly
from duologue.evaluate.function_calling import judge
from duologue.model.calls import parted
from duologue.systems.fun_audio_chat import nano
from duologue.systems.llama_omni_stages import Exchange
from duologue.systems.omni_flatten_examples import HEARD_LATER

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "recipes"))

from fun_audio_chat import both, examples, parallel, written
from fun_audio_chat_calls import Asked, at_once
from fun_audio_chat_groups_table import Figures, costs_table, shares_table
from fun_audio_chat_recital import LONGEST_WORD, Recital, heard_in
from nano_ears import window
from small_fun_audio_chat import small

WORDS = ("two", "plus", "minus", "three")
NOTHING = -1


def states_of(words: list[str], ends: list[int], length: int) -> np.ndarray:
    """Ears that tell the number of a word where it ends."""
    states = np.full((length, 1), NOTHING, np.float16)
    for word, end in zip(words, ends, strict=True):
        states[end] = WORDS.index(word)
    return states


@given(
    said=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), min_size=1, max_size=6),
    asked=st.lists(st.sampled_from(WORDS), min_size=1, max_size=9),
    gaps=st.lists(st.integers(1, 20), min_size=36, max_size=36),
)
def test_what_is_recited_is_told_in_order_and_once(said: list[list[str]], asked: list[str], gaps: list[int]) -> None:
    recital = Recital()
    for words in said:
        ends = np.cumsum([gaps.pop() for _ in words]).tolist()
        recital.hear(words, ends, states_of(words, ends, ends[-1] + 3))
    states = recital.recite(" ".join(asked).title() + "?", Random(0))
    if {*asked} <= {word for words in said for word in words}:
        assert states is not None
        assert [WORDS[int(n)] for n in states[:, 0] if n != NOTHING] == asked
        assert len(states) <= 20 + LONGEST_WORD * len(asked) + 2
    else:
        assert states is None


def test_it_differs_from_time_to_time_and_not_by_itself() -> None:
    recital = Recital()
    for gap in range(1, 9):
        recital.hear(["two"], [gap], states_of(["two"], [gap], gap + gap))
    first, again, other = (recital.recite("two two two", Random(seed)) for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("ends", [(12, 20), (12, 12)])
def test_words_are_found_where_they_are_told_in_recordings(ends: tuple[int, int]) -> None:
    """Two that end at once are told one after the other."""
    stretch = Stretch("user", 10, (0,) * 15, "two plus", ends, turn=0)
    answer = Stretch("assistant", 30, (0,), "four", turn=1)
    start, end = window([stretch], 40)
    told = [ends[0] + HEARD_LATER - start, max(ends[1], ends[0] + 1) + HEARD_LATER - start]
    states = states_of(["two", "plus"], told, end - start)
    silent = Encoded("nobody answers", (0,) * 40, (Stretch("user", 10, (0,) * 15, "minus", (12,), turn=0),))
    row = Encoded("row", (0,) * 40, (stretch, answer))
    recital = heard_in([silent, row], [[Exchange(states, "four")]])
    recited = recital.recite("plus two", Random(0))
    assert recited is not None
    assert [WORDS[int(n)] for n in recited[:, 0] if n != NOTHING] == ["plus", "two"]
    assert recital.recite("minus", Random(0)) is None


# ---------------------------------------------------------------- calls

TIMER = Exchange("two", "one two. <call> set_timer seconds = 5 </call>", (1, 2, 3))
NOTE = Exchange("three", "okay. <call> take_note text = one two </call>", (4, 5, 6, 7, 8, 9))


def test_what_is_called_is_written_first_and_its_result_is_read() -> None:
    model = small(nano())
    (made,) = examples(model, [[TIMER]], silence=39)
    text = model.words.decode(made["tokens"][:, 0].tolist())
    assert text == (
        "<|user|> two <|end|> <|assistant|> <call> set_timer seconds = 5 </call> <|end|> "
        "<|user|> <call> seconds = 5 </call> <|end|> "
        "<|assistant|> <|audio_bos|> one two . <|audio_eos|> <|end|>"
    )
    spoken = made["tokens"][:, 1:][made["said"][:, 1:]]
    assert [unit for unit in spoken.tolist() if unit < model.unit_ids.codes] == [1, 2, 3, 39, 39]


def test_two_things_at_once_are_both_of_them() -> None:
    asked = both(TIMER, NOTE)
    said, calls = parted(asked.answer, Desk.tools)
    assert (asked.asked, said, asked.units) == ("two and three", "one two. okay.", (*TIMER.units, *NOTE.units))
    assert [call.name for call in calls] == ["set_timer", "take_note"]
    states = [np.full((n, 1), n, np.float16) for n in (3, 4)]
    spoken = [Exchange(one, each.answer, each.units) for one, each in zip(states, (TIMER, NOTE), strict=True)]
    assert np.array_equal(both(*spoken).asked, np.concatenate(states))


def test_only_lone_questions_with_one_call_are_asked_at_once() -> None:
    lessons = [[TIMER], [NOTE], [TIMER, NOTE], [Exchange("is", "one")], [both(TIMER, NOTE)]]
    for (made,) in parallel(lessons, 20):
        assert made.answer.count("<call>") == 2
    assert list(parallel(lessons[2:], 20)) == []


def test_of_what_is_taught_in_writing_every_call_can_be_done() -> None:
    desk = Desk()
    lessons = written(150, 9)
    assert sum(exchange.answer.count("<call>") == 2 for lesson in lessons for exchange in lesson) == 9
    for exchange in (exchange for lesson in lessons for exchange in lesson):
        calls = parted(exchange.answer, desk.tools)[1]
        assert judge(calls, desk.tools, exactly(calls), "bfcl").right


def test_questions_asked_in_one_breath_want_both_calls() -> None:
    calls = [parted(each.answer, Desk.tools)[1] for each in (TIMER, NOTE)]
    sounds = [np.full(16_000, n, np.float32) for n in (1, 2)]
    one, other = at_once([Asked(sound, call) for sound, call in zip(sounds, calls, strict=True)])
    assert [call.name for call in one.calls] == ["set_timer", "take_note"]
    assert [call.name for call in other.calls] == ["take_note", "set_timer"]
    assert one.audio[0] == other.audio[-1] == 1
    assert len(one.audio) == 2 * 16_000 - round(0.6 * 16_000)


# ---------------------------------------------------------------- groups


def figures(positions: float, right: list[bool]) -> Figures:
    return Figures(positions, 2 * positions, positions, positions, positions, 1.0, 2.0, right, right)


def test_each_rate_is_shown_as_a_part_of_the_one_above() -> None:
    results = {5: [figures(40, [True, False])] * 2, 2: [figures(100, [True, True])] * 2}
    columns = [list(column.cells) for column in shares_table(results).columns]
    assert columns[0] == ["5 of 12.5 Hz"]
    assert [column[0] for column in columns[1:6]] == ["0.40"] * 5
    assert str(columns[6][0]).startswith("-50.0 (")
    costs = [list(column.cells) for column in costs_table(results).columns]
    assert costs[1] == ["40 ± 0", "100 ± 0"]
    assert str(costs[8][0]).startswith("50.0 (")
