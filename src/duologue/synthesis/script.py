"""What is said: questions of the desk strung into dialogues, and where in a sentence one may draw breath."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, count
from random import Random
from typing import Self

from duologue.desk import Question, questions
from duologue.desk.questions import Split
from duologue.desk.rules import Language
from duologue.dialogue import Speaker


@dataclass(frozen=True)
class Line:
    """One turn. `text` is what the record says of it, `spoken` what the voice reads: with a mark at its end."""

    speaker: Speaker
    text: str
    spoken: str


@dataclass(frozen=True)
class Script:
    """A dialogue before it is spoken: turns in order, the desk's questions that they ask, and in which turns."""

    lines: tuple[Line, ...]
    questions: tuple[Question, ...]
    asked_in: tuple[int, ...]
    language: Language

    @classmethod
    def of(cls, asked: Sequence[Question]) -> Self:
        """Of questions of one language, at least one."""
        turns = [tuple(lines(question)) for question in asked]
        ends = accumulate(map(len, turns))
        return cls(tuple(chain(*turns)), tuple(asked), tuple(end - 2 for end in ends), asked[0].language)


def scripts(
    seed: int,
    split: Split,
    language: Language | None = None,
    topics: Sequence[str] | None = None,
    exchanges: tuple[int, int] = (2, 4),
) -> Iterator[Script]:
    """Dialogues without end, each in one language with `exchanges` (least, most) questions; the same for the same
    arguments. Questions are distinct until the desk has no new one; then it begins anew.

    What a follow-up follows is asked and answered right before it. Raises ValueError for an unknown topic.
    """
    random = Random(f"scripts {seed} {split}")
    waiting: dict[Language, list[Question]] = {"en": [], "zh": []}
    wanted = random.randint(*exchanges)
    for question in endless(seed, split, language, topics):
        together = waiting[question.language]
        together.append(question)
        if len(together) == wanted:
            yield Script.of(together)
            together.clear()
            wanted = random.randint(*exchanges)


def endless(
    seed: int, split: Split, language: Language | None = None, topics: Sequence[str] | None = None
) -> Iterator[Question]:
    """The desk's questions, all of them again and again, in another order and other wordings each time."""
    for again in count():
        yield from questions(seed + 1_000_003 * again, split, language, topics)


def lines(question: Question) -> Iterator[Line]:
    """The turns of a question: what came before, the question, the answer."""
    for message in question.history:
        if message.role == "user":
            yield asked(message.text, question.language)
        elif message.role == "assistant" and message.text:
            yield Line("assistant", message.text, message.text)
    yield asked(question.text, question.language, question.written[-1])
    yield Line("assistant", question.answer, question.answer)


def asked(text: str, language: Language, mark: str | None = None) -> Line:
    """A turn of the user from its words."""
    return Line("user", text, text + (mark or {"en": ".", "zh": "。"}[language]))


# ---------------------------------------------------------------- where to draw breath

_BEFORE = {
    "en": re.compile(
        r"(?<=[,;:]) |(?<=\w) (?=(?:and|or|plus|minus|times|divided|with|from|to|for|of|in|on|than|after|is|are)\b)"
    ),
    "zh": re.compile(r"(?<=[，、；：])|(?<=\w)(?=(?:和|加|减|乘|除|比|是|在|后|到|等于))"),
}
LEAST_CLAUSE = {"en": 7, "zh": 3}
"""Characters that a clause has at least: nobody pauses after each word."""


def clauses(text: str, language: Language) -> list[str]:
    """The text cut where a speaker may pause: at commas and before the words that go on. Joined (in English by
    spaces) they are the text."""
    found: list[str] = []
    for part in _BEFORE[language].split(text):
        if found and len(found[-1]) < LEAST_CLAUSE[language]:
            found[-1] += joint(language) + part
        else:
            found.append(part)
    if len(found) > 1 and len(found[-1]) < LEAST_CLAUSE[language]:
        found[-2:] = [joint(language).join(found[-2:])]
    return found


def joint(language: Language) -> str:
    """What stands between the words of the language."""
    return " " if language == "en" else ""
