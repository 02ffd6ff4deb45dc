"""An answer as parts: text once, calls once and as soon as they are complete, all of the sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from duologue.desk import Desk
from duologue.dialogue import ToolCall
from duologue.model.calls import said_and_called
from duologue.model.words import words_tokenizer
from duologue.session import Part, Speech, ToolReturned, Wrote
from duologue.sound import Audio
from duologue.telling import Made, told

WORDS = words_tokenizer(("the", "timer", "is", "set", "set_timer", "seconds", "=", "."))
TEXT = "the timer is set . <call> set_timer seconds = 5 </call> the timer ."


class Late:
    """Says each unit as a sample, one unit late."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def say(self, units: Sequence[int], last: bool = False) -> Audio:
        self.held += units
        final, self.held = (self.held, []) if last else (self.held[:-1], self.held[-1:])
        return np.array(final, np.float32)


def parts(ends: bool = True) -> list[Part]:
    ids = WORDS(TEXT).input_ids
    steps = [Made(ids[: n + 1], [n], ends and n == len(ids) - 1) for n in range(len(ids))]
    return list(told(steps, Late(), lambda *given: said_and_called(WORDS, *given), Desk()))


def test_everything_is_told_once_and_in_order() -> None:
    for ends in (True, False):
        found = parts(ends)
        text = "".join(part.text for part in found if isinstance(part, Wrote))
        spoken = [part for part in found if isinstance(part, Speech)]
        assert text == "".join(part.text for part in spoken) == "The timer is set. The timer."
        count = len(WORDS(TEXT).input_ids)
        assert np.concatenate([part.audio for part in spoken]).tolist() == list(range(count))
        (call,) = (part for part in found if isinstance(part, ToolCall))
        assert (call.name, call.parsed()) == ("set_timer", {"seconds": 5})
        (returned,) = (part for part in found if isinstance(part, ToolReturned))
        assert returned.call_id == call.call_id
        assert found.index(returned) == found.index(call) + 1


def test_text_is_told_before_its_sound_and_nothing_runs_ahead() -> None:
    taken = []

    def steps() -> object:
        for n, word in enumerate(WORDS("the timer").input_ids):
            taken.append(n)
            yield Made([word], [n], False)

    answer = told(steps(), Late(), lambda *given: said_and_called(WORDS, *given), None)  # type: ignore[arg-type]
    assert next(answer) == Wrote("The")
    assert taken == [0]
    answer.close()  # type: ignore[attr-defined]
    assert taken == [0]


def test_an_answer_without_sound_still_has_its_text_said() -> None:
    ids = WORDS("the timer").input_ids
    found = list(told([Made(ids, [], True)], Late(), lambda *given: said_and_called(WORDS, *given), None))
    assert [type(part) for part in found] == [Wrote, Speech]
    assert isinstance(found[1], Speech)
    assert found[1].text == "The timer"
