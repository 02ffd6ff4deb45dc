"""How Fun-Audio-Chat is told of tools, calls them, and is told what they gave back: as a user's turn, so that it then
says what was done.

A model of the released kind reads of its tools and writes JSON, as Qwen's chat does; one with few words calls what it
was taught to call, and reads a result as it writes a call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from duologue.dialogue import Tool, ToolCall
from duologue.model import tagged_calls
from duologue.model.plain_text import Mark
from duologue.model.words import CALL, CALLED


@dataclass(frozen=True)
class Calling:
    """In pieces (`plain_text`).

    offered    tools, for a system prompt; None: the model can call those alone that it was taught
    called     calls, as the model writes them
    returned   what they gave back, texts in the order of the calls
    """

    offered: Callable[[Sequence[Tool]], list[str]] | None
    called: Callable[[Sequence[ToolCall]], list[str]]
    returned: Callable[[Sequence[str]], list[str]]


def called_in_words(calls: Sequence[ToolCall]) -> list[str]:
    """`<call> set_timer seconds = 5 </call>` for each."""
    return _marked([f"{call.name} {_spelt(_read(call.arguments or '{}'))}" for call in calls])


def returned_in_words(results: Sequence[str]) -> list[str]:
    """`<call> coffee_drink = latte, size = small </call>` for each."""
    return _marked([_spelt(_read(result)) for result in results])


def _marked(texts: Sequence[str]) -> list[str]:
    return [piece for text in texts for piece in (Mark(CALL), f" {text} ", Mark(CALLED))]


def _read(text: str) -> Any:
    """JSON, or text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _spelt(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_spelt(of)}" for key, of in value.items())
    return ", ".join(map(_spelt, value)) if isinstance(value, list) else str(value)


IN_WORDS = Calling(None, called_in_words, returned_in_words)
IN_TAGS = Calling(tagged_calls.offered, tagged_calls.called, tagged_calls.returned)
