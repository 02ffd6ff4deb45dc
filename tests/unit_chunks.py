"""SyncLLM's format written down slowly: chunks on a clock, repeats removed, and durations put back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from layouts import S0, S1

Parts = list[tuple[list[int], list[int]]]
"""The new units of each chunk: speaker 0's and speaker 1's."""


def chunked(raw0: Sequence[int], raw1: Sequence[int], slots: int, carry: bool = False) -> Parts:
    """What is new in each chunk of `slots` units. `carry`: a part with a change writes the held unit first."""
    if len(raw0) != len(raw1):
        raise ValueError(f"two channels of one recording have one length, not {len(raw0)} and {len(raw1)} units")
    return list(zip(new_units(raw0, slots, carry), new_units(raw1, slots, carry), strict=True))


def new_units(raw: Sequence[int], slots: int, carry: bool) -> list[list[int]]:
    parts, held = [], None
    for start in range(0, len(raw), slots):
        part: list[int] = []
        for unit in raw[start : start + slots]:
            if unit != (part[-1] if part else held):
                part.append(unit)
        if carry and part and raw[start] == held:
            part.insert(0, raw[start])
        parts.append(part)
        held = raw[min(start + slots, len(raw)) - 1]
    return parts


def parsed(tokens: Sequence[int], units: int = 501) -> tuple[Parts, Counter[str]]:
    """The parts of any tokens, repaired leniently, and what had to be repaired."""
    parts: Parts = []
    counts: Counter[str] = Counter()
    speaker = 0
    for place, token in enumerate(tokens):
        if token == S0:
            parts.append(([], []))
            speaker = 0
        elif not parts or (token != S1 and not 0 <= token < units):
            counts["stray"] += 1
        elif token == S1 and speaker == 1:
            counts["double_tag"] += 1
        elif token == S1:
            speaker = 1
            counts["empty_tag"] += tokens[place + 1 : place + 2] in ([], [S0])
        else:
            parts[-1][speaker].append(token)
    return parts, counts


def even(part: list[int], slots: int, _: int | None) -> list[int]:
    """k units in n slots: slot j takes `part[j * k // n]`."""
    return [part[slot * len(part) // slots] for slot in range(slots)]


def centred(part: list[int], slots: int, held: int | None) -> list[int]:
    """Each change at its expected place, the held unit before the first one."""
    k = len(part)
    if held is None or k > slots:
        return even(part, slots, held)
    onsets = [((i + 1) * (slots + 1) * 2 - (k + 1)) // (2 * (k + 1)) for i in range(k)]
    changes = [sum(onset <= slot for onset in onsets) for slot in range(slots)]
    return [part[n - 1] if n else held for n in changes]


def sounded(
    parts: Sequence[list[int]],
    slots: int,
    silence: int = 0,
    length: int | None = None,
    fill: Callable[[list[int], int, int | None], list[int]] = even,
) -> list[int]:
    """One channel's units, durations put back; the last chunk is spread over what `length` leaves of it."""
    length = len(parts) * slots if length is None else length
    raw: list[int] = []
    held = None
    for part in parts:
        here = min(slots, length - len(raw))
        raw += fill(part, here, held) if part else [silence if held is None else held] * here
        held = part[-1] if part else held
    return raw


def trouble(parts: Parts, slots: int) -> Counter[str]:
    """Units too many, and units repeated, in generated parts."""
    counts: Counter[str] = Counter()
    for channel in zip(*parts, strict=True):
        held = None
        for part in channel:
            counts["overflow"] += max(0, len(part) - slots)
            for unit in part:
                counts["repeat"] += unit == held
                held = unit
    return counts
