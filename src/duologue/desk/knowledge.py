"""What the desk knows that cannot be worked out, in sentences: what a model has to have read before it can be asked."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from duologue.desk.clock import MONTH, WEEKDAY
from duologue.desk.facts import FACTS
from duologue.desk.intents import Asked, sentence_case
from duologue.desk.kinds import Kind
from duologue.desk.language import LANGUAGE, WORD
from duologue.desk.rules import Language


def statements(language: Language) -> tuple[str, ...]:
    """Every fact as the desk states it, how every word is spelt, how days and months follow each other. None of them is
    a question's wording."""
    is_spelt = {"en": " is spelled", "zh": "的拼写是"}[language]
    words = [f"{word}{is_spelt} {letters}" for word, letters in spellings(language).items()]
    return (*facts(language), *words, *_in_order(WEEKDAY, language), *_in_order(MONTH, language))


def facts(language: Language) -> tuple[str, ...]:
    """As the desk states them."""
    found = [
        Asked(intent, {kind.name: value}, language, _whenever).solved().text
        for intent in FACTS
        for kind in intent.kinds
        for value in kind.values
    ]
    return tuple(dict.fromkeys(found))


def spellings(language: Language) -> dict[str, str]:
    """How the desk spells each word that it can be asked for."""
    spell = next(intent for intent in LANGUAGE if intent.name == "spell")
    return {word: Asked(spell, {"word": word}, language, _whenever).solved().text for word in map(str, WORD.values)}


def _in_order(kind: Kind, language: Language) -> Iterator[str]:
    """Each with its neighbours."""
    names = [kind.write(value, language) for value in kind.values]
    for before, name, after in zip((names[-1], *names), names, (*names[1:], names[0]), strict=False):
        en = f"{before} comes before {name}, and {after} after it."
        yield sentence_case({"en": en, "zh": f"{name}的前面是{before}，后面是{after}。"}[language])


def _whenever() -> datetime.datetime:
    """No fact depends on it."""
    return datetime.datetime(2025, 1, 1)
