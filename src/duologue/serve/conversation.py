"""The conversation as the protocol sees it: items in order, which are also all that the system remembers."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from duologue.dialogue import Message, ToolCall
from duologue.serve.events import EventError
from duologue.serve.limits import Limits
from duologue.serve.spoken import Spoken
from duologue.session import Audio

ItemStatus = Literal["completed", "in_progress", "incomplete"]
PartJson = dict[str, Any]


def new_id(kind: str) -> str:
    """An id that nobody else has: "item_…", at most 32 characters."""
    return f"{kind}_{secrets.token_hex(10)}"


# ---------------------------------------------------------------- items


@dataclass(frozen=True)
class Item:
    """An entry of the conversation. `content` is what the protocol shows; the other fields are for memory.

    audio        the user's sound, [N] at 16 kHz, until it was understood
    spoken       where the words lie in the assistant's sound
    heard        what was heard of an assistant's item that was cut; None when it was not
    continues    this item goes on with the one before it, which was stopped and resumed
    aside        listening aloud ("mm-hm"): no turn, and not remembered
    own_calls    what the system called by itself in this reply: calls and their results
    """

    id: str
    type: Literal["message", "function_call", "function_call_output"]
    role: Literal["user", "assistant", "system"] | None = None
    status: ItemStatus = "completed"
    content: tuple[PartJson, ...] = ()
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str = ""
    audio: Audio | None = field(default=None, compare=False)
    spoken: Spoken | None = None
    heard: str | None = None
    continues: bool = False
    aside: bool = False
    own_calls: tuple[Message, ...] = ()

    @property
    def text(self) -> str:
        """All text of a message, transcripts included."""
        return "".join(part.get("text") or part.get("transcript") or "" for part in self.content)

    def to_json(self) -> dict[str, Any]:
        shown = {"id": self.id, "object": "realtime.item", "type": self.type, "status": self.status}
        if self.type == "message":
            return shown | {"role": self.role, "content": list(self.content)}
        if self.type == "function_call":
            return shown | {"call_id": self.call_id, "name": self.name, "arguments": self.arguments}
        return shown | {"call_id": self.call_id, "output": self.output}

    def with_transcript(self, text: str) -> Item:
        """The user was understood to say `text`."""
        content = tuple({**p, "transcript": text} if p["type"] == "input_audio" else p for p in self.content)
        return replace(self, content=content, audio=None)

    def truncated(self, audio_end_ms: int) -> tuple[Item, int]:
        """What was not heard is not remembered: the item cut at what was played, and the value used for that."""
        sent_ms = self.spoken.duration_ms if self.spoken else 0
        end_ms = min(audio_end_ms, sent_ms)
        if self.spoken is not None and self.status != "in_progress" and self.heard is None and end_ms == sent_ms > 0:
            return self, end_ms
        heard = self.spoken.heard_text(end_ms) if self.spoken else ""
        return self.cut(heard), end_ms

    def cut(self, heard: str) -> Item:
        """Only `heard` was heard of this."""
        content = tuple(
            {**part, "text" if part["type"] == "output_text" else "transcript": heard} for part in self.content
        )
        return replace(self, content=content, heard=heard)

    def messages(self) -> Iterator[Message]:
        """What a system remembers of the item."""
        if self.type == "function_call":
            yield Message("assistant", tool_calls=(ToolCall(self.call_id, self.name, self.arguments),))
        elif self.type == "function_call_output":
            yield Message("tool", self.output, call_id=self.call_id)
        elif not self.aside:
            yield from self.own_calls
            text = self.text if self.heard is None else self.heard
            if text and self.role is not None:
                yield Message(self.role, text, interrupted=self.heard is not None)


# ---------------------------------------------------------------- the conversation


@dataclass(frozen=True)
class Question:
    """What a reply answers: the newest user item's sound or text, and the history before it."""

    history: tuple[Message, ...]
    audio: Audio | None = None
    text: str | None = None
    item_ids: tuple[str, ...] = ()
    """The items whose sound `audio` is."""


