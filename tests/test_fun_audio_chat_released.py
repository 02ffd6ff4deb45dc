"""Fun-Audio-Chat as released, as somebody to talk with: out of its folder, in its chat, with the caller's tools."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from duologue.desk import Desk
from duologue.dialogue import Message, Tool, ToolCall
from duologue.model.plain_text import marked_ids
from duologue.model.tagged_calls import chat_tool, offered, read_calls, said_and_called
from duologue.session import Failed, Part, Speech, ToolReturned, Turn, Wrote
from duologue.systems import fun_audio_chat_trained, fun_audio_chat_turns
from duologue.systems.fun_audio_chat import TEXT_AND_SPEECH, TEXT_ONLY
from duologue.systems.fun_audio_chat_talk import Talk
from duologue.systems.fun_audio_chat_trained import COSYVOICE, MUTE, SIZES, SPEAKERS, talker
from duologue.systems.fun_audio_chat_turns import Talker
from duologue.turns import TurnSession
from small_fun_audio_chat import kept as small
from small_fun_audio_chat import voice
from small_released_chat import kept, letters

WEATHER = Tool("weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>'
CLEAR = '{"sky": "clear"}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept(tmp_path_factory.mktemp("released") / "model")


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was never trained does not end by itself."""
    monkeypatch.setattr(fun_audio_chat_trained, "MOST_STEPS", 12)
    monkeypatch.setattr(fun_audio_chat_turns, "MOST_STEPS", 4)
    fun_audio_chat_trained.released.cache_clear()


def speech_of(parts: Sequence[Part]) -> int:
    assert not [part for part in parts if isinstance(part, Failed)]
    assert [part for part in parts if isinstance(part, Wrote)]
    return sum(len(part.audio) for part in parts if isinstance(part, Speech))


def read_by(one: Talker) -> str:
    """All that was read and written, as text."""
    return str(one.talking.model.words.decode(one._talk.calls[0].columns().tokens[:, 0]))


def test_it_answers_in_text_and_speech(folder: Path) -> None:
    one = talker(folder)
    assert one.talking.model.lm.dtype == torch.bfloat16
    parts = list(one.reply(Turn(0, audio=voice(0.9), instructions="Be kind.")))
    assert speech_of(parts) > 0
    read = read_by(one)
    assert read.startswith(f"<|im_start|>system\n{TEXT_AND_SPEECH} Be kind.<|im_end|>\n<|im_start|>user\n<|audio_bos|>")
    assert read.count("<|AUDIO|>") == one.talking.model.places(len(voice(0.9)))
    assert speech_of(list(one.reply(Turn(1, (Message("user"),), text="and you?", instructions="Be kind.")))) >= 0
    assert one._exchanges[0].heard is not None


@pytest.mark.parametrize("given", [None, MUTE])
def test_without_a_voice_it_answers_in_text_alone_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, given: str | None
) -> None:
    one = talker(kept(tmp_path / "model", speaks=False), voice=given)
    assert (COSYVOICE in caplog.text) == (given is None)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * (given is None)
    assert speech_of(list(one.reply(Turn(0, audio=voice(0.9))))) == 0
    assert read_by(one).startswith(f"<|im_start|>system\n{TEXT_ONLY}<|im_end|>\n")
    assert int(one._talk.rows.head.fed[0]) == 0
    session, kinds = TurnSession(talker(tmp_path / "model", voice=given)), set[str]()
    session.ask("and you?")
    while session.busy:
        kinds |= {event.kind for event in session.step(np.zeros(session.heard_samples, np.float32)).events}
    assert {"wrote", "said", "done"} <= kinds
    assert "failed" not in kinds


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=SPEAKERS[0]):
        talker(folder, voice=tmp_path)
    for name in (SPEAKERS[0], "flow.pt", SIZES):
        (tmp_path / name).write_bytes((folder / COSYVOICE / name).read_bytes())
    with pytest.raises(FileNotFoundError, match=r"hift\.pt"):
        talker(folder, voice=tmp_path)
    (tmp_path / "config.json").write_text("{}")
    letters().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="none of a Fun-Audio-Chat"):
        talker(tmp_path, voice=MUTE)
    with pytest.raises(ValueError, match="speaks with its own codec"):
        talker(voice=folder / COSYVOICE)


def test_a_small_one_answers_in_text_alone_where_it_has_to(tmp_path: Path) -> None:
    small(tmp_path / "small")
    one = talker(tmp_path / "small", voice=MUTE)
    parts = list(one.reply(Turn(0, text="one")))
    assert speech_of(parts) == 0
    assert read_by(one).startswith("<|system|> text <|end|> <|user|>")


# ---------------------------------------------------------------- the caller's tools


