"""An answer of Mini-Omni aloud: frames of codes into sound, and words beside the sound in which they are said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from duologue.session import Part, Speech
from duologue.sound import Audio
from duologue.units.lookahead import Aloud, LookaheadDecoder

LETTERS_PER_S = 15.0
"""Of speech, spaces included."""


class Frames:
    """An utterance of a decoder with several books: sound as soon as it is final, no tail lost."""

    def __init__(self, decoder: LookaheadDecoder) -> None:
        self._aloud, self._books = Aloud(decoder), decoder.books
        self._state = self._aloud.start(1)

    def say(self, units: Sequence[int], last: bool = False) -> Audio:
        """The codes of whole frames, one frame after the other → sound [N]."""
        codes = torch.tensor(units, dtype=torch.int64).view(-1, self._books).mT
        (sound,) = self._aloud.say([codes], self._state, last)
        return sound.clamp(-1, 1).numpy().astype(np.float32)


def paced(parts: Iterable[Part], hz: int, letters_per_s: float = LETTERS_PER_S) -> Iterator[Part]:
    """The same parts, each word with the sound in which it is about to be said: text is written far ahead of its
    sound, and what is not heard was not said."""
    waiting, letters, samples = list[str](), 0, 0
    for part in parts:
        if not isinstance(part, Speech):
            yield part
            continue
        waiting += re.findall(r"\s*\S+|\s+", part.text)
        samples += len(part.audio)
        due = list[str]()
        while waiting and letters < samples / hz * letters_per_s:
            letters += len(waiting[0])
            due.append(waiting.pop(0))
        yield Speech(part.audio, "".join(due))
    if waiting:
        yield Speech(np.zeros(0, np.float32), "".join(waiting))
