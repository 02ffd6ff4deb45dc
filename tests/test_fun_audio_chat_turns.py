"""Fun-Audio-Chat as somebody to talk with: turns, and what was heard of the answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duologue.dialogue import Message
from duologue.session import Failed, Part, Speech, Turn, Wrote
from duologue.systems.fun_audio_chat_turns import Talker, nano, talker
from small_fun_audio_chat import kept, voice


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat") / "model"
    kept(folder)
    return folder


def said(parts: list[Part]) -> tuple[str, bytes]:
    assert not [part for part in parts if isinstance(part, Failed)]
    text = "".join(part.text for part in parts if isinstance(part, Wrote))
    assert "".join(part.text for part in parts if isinstance(part, Speech)) == text
    return text, b"".join(part.audio.tobytes() for part in parts if isinstance(part, Speech))


def answer(one: Talker, number: int, history: tuple[Message, ...] = (), seed: int = 0) -> tuple[str, bytes]:
    return said(list(one.reply(Turn(number, history, voice(0.9, seed)))))


def test_an_answer_is_text_and_sound(folder: Path) -> None:
    text, audio = answer(talker(folder), 0)
    assert text
    assert len(audio) > 4 * 640
    assert answer(talker(folder), 0) == (text, audio)


def test_a_turn_that_was_none_changes_nothing(folder: Path) -> None:
    one, two = talker(folder), talker(folder)
    parts = two.reply(Turn(0, (), voice(0.7, 3)))
    next(parts)
    parts.close()
    assert answer(two, 1, (), seed=1) == answer(one, 0, (), seed=1)


def test_a_conversation_goes_on_and_what_was_not_heard_was_not_said(folder: Path) -> None:
    one, two, three = talker(folder), talker(folder), talker(folder)
    text, _ = answer(one, 0)
    answer(two, 0)
    answer(three, 0)
    whole = (Message("user", ""), Message("assistant", text))
    cut = (Message("user", ""), Message("assistant", text.split()[0], interrupted=True))
    columns = [len(each._talk.calls[0].columns().tokens) for each in (one, two)]
    assert columns[0] == columns[1]
    answer(one, 1, whole, seed=2)
    answer(two, 1, cut, seed=2)
    answer(three, 1, (Message("user", ""),), seed=2)
    fed = [each._talk.calls[0].before for each in (one, two, three)]
    assert fed[0] > fed[1] > fed[2] > 0


def test_a_conversation_from_elsewhere_is_read(folder: Path) -> None:
    history = (Message("user", "what is two"), Message("assistant", "four"), Message("user", "then"))
    one = talker(folder)
    first = answer(one, 5, history, seed=1)
    assert first == answer(talker(folder), 5, history, seed=1)
    assert len(one._exchanges) == 3
    goes_on = (*history, Message("user", ""), Message("assistant", first[0]))
    assert answer(one, 6, goes_on, seed=2)[1]


def test_no_sound_is_told_and_the_call_goes_on(folder: Path) -> None:
    one = talker(folder)
    (failed,) = one.reply(Turn(0, (), np.zeros(100, np.float32)))
    assert isinstance(failed, Failed)
    assert answer(one, 1) == answer(talker(folder), 0)


def test_callers_share_the_weights(folder: Path) -> None:
    assert talker(folder).talking.model is nano(folder).model
