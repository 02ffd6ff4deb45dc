"""What was said in a conversation with Fun-Audio-Chat, so that it can be read anew, and what was heard of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from duologue.dialogue import Message
from duologue.layout import Grid
from duologue.systems.fun_audio_chat import Marks


@dataclass
class Round:
    """Ids: `asked`, what was typed or what calls gave back; `said`, the words so far."""

    asked: list[int]
    said: list[int] = field(default_factory=list)


@dataclass
class Exchange:
    """`heard`: the user's sound as the ears had it, in groups. There is another round after each call."""

    heard: Tensor | None
    rounds: list[Round]


def elsewhere(history: Sequence[Message], ids_of: Callable[[str], list[int]]) -> Iterator[Exchange]:
    """The exchanges of a conversation that was held elsewhere, as text."""
    exchange: Exchange | None = None
    for message in history:
        if message.role == "user":
            if exchange is not None:
                yield exchange
            exchange = Exchange(None, [Round(ids_of(message.text))])
        elif message.role == "assistant" and message.text and exchange is not None:
            exchange.rounds[-1].said += ids_of(message.text)
    if exchange is not None:
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
