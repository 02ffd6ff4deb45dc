"""How SyncLLM writes a conversation (section 3.2): in chunks, repeats removed; how that is read, what may follow.

The paper left many cases open: what is done in each is said at the function that does it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from duologue.systems.sync_llm import Alphabet, Config, Repeats

# ---------------------------------------------------------------- writing (section 3.2)

Part = tuple[int, ...]


class Chunk(NamedTuple):
    """What the two speakers write in a chunk, in codes of units."""

    own: Part
    user: Part


def encode(own: Sequence[int], user: Sequence[int], config: Config) -> list[Chunk]:
    """Codes of two channels, [T] each, as chunks. The last one may have fewer slots: who reads it back is told T.
    Raises ValueError for channels of unequal length."""
    if len(own) != len(user):
        raise ValueError(
            f"two channels of one recording have one length, not {len(own)} and {len(user)} units: "
            "fill the shorter one up with silence"
        )
    return [Chunk(*parts) for parts in zip(_parts(own, config), _parts(user, config), strict=True)]


def _parts(raw: Sequence[int], config: Config) -> Iterator[Part]:
    held = None
    for start in range(0, len(raw), config.slots):
        slots = raw[start : start + config.slots]
        yield written(slots, held, config.repeats)
        held = slots[-1]


def written(slots: Sequence[int], held: int | None, repeats: Repeats = "removed") -> Part:
    """What one speaker writes of the units in a chunk's slots, `held` sounding before it (None: nothing was)."""
    if repeats == "kept":
        return tuple(slots)
    new = tuple(unit for before, unit in zip((held, *slots), slots, strict=False) if unit != before)
    if new and repeats == "exact":
        return _shortest(slots)
    if new and repeats == "carried" and slots[0] == held:
        return (slots[0], *new)
    return new


