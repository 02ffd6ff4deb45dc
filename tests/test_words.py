"""A small world's tokenizer, and calls of tools as it writes them."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.desk import Desk, Question, questions
from duologue.dialogue import Tool, ToolCall
from duologue.model.backbone import nano, tokenizer_of
from duologue.model.calls import parted, spelt
from duologue.model.words import (
    ASSISTANT,
    CALL,
    CALLED,
    END,
    PAD,
    SYSTEM,
    UNKNOWN,
    USER,
    words_of,
    words_tokenizer,
    written,
)

MARKS = (PAD, UNKNOWN, SYSTEM, USER, ASSISTANT, END, CALL, CALLED)
TOOLS = {tool.name: tool for tool in Desk().tools}
TEXTS = st.lists(st.text("abcdefgxyz0123456789'", min_size=1, max_size=8), min_size=1, max_size=6).map(" ".join)


@lru_cache
def asked() -> list[Question]:
    return list(islice(questions(5, "train", "en"), 300))


@lru_cache
def desk_words() -> frozenset[str]:
    calls = [spelt(question.tool_call) for question in asked() if question.tool_call]
    texts = [*(question.text for question in asked()), *(question.answer for question in asked()), *calls]
    return frozenset(word for text in texts for word in words_of(text) if not word.isdigit())


@lru_cache
def tokenizer() -> Any:
    return words_tokenizer(desk_words())


def ids(text: str) -> list[int]:
    found: list[int] = tokenizer()(text, add_special_tokens=False).input_ids
    return found


# ---------------------------------------------------------------- words


def test_every_word_of_the_desk_is_one_token_and_none_is_unknown() -> None:
    unknown = tokenizer().convert_tokens_to_ids(UNKNOWN)
    for word in desk_words():
        assert len(ids(word)) == 1, word
    for question in asked():
        for text in (question.text, question.answer):
            assert len(ids(text)) == sum(1 if word in desk_words() else len(word) for word in words_of(text))
            assert unknown not in ids(text)


def test_other_words_are_spelt() -> None:
    assert tokenizer().convert_ids_to_tokens(ids("zyx")) == ["z", "##y", "##x"]
    assert tokenizer().convert_ids_to_tokens(ids("407")) == ["4", "##0", "##7"]
    assert ids("ü") == [tokenizer().convert_tokens_to_ids(UNKNOWN)]


@given(TEXTS)
def test_what_is_spelt_is_read_back(text: str) -> None:
    assert tokenizer().decode(ids(text)) == text


def test_what_the_desk_says_is_read_back() -> None:
    """Marks stand apart in decoded text; `written` closes the gaps and begins sentences with capitals."""
    for question in asked():
        decoded = tokenizer().decode(ids(question.answer))
        assert decoded.split() == words_of(question.answer)
        assert re.sub(r"\s", "", written(decoded)).lower() == "".join(words_of(question.answer))
    assert (
        written(tokenizer().decode(ids("It is nine, I think. Anything else?"))) == "It is nine, i think. Anything else?"
    )


def test_capitals_and_other_forms_of_a_letter_are_the_same_word() -> None:
    assert ids("Seven") == ids("SEVEN") == ids("ｓeven") == ids("seven")


def test_marks_are_single_tokens_that_no_text_can_contain_by_chance() -> None:
    for number, mark in enumerate(MARKS):
        assert ids(mark) == [number]
    assert ids("call") != ids(CALL)
    assert set(ids("< call >")).isdisjoint({ids(CALL)[0], ids(CALLED)[0]})


def test_the_order_of_words_does_not_depend_on_how_they_were_given() -> None:
    again = words_tokenizer(sorted(desk_words(), reverse=True))
    assert again.get_vocab() == tokenizer().get_vocab()
    assert sorted(again.get_vocab().values()) == list(range(len(again)))


def test_chat() -> None:
    messages = [{"role": "user", "content": "what time is it"}, {"role": "assistant", "content": "nine"}]
    chat = tokenizer().apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert chat == f"{USER}what time is it{END}{ASSISTANT}nine{END}{ASSISTANT}"
    assert ids(chat)[0] == ids(USER)[0]
    assert ids(chat).count(ids(END)[0]) == 2
    closed = tokenizer().apply_chat_template(messages, tokenize=False)
    assert closed == chat.removesuffix(ASSISTANT)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    """Beside a model too, whose family has a tokenizer of its own."""
    tokenizer().save_pretrained(tmp_path)
    nano(len(tokenizer())).save_pretrained(tmp_path)
    again = tokenizer_of(tmp_path)
    assert again.get_vocab() == tokenizer().get_vocab()
    assert again.chat_template == tokenizer().chat_template
    assert (again.pad_token, again.unk_token) == (PAD, UNKNOWN)
    for text in (
        *(question.answer for question in asked()[:50]),
        f"{CALL} set_timer seconds = 90 {CALLED}",
        "zyx",
    ):
        assert again(text).input_ids == tokenizer()(text).input_ids
        assert again.decode(again(text).input_ids) == tokenizer().decode(ids(text))


# ---------------------------------------------------------------- calls

WORDS = st.lists(st.text("abcdefgh'", min_size=1, max_size=6), min_size=1, max_size=4).map(" ".join)


@st.composite
def calls(draw: st.DrawFn) -> ToolCall:
    """Of any tool of the desk, with some of its arguments."""
    tool = TOOLS[draw(st.sampled_from(sorted(TOOLS)))]
    arguments = {name: draw(_value(schema)) for name, schema in tool.parameters["properties"].items()}
    kept = draw(st.lists(st.sampled_from(sorted(arguments)), unique=True))
    return ToolCall("call_0", tool.name, json.dumps({name: arguments[name] for name in kept}))


def _value(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "pattern" in schema:
        return st.text("0123456789", min_size=1, max_size=12)
    return st.integers(-10, 100_000) if schema["type"] == "integer" else WORDS


def same(one: ToolCall, other: ToolCall) -> bool:
    return (one.name, one.parsed()) == (other.name, other.parsed())


@given(calls(), WORDS, WORDS)
def test_a_call_is_read_as_it_was_spelt(call: ToolCall, before: str, after: str) -> None:
    said, (found,) = parted(f"{before} {spelt(call)} {after}", list(TOOLS.values()))
    assert said == f"{before} {after}"
    assert same(found, call)


@given(calls())
def test_a_call_goes_through_the_tokenizer_unharmed(call: ToolCall) -> None:
    if any(isinstance(value, int) and value < 0 for value in call.parsed().values()):
        return
    named = words_tokenizer(
        {*desk_words(), *TOOLS, *(name for t in TOOLS.values() for name in t.parameters["properties"])}
    )
    decoded = named.decode(named(spelt(call)).input_ids)
    _, (found,) = parted(decoded, list(TOOLS.values()))
    assert same(found, call)


@given(st.lists(calls(), max_size=4))
def test_several_calls_are_numbered_in_their_order(made: list[ToolCall]) -> None:
    _, found = parted(" and ".join(map(spelt, made)), list(TOOLS.values()))
    assert [call.call_id for call in found] == [f"call_{n}" for n in range(len(made))]
    assert all(same(*pair) for pair in zip(found, made, strict=True))


@given(calls(), st.data())
def test_nothing_is_called_before_the_call_is_complete(call: ToolCall, data: st.DataObject) -> None:
    whole = f"here you go {spelt(call)}"
    end = data.draw(st.integers(0, len(whole) - 1))
    said, found = parted(whole[:end], list(TOOLS.values()))
    assert found == ()
    if CALL in whole[:end]:
        assert said == "here you go"


@pytest.mark.parametrize(
    "text",
    [
        f"{CALL} launch_rocket seconds = 3 {CALLED}",
        f"{CALL} {CALLED}",
        f"{CALL} seconds = 3 {CALLED}",
        f"{CALL} set_timerseconds = 3 {CALLED}",
        f"set_timer seconds = 3 {CALLED}",
        f"{CALL} set_timer seconds = 3",
    ],
)
def test_what_is_no_call_of_a_tool_is_left_out(text: str) -> None:
    said, found = parted(f"yes {text}", list(TOOLS.values()))
    assert found == ()
    assert CALL not in said
    assert said.startswith("yes")


def test_without_tools_nothing_is_called_and_no_call_is_said() -> None:
    assert parted(f"a timer {CALL} set_timer seconds = 3 {CALLED} is set", ()) == ("a timer is set", ())


def test_values_are_as_their_schema_has_them() -> None:
    schema = {"properties": {"n": {"type": "integer"}, "x": {"type": "number"}, "s": {"type": "string"}}}
    tool = Tool("tell", "", schema)
    _, (call,) = parted(f"{CALL} tell n = 07, x = 2.5, s = 07, other = 3 {CALLED}", [tool])
    assert call.parsed() == {"n": 7, "x": 2.5, "s": "07", "other": "3"}
    _, (call,) = parted(f"{CALL} tell n = seven, x = much {CALLED}", [tool])
    assert call.parsed() == {"n": "seven", "x": "much"}
    assert json.loads(Desk().run(ToolCall("a", "set_timer", '{"seconds": "seven"}')))["error"]


@pytest.mark.parametrize("value", [["a"], {"a": 1}, "milk, no sugar", "a = b", "<call>", None, True, " padded "])
def test_arguments_that_cannot_be_written_in_words_are_refused(value: Any) -> None:
    """Else another call would be read than was spelt."""
    with pytest.raises(ValueError, match="'set_timer' cannot be written in words"):
        spelt(ToolCall("a", "set_timer", json.dumps({"seconds": value})))


def test_names_of_arguments_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be written in words"):
        spelt(ToolCall("a", "set_timer", '{"a, b": 1}'))
