"""Kinds of values that a question holds: how they are said and understood, in both languages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product

from duologue.desk import numbers
from duologue.desk.rules import LANGUAGES, Language, pattern
from duologue.desk.rules import parse as parse_rule

Value = int | str
"""A number, or the name of a thing: the same in both languages."""
Values = Mapping[str, Value]


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of value. `rule` is the JSGF of what is said; `read` and `say` go between words and values.

    An open kind understands any words; its rule is what is generated and recognised of them.
    """

    name: str
    rule: Mapping[Language, str]
    read: Callable[[str, Language], Value]
    say: Callable[[Value, Language], str]
    write: Callable[[Value, Language], str]
    values: tuple[Value, ...] = ()
    open: str | None = None
    parts: Mapping[str, Mapping[Language, str]] = field(default_factory=dict)
    """Rules that this kind's rule names."""
    lexicon: Lexicon | None = None


@dataclass(frozen=True)
class Lexicon:
    """Things and their names: {value: {"en": [first said, also understood ...], "zh": [...]}}."""

    forms: Mapping[Value, Mapping[Language, Sequence[str]]]
    values_of: Mapping[Language, Mapping[str, Value]] = field(init=False)

    def __post_init__(self) -> None:
        values_of = {
            language: {form.lower(): value for value, said in self.forms.items() for form in said[language]}
            for language in LANGUAGES
        }
        object.__setattr__(self, "values_of", values_of)

    def rule(self, language: Language) -> str:
        return " | ".join(sorted(self.values_of[language], key=len, reverse=True))

    def read(self, text: str, language: Language) -> Value:
        return self.values_of[language].get(text, text)

    def say(self, value: Value, language: Language) -> str:
        return self.forms[value][language][0].lower() if value in self.forms else str(value)

    def write(self, value: Value, language: Language) -> str:
        return self.forms[value][language][0] if value in self.forms else str(value)


def named(
    name: str,
    lexicon: Lexicon,
    rule: Mapping[Language, str] | None = None,
    parts: Mapping[str, Mapping[Language, str]] | None = None,
    open: str | None = None,
) -> Kind:
    """A kind whose values have names; `rule` says them more shortly than as a list."""
    rule = rule or {language: lexicon.rule(language) for language in LANGUAGES}
    values = tuple(lexicon.forms)
    return Kind(name, rule, lexicon.read, lexicon.say, lexicon.write, values, open, parts or {}, lexicon)


def names(name: str, table: str, *, open: str | None = None) -> Kind:
    """A kind from a table of things: `english, also english = 中文, 也是中文; ...`."""
    forms: dict[Value, Mapping[Language, Sequence[str]]] = {}
    for entry in table.split(";"):
        en, zh = ([form.strip() for form in side.split(",")] for side in entry.split("="))
        forms[en[0].lower()] = {"en": en, "zh": zh}
    return named(name, Lexicon(forms), open=open)


def union(name: str, kinds: Sequence[Kind]) -> Kind:
    """A kind with the names of several kinds."""
    forms = {value: entry for kind in kinds if kind.lexicon for value, entry in kind.lexicon.forms.items()}
    return named(name, Lexicon(forms))


def composed(name: str, columns: Sequence[Kind], order_zh: Sequence[int]) -> Kind:
    """Phrases with one entry of each column: said in their order in English, in `order_zh` in Mandarin.

    Any other words are understood too.
    """
    forms: dict[Value, Mapping[Language, Sequence[str]]] = {}
    for entries in product(*(column.values for column in columns)):
        en = " ".join(column.write(entry, "en") for column, entry in zip(columns, entries, strict=True))
        zh = "".join(columns[i].say(entries[i], "zh") for i in order_zh)
        forms[en.lower()] = {"en": [en], "zh": [zh]}
    rule: dict[Language, str] = {
        "en": " ".join(f"<{column.name}>" for column in columns),
        "zh": " ".join(f"<{columns[i].name}>" for i in order_zh),
    }
    return named(name, Lexicon(forms), rule, {column.name: column.rule for column in columns}, open=".+")


def measured(name: str, amount: Kind, thing: Kind) -> Kind:
    """A thing, with or without an amount before it: "milk", "a bit of milk"."""
    forms: dict[Value, Mapping[Language, Sequence[str]]] = {}
    for how_much, what in product(("", *amount.values), thing.values):
        en = f"{how_much} {what}".strip()
        zh = (amount.say(how_much, "zh") if how_much else "") + thing.say(what, "zh")
        forms[en] = {"en": [en], "zh": [zh]}
    rule: dict[Language, str] = dict.fromkeys(LANGUAGES, f"[<{amount.name}>] <{thing.name}>")
    return named(name, Lexicon(forms), rule, {kind.name: kind.rule for kind in (amount, thing)})


# ---------------------------------------------------------------- kinds of numbers


def _written(value: Value, language: Language) -> str:
    return str(value)


NUMBER = Kind(
    "number",
    numbers.RULE,
    read=numbers.read,
    say=lambda value, language: numbers.say(int(value), language),
    write=_written,
    values=tuple(range(1000)),
    parts=numbers.PARTS,
)
DIGITS = Kind(
    "digits",
    {"en": "<digit>+", "zh": "<digit>+"},
    read=numbers.read_digits,
    say=lambda value, language: numbers.say_digits(str(value), language),
    write=_written,
    parts=numbers.PARTS,
)


# ---------------------------------------------------------------- understanding one kind


@cache
def expression(kind: Kind, language: Language) -> str:
    """The regular expression of what a kind understands."""
    if kind.open:
        return kind.open + (" " if language == "en" else "")
    return _expression(kind.rule[language], kind.parts, language)


def _expression(rule: str, parts: Mapping[str, Mapping[Language, str]], language: Language) -> str:
    return pattern(parse_rule(rule), lambda name: _expression(parts[name][language], parts, language), language)


def find(kind: Kind, text: str, language: Language) -> list[Value]:
    """The values of a kind that a plain text names, in order."""
    return [value for value, _, _ in find_spans(kind, text, language)]


def find_spans(kind: Kind, text: str, language: Language) -> list[tuple[Value, int, int]]:
    """The same, with the characters [start, end) where each is named."""
    start = r"\b" if language == "en" else ""
    found = re.finditer(start + f"(?:{expression(kind, language)})", text + " ")
    return [(kind.read(m.group().strip(), language), m.start(), m.end()) for m in found]
