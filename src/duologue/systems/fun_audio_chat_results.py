"""What tools gave back, as a user's turn: models are told so, and then say what was done.

Qwen's chat has `<tool_response>` for it; a model with few words reads a result as it writes a call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from duologue.model.words import CALL, CALLED

Results = Callable[[Sequence[str]], str]
"""Results of calls, JSON texts in the order of the calls → what the model is told."""


def in_words(results: Sequence[str]) -> str:
    """`<call> coffee_drink = latte, size = small </call>` for each."""
    return " ".join(f"{CALL} {_spelt(json.loads(result))} {CALLED}" for result in results)


def _spelt(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_spelt(of)}" for key, of in value.items())
    return ", ".join(map(_spelt, value)) if isinstance(value, list) else str(value)


def in_tags(results: Sequence[str]) -> str:
    """As Qwen's chat has it."""
    return "\n".join(f"<tool_response>\n{result}\n</tool_response>" for result in results)
