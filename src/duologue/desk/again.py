"""Saying it once more, and slower."""

from __future__ import annotations

import dataclasses
import re

from duologue.desk.intents import Asked, Intent, out_of_context
from duologue.desk.kinds import names
from duologue.desk.rules import Language

SLOWER = names("slower", "slower, slowly, more slowly = 慢一点, 慢点, 慢一些")


def _same(asked: Asked, before: Asked) -> Asked:
    return dataclasses.replace(before, manner="slow" if asked.values else "again")


def slowly(text: str, language: Language) -> str:
    """The text with a pause after each word, or, in Mandarin, each phrase between numbers and names."""
    body, end = text[:-1], text[-1:]
    if language == "en":
        return ", ".join(word.strip(",") for word in body.split()) + end
    parts = re.split(r"(，|[零一二两三四五六七八九十百千万亿]+|是|等于|，)", body)
    return "，".join(part for part in parts if part and part != "，") + end


_MORE = "again | say (that | it) again | repeat that | pardon | what did you say | once more"
_MORE_ZH = "再 说 一遍 | 再 来 一遍 | 再 说 一次 | 你 说 什么"
FOLLOW_UPS = (
    Intent(
        "again",
        "follow-ups",
        {
            "en": (
                _MORE,
                f"({_MORE}) <slower>{{slower}}",
                "<slower>{slower}",
                "say (that | it) <slower>{slower}",
            ),
            "zh": (_MORE_ZH, f"<slower>{{slower}} [{_MORE_ZH}]"),
        },
        out_of_context,
        (SLOWER,),
        lambda random: {} if random.random() < 0.5 else {"slower": "slower"},
        _same,
    ),
)
