"""The desk itself: the messages of a conversation in, the answer out."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from duologue.desk.again import slowly
from duologue.desk.doing import Kept, Timer, confirmation
from duologue.desk.errands import TOOLS
from duologue.desk.intents import Asked, Call
from duologue.desk.rules import Language
from duologue.desk.smalltalk import NOT_HEARD, NOT_MINE
from duologue.desk.transcript import language_of
from duologue.desk.understanding import understand, warm_up
from duologue.dialogue import Message, Tool, ToolCall

REMEMBERED_TURNS = 16
"""How many user turns back a follow-up may reach."""


@dataclass(frozen=True)
class Answer:
    """What the desk says; with tool calls, what it says before they are executed (mostly nothing)."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    topic: str | None = None


class Desk:
    """A brain for the closed spoken world, one per caller. `now` is its clock."""

    tools: tuple[Tool, ...] = TOOLS

    def __init__(self, now: Callable[[], datetime.datetime] = datetime.datetime.now) -> None:
        warm_up()
        self._now = now
        self._kept = Kept(now)

    def answer(self, messages: Sequence[Message]) -> Answer:
        """The answer to messages that end with the user's, or with the results of the calls that it made.

        A function of the messages and the clock alone, so that a history that was cut works as it stands.
        Raises ValueError when there is nothing to answer.
        """
        asked = understood(messages, self._now)
        if messages[-1].role == "tool":
            return Answer(_confirmed(messages), topic=asked.intent.topic if asked else None)
        if asked is None:
            language = _language(messages)
            return Answer((NOT_MINE if re.search(r"\w", messages[-1].text) else NOT_HEARD)[language])
        return reply(asked, messages)

    def run(self, call: ToolCall) -> str:
        """Execute a call and return its result as JSON text; {"error": why} for one that cannot be done."""
        return json.dumps(self._kept.do(call), ensure_ascii=False)

    @property
    def orders(self) -> tuple[dict[str, str], ...]:
        """The drinks that were ordered, as arguments of `order_drink`."""
        return tuple(self._kept.orders)

    @property
    def timers(self) -> tuple[Timer, ...]:
        return tuple(self._kept.timers)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._kept.notes)

    @property
    def dialled(self) -> tuple[str, ...]:
        return tuple(self._kept.dialled)


def understood(messages: Sequence[Message], now: Callable[[], datetime.datetime]) -> Asked | None:
    """What the last of the user's messages asks, given those before. Raises ValueError without one to answer."""
    if not messages or messages[-1].role not in ("user", "tool"):
        raise ValueError("the desk answers messages that end with the user's or with a tool's result")
    before = asked = None
    language: Language = "en"
    for text in [message.text for message in messages if message.role == "user"][-REMEMBERED_TURNS:]:
        language = language_of(text, language)
        asked = understand(text, language, before, now)
        if asked and asked.intent.topic != "chat":
            before = asked
    return asked


def reply(asked: Asked, messages: Sequence[Message]) -> Answer:
    """The answer to what the last of the messages asks."""
    solution, topic = asked.solved(), asked.intent.topic
    if not asked.manner:
        return Answer(solution.text, _tool_calls(solution.calls, messages), topic)
    text = _confirmed(messages) if solution.calls else solution.text
    return Answer(slowly(text, asked.language) if asked.manner == "slow" else text, topic=topic)


@dataclass(frozen=True)
class Exchange:
    """A question answered: the messages with all that followed, the calls with their results, the last words."""

    messages: tuple[Message, ...]
    calls: tuple[tuple[ToolCall, str], ...]
    answer: str


def exchange(asked: Asked, messages: tuple[Message, ...]) -> Exchange:
    """Answer what the last message asks and execute its calls, for a new caller with this history."""
    first = reply(asked, messages)
    if not first.tool_calls:
        return Exchange((*messages, Message("assistant", first.text)), (), first.text)
    kept = Kept(asked.now)
    for call in (call for message in messages for call in message.tool_calls):
        kept.do(call)
    calls = tuple((call, json.dumps(kept.do(call), ensure_ascii=False)) for call in first.tool_calls)
    results = tuple(Message("tool", result, call_id=call.call_id) for call, result in calls)
    messages = (*messages, Message("assistant", first.text, tool_calls=first.tool_calls), *results)
    answer = _confirmed(messages)
    return Exchange((*messages, Message("assistant", answer)), calls, answer)


def _language(messages: Sequence[Message]) -> Language:
    language: Language = "en"
    for message in messages:
        if message.role == "user":
            language = language_of(message.text, language)
    return language


def _confirmed(messages: Sequence[Message]) -> str:
    """What is said about the results of the last calls that were made."""
    made = next((message.tool_calls for message in reversed(messages) if message.tool_calls), ())
    results = {message.call_id: message.text for message in messages if message.role == "tool"}
    language = _language(messages)
    return " ".join(confirmation(call, results.get(call.call_id, "{}"), language) for call in made)


def _tool_calls(calls: Sequence[Call], messages: Sequence[Message]) -> tuple[ToolCall, ...]:
    """Their ids are made from the conversation: the same conversation gives the same ids."""
    seed = hashlib.sha256(repr([(m.role, m.text, m.call_id) for m in messages]).encode()).hexdigest()[:12]
    return tuple(
        ToolCall(f"call_{seed}_{n}", call.name, json.dumps(dict(call.arguments), ensure_ascii=False))
        for n, call in enumerate(calls)
    )
