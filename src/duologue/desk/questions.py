"""Questions of the desk with all that training and evaluation need of them."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Any, Literal, Self

from duologue.desk.answering import exchange
from duologue.desk.intents import Asked, Content, Intent, sentence_case
from duologue.desk.rules import LANGUAGES, Language, names, parse, sentence
from duologue.desk.world import INTENTS, chosen_topics
from duologue.dialogue import Message, ToolCall

Split = Literal["train", "test"]
TEST_SHARE = 0.1
"""Share of the combinations that is kept for testing."""
_PATIENCE = 3000
"""Draws without a new question after which there are held to be no more."""


@dataclass(frozen=True)
class Question:
    """One question with its answer.

    text         as spoken: words, lower case, no punctuation (Mandarin: characters)
    written      as written, with figures and punctuation
    answer       the spoken answer; with a tool call, what is said after its result
    key          names the combination of values; the same in both languages
    tool_call, tool_result   the call that has to be made and what it returns, as JSON text
    translation  `text` in the other language
    history      for a follow-up: the turns before
    reasoning    hidden steps to the answer
    content      what an answer has to say; `check` compares it
    """

    text: str
    written: str
    answer: str
    language: Language
    topic: str
    key: str
    tool_call: ToolCall | None
    tool_result: str | None
    translation: str
    history: tuple[Message, ...]
    reasoning: str
    content: Content

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Of a dict as `dataclasses.asdict` makes it; what else is in it is passed over. Raises KeyError, TypeError."""
        plain = {name.name: row[name.name] for name in fields(cls)}
        return cls(
            **{
                **plain,
                "tool_call": row["tool_call"] and ToolCall(**row["tool_call"]),
                "history": tuple(map(_message, row["history"])),
                "content": Content(row["content"]["kind"], tuple(row["content"]["values"])),
            }
        )


def _message(row: Mapping[str, Any]) -> Message:
    return Message(**{**row, "tool_calls": tuple(ToolCall(**call) for call in row["tool_calls"])})


def questions(
    seed: int, split: Split, language: Language | None = None, topics: Sequence[str] | None = None
) -> Iterator[Question]:
    """Distinct questions, the topics in equal shares, until no new one is found; the same for the same seed.

    The splits differ in the combinations: a key of one is never in the other, while each value is in "train".
    Raises ValueError for an unknown topic.
    """
    random = Random(f"{seed} {split}")
    by_topic = [[i for i in INTENTS if i.topic == topic and i.draw] for topic in chosen_topics(topics)]
    seen: set[tuple[str, ...]] = set()
    misses = 0
    while misses < _PATIENCE:
        drawn = _drawn(random.choice(random.choice(by_topic)), split, language, random)
        said = (*(m.text for m in drawn.history), drawn.text) if drawn else ()
        misses += 1
        if drawn and said not in seen:
            misses = 0
            seen.add(said)
            yield drawn


def split_of(key: str, values: int, held_out: bool) -> Split:
    """Where a combination belongs. A value that stands alone stays in train unless `held_out`."""
    if values < 2 and not held_out:
        return "train"
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
    return "test" if share < TEST_SHARE else "train"


# ---------------------------------------------------------------- drawing

_FIRST = [intent for intent in INTENTS if intent.draw and not intent.follow and intent.topic != "chat"]
_BEFORE_TRIED = 100
"""Questions tried as the one before a follow-up."""


def _today() -> datetime.datetime:
    """No question that is drawn depends on it."""
    return datetime.datetime(2025, 1, 1, 12)


def _drawn(intent: Intent, split: Split, language: Language | None, random: Random) -> Question | None:
    """A question of the intent, or None when what was drawn belongs to the other split."""
    lang: Language = random.choice(LANGUAGES) if language is None else language
    asked = _asked(intent, lang, random)
    if intent.follow is None:
        return _question(asked, asked, (), asked.key, "", random) if _belongs(asked, split) else None
    for _ in range(_BEFORE_TRIED):
        before = _asked(random.choice(_FIRST), lang, random)
        meant = intent.follow(asked, before)
        if meant and meant.solved().content and _belongs(before, split) and _belongs(meant, split):
            return _follow_up(asked, before, meant, random)
    return None


