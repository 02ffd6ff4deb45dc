"""All that the desk knows, in the order in which it looks for a meaning."""

from __future__ import annotations

from collections.abc import Sequence

from duologue.desk import again, clock, comparing, digits, errands, facts, language, orders, smalltalk, sums, units
from duologue.desk.intents import Intent

INTENTS: tuple[Intent, ...] = (
    *again.FOLLOW_UPS,
    *errands.FOLLOW_UPS,
    *sums.SUMS,
    *comparing.COMPARING,
    *units.UNITS,
    *clock.CLOCK,
    *facts.FACTS,
    *digits.DIGIT_STRINGS,
    *errands.TOOL_INTENTS,
    *smalltalk.SMALL_TALK,
    *sums.FOLLOW_UPS,
    *facts.FOLLOW_UPS,
    orders.COMPLETED,
    orders.CHANGE,
    orders.ORDER,
    *language.LANGUAGE,
)
TOPICS: tuple[str, ...] = tuple(dict.fromkeys(intent.topic for intent in INTENTS))


def chosen_topics(topics: Sequence[str] | None) -> tuple[str, ...]:
    """These topics, or all for None. Raises ValueError for an unknown one."""
    chosen = TOPICS if topics is None else tuple(topics)
    if unknown := sorted(set(chosen) - set(TOPICS)):
        raise ValueError(f"unknown topic {unknown[0]!r}: the desk's topics are {', '.join(TOPICS)}")
    return chosen
