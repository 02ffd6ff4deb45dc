"""What can be asked: an intent says its questions once, as rules, and how they are answered."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from duologue.desk.kinds import Kind, Value, Values
from duologue.desk.rules import Language


@dataclass(frozen=True)
class Content:
    """What an answer must say: values of one kind, in order.

    kind: number, digits, letters, minutes (of a clock), seconds (of a duration), name, words, phrase, order
    """

    kind: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Call:
    """A tool to call."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Solution:
    """The spoken answer, what in it must be right, what to call before it, and how it was found."""

    text: str
    content: Content | None = None
    calls: tuple[Call, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True)
class Asked:
    """A question understood: the intent and its values, and what it is worked out from."""

    intent: Intent
    values: Values
    language: Language
    now: Callable[[], datetime.datetime]
    manner: Literal["", "again", "slow"] = ""

    def solved(self) -> Solution:
        return self.intent.solve(self)

    @property
    def key(self) -> str:
        """Names the combination, the same in both languages."""
        return " ".join([self.intent.name, *(str(self.values[slot]) for slot in sorted(self.values))])

    def number(self, slot: str) -> int:
        return int(self.values[slot])

    def said(self, en: str, zh: str) -> str:
        """One of two texts, by the language of the question."""
        return en if self.language == "en" else zh


@dataclass(frozen=True, eq=False)
class Intent:
    """One thing that can be asked.

    rules     per language, the ways to ask it (see `rules`); `kinds` has the names in them
    draw      values of a question, or None when nobody can know the answer beforehand
    solve     the answer
    follow    for a follow-up: what is meant after the question before, or None when it makes no sense there
    spot      understands text that no rule matches, from the words that count
    held_out  whether a value alone may be kept for the test split (two values together always may)
    """

    name: str
    topic: str
    rules: Mapping[Language, tuple[str, ...]]
    solve: Callable[[Asked], Solution]
    kinds: tuple[Kind, ...] = ()
    draw: Callable[[Random], Values] | None = None
    follow: Callable[[Asked, Asked], Asked | None] | None = None
    spot: Callable[[str, Language], Values | None] | None = None
    held_out: bool = False


def sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]


def out_of_context(asked: Asked) -> Solution:
    """The answer to a follow-up with nothing before it that it could go on from."""
    return Solution(asked.said("I don't know what that is about yet.", "我还不知道您说的是哪件事。"))
