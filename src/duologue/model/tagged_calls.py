"""Calls of tools as Qwen's chat writes them, JSON in tags:

    <tool_call>
    {"name": "set_timer", "arguments": {"seconds": 5}}
    </tool_call>

What a model is told is given in pieces (`plain_text`): the tags are marks, what people wrote between them is not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from duologue.dialogue import Tool, ToolCall
from duologue.model.plain_text import Mark

OPENS, CLOSES = "<tool_call>", "</tool_call>"
_CALL = re.compile(rf"{OPENS}\s*(\{{.*?\}})\s*{CLOSES}", re.DOTALL)
_BLOCK = re.compile(rf"{OPENS}.*?{CLOSES}", re.DOTALL)
_OFFER = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{}
</tools>

For each function call, return a json object with function name and arguments within """

# ---------------------------------------------------------------- what a model is told


def chat_tool(tool: Tool) -> dict[str, Any]:
    """A tool in the chat format."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def offered(tools: Sequence[Tool]) -> list[str]:
    """The tools that there are, for a system prompt."""
    signatures = "\n".join(json.dumps(chat_tool(tool), ensure_ascii=False) for tool in tools)
    form = '\n{"name": <function-name>, "arguments": <args-json-object>}\n'
    return [_OFFER.format(signatures), Mark(OPENS + CLOSES), " XML tags:\n", Mark(OPENS), form, Mark(CLOSES)]


def called(calls: Sequence[ToolCall]) -> list[str]:
    """Calls as a model writes them."""
    return _in_lines(
        OPENS, [f'{{"name": {json.dumps(c.name)}, "arguments": {c.arguments or "{}"}}}' for c in calls], CLOSES
    )


def returned(results: Sequence[str]) -> list[str]:
    """What calls gave back, JSON texts in their order, as a user's turn."""
    return _in_lines("<tool_response>", results, "</tool_response>")


def _in_lines(opening: str, texts: Sequence[str], closing: str) -> list[str]:
    return [
        piece
        for number, text in enumerate(texts)
        for piece in (Mark(("\n" if number else "") + opening), f"\n{text}\n", Mark(closing))
    ]


# ---------------------------------------------------------------- what a model writes


def read_calls(text: str) -> list[ToolCall]:
    r"""The calls in a model's text, `<tool_call>{"name": …, "arguments": {…}}</tool_call>` each. What is no JSON is
    passed over; `\n` inside of it is a space; arguments that are a list of one object are that object.

    Raises ValueError for an object that is no call.
    """
    calls = list[ToolCall]()
    for block in _CALL.findall(text):
        try:
            calls.append(_call(json.loads(block.replace("\\n", " ")), len(calls)))
        except json.JSONDecodeError:
            continue
        except RecursionError as error:
            raise ValueError("no call of a function: it is nested too deep to be read") from error
    return calls


def _call(entry: dict[str, Any], number: int) -> ToolCall:
    name, arguments = entry.get("name"), entry.get("arguments")
    if isinstance(arguments, list) and len(arguments) == 1:
        arguments = arguments[0]
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError(f"no call of a function: {entry!r} has no name, or no object of arguments")
    return ToolCall(f"call_{number}", name, json.dumps(arguments))


def said_and_called(words: Any, ids: Sequence[int], tools: Sequence[Tool]) -> tuple[str, tuple[ToolCall, ...]]:
    """What is said of the ids of an answer, as far as it is known whether it is said, and the calls of these tools that
    are complete. What is no call of one of them is passed over."""
    text = str(words.decode(ids, skip_special_tokens=True))
    named = {tool.name for tool in tools}
    calls = [call for block in _BLOCK.findall(text) for call in _readable(block) if call.name in named]
    said, _, _ = _BLOCK.sub("", text).partition(OPENS)
    said = said.rstrip("\ufffd")
    return said[: len(said) - possible_start(said)].strip(), tuple(
        replace(call, call_id=f"call_{number}") for number, call in enumerate(calls)
    )


def _readable(block: str) -> list[ToolCall]:
    try:
        return read_calls(block)
    except ValueError:
        return []


def possible_start(text: str) -> int:
    """How many of the last characters may be the beginning of a call."""
    return next((n for n in range(min(len(text), len(OPENS)), 0, -1) if OPENS.startswith(text[-n:])), 0)