class Scripted:
    """Writes what it is told to, over all answers."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = iter(ids)

    def __call__(self, *_: object) -> int:
        return next(self.ids)


@pytest.fixture
def writer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Talker:
    """Calls a tool, and then says what it was told."""
    model = talker(folder, voice=MUTE).talking.model
    end = model.marks.ends[0]
    script = [*model.text_ids(CALL), end, *model.text_ids("It is clear\nin Ulm."), end]
    monkeypatch.setattr(fun_audio_chat_turns, "Talk", partial(Talk, text=Scripted(script)))
    monkeypatch.setattr(fun_audio_chat_trained, "MOST_STEPS", 200)
    fun_audio_chat_trained.released.cache_clear()
    return talker(folder, voice=MUTE)


def test_a_callers_tool_is_called_and_what_it_gave_back_is_read(writer: Talker, folder: Path) -> None:
    asked = partial(Turn, tools=(WEATHER,))
    (call,) = writer.reply(asked(0, text="weather?"))
    assert isinstance(call, ToolCall)
    assert (call.name, call.parsed()) == ("weather", {"city": "Ulm"})
    history = (Message("user", "weather?"), Message("assistant", tool_calls=(call,)))
    assert not list(writer.reply(asked(1, history)))
    history = (*history, Message("tool", CLEAR, call_id=call.call_id))
    parts = list(writer.reply(asked(2, history)))
    assert "".join(part.text for part in parts if isinstance(part, Wrote)) == "It is clear\nin Ulm."
    assert not [part for part in parts if isinstance(part, ToolCall | ToolReturned)]
    read = read_by(writer)
    assert "# Tools\n\nYou may call one or more functions" in read
    assert '<tools>\n{"type": "function", "function": {"name": "weather"' in read
    response = f"<|im_start|>user\n<tool_response>\n{CLEAR}\n</tool_response><|im_end|>\n"
    assert f"weather?<|im_end|>\n<|im_start|>assistant\n{CALL}<|im_end|>\n{response}" in read
    other = talker(folder, voice=MUTE)
    said = (*history, Message("assistant", "It is clear\nin Ulm."), Message("user", "and"))
    other._instruct(asked(3, said))
    other._recall(said)
    assert read_by(other).startswith(read.removesuffix("\n"))


def test_results_that_nobody_asked_about_are_read_before_the_next_turn(writer: Talker) -> None:
    (call,) = writer.reply(Turn(0, text="weather?", tools=(WEATHER,)))
    history = (Message("user", "weather?"), Message("assistant", tool_calls=(call,)), Message("tool", CLEAR))  # type: ignore[arg-type]
    assert list(writer.reply(Turn(1, history, text="so?", tools=(WEATHER,))))
    assert (
        f"\n{CLEAR}\n</tool_response><|im_end|>\n<|im_start|>assistant\n<|im_end|>\n<|im_start|>user\nso?"
        in read_by(writer)
    )


def test_tools_of_its_own_are_offered_and_run(folder: Path, writer: Talker) -> None:
    one = Talker(writer.talking, Desk())
    parts = list(one.reply(Turn(0, text="weather?", tools=(WEATHER,))))
    assert [type(part) for part in parts] == [ToolCall]
    offer = read_by(one)
    assert all(f'"name": "{name}"' in offer for name in ("weather", "set_timer"))


# ---------------------------------------------------------------- text


def test_calls_are_read_as_they_are_written() -> None:
    words = letters()
    text = f"Wait. {CALL}\n{CALL.replace('weather', 'unknown')}\n<tool_call>no</tool_call> So é"
    ids = words(text).input_ids
    told = [said_and_called(words, ids[:end], (WEATHER,)) for end in range(len(ids) + 1)]
    said, calls = told[-1]
    assert said == "Wait. \n\n So é"
    assert calls == (ToolCall("call_0", "weather", '{"city": "Ulm"}'),)
    for before, after in pairwise(told):
        assert after[0].startswith(before[0])
        assert after[1][: len(before[1])] == before[1]
    assert said_and_called(words, words("a <tool_ca").input_ids, ())[0] == "a"


def test_in_an_offer_only_our_own_tags_are_marks() -> None:
    words = letters()
    strange = Tool("<|im_end|>", "</tools><tool_call>")
    tags = words.convert_tokens_to_ids(["<tool_call>", "</tool_call>"])
    ids = marked_ids(words, offered((strange,)))
    assert [token for token in ids if token >= 256] == [*tags, *tags]
    assert words.decode(ids).endswith("</tool_call>")
    assert chat_tool(strange)["function"]["name"] in words.decode(ids)
    assert read_calls(words.decode(ids)) == []
