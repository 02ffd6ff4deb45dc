"""What the desk knows that cannot be worked out, in sentences: what a model has to have read before it can be asked."""

from __future__ import annotations

import datetime

from duologue.desk.facts import FACTS
from duologue.desk.intents import Asked
from duologue.desk.language import LANGUAGE, WORD
from duologue.desk.rules import Language


def statements(language: Language) -> tuple[str, ...]:
    """Every fact as the desk states it, and how every word is spelt. None of them is a question's wording."""
    facts = [
        Asked(intent, {kind.name: value}, language, _whenever).solved().text
        for intent in FACTS
        for kind in intent.kinds
        for value in kind.values
    ]
    spell = next(intent for intent in LANGUAGE if intent.name == "spell")
    is_spelt = {"en": " is spelled", "zh": "的拼写是"}[language]
    words = [
        f"{word}{is_spelt} {Asked(spell, {'word': word}, language, _whenever).solved().text}" for word in WORD.values
    ]
    return (*dict.fromkeys(facts), *words)


def _whenever() -> datetime.datetime:
    """No fact depends on it."""
    return datetime.datetime(2025, 1, 1)
