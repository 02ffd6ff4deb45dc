"""What was said in a conversation with Fun-Audio-Chat, so that it can be read anew, and what was heard of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from duologue.dialogue import Message, ToolCall
from duologue.layout import Grid
from duologue.sound import Audio
from duologue.systems.fun_audio_chat import Marks


@dataclass
class Round:
    """Ids: `asked`, what was typed or what calls gave back (`results` of them); `said`, the words so far. `called`:
    whether there is a call among these."""

    asked: list[int]
    said: list[int] = field(default_factory=list)
    results: int = 0
    called: bool = False


@dataclass
class Exchange:
    """`heard`: the user's sound as the ears had it, in groups. There is another round after each call."""

    heard: Tensor | None
    rounds: list[Round]


@dataclass(frozen=True)
class Overheard:
    """The beginning of a turn that is not over.

    audio    [N] at 16 kHz
    history  of both, before it
    before   the exchanges, when none of it had been heard
    """

    audio: Audio
    history: tuple[Message, ...]
    before: list[Exchange]

    def begins(self, audio: Audio | None, history: tuple[Message, ...]) -> bool:
        """Whether a turn of this sound after this history is the same turn, gone on."""
        known = len(self.audio)
        return audio is not None and history == self.history and np.array_equal(audio[:known], self.audio)


class Ids(NamedTuple):
    """Of what somebody says, of calls, and of what these gave back."""

    said: Callable[[str], list[int]]
    called: Callable[[Sequence[ToolCall]], list[int]]
    returned: Callable[[Sequence[str]], list[int]]


def copied(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """As they are now, whatever is said in them from now on."""
    return [
        replace(exchange, rounds=[replace(each, said=[*each.said]) for each in exchange.rounds])
        for exchange in exchanges
    ]


def elsewhere(history: Sequence[Message], ids: Ids) -> Iterator[Exchange]:
    """The exchanges of a conversation that was held elsewhere, as text. Results after which nothing was said are left
    out."""
    exchange, results = Exchange(None, []), list[str]()
    for message in history:
        if message.role == "user":
            if exchange.rounds:
                yield exchange
            exchange, results = Exchange(None, [Round(ids.said(message.text))]), []
        elif message.role == "tool":
            results.append(message.text)
        elif message.role == "assistant" and exchange.rounds:
            if results:
                exchange.rounds.append(Round(ids.returned(results), results=len(results)))
                results = []
            last = exchange.rounds[-1]
            last.said += [*ids.said(message.text), *ids.called(message.tool_calls)]
            last.called = last.called or bool(message.tool_calls)
    if exchange.rounds:
        yield exchange


def letters(text: str) -> int:
    """How long a text is, however its words are set apart. What no token has completed yet does not count."""
    return len("".join(text.rstrip("\ufffd").split()))


def words_of(said: Sequence[int], heard: int, text_of: Callable[[Sequence[int]], str]) -> int:
    """How many ids of an answer are its first letters that were `heard`."""
    return next((count for count in range(len(said)) if letters(text_of(said[:count])) >= heard), len(said))


def hushed(answer: Grid, columns: int, words: int, marks: Marks) -> tuple[int, list[list[int]]]:
    """The first columns of an answer, of which so many words were heard: how many of them stand as they are, and what
    is said in those that follow. Silence is beside their speech; where there is no speech, the answer ends."""
    tokens, said = answer.tokens[:columns].copy(), answer.said[:columns]
    word = ~np.isin(tokens[:, 0], (marks.opens, marks.closes, marks.silent, marks.ends[0]))
    unheard = word & (word.cumsum() > words)
    ends = (unheard & ~said[:, 1:].any(1)) | (tokens[:, 0] == marks.ends[0])
    tokens[unheard, 0] = marks.silent
    first, last = (int(np.argmax(found)) if found.any() else columns for found in (unheard, ends))
    return min(first, last), [row[of].tolist() for row, of in zip(tokens[first:last], said[first:last], strict=True)]
