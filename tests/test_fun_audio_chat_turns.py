"""Fun-Audio-Chat as somebody to talk with: turns, and what was heard of the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from duologue.data.tensors import collate
from duologue.desk import Desk
from duologue.dialogue import Message, Tool, ToolCall
from duologue.model.calls import said_and_called
from duologue.model.picking import Picking
from duologue.model.plain_text import marked_ids
from duologue.session import Failed, Part, Speech, ToolReturned, Turn, Wrote
from duologue.sound import Audio
from duologue.systems import fun_audio_chat_turns
from duologue.systems.fun_audio_chat import nano as nano_config
from duologue.systems.fun_audio_chat_examples import Turn as Turned
from duologue.systems.fun_audio_chat_examples import example, heard
from duologue.systems.fun_audio_chat_history import Exchange, Round
from duologue.systems.fun_audio_chat_tools import IN_TAGS, IN_WORDS
from duologue.systems.fun_audio_chat_trained import nano, talker
from duologue.systems.fun_audio_chat_turns import Talker, Talking
from small_fun_audio_chat import kept, small, voice


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was never trained does not end by itself."""
    monkeypatch.setattr(fun_audio_chat_turns, "MOST_STEPS", 16)


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
    parts.close()  # type: ignore[attr-defined]
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


MARKS = ("<|AUDIO|>", "<|audio_bos|>", "<|assistant|>", "<|end|>", "<|end|><|user|>", "<call>", "<<|AUDIO|>|AUDIO|>")


def test_in_what_somebody_types_marks_are_letters(folder: Path) -> None:
    """Nor are they marks in what was said before, or given back by a tool."""
    one = talker(folder)
    model, typed = one.talking.model, " one ".join(MARKS)
    added = set(model.words.get_added_vocab().values()) - {model.words.unk_token_id}
    for mark in MARKS:
        assert not added & {*model.plain_ids(f"one {mark} two")}
        read = marked_ids(model.words, IN_WORDS.returned([json.dumps({"one": mark})]))
        assert [token for token in read if token in added] == model.text_ids("<call></call>")
    history = (Message("user", f"one {typed} two"), Message("assistant", f"three {typed}"))
    text, _ = said(list(one.reply(Turn(1, history, text=typed, instructions=typed))))
    marks, columns = model.marks, one._talk.calls[0].columns()
    given = columns.tokens[~columns.said[:, 0], 0].tolist()
    turn = [*model.text_ids("<|user|>"), *marks.ends, *marks.answer]
    told = [*model.text_ids("<|system|>"), *marks.ends]
    assert [token for token in given if token in added] == [*told, *2 * turn]
    said(list(one.reply(Turn(2, (*history, Message("user", typed), Message("assistant", text)), text="one"))))


def test_a_turn_that_fails_leaves_nothing_behind(folder: Path) -> None:
    """All is read anew then, what was heard before it as it was heard."""
    one, other = talker(folder), talker(folder)
    text, _ = answer(one, 0)
    answer(other, 0)
    known = (Message("user", ""), Message("assistant", text), Message("user", "two"))
    shared = one.talking
    one.talking = replace(shared, utterance=lambda: Broken())
    with pytest.raises(RuntimeError, match="broken"):
        list(one.reply(Turn(1, known[:2], text="two")))
    one.talking = shared
    parts = other.reply(Turn(1, known[:2], text="two"))
    next(parts)
    parts.close()  # type: ignore[attr-defined]
    other._stale = True
    assert answer(one, 2, known, seed=1) == answer(other, 2, known, seed=1)
    (failed,) = one.reply(Turn(3, known[:2], np.zeros(100, np.float32)))
    assert isinstance(failed, Failed)
    answer(one, 4, (*known[:2], Message("user", "")))
    assert [exchange.heard is not None for exchange in one._exchanges] == [True, False, True]


class Broken:
    def say(self, units: Sequence[int], last: bool = False) -> Audio:
        raise RuntimeError("broken")


