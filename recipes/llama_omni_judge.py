"""A language model judges answers by what they say and how they say it, each from 1 to 5, as for LLaMA-Omni
(arXiv 2409.06666 v1, section 4.2).

The levels are the paper's, the wording is ours: figures of another wording are no comparison, those of the same are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from duologue.engines.llm import LLM, OpenAIChat
from instruct_s2s import as_json

JUDGING = """\
You judge the answers of a voice assistant. The user spoke to it, and hears its answer. Give two whole numbers, 1 to 5:
content  1 wrong, or beside the question; 2 mostly beside it; 3 right in part, or with much that nobody asked for;
         4 right, with small faults; 5 exactly what was asked for, right and to the point
style    1 cannot be spoken: lists, signs, long-winded sentences; 2 hard to follow by ear; 3 can be spoken, but is too
         long or too short; 4 speaks well; 5 of the very length, clear and easy to follow by ear
Reply with JSON alone: {"content": 5, "style": 5}"""
ENDPOINT = re.compile(r"(https?://[^/]+(?:/.+?)??/v\d+)/(.+)")


@dataclass(frozen=True)
class Judgement:
    """Means over the answers that the judge gave numbers for, `n` of `asked`. None where there are none."""

    asked: int
    n: int
    content: float | None
    style: float | None


def judge_at(place: str) -> LLM:
    """URL/MODEL, as in http://localhost:8000/v1/qwen3; OPENAI_API_KEY holds the key. Raises ValueError for another."""
    found = ENDPOINT.fullmatch(place)
    if not found:
        raise ValueError(f"a judge {place!r}: give URL/MODEL, as in http://localhost:8000/v1/MODEL")
    url, model = found.groups()
    return OpenAIChat(model, base_url=url)


def judgement(judge: LLM, answered: Iterable[tuple[str, str]]) -> Judgement:
    """Of (question, answer) pairs."""
    each = [_scores(judge, question, answer) for question, answer in answered]
    given = [scores for scores in each if scores]
    content, style = ([scores[n] for scores in given] for n in range(2))
    return Judgement(len(each), len(given), fmean(content) if given else None, fmean(style) if given else None)


def _scores(judge: LLM, question: str, answer: str) -> tuple[int, int] | None:
    return as_json(judge, JUDGING, f"The user said: {question}\nThe assistant said: {answer}", _read)


def _read(fields: Mapping[str, Any]) -> tuple[int, int]:
    content, style = int(fields["content"]), int(fields["style"])
    if not (1 <= content <= 5 and 1 <= style <= 5):
        raise ValueError(f"scores {content} and {style}, not 1 to 5")
    return content, style
