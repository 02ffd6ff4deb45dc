"""From what was heard to what was asked."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from functools import cache

from duologue.desk.intents import Asked, Intent
from duologue.desk.kinds import Kind, Values, expression
from duologue.desk.rules import LANGUAGES, Language, names, parse, pattern
from duologue.desk.transcript import readings
from duologue.desk.world import INTENTS

Clock = Callable[[], datetime.datetime]

_COUNTS = {
    "en": re.compile(
        r"\b(?:\w+teen|\w+ty|one|two|three|four|five|six|seven|eight|nine|ten|plus|minus|times|divided|not)\b"
    ),
    "zh": re.compile("[零一二两三四五六七八九十百加减乘除不]"),
}
"""Words that change the meaning wherever they stand."""


def understand(text: str, language: Language, before: Asked | None, now: Clock) -> Asked | None:
    """What is asked, given what was asked `before`; None when it is not of the desk's world.

    A rule that fits all of the text comes first, one that takes any words only after the others; then orders by
    the words that count, then a rule that fits within the text.
    """
    heard = list(readings(text, language))
    for find in (_by_rule, _by_open_rule, _by_spotting, _within, _adrift):
        if asked := next(find(heard, language, before, now), None):
            return asked
    return None


def _by_rule(heard: list[str], language: Language, before: Asked | None, now: Clock) -> Iterator[Asked]:
    return _fitting([intent for intent in INTENTS if not _is_open(intent)], heard, language, before, now)


def _by_open_rule(heard: list[str], language: Language, before: Asked | None, now: Clock) -> Iterator[Asked]:
    return _fitting([intent for intent in INTENTS if _is_open(intent)], heard, language, before, now)


def _is_open(intent: Intent) -> bool:
    return any(kind.open for kind in intent.kinds)


def _fitting(
    intents: list[Intent], heard: list[str], language: Language, before: Asked | None, now: Clock
) -> Iterator[Asked]:
    for reading in heard:
        spaced = reading + (" " if language == "en" else "")
        for intent in intents:
            for rule, kinds in _patterns(intent, language):
                if (match := rule.fullmatch(spaced)) and (
                    asked := _meant(intent, _values(match, kinds, language), language, before, now)
                ):
                    yield asked


def _by_spotting(heard: list[str], language: Language, before: Asked | None, now: Clock) -> Iterator[Asked]:
    """The reading in which most is found."""
    for intent in INTENTS:
        found = [values for reading in heard if intent.spot and (values := intent.spot(reading, language))]
        if found and (asked := _meant(intent, max(found, key=len), language, before, now)):
            yield asked


def _within(heard: list[str], language: Language, before: Asked | None, now: Clock) -> Iterator[Asked]:
    """Words around a question are passed over when they are few and say nothing that counts."""
    for reading in heard:
        spaced = reading + (" " if language == "en" else "")
        for intent in INTENTS:
            if intent.follow or intent.topic == "digits" or _is_open(intent):
                continue
            for rule, kinds in _patterns(intent, language):
                match = rule.search(spaced)
                rest = spaced[: match.start()] + spaced[match.end() :] if match else spaced
                whole = match and (match.start() == 0 or language == "zh" or spaced[match.start() - 1] == " ")
                if match and whole and 2 * len(rest) <= len(spaced) and not _COUNTS[language].search(rest):
                    yield Asked(intent, _values(match, kinds, language), language, now)


def _adrift(heard: list[str], language: Language, before: Asked | None, now: Clock) -> Iterator[Asked]:
    """A follow-up to nothing."""
    for reading in heard:
        spaced = reading + (" " if language == "en" else "")
        for intent in INTENTS:
            if intent.follow and any(rule.fullmatch(spaced) for rule, _ in _patterns(intent, language)):
                yield Asked(intent, {}, language, now)


def warm_up() -> None:
    """Compile all rules now rather than at the first question."""
    for intent in INTENTS:
        for language in LANGUAGES:
            _patterns(intent, language)


def _meant(intent: Intent, values: Values, language: Language, before: Asked | None, now: Clock) -> Asked | None:
    asked = Asked(intent, values, language, now)
    if intent.follow is None:
        return asked
    return intent.follow(asked, before) if before else None


def _values(match: re.Match[str], kinds: dict[str, Kind], language: Language) -> Values:
    groups = match.groupdict()
    return {slot: kinds[slot].read(said.strip(), language) for slot, said in groups.items() if said is not None}


@cache
def _patterns(intent: Intent, language: Language) -> list[tuple[re.Pattern[str], dict[str, Kind]]]:
    """The compiled rules of an intent, each with the kind of every slot; none where words are spotted instead."""
    if intent.spot and not intent.follow:
        return []
    kinds = {kind.name: kind for kind in intent.kinds}
    compiled = []
    for rule in intent.rules[language]:
        tree = parse(rule)
        text = pattern(tree, lambda name: expression(kinds[name], language), language)
        slots = {n.slot: kinds[n.name] for n in names(tree) if n.slot}
        compiled.append((re.compile(text), slots))
    return compiled
