"""What tools gave back, as a user's turn: models are told so, and then say what was done.

Qwen's chat has `<tool_response>` for it; a model with few words reads a result as it writes a call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from duologue.model.plain_text import Mark
from duologue.model.words import CALL, CALLED

Results = Callable[[Sequence[str]], list[str]]
"""Results of calls, JSON texts in the order of the calls → what the model is told, in pieces (`plain_text`)."""


def in_words(results: Sequence[str]) -> list[str]:
    """`<call> coffee_drink = latte, size = small </call>` for each."""
    return _between(CALL, [f" {_spelt(json.loads(result))} " for result in results], CALLED, " ")


def _spelt(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_spelt(of)}" for key, of in value.items())
    return ", ".join(map(_spelt, value)) if isinstance(value, list) else str(value)


def in_tags(results: Sequence[str]) -> list[str]:
    """As Qwen's chat has it."""
    return _between("<tool_response>", [f"\n{result}\n" for result in results], "</tool_response>", "\n")


def _between(opening: str, results: Sequence[str], closing: str, apart: str) -> list[str]:
    return [
        piece
        for number, result in enumerate(results)
        for piece in (Mark((apart if number else "") + opening), result, Mark(closing))
    ]