def _follow_up(asked: Asked, before: Asked, meant: Asked, random: Random) -> Question:
    text, _ = _spoken(before, random)
    history = exchange(before, (Message("user", text),)).messages
    key = f"{asked.key} after {before.key}"
    earlier = "" if meant.manner else before.solved().reasoning
    return _question(asked, meant, history, key, earlier, random)


def _asked(intent: Intent, language: Language, random: Random) -> Asked:
    if intent.draw is None:
        raise ValueError(f"nobody can know the answer to {intent.name!r} beforehand")
    return Asked(intent, intent.draw(random), language, _today)


def _belongs(asked: Asked, split: Split) -> bool:
    return split_of(asked.key, len(asked.values), asked.intent.held_out) == split


def _question(
    asked: Asked, meant: Asked, history: tuple[Message, ...], key: str, earlier: str, random: Random
) -> Question:
    text, written = _spoken(asked, random)
    other = Asked(asked.intent, asked.values, "zh" if asked.language == "en" else "en", asked.now)
    done, solution = exchange(meant, (*history, Message("user", text))), meant.solved()
    call, result = done.calls[0] if done.calls else (None, None)
    return Question(
        text=text,
        written=written,
        answer=done.answer,
        language=asked.language,
        topic=asked.intent.topic,
        key=key,
        tool_call=call,
        tool_result=result,
        translation=_spoken(other, random)[0],
        history=history,
        reasoning="; ".join(filter(None, (earlier, solution.reasoning))),
        content=solution.content or Content("phrase", (done.answer,)),
    )


# ---------------------------------------------------------------- wording


def _spoken(asked: Asked, random: Random) -> tuple[str, str]:
    """The question in one of its wordings: as spoken and as written."""
    kinds = {kind.name: kind for kind in asked.intent.kinds}
    slots = frozenset(asked.values)
    said = None
    while said is None:
        tree = parse(random.choice(asked.intent.rules[asked.language]))
        said = sentence(tree, lambda name: f"<{name.slot}>", slots, random)
    kind_of = {name.slot: kinds[name.name] for name in names(tree) if name.slot}
    spoken = {
        f"<{slot}>": kind.say(asked.values[slot], asked.language) for slot, kind in kind_of.items() if slot in slots
    }
    written = {
        f"<{slot}>": kind.write(asked.values[slot], asked.language) for slot, kind in kind_of.items() if slot in slots
    }
    return (
        _joined([spoken.get(word, word) for word in said], asked.language),
        _punctuated(_joined([written.get(word, word) for word in said], asked.language), asked.language),
    )


_MEASURES_ZH = "个|米|厘米|毫米|公里|小时|分钟|秒|天|周|年|公斤|克|吨|升|毫升|打"


def _joined(words: list[str], language: Language) -> str:
    if language == "zh":
        text = re.sub(r"(?<=[a-z]) ?(?=[a-z])", "", "".join(words))
        return re.sub(rf"(?<![十百千零期周拜])二(?=(?:{_MEASURES_ZH}))", "两", text)
    return re.sub(r"\ban? (?=\w)(?=([aeiou]|8|1[18]\b)?)", lambda m: "an " if m[1] else "a ", " ".join(words))


_ASKS = re.compile(
    r"^(?:what|which|how|is|are|can|could|may|who|on what|in what|on which|in which)\b|吗$|多少|几|什么|哪|怎么"
)


def _punctuated(text: str, language: Language) -> str:
    mark = ("?", ".") if language == "en" else ("？", "。")
    text = re.sub(r"\bi\b", "I", text) if language == "en" else text
    return sentence_case(text) + mark[0 if _ASKS.search(text.lower()) else 1]
