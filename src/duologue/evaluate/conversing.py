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
    """

    units: NDArray[np.int64]
    texts: Mapping[str, tuple[tuple[int, int], ...]]

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


def tracks(talking: Talking, heard: Sequence[Audio], batch: int = 24) -> Iterator[Track]:
    """A track of each user, whose channel is [N] at the codec's `heard_hz`, in their order.

    Users of like length are heard together; shorter ones are followed by silence, which is not in their track.
    """
    units = [encode_whole(talking.codec, torch.from_numpy(audio)[None])[0, 0].numpy() for audio in heard]
    order = sorted(range(len(units)), key=lambda n: len(units[n]))
    found: dict[int, Track] = {}
    for first in range(0, len(order), batch):
        chosen = order[first : first + batch]
        for number, track in zip(chosen, _together(talking, [units[n] for n in chosen]), strict=True):
            found[number] = track
    yield from (found[n] for n in range(len(units)))


def _together(talking: Talking, users: Sequence[NDArray[np.int64]]) -> Iterator[Track]:
    chunk = talking.chunk_units
    length = -(-max(map(len, users)) // chunk) * chunk
    channel = np.full((len(users), length), talking.codec.silence[0], np.int64)
    for one, user in zip(channel, users, strict=True):
        one[: len(user)] = user
    minds = Minds(talking, len(users))
    said = np.full((len(users), length), SILENT, np.int64)
    texts: list[dict[str, list[tuple[int, int]]]] = [{} for _ in users]
    for start in range(0, length, chunk):
        for place in range(start, start + chunk):
            minds.hear(channel[:, place].tolist())
        for place in range(start, start + chunk):
            for row, (token, written) in enumerate(minds.say_unit()):
                if token != talking.silent:
                    said[row, place] = token - talking.first_unit
                for stream, ids in written.items():
                    new = [(start, token) for token in ids if token != talking.silent_text]
                    texts[row].setdefault(stream, []).extend(new)
    for row, user in enumerate(users):
        kept = {name: tuple(one for one in ids if one[0] < len(user)) for name, ids in texts[row].items()}
        yield Track(said[row, : len(user)], kept)
