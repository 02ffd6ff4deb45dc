"""Who said what, and when: the values that everything else passes around.

Two views of one conversation. A `Dialogue` is the recording's view: utterances with times in seconds.
The history is the model's view: `Message`s in order, where an assistant message holds only what was heard.
Nothing here is ever mutated.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Role = Literal["system", "user", "assistant", "tool"]
Speaker = Literal["user", "assistant"]


@dataclass(frozen=True)
class ToolCall:
    """A function that the assistant wants to be called. `arguments` is the JSON text, as models write it."""

    call_id: str
    name: str
    arguments: str

    def parsed(self) -> dict[str, Any]:
        """The arguments as a dict. Raises ValueError when they are not a JSON object."""
        arguments = json.loads(self.arguments or "{}")
        if not isinstance(arguments, dict):
            raise ValueError(f"arguments of the tool call {self.name!r} are not a JSON object: {self.arguments!r}")
        return arguments


@dataclass(frozen=True)
class Tool:
    """A function that may be called: its name, what it does and the JSON schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """One entry of the history that a model sees.

    `interrupted` marks an assistant message that was cut: `text` is then what was heard of it.
    A message of role "tool" is the result (`text`) of the call `call_id`.
    """

    role: Role
    text: str = ""
    interrupted: bool = False
    tool_calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None


@dataclass(frozen=True)
class Utterance:
    """What one speaker said from `start_s` to `end_s`; `cut` when the speaker was interrupted there."""

    speaker: Speaker
    start_s: float
    end_s: float
    text: str = ""
    cut: bool = False

    def __post_init__(self) -> None:
        if self.end_s < self.start_s:
            raise ValueError(f"an utterance cannot end ({self.end_s} s) before it starts ({self.start_s} s)")


@dataclass(frozen=True)
class Dialogue:
    """A conversation: utterances ordered by start. Times in seconds from the beginning of the recording."""

    utterances: tuple[Utterance, ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.utterances, key=lambda u: (u.start_s, u.end_s, u.speaker)))
        object.__setattr__(self, "utterances", ordered)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def duration_s(self) -> float:
        return max((u.end_s for u in self.utterances), default=0.0)

    def of(self, speaker: Speaker) -> Self:
        """The side of one speaker."""
        return dataclasses.replace(self, utterances=tuple(u for u in self if u.speaker == speaker))

    def add(self, utterance: Utterance) -> Self:
        return dataclasses.replace(self, utterances=(*self.utterances, utterance))

    def to_json(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(u) for u in self]

    @classmethod
    def from_json(cls, rows: list[dict[str, Any]]) -> Self:
        return cls(tuple(Utterance(**row) for row in rows))
