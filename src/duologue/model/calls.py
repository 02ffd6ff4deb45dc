"""Calls of tools as a model with few tokens writes them: words, no JSON.

    <call> order_drink coffee_drink = iced mocha, size = large </call>

Names and values are words of its vocabulary, so that a call is as short as the sentence that announces it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from duologue.dialogue import Tool, ToolCall
from duologue.model.words import CALL, CALLED, written

_CALL = re.compile(rf"{re.escape(CALL)}(.*?){re.escape(CALLED)}", re.DOTALL)


def spelt(call: ToolCall) -> str:
    """The call as text. Raises ValueError for arguments that cannot be written so: neither text nor numbers, or with
    , = or < in them."""
    parts = []
    for key, value in call.parsed().items():
        if not (_in_words(key) and _in_words(value)):
            raise ValueError(f"the argument {key}={value!r} of {call.name!r} cannot be written in words")
        parts.append(f"{key} = {value}")
    return f"{CALL} {call.name} {', '.join(parts)} {CALLED}"


def _in_words(value: object) -> bool:
    """Whether the value is read as it is written."""
    text = str(value)
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return plain and not re.search("[,=<]", text) and text == " ".join(text.split())


def parted(text: str, tools: Sequence[Tool]) -> tuple[str, tuple[ToolCall, ...]]:
    """What is to be said of a model's text, and its calls that are complete, numbered from 0. What is no call of one
    of the tools is left out."""
    named = {tool.name: tool for tool in tools}
    found = [call for match in _CALL.finditer(text) if (call := _read(match[1], named)) is not None]
    calls = tuple(ToolCall(f"call_{n}", name, json.dumps(arguments)) for n, (name, arguments) in enumerate(found))
    said, _, _ = _CALL.sub(" ", text).partition(CALL)
    return " ".join(said.split()), calls


def said_and_called(words: Any, ids: Sequence[int], tools: Sequence[Tool]) -> tuple[str, tuple[ToolCall, ...]]:
    """What is said of the ids of a small world's words, as people write it, and the calls in them."""
    said, calls = parted(words.decode(ids), tools)
    return written(said), calls


def _read(text: str, named: dict[str, Tool]) -> tuple[str, dict[str, Any]] | None:
    name, _, rest = text.strip().partition(" ")
    if name not in named:
        return None
    properties = named[name].parameters.get("properties", {})
    pairs = [pair.partition("=") for pair in rest.split(",") if "=" in pair]
    return name, {key.strip(): _value(value.strip(), properties.get(key.strip(), {})) for key, _, value in pairs}


def _value(text: str, schema: dict[str, Any]) -> Any:
    """The value as its schema has it; a number that is none stays text."""
    try:
        return {"integer": int, "number": float}.get(schema.get("type", ""), str)(text)
    except ValueError:
        return text
