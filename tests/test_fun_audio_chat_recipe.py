"""What the nano model is taught: questions that nobody spoke, calls, two things at once; what its groups are said to
cost."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from duologue.desk import Desk
from duologue.evaluate.bfcl import exactly
from duologue.evaluate.function_calling import judge
from duologue.model.calls import parted
from duologue.systems.fun_audio_chat import nano
from duologue.systems.llama_omni_stages import Exchange
from duologue.units.nano_ears import EarsConfig, NanoEars, WordEars

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "recipes"))

from fun_audio_chat import both, examples, heard_clearly, parallel, written
from fun_audio_chat_calls import Asked, at_once
from fun_audio_chat_groups_table import Figures, costs_table, shares_table
from small_fun_audio_chat import small


def test_what_nobody_spoke_is_heard_word_for_word_or_not_at_all() -> None:
    ears = WordEars(
        NanoEars(EarsConfig(("plus", "two"), 64, 1, n_mels=20, front_width=16, front_blocks=1, front_taps=3)),
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
    )
    known, unknown = [Exchange("Two plus two?", "four"), Exchange("plus", "five")], [Exchange("minus two", "one")]
    (lesson,) = heard_clearly(ears, [known, unknown])
    assert [exchange.answer for exchange in lesson] == ["four", "five"]
    assert [np.asarray(exchange.asked).tolist() for exchange in lesson] == [[[0, 1], [1, 0], [0, 1]], [[1, 0]]]


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