def _shortest(slots: Sequence[int]) -> Part:
    """The shortest part that `spread` lays out as these slots: each of its units stands for a block of equal ones."""
    count = len(slots)
    sizes = (size for size in range(1, count + 1) if _blocks_are_equal(slots, size))
    size = next(sizes)
    return tuple(slots[-(-block * count // size)] for block in range(size))


def _blocks_are_equal(slots: Sequence[int], size: int) -> bool:
    block_of = [slot * size // len(slots) for slot in range(len(slots))]
    return all(slots[a] == slots[b] for a, b in pairwise(range(len(slots))) if block_of[a] == block_of[b])


def streams(chunks: Sequence[Chunk], alphabet: Alphabet) -> dict[str, list[int]]:
    """The ids of `full_duplex`'s streams: each part with the tag that ends it; after the last part comes none."""
    s0, s1, units = alphabet
    own: list[int] = []
    user: list[int] = []
    for number, chunk in enumerate(chunks, 1):
        clock = [s0] if number < len(chunks) else []
        own += [*(units[code] for code in chunk.own), *([s1] if chunk.user else clock)]
        user += [*(units[code] for code in chunk.user), *clock] if chunk.user else []
    return {"own": own, "user": user}


# ---------------------------------------------------------------- reading back


def decode(
    chunks: Sequence[Chunk], config: Config, silence: int, length: int | None = None
) -> tuple[list[int], list[int]]:
    """Codes of both channels, [T] each: whole chunks, or `length` units, over whose rest the last chunk is spread.
    Raises ValueError for a length that these chunks cannot have."""
    most = len(chunks) * config.slots
    total = most if length is None else length
    if not max(0, most - config.slots + bool(chunks)) <= total <= most:
        raise ValueError(f"{len(chunks)} chunks of {config.slots} slots are not {total} units: give the length encoded")
    own, user = (_sounded([chunk[speaker] for chunk in chunks], config, silence, total) for speaker in (0, 1))
    return own, user


def _sounded(parts: Sequence[Part], config: Config, silence: int, length: int) -> list[int]:
    """One channel. Where nothing is written, the last written unit sounds on; at the very beginning silence does."""
    raw: list[int] = []
    held: int | None = None
    for part in parts:
        raw += spread(part, min(config.slots, length - len(raw)), held, silence, config.filling)
        held = part[-1] if part else held
    return raw


def spread(part: Part, slots: int, held: int | None, silence: int, filling: str = "even") -> list[int]:
    """The units of a part in the slots of a chunk, [slots].

    even      slot j takes part[j * k // slots] of k units: each lasts ⌊slots/k⌋ or ⌈slots/k⌉. Of more units than
              slots (other models' text) some are left out
    centred   each change at its expected place, the held unit before the first one
    """
    count = len(part)
    if not part:
        return [silence if held is None else held] * slots
    if filling == "even" or held is None or count > slots:
        return [part[slot * count // slots] for slot in range(slots)]
    onsets = [(2 * (n + 1) * (slots + 1) - (count + 1)) // (2 * (count + 1)) for n in range(count)]
    return [(held, *part)[bisect_right(onsets, slot)] for slot in range(slots)]


def read(
    ids: Iterable[int], alphabet: Alphabet, config: Config, strict: bool = True
) -> tuple[list[Chunk], Counter[str]]:
    """The chunks in any ids, and what is wrong in them:

    stray        ids before the first [S0], and those that are neither unit nor tag: dropped
    double_tag   [S1] twice in a chunk: its units join the part
    empty_tag    [S1] without a unit after it: nothing new
    overflow     units that have no slot: some are not heard, the last one is held
    repeat       units that are written again: they take their share of the slots

    Raises ValueError for any of these where `strict`.
    """
    parts, counts, speaker = list[tuple[list[int], list[int]]](), Counter[str](), 0
    s0, s1, units = alphabet
    for token in [*ids, s0]:
        if token == s0:
            counts["empty_tag"] += speaker == 1 and not parts[-1][1]
            parts.append(([], []))
            speaker = 0
        elif not parts or (token != s1 and token not in units):
            counts["stray"] += 1
        elif token == s1:
            counts["double_tag"] += speaker
            speaker = 1
        else:
            parts[-1][speaker].append(token - units.start)
    chunks = [Chunk(tuple(own), tuple(user)) for own, user in parts[:-1]]
    counts += _trouble(chunks, config)
    if strict and counts:
        raise ValueError(f"malformed chunks: {dict(counts)}; read with strict=False to repair them")
    return chunks, counts


def _trouble(chunks: Sequence[Chunk], config: Config) -> Counter[str]:
    """Units too many, and units again that the format would not write again."""
    counts: Counter[str] = Counter()
    for channel in zip(*chunks, strict=True):
        held = None
        for part in channel:
            counts["overflow"] += max(0, len(part) - config.slots)
            again = [unit == before for before, unit in pairwise((held, *part))]
            first = 1 if config.repeats == "carried" and len(part) > 1 else 0
            counts["repeat"] += sum(again[first:]) if config.repeats in ("removed", "carried") else 0
            held = part[-1] if part else held
    return counts


# ---------------------------------------------------------------- grammar


class Next(NamedTuple):
    """What may follow in a part: the unit before once more, another unit, the part's end."""

    same: bool
    other: bool
    end: bool


def after(part: Part, held: int | None, config: Config) -> Next:
    """What may follow, so that the part becomes one that `written` can write, and no other. A speaker who was never
    heard (`held` is None) begins with a unit."""
    again = tuple(unit == before for before, unit in pairwise((held, *part)))
    if held is None and not part:
        return Next(same=False, other=True, end=False)
    return _after(again, config.slots, config.repeats)


@lru_cache(maxsize=100_000)
def _after(again: tuple[bool, ...], slots: int, repeats: Repeats) -> Next:
    """Of a part whose units are told only as far as each is the one before it again."""
    room = len(again) < slots
    same, other = (room and _can_be_ended((*again, unit), slots, repeats) for unit in (True, False))
    return Next(same, other, end=_is_written(again, slots, repeats))


def _can_be_ended(again: tuple[bool, ...], slots: int, repeats: Repeats) -> bool:
    """Of the ways to go on, those with a change at every unit are written wherever any is."""
    room = slots - len(again)
    return any(_is_written((*again, *(False,) * more), slots, repeats) for more in range(room + 1))


def _is_written(again: tuple[bool, ...], slots: int, repeats: Repeats) -> bool:
    """Whether reading such a part, of at most so many units as slots, and writing it anew gives the same."""
    if repeats == "removed":
        return not any(again)
    if repeats == "carried":
        return again != (True,) and not any(again[1:])
    if repeats == "kept":
        return len(again) == slots
    return not again or (not all(again) and not _is_shorter(again, slots))


def _is_shorter(again: tuple[bool, ...], slots: int) -> bool:
    """Whether fewer units lay out the same slots: each change begins a block of theirs as well."""
    count = len(again)
    changes = [-(-place * slots // count) for place in range(1, count) if not again[place]]
    return any(all((at - 1) * size // slots < at * size // slots for at in changes) for size in range(1, count))


def units_after(part: Part, held: int | None, alphabet: Alphabet, config: Config) -> Tensor:
    """Ids of the units that may follow."""
    may, before = after(part, held, config), part[-1] if part else held
    allowed = torch.full((len(alphabet.units),), may.other)
    if before is not None:
        allowed[before] = may.same
    return allowed.nonzero()[:, 0] + alphabet.units.start
