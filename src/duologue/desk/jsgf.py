"""The desk's rules as a JSGF grammar for a recogniser."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from duologue.desk.intents import Intent
from duologue.desk.rules import Language
from duologue.desk.world import INTENTS, chosen_topics

_LEADS = {
    "en": "please | um | (can | could) you [please] tell me | okay | so",
    "zh": "请问 | 请 | 嗯 | 告诉 我",
}
_WITHOUT_LEAD = ("order", "digits", "follow-ups", "chat")


def grammar(language: Language = "en", topics: Sequence[str] | None = None) -> str:
    """JSGF (W3C note, June 2000) with the public rule `<desk>`: all that may be said about the topics.

    Raises ValueError for an unknown topic.
    """
    wanted = chosen_topics(topics)
    intents = [intent for intent in INTENTS if intent.topic in wanted and intent.rules[language]]
    led = [f"<ask_{i.name}>" for i in intents if i.topic not in _WITHOUT_LEAD]
    plain = [f"<ask_{i.name}>" for i in intents if i.topic in _WITHOUT_LEAD]
    public = [*(["[<lead>] <question>"] if led else []), *plain]
    rules = {"lead": _LEADS[language], "question": " | ".join(led)} if led else {}
    rules |= {f"ask_{i.name}": " | ".join(f"({_untagged(rule)})" for rule in i.rules[language]) for i in intents}
    lines = [f"<{name}> = {rule};" for name, rule in [*rules.items(), *_parts(intents, language)]]
    return "\n".join(["#JSGF V1.0 UTF-8;", "grammar desk;", f"public <desk> = {' | '.join(public)};", *lines, ""])


def _parts(intents: Iterable[Intent], language: Language) -> list[tuple[str, str]]:
    """The rules of the kinds that the intents use."""
    parts: dict[str, str] = {}
    for kind in (kind for intent in intents for kind in intent.kinds):
        parts[kind.name] = kind.rule[language]
        parts |= {name: rule[language] for name, rule in kind.parts.items()}
    return list(parts.items())


def _untagged(rule: str) -> str:
    return re.sub(r"\{\w+\}", "", rule)
