"""Recordings as units: a conversation as a language model sees it, before any layout.

The user's channel is encoded whole, noise and silence included, as it will be heard live; of the assistant's only
where it speaks. Places are counted in units.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from math import ceil, floor
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duologue.dialogue import Speaker
from duologue.sound import Audio
from duologue.sound.wav import SoundError, checked
from duologue.units.codec import UnitEncoder, encode_whole
from duologue.whole import whole_file

BEFORE_UNITS = 8
"""Of silence that the encoder hears before the assistant speaks, as a decoder begins."""


class WordTimer(UnitEncoder, Protocol):
    """An encoder that knows which unit a word ends in. Others (S3, HuBERT) do without: words are spread evenly."""

    def word_ends(self, codes: Tensor, words: Sequence[str]) -> list[int]: ...


@dataclass(frozen=True)
class Heard:
    """A stretch of one voice on the clock. `text`: what is said; of the assistant's also what is only written. One
    without length has no sound."""

    speaker: Speaker
    start_s: float
    end_s: float
    text: str
    turn: int | None = None
    cut: bool = False


@dataclass(frozen=True)
class Stretch:
    """The same in units: `start` up to `start + len(units)`. `ends`: where each of the user's words ends."""

    speaker: Speaker
    start: int
    units: tuple[int, ...]
    text: str
    ends: tuple[int, ...] = ()
    turn: int | None = None
    cut: bool = False


@dataclass(frozen=True)
class Encoded:
    """A conversation: the user's whole channel, and who says what in it. `name` tells where it is from."""

    name: str
    user: tuple[int, ...]
    stretches: tuple[Stretch, ...]

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        stretches = tuple(
            Stretch(**{**s, "units": tuple(s["units"]), "ends": tuple(s["ends"])}) for s in row["stretches"]
        )
        for units in (row["user"], *(stretch.units for stretch in stretches)):
            if units and (np.asarray(units).dtype != np.int64 or min(units) < 0):
                raise ValueError("units are whole numbers from 0 on")
        return cls(row["name"], tuple(row["user"]), stretches)


def encode(name: str, sound: Audio, said: Iterable[Heard], encoder: UnitEncoder) -> Encoded:
    """Of sound [N, 2] at the encoder's rate, user left and assistant right. Where words end is told by a `WordTimer`;
    by any other encoder they are spread evenly over the stretch that they are said in."""
    user = units_of(sound[:, 0], encoder)
    return Encoded(name, tuple(user.tolist()), tuple(_stretch(one, sound[:, 1], user, encoder) for one in said))


def units_of(audio: Audio, encoder: UnitEncoder) -> NDArray[np.int64]:
    """[N] → units [T] of the first book. Raises SoundError for samples that are no floats, or not finite."""
    if not np.issubdtype(audio.dtype, np.floating):
        raise SoundError(f"samples of type {audio.dtype}: give float32 from -1 to 1")
    checked(audio, "the sound to encode")
    return encode_whole(encoder, torch.from_numpy(np.ascontiguousarray(audio, np.float32))[None])[0, 0].numpy()


def _stretch(said: Heard, assistant: Audio, user: NDArray[np.int64], encoder: UnitEncoder) -> Stretch:
    start, end = floor(_place(said.start_s, encoder)), ceil(_place(said.end_s, encoder))
    ends: tuple[int, ...] = ()
    if said.end_s == said.start_s:
        units = user[:0]
    elif said.speaker == "user":
        units, words = user[start:end], spoken_words(said.text)
        ends = tuple(start + end for end in (_word_ends(units, words, encoder) if words else ()))
    else:
        units = _spoken(said, assistant, encoder)
    return Stretch(said.speaker, start, tuple(units.tolist()), said.text, ends, said.turn, said.cut)


def _word_ends(units: NDArray[np.int64], words: Sequence[str], encoder: UnitEncoder) -> list[int]:
    """The unit in which each word ends; evenly spread, by its letters, where the encoder does not know."""
    timed: Callable[[Tensor, Sequence[str]], list[int]] | None = getattr(encoder, "word_ends", None)
    if timed is not None:
        return timed(torch.from_numpy(units), words)
    letters, last_unit = len(" ".join(words)), max(0, len(units) - 1)
    return [(end - 1) * last_unit // letters for end in accumulate(len(word) + 1 for word in words)]


def _spoken(said: Heard, assistant: Audio, encoder: UnitEncoder) -> NDArray[np.int64]:
    """From its very onset on, wherever that lies between two units: so what sounds alike has the same units, and a
    model has only one way of saying it to learn."""
    onset, end = (round(at_s * encoder.heard_hz) for at_s in (said.start_s, said.end_s))
    quiet = np.zeros(BEFORE_UNITS * round(encoder.heard_hz / encoder.unit_hz), np.float32)
    return units_of(np.concatenate((quiet, assistant[onset:end])), encoder)[BEFORE_UNITS:]


def _place(at_s: float, encoder: UnitEncoder) -> float:
    """In units; exact where it lies between two of them."""
    return round(at_s * encoder.unit_hz, 6)


def spoken_words(text: str) -> list[str]:
    """The words of an English text as letters a-z and '."""
    return re.findall(r"[a-z']+", text.lower())


# ---------------------------------------------------------------- on the disk


def write(path: str | Path, rows: Iterable[Encoded]) -> None:
    """One JSON object per line; whole or not at all."""
    lines = "".join(json.dumps(asdict(row), separators=(",", ":")) + "\n" for row in rows)
    whole_file(path, lambda file: file.write(lines.encode()))


def read(path: str | Path) -> Iterator[Encoded]:
    """What `write` wrote. Raises FileNotFoundError; ValueError for a line that is none."""
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Encoded.from_json(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}:{number}: no encoded conversation ({error!r}); encode it again") from error
