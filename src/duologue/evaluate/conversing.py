"""Recorded users talk to a duplex model, many at once: what it writes and says, token by token.

The same computation as a live session's, chunk after chunk; only the clock is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from duologue.duplex import Minds, Talking
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import read_channels
from duologue.synthesis import Plan, synthesise
from duologue.units.codec import decode_whole, encode_whole

SILENT = -1
OVER_CHUNKS, MOST_CHUNKS = 2, 25
"""An answer is over after so many chunks of silence; so many are waited for at most."""


def recorded(folder: Path, plan: Plan, after_s: float = 0.0) -> tuple[list[dict[str, Any]], list[Audio]]:
    """Users of a plan, made in `folder` where they are not there yet: the lines of its manifest, and the channel of
    each [N] at 16 kHz, with so much silence behind it."""
    manifest = synthesise(folder, plan).manifest
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    quiet = np.zeros(round(after_s * HEARD_HZ), np.float32)
    return rows, [np.concatenate((read_channels(folder / row["path"], HEARD_HZ)[:, 0], quiet)) for row in rows]


@dataclass(frozen=True)
class Track:
    """What a model made of one user. Places are counted in units of the user's channel.

    units   [S] what it says at each place, SILENT where nothing
    texts   by stream, what it wrote: (place, id), the place being that of the chunk's first unit
    waited  places by which the user spoke later than recorded, waiting for the ends of answers
    """

    units: NDArray[np.int64]
    texts: Mapping[str, tuple[tuple[int, int], ...]]
    waited: int = 0

    @property
    def sounds(self) -> NDArray[np.bool_]:
        sounds: NDArray[np.bool_] = np.not_equal(self.units, SILENT)
        return sounds

    def ids(self, stream: str, since: int = 0, until: int | None = None) -> list[int]:
        """What was written in the chunks from that of place `since` on, up to that of `until`."""
        end = len(self.units) if until is None else until
        return [token for place, token in self.texts.get(stream, ()) if since <= place < end]

    def sound(self, talking: Talking, since: int = 0, until: int | None = None) -> Audio:
        """What is heard of it between two places, [N] at the codec's `said_hz`."""
        units = self.units[since:until]
        audio = np.zeros(len(units) * talking.codec.unit_samples, np.float32)
        edges = np.flatnonzero(np.diff(units != SILENT, prepend=False, append=False))
        for start, end in edges.reshape(-1, 2):
            codes = torch.from_numpy(units[start:end])[None, None]
            made = decode_whole(talking.codec, codes)[0].numpy()
            audio[start * talking.codec.unit_samples : end * talking.codec.unit_samples] = made
        return audio


def tracks(
    talking: Talking, heard: Sequence[Audio], batch: int = 24, waits: Sequence[Sequence[int]] | None = None
) -> Iterator[Track]:
    """A track of each user, whose channel is [N] at the codec's `heard_hz`, in their order.

    Users of like length are heard together; shorter ones are followed by silence, which is not in their track. With
    `waits`, places in each channel, the user does not go on there before the model is silent.
    """
    units = [encode_whole(talking.codec, torch.from_numpy(audio)[None])[0, 0].numpy() for audio in heard]
    order = sorted(range(len(units)), key=lambda n: len(units[n]))
    found: dict[int, Track] = {}
    for first in range(0, len(order), batch):
        chosen = order[first : first + batch]
        users = [_User(units[n], waits[n] if waits else (), talking) for n in chosen]
        for number, track in zip(chosen, _together(talking, users), strict=True):
            found[number] = track
    yield from (found[n] for n in range(len(units)))


class _User:
    """A recorded user, who is heard chunk by chunk, and what the model says and writes meanwhile."""

    def __init__(self, units: NDArray[np.int64], waits: Sequence[int], talking: Talking) -> None:
        self._units, self._waits, self._talking = units, list(waits), talking
        self._at = self._silent = self._waiting = 0
        self._said = list[int]()
        self._texts: dict[str, list[tuple[int, int]]] = {}

    @property
    def over(self) -> bool:
        return self._at >= len(self._units)

    def chunk(self) -> list[int]:
        """The next units that are heard: while the user waits, what was heard before goes on."""
        size = self._talking.chunk_units
        if not self.over and self._waits and self._waits[0] < self._at + size:
            if self._silent < OVER_CHUNKS and self._waiting < MOST_CHUNKS:
                self._waiting += 1
                return self._filled(self._units[max(0, self._at - size) : self._at])
            del self._waits[0]
        self._at += size
        return self._filled(self._units[self._at - size : self._at])

    def _filled(self, units: NDArray[np.int64]) -> list[int]:
        return [*units.tolist(), *[self._talking.codec.silence[0]] * (self._talking.chunk_units - len(units))]

    def told(self, tokens: Sequence[int], written: Mapping[str, Sequence[int]]) -> None:
        """What the model makes of a chunk."""
        said = [SILENT if token == self._talking.silent else token - self._talking.first_unit for token in tokens]
        words = {name: [i for i in ids if i != self._talking.silent_text] for name, ids in written.items()}
        for name, ids in words.items():
            self._texts.setdefault(name, []).extend((len(self._said), token) for token in ids)
        quiet = all(unit == SILENT for unit in said) and not words.get("text")
        self._silent = self._silent + 1 if quiet else 0
        self._said += said

    def track(self) -> Track:
        waited = self._waiting * self._talking.chunk_units
        end = len(self._units) + waited
        kept = {name: tuple(one for one in ids if one[0] < end) for name, ids in self._texts.items()}
        return Track(np.array(self._said[:end], np.int64), kept, waited)


def _together(talking: Talking, users: Sequence[_User]) -> Iterator[Track]:
    minds = Minds(talking, len(users))
    while not all(user.over for user in users):
        for heard in zip(*(user.chunk() for user in users), strict=True):
            minds.hear(list(heard))
        said = [minds.say_unit() for _ in range(talking.chunk_units)]
        for user, steps in zip(users, zip(*said, strict=True), strict=True):
            written: dict[str, list[int]] = {}
            for _, texts in steps:
                for name, ids in texts.items():
                    written.setdefault(name, []).extend(ids)
            user.told([token for token, _ in steps], written)
    yield from (user.track() for user in users)
