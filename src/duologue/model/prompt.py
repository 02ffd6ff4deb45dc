"""How a conversation that is heard is written for a language model: text with places for sound, its ids and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from duologue.dialogue import Message
from duologue.model.adapter import IGNORED, SPEECH_ID

SPEECH = "<speech>"
"""Stands in text where sound is heard. It is no token: text before and behind it is tokenised alone."""


@dataclass(frozen=True)
class Chat:
    """The marks of a conversation.

    begins   how often `begin` stands before everything
    request  what a user is written to say who is heard
    system   instructions before the first turn; empty: none
    """

    begin: str
    begins: int
    header: str
    end: str
    request: str
    system: str

    # ------------------------------------------------------------ text

    def opening(self, system: str | None = None) -> str:
        """What stands before the first turn."""
        system = (self.system if system is None else system).strip()
        return self.begin * self.begins + (self._said("system", system) if system else "")

    def question(self, text: str) -> str:
        """A user's turn, up to where the answer begins."""
        return self._said("user", sound_first(text)) + self.header.format(role="assistant")

    def written(self, messages: Sequence[Message]) -> str:
        """Turns of "user" and "assistant" in order, perhaps a "system" message before. Raises ValueError for others."""
        system = [message.text for message in messages if message.role == "system"]
        turns = [message for message in messages if message.role != "system"]
        roles = [message.role for message in turns]
        in_turn = roles == [("user", "assistant")[n % 2] for n in range(len(roles))]
        if not in_turn or [message.role for message in messages[: len(system)]] != ["system"] * len(system):
            raise ValueError(f"roles {roles}: give system (or none), then user and assistant by turns")
        said = (self.question(m.text) if m.role == "user" else m.text.strip() + self.end for m in turns)
        return self.opening(system[0] if system else None) + "".join(said)

    def _said(self, role: str, text: str) -> str:
        return self.header.format(role=role) + text + self.end


def sound_first(text: str) -> str:
    """A turn is heard, then read."""
    clips, said = text.count(SPEECH), text.replace(SPEECH, "").strip()
    return f"{SPEECH * clips}\n{said}".strip() if clips else said


# ---------------------------------------------------------------- ids


def ids_of(text: str, tokenizer: Any) -> list[int]:
    """Ids of a text, SPEECH_ID where sound is heard. The tokenizer adds nothing of its own."""
    pieces = [tokenizer(piece, add_special_tokens=False).input_ids if piece else [] for piece in text.split(SPEECH)]
    ids: list[int] = pieces[0]
    for piece in pieces[1:]:
        ids = [*ids, SPEECH_ID, *piece]
    return ids


def labelled(chat: Chat, messages: Sequence[Message], tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids of whole turns, and what is trained of them: each answer with its end; IGNORED elsewhere."""
    ids = ids_of(chat.written(messages), tokenizer)
    labels = [IGNORED] * len(ids)
    for turn, message in enumerate(messages):
        if message.role == "assistant":
            before, after = (ids_of(chat.written(messages[:n]), tokenizer) for n in (turn, turn + 1))
            if ids[: len(before)] != before or ids[: len(after)] != after:
                raise ValueError(f"{message.text[:40]!r} is not tokenised apart from what stands around it")
            labels[len(before) : len(after)] = ids[len(before) : len(after)]
    return ids, labels