class Conversation:
    """Items in order. Client-chosen ids are kept."""

    def __init__(self, limits: Limits) -> None:
        self.id = new_id("conv")
        self._limits = limits
        self._items: dict[str, Item] = {}
        self._order: list[str] = []

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._items

    @property
    def last_id(self) -> str | None:
        return self._order[-1] if self._order else None

    def get(self, item_id: str) -> Item | None:
        return self._items.get(item_id)

    def before(self, item_id: str) -> str | None:
        """The id of the item before this one; None for the first, and for one that is not here."""
        place = self._order.index(item_id) if item_id in self._items else 0
        return self._order[place - 1] if place else None

    def find(self, item_id: str, errand: str) -> Item:
        """Raises EventError `item_<errand>_invalid_item_id`."""
        if item_id not in self._items:
            raise EventError(f"item_{errand}_invalid_item_id", f"There is no item {item_id[:80]!r} here.", "item_id")
        return self._items[item_id]

    def admit(self, item: Item) -> None:
        """Raises EventError when a client may not add the item: id taken, too many items, too much text."""
        if item.id in self._items:
            raise EventError("item_create_duplicate_item_id", f"There is an item {item.id[:80]!r} already.", "item.id")
        if len(self._order) >= self._limits.items:
            raise EventError("invalid_value", f"A conversation holds {self._limits.items} items; delete some.", "item")
        size_bytes = len((item.text + item.name + item.arguments + item.output).encode())
        if size_bytes > self._limits.item_text_bytes:
            raise EventError(
                "invalid_value",
                f"An item holds {self._limits.item_text_bytes} bytes of text, not {size_bytes}.",
                "item",
            )

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put the item after `after` ("root": first; None: last). The id of the item before it, or None.

        Raises EventError `item_create_invalid_previous_item_id`.
        """
        if after is not None and after != "root" and after not in self._items:
            raise EventError(
                "item_create_invalid_previous_item_id",
                f"There is no item {after[:80]!r} here.",
                "previous_item_id",
            )
        place = len(self._order) if after is None else 0 if after == "root" else self._order.index(after) + 1
        self._order.insert(place, item.id)
        self._items[item.id] = item
        return self._order[place - 1] if place else None

    def put(self, item: Item) -> None:
        """A new state of an item; one that was deleted meanwhile stays deleted."""
        if item.id in self._items:
            self._items[item.id] = item

    def forget_sound(self, item_ids: Iterable[str]) -> None:
        """The sound of these items was answered; nothing will ask for it again."""
        for item_id in item_ids:
            if item := self._items.get(item_id):
                self._items[item_id] = replace(item, audio=None)

    def delete(self, item_id: str) -> None:
        self.find(item_id, "delete")
        del self._items[item_id]
        self._order.remove(item_id)

    def question(self) -> Question:
        """What a reply would answer now."""
        return question([self._items[item_id] for item_id in self._order])


def question(items: list[Item]) -> Question:
    """The user's newest words, and the history before them.

    Sound that nobody has understood yet belongs together: the utterances at the end are answered as one.
    """
    first = len(items)
    while first and _is_unanswered_sound(items[first - 1]):
        first -= 1
    if first < len(items):
        audio = np.concatenate([item.audio for item in items[first:] if item.audio is not None])
        return Question(_history(items[:first]), audio=audio, item_ids=tuple(item.id for item in items[first:]))
    if items and items[-1].role == "user" and items[-1].text:
        return Question(_history(items[:-1]), text=items[-1].text)
    return Question(_history(items))


def _is_unanswered_sound(item: Item) -> bool:
    return item.role == "user" and item.audio is not None


def _history(items: Iterable[Item]) -> tuple[Message, ...]:
    messages: list[Message] = []
    for item in items:
        for message in item.messages():
            if item.continues and messages and messages[-1].role == message.role == "assistant":
                message = replace(message, text=messages.pop().text + message.text)
            messages.append(message)
    return tuple(messages)
