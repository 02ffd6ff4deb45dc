"""Questions that nobody spoke, as ears would hear them: what they made of each word somewhere else, put together.

Recordings teach a model to hear; of sums and clock times there are too few of them to learn to reckon by ear. A text
model that reckons in writing does not do so when it hears: there, other things stand between the words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random

import numpy as np
from numpy.typing import NDArray

from duologue.data.encode import Encoded, Stretch, spoken_words
from duologue.systems.llama_omni_stages import Exchange
from duologue.systems.omni_flatten_examples import HEARD_LATER, exchanges
from nano_ears import window

States = NDArray[np.float16]
"""What the ears make of sound, [T, W]."""

LONGEST_WORD = 12
"""States that belong to a word: half a second."""
KEPT = 40
"""Of each word, drawn from all that were heard."""


class Recital:
    """Words as they were heard in recordings."""

    def __init__(self, seed: int = 0) -> None:
        self._draw = Random(seed)
        self._words: dict[str, _Drawn] = {}
        self._before, self._after = _Drawn(), _Drawn()

    def hear(self, words: Sequence[str], ends: Sequence[int], states: States) -> None:
        """An utterance, and at which of its states each word is told."""
        begins = [max(0, before + 1, end + 1 - LONGEST_WORD) for before, end in pairwise((-1, *ends))]
        for word, begin, end in zip(words, begins, ends, strict=True):
            self._words.setdefault(word, _Drawn()).offer(states[begin : end + 1], self._draw)
        self._before.offer(states[: begins[0]], self._draw)
        self._after.offer(states[ends[-1] + 1 :], self._draw)

    def recite(self, text: str, draw: Random) -> States | None:
        """A text as it might be heard; None where a word of it never was."""
        words = [self._words.get(word) for word in spoken_words(text)]
        known = [word for word in words if word is not None]
        if not known or len(known) < len(words):
            return None
        return np.concatenate([drawn.one(draw) for drawn in (self._before, *known, self._after)])


class _Drawn:
    """So many of all that are offered, each as likely as the others."""

    def __init__(self) -> None:
        self._kept, self._offered = list[States](), 0

    def offer(self, states: States, draw: Random) -> None:
        self._offered += 1
        if len(self._kept) < KEPT:
            self._kept.append(states)
        elif (place := draw.randrange(self._offered)) < KEPT:
            self._kept[place] = states

    def one(self, draw: Random) -> States:
        return draw.choice(self._kept)


def heard_in(rows: Sequence[Encoded], lessons: Sequence[Sequence[Exchange]]) -> Recital:
    """All questions of conversations; `lessons` are what the ears made of those rows that have any."""
    recital = Recital()
    told = [found for row in rows if (found := list(exchanges(row)))]
    for of_row, lesson in zip(told, lessons, strict=True):
        for (asked, _), exchange in zip(of_row, lesson, strict=False):
            if not isinstance(exchange.asked, str):
                words = [word for stretch in asked for word in spoken_words(stretch.text)]
                ends = list(_told(asked, len(exchange.asked)))
                if words and len(words) == len(ends):
                    recital.hear(words, ends, exchange.asked)
    return recital


def _told(asked: Sequence[Stretch], length: int) -> Iterator[int]:
    """At which of so many states of an utterance each of its words is told, one at each."""
    start, _ = window(asked, asked[-1].start + length)
    last = -1
    for end in (end for stretch in asked for end in stretch.ends):
        last = max(last + 1, end + HEARD_LATER - start)
        if last < length:
            yield last