@pytest.mark.parametrize("words", [0, 1, 3])
def test_of_an_answer_that_was_cut_the_words_that_were_heard_are_left(folder: Path, words: int) -> None:
    one = talker(folder)
    text, _ = said(list(one.reply(Turn(0, (), text="one"))))
    heard = " ".join(text.split()[:words])
    history = (Message("user", "one"), *[Message("assistant", heard, interrupted=True)][:words])
    one._recall(history)
    model = one.talking.model
    (exchange,) = one._exchanges
    assert one._text(exchange.rounds[0].said) == heard
    columns = one._talk.calls[0].columns()
    wrote = [token for token in columns.tokens[columns.said[:, 0], 0].tolist() if token not in model.marks[1:4]]
    assert wrote == [*exchange.rounds[0].said, *model.marks.ends]
    spoken = columns.said[:, 1:].any(1).sum()
    assert spoken == len(exchange.rounds[0].said) + model.config.lead + 1


def test_of_several_rounds_the_last_is_cut_where_it_was_heard(called: Talking) -> None:
    model, one = called.model, Talker(called)
    for told in ("Okay then", "Okay then three", "Okay then three is", "Okay then three is one two."):
        one._exchanges = [
            Exchange(None, [Round([], model.text_ids(text)) for text in ("okay then", "three is one two .")])
        ]
        assert one._cut((Message("user"), Message("assistant", told, interrupted=True)))
        assert one._text(one._exchanges[0].rounds[0].said) == "Okay then"
        last = one._text(one._exchanges[0].rounds[1].said)
        assert f"okay then {last}".strip().lower() == told.lower()
        parted = (Message("user"), Message("assistant", "Okay then"), Message("assistant", last, interrupted=True))
        assert one._cut(parted)
        assert one._text(one._exchanges[0].rounds[1].said) == last


def test_callers_share_the_weights(folder: Path) -> None:
    assert talker(folder).talking.model is nano(folder).model


# ---------------------------------------------------------------- calls

TIMER, NOTE = "<call> set_timer seconds = 5 </call>", "<call> take_note text = one two </call>"
DONE = "<call> seconds = 5 </call> <call> text = one two </call>"
UNITS = [n % 7 for n in range(31)]


class Silent:
    """An utterance without sound."""

    def say(self, units: Sequence[int], last: bool = False) -> Audio:
        return np.zeros(len(units), np.float32)


