"""A turn that LLaMA-Omni cannot answer is told, and nothing else changes: the call goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from duologue.dialogue import Message
from duologue.session import Failed, Turn
from duologue.sound import Audio
from duologue.sound.vad import EnergyVad
from duologue.systems.llama_omni_conversation import Conversation, Step
from duologue.systems.llama_omni_turns import Talker
from duologue.talk import converse
from duologue.turns import TurnSession
from test_llama_omni import sound
from test_llama_omni_turns import answer, talking

NOBODY = np.zeros(0, np.float32)
ASKED = Message("user", "")


def failed(talker: Talker, number: int, history: tuple[Message, ...] = (), audio: Audio = NOBODY) -> str:
    (part,) = talker.reply(Turn(number, history, audio))
    assert isinstance(part, Failed)
    return part.message


def test_no_sound_is_told_and_the_call_goes_on() -> None:
    one = talking()
    failed(one, 0)
    assert answer(one, 1, (ASKED,)) == answer(talking(), 0)


def test_a_question_of_ten_minutes_is_told_and_the_call_goes_on() -> None:
    one = talking()
    assert "no room for 600 s of sound: it takes 6000 positions" in failed(one, 0, audio=sound(600))
    assert answer(one, 1, (ASKED,)) == answer(talking(), 0)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("failures", [1, 2])
@pytest.mark.parametrize("seconds", [0, 30])
def test_what_was_answered_before_a_failed_turn_is_remembered(cut: bool, failures: int, seconds: int) -> None:
    """One of no sound, and one that is too long."""
    one, other = talking(), talking()
    text, _ = answer(one, 0, seed=1)
    answer(other, 0, seed=1)
    heard = " ".join(text.split()[:2]) if cut else text
    history = (ASKED, Message("assistant", heard, interrupted=cut))
    for number in range(failures):
        failed(one, 1 + number, history + (ASKED,) * number, sound(seconds))
    assert answer(one, 9, history + (ASKED,) * failures, seed=2) == answer(other, 1, history, seed=2)
    assert one._conversation.place == other._conversation.place


def test_an_answer_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, true = talking(), talking(), Conversation.answer

    def overflows(self: Conversation, *settings: float, **more: bool) -> Iterator[Step]:
        yield next(true(self, *settings, **more))  # type: ignore[arg-type]
        raise FloatingPointError("too large")

    with monkeypatch.context() as patched:
        patched.setattr(Conversation, "answer", overflows)
        *_, last = one.reply(Turn(0, (), sound(seed=1)))
    assert last == Failed("too large")
    assert answer(one, 1, (ASKED,)) == answer(other, 0)


def test_a_session_goes_on_behind_a_turn_in_which_nothing_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three questions; the ears find no vector in the second."""
    one, other, gap = talking(), talking(), np.zeros(6 * 16_000, np.float32)
    ears, heard = one.talking.model.ears, list[int]()
    true = ears.features

    def features(audio: Audio) -> object:
        heard.append(len(audio))
        return true(audio)[: 0 if len(heard) == 2 else None]

    monkeypatch.setattr(ears, "features", features)
    told = converse(TurnSession(one, EnergyVad()), np.concatenate([gap, *(_asked(n) for n in (1, 2, 3))]))
    assert [event.kind for event in told.events].count("failed") == 1
    monkeypatch.setattr(ears, "features", true)
    without = converse(TurnSession(other, EnergyVad()), np.concatenate([gap, *(_asked(n) for n in (1, 3))]))
    assert [u.text for u in told.dialogue.utterances] == [u.text for u in without.dialogue.utterances]
    assert one._conversation.place == other._conversation.place


def _asked(seed: int) -> Audio:
    return np.concatenate([sound(1.0, seed), np.zeros(6 * 16_000, np.float32)])
