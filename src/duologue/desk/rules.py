"""A rule says once how something may be said. From it come a pattern, sentences and the recogniser's grammar.

Rules are written in JSGF (W3C note, June 2000; the part that pocketsphinx reads): words, `(a | b)`, `[optional]`,
`x*`, `x+`, `<name>` for another rule and a tag `{slot}` behind a name that has a value. English words are
separated by spaces; Mandarin ones stand for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

OPTIONAL_SAID = 0.35
"""How often a sentence has what is optional."""


@dataclass(frozen=True)
class Word:
    text: str


@dataclass(frozen=True)
class Name:
    """Another rule, and the slot that takes its value."""

    name: str
    slot: str | None = None


@dataclass(frozen=True)
class Sequence:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """`[x]` is at most one, `x*` any number, `x+` at least one."""

    part: Node
    mark: Literal["?", "*", "+"]


Node = Word | Name | Sequence | Choice | Repeat


# ---------------------------------------------------------------- reading

_TOKEN = re.compile(r"\s*(<\w+>|\{\w+\}|[()\[\]|*+]|[^\s<>{}()\[\]|*+]+)")


@cache
def parse(rule: str) -> Node:
    """Read the right side of a JSGF rule. Raises ValueError where it is not one."""
    tokens = _TOKEN.findall(rule.strip())
    node, rest = _choice(tokens)
    if rest:
        raise ValueError(f"unexpected {rest[0]!r} in the rule {rule!r}")
    return node


def _choice(tokens: list[str]) -> tuple[Node, list[str]]:
    first, tokens = _sequence(tokens)
    options = [first]
    while tokens and tokens[0] == "|":
        option, tokens = _sequence(tokens[1:])
        options.append(option)
    return (first if len(options) == 1 else Choice(tuple(options))), tokens


def _sequence(tokens: list[str]) -> tuple[Node, list[str]]:
    parts: list[Node] = []
    while tokens and tokens[0] not in "|)]":
        part, tokens = _part(tokens)
        parts.append(part)
    if not parts:
        raise ValueError("a rule has an empty alternative: write [x] for what may be left out")
    return (parts[0] if len(parts) == 1 else Sequence(tuple(parts))), tokens


def _part(tokens: list[str]) -> tuple[Node, list[str]]:
    head, tokens = tokens[0], tokens[1:]
    part: Node
    if head in ("(", "["):
        part, tokens = _choice(tokens)
        if not tokens or tokens[0] != {"(": ")", "[": "]"}[head]:
            raise ValueError(f"a rule has {head!r} without its end")
        part, tokens = (Repeat(part, "?") if head == "[" else part), tokens[1:]
    elif head.startswith("<"):
        slot = tokens[0][1:-1] if tokens and tokens[0].startswith("{") else None
        part, tokens = Name(head[1:-1], slot), tokens[1:] if slot else tokens
    else:
        part = Word(head)
    while tokens and tokens[0] in "*+":
        part, tokens = Repeat(part, "*" if tokens[0] == "*" else "+"), tokens[1:]
    return part, tokens


# ---------------------------------------------------------------- what a rule gives


def pattern(node: Node, named: Callable[[str], str], language: Language) -> str:
    """A regular expression for text in which each English word is followed by one space.

    `named` gives the expression of another rule. Each slot becomes a group of its name.
    """

    def inner(node: Node) -> str:
        match node:
            case Word(text):
                return re.escape(text) + (" " if language == "en" else "")
            case Name(name, slot):
                return f"(?P<{slot}>{named(name)})" if slot else f"(?:{named(name)})"
            case Sequence(parts):
                return "".join(map(inner, parts))
            case Choice(options):
                return "(?:" + "|".join(map(inner, options)) + ")"
            case Repeat(part, mark):
                return f"(?:{inner(part)}){mark}"

    return inner(node)


def sentence(node: Node, said: Callable[[Name], str], slots: frozenset[str], random: Random) -> list[str] | None:
    """One way, drawn at random, to say the rule with all of `slots` and no other; None when this try has not
    all of them. `said` gives what stands for a name."""

    def inner(node: Node) -> list[str]:
        match node:
            case Word(text):
                return [text]
            case Name(_, slot):
                used.update({slot} if slot else ())
                return [said(node)]
            case Sequence(parts):
                return [word for part in parts for word in inner(part)]
            case Choice(options):
                return inner(random.choice([option for option in options if _fits(option, slots)]))
            case Repeat(part, mark):
                return [word for _ in range(times(part, mark)) for word in inner(part)]

    def times(part: Node, mark: str) -> int:
        if mark == "+":
            return random.randint(1, 5)
        if any(isinstance(n, Name) and n.slot for n in names(part)):
            return int(_fits(part, slots))
        return int(random.random() < OPTIONAL_SAID)

    used: set[str] = set()
    spoken = inner(node) if _fits(node, slots) else []
    return spoken if used == slots and spoken else None


def _fits(node: Node, slots: frozenset[str]) -> bool:
    """Whether the node can be said with these slots alone."""
    match node:
        case Word():
            return True
        case Name(_, slot):
            return slot is None or slot in slots
        case Sequence(parts):
            return all(_fits(part, slots) for part in parts)
        case Choice(options):
            return any(_fits(option, slots) for option in options)
        case Repeat(part, mark):
            return mark != "+" or _fits(part, slots)


def names(node: Node) -> Iterator[Name]:
    """The names in a rule, in the order in which they are written."""
    match node:
        case Name():
            yield node
        case Sequence(parts) | Choice(parts):
            for part in parts:
                yield from names(part)
        case Repeat(part):
            yield from names(part)
        case Word():
            pass