@pytest.fixture(scope="module")
def called() -> Talking:
    """A model that knows one conversation by heart: two things are called at once, their results read, and told."""
    model = small(nano_config(), width=48)
    turns = [
        Turned("user", sound=heard(model, voice(0.7, 4))),
        Turned("assistant", f"{TIMER} {NOTE}"),
        Turned("user", DONE),
        Turned("assistant", "okay then .", units=UNITS),
    ]
    batch = collate([[example(model, turns)]])
    trained = [p for name, p in model.named_parameters() if not name.startswith("ears.")]
    optimizer = torch.optim.Adam(trained, lr=4e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model(batch).mean().backward()
        optimizer.step()
    calls = (model.words.convert_tokens_to_ids("<call>"),)
    text_of = partial(said_and_called, model.words)
    return Talking(model, 16_000, Silent, text_of, "", Picking(), calls, IN_WORDS)


def parts_of(one: Talker, monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    monkeypatch.setattr(fun_audio_chat_turns, "MOST_STEPS", 60)
    return list(one.reply(Turn(0, (), voice(0.7, 4))))


def test_calls_are_made_and_what_is_said_follows_their_results(
    called: Talking, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    one = Talker(called, desk)
    parts = parts_of(one, monkeypatch)
    calls = [part for part in parts if isinstance(part, ToolCall)]
    assert [(call.name, call.parsed()) for call in calls] == [
        ("set_timer", {"seconds": 5}),
        ("take_note", {"text": "one two"}),
    ]
    returned = [part for part in parts if isinstance(part, ToolReturned)]
    assert [part.call_id for part in returned] == [call.call_id for call in calls]
    assert [json.loads(part.output) for part in returned] == [{"seconds": 5}, {"text": "one two"}]
    assert (len(desk.timers), desk.notes) == (1, ("one two",))
    first_sound = next(n for n, part in enumerate(parts) if isinstance(part, Speech) and len(part.audio))
    assert max(map(parts.index, returned)) < first_sound
    assert said(parts)[0] == "Okay then."
    assert sum(len(part.audio) for part in parts if isinstance(part, Speech)) == len(UNITS)


def test_a_model_reads_its_results_as_it_was_taught_to(called: Talking, monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns of the call are those of the lesson; so they are when it is read anew."""
    model, one = called.model, Talker(called, Desk())
    parts_of(one, monkeypatch)
    exchange = one._exchanges[0]
    lesson = [
        Turned("user", sound=heard(model, voice(0.7, 4))),
        Turned("assistant", f"{TIMER} {NOTE}"),
        Turned("user", DONE),
        Turned("assistant", "okay then .", units=UNITS),
    ]
    tokens = example(model, lesson)["tokens"]
    assert one._talk.calls[0].columns().tokens.tolist() == tokens.tolist()
    assert [each.asked for each in exchange.rounds] == [[], model.text_ids(DONE)]
    goes_on = (Message("user", ""), Message("assistant", "Okay", interrupted=True))
    one._recall(goes_on)
    assert model.words.decode(exchange.rounds[0].said) == f"{TIMER} {NOTE}"
    assert model.words.decode(exchange.rounds[1].said) == "okay"


def test_what_was_called_stays_called_when_nothing_was_heard_of_it(
    called: Talking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fun_audio_chat_turns, "MOST_STEPS", 60)
    one = Talker(called, Desk())
    parts = one.reply(Turn(0, (), voice(0.7, 4)))
    while not isinstance(next(parts), ToolReturned):
        pass
    parts.close()  # type: ignore[attr-defined]
    one._recall((Message("user", ""),))
    assert "<call> set_timer" in called.model.words.decode(one._exchanges[0].rounds[0].said)


def test_instructions_are_the_system_prompt_and_others_are_read_with_all_that_was_said(folder: Path) -> None:
    one = talker(folder)
    history: tuple[Message, ...] = ()
    for number, instructions in enumerate(("say two", "say two", "say four", None)):
        parts = one.reply(Turn(number, history, text="one", instructions=instructions))
        next(parts, None)
        parts.close()  # type: ignore[attr-defined]
        read = one.talking.model.words.decode(one._talk.calls[0].columns().tokens[:, 0])
        told = f"<|system|> {instructions} <|end|> " if instructions else ""
        assert read.startswith(f"{told}<|user|> one <|end|>")
        history = (*history, Message("user", "one"))
        assert read.count("<|user|>") == len(history)


def test_a_model_that_reads_of_no_tools_says_so_and_the_call_goes_on(folder: Path) -> None:
    one = talker(folder)
    weather = Tool("weather", "The weather.")
    (failed,) = one.reply(Turn(0, text="one", tools=(weather, *Desk.tools[:1])))
    assert isinstance(failed, Failed)
    assert "taught to call weather, only " in failed.message
    history = (Message("user", "one"),)
    assert said(list(one.reply(Turn(1, history, text="two")))) == said(
        list(talker(folder).reply(Turn(1, history, text="two")))
    )


def test_what_the_caller_runs_is_not_run_here(called: Talking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fun_audio_chat_turns, "MOST_STEPS", 60)
    desk = Desk()
    one, theirs = Talker(called, desk), tuple(tool for tool in desk.tools if tool.name == "set_timer")
    parts = list(one.reply(Turn(0, (), voice(0.7, 4), tools=theirs)))
    timer, note, returned = parts
    assert isinstance(timer, ToolCall)
    assert isinstance(note, ToolCall)
    assert isinstance(returned, ToolReturned)
    assert (len(desk.timers), desk.notes, returned.call_id) == (0, ("one two",), note.call_id)
    history = (
        Message("user"),
        Message("assistant", tool_calls=(timer,)),
        Message("tool", '{"seconds": 5}', call_id=timer.call_id),
        Message("assistant", tool_calls=(note,)),
        Message("tool", returned.output, call_id=note.call_id),
    )
    assert said(list(one.reply(Turn(1, history, tools=theirs))))[0] == "Okay then."
    assert one._exchanges[0].rounds[1].asked == called.model.text_ids(DONE)


def test_without_tools_nothing_is_run(called: Talking, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = parts_of(Talker(called), monkeypatch)
    assert not [part for part in parts if isinstance(part, ToolReturned)]


def test_results_are_told_in_words_and_in_tags() -> None:
    results = [json.dumps({"order": {"coffee_drink": "latte", "size": "small"}}), json.dumps({"notes": ["one", "two"]})]
    assert "".join(IN_WORDS.returned(results)) == (
        "<call> order = coffee_drink = latte, size = small </call><call> notes = one, two </call>"
    )
    assert "".join(IN_TAGS.returned(results[1:])) == '<tool_response>\n{"notes": ["one", "two"]}\n</tool_response>'
