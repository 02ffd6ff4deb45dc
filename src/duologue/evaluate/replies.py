"""How well a system that takes turns answers recorded users: each turn is given to it whole, as a detector cuts it out.

Beside what is right: how long it takes (the machine's clock), and how many words it is ahead in writing when its first
sound is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, median
from typing import Any

import numpy as np
from rich.table import Table

from duologue.desk import Question
from duologue.dialogue import Message, ToolCall
from duologue.evaluate.answers import Answered, Ears, judged, shown
from duologue.session import HEARD_HZ, Audio, Heard, Speech, Turn, TurnTaker, Wrote
from duologue.sound.wav import resample
from duologue.synthesis import Scene
from duologue.synthesis.placing import Event

BEFORE_S, AFTER_S = 0.3, 0.6
"""Around a turn, as `sound.utterance` cuts it out: what is kept before its onset, and the silence that ends it."""


@dataclass(frozen=True)
class Replied:
    """What a system made of one turn.

    sound           [N] at 16 kHz
    first_sound_s   until its first sound was made, None where there was none; `whole_s` until all was
    words_ahead     written when the first sound was made
    """

    heard: str
    written: str
    calls: tuple[ToolCall, ...]
    sound: Audio
    first_sound_s: float | None
    whole_s: float
    words_ahead: int


def replied(system: TurnTaker, turn: Turn, clock: Callable[[], float] = time.perf_counter) -> Replied:
    """The whole reply to a turn."""
    began, heard, written, calls, pieces = clock(), "", "", list[ToolCall](), list[Audio]()
    first_sound_s, words_ahead = None, 0
    for part in system.reply(turn):
        if isinstance(part, Heard):
            heard = part.text
        elif isinstance(part, Wrote):
            written += part.text
        elif isinstance(part, ToolCall):
            calls.append(part)
        elif isinstance(part, Speech):
            if first_sound_s is None and len(part.audio):
                first_sound_s, words_ahead = clock() - began, len(written.split())
            pieces.append(part.audio)
    whole_s = clock() - began
    sound = resample(np.concatenate([np.zeros(0, np.float32), *pieces]), system.said_hz, HEARD_HZ)
    return Replied(heard, written, tuple(calls), sound, first_sound_s, whole_s, words_ahead)


def conversed(system: TurnTaker, row: Mapping[str, Any], user: Audio) -> Iterator[Replied]:
    """Its replies to the turns of a recorded user [N], one after the other; it remembers them."""
    history: tuple[Message, ...] = ()
    for number, audio in enumerate(turns_of(row, user)):
        found = replied(system, Turn(number, history, audio))
        history = (*history, Message("user", found.heard), Message("assistant", found.written))
        yield found


def turns_of(row: Mapping[str, Any], user: Audio) -> Iterator[Audio]:
    """The sound of each of the user's turns in a line of a synthesised manifest. Back-channels are no turns."""
    events = [e for e in Scene.from_json(row["scene"]).events if e.speaker == "user" and e.kind != "back_channel"]
    for _, group in groupby(sorted(events, key=_when), key=lambda event: event.turn):
        stretches = list(group)
        start = round((stretches[0].start_s - BEFORE_S) * HEARD_HZ)
        end = round((max(event.end_s for event in stretches) + AFTER_S) * HEARD_HZ)
        yield np.pad(user[max(0, start) : end], (max(0, -start), max(0, end - len(user))))


def _when(event: Event) -> tuple[int, float]:
    return (-1 if event.turn is None else event.turn, event.start_s)


def answered(row: Mapping[str, Any], found: Sequence[Replied], ears: Ears | None = None) -> Answered:
    """The reply to the last question of a line."""
    last = found[-1]
    spoken = None if ears is None else ears(last.sound)
    return judged(Question.from_json(row["questions"][-1]), last.heard, last.written, last.calls, spoken)


# ---------------------------------------------------------------- delays


@dataclass(frozen=True)
class Delays:
    """Over the replies that have sound. Times are medians, on this machine's clock.

    first_sound_ms   from the end of the turn to the first sound, once it is noticed that it ended
    whole_ms         to the end of the reply; `sound_s` is how long it sounds
    words_ahead      written when the first sound is made, on the average
    """

    n: int
    first_sound_ms: float | None
    whole_ms: float | None
    sound_s: float | None
    words_ahead: float | None


def delays(replies: Sequence[Replied]) -> Delays:
    sounding = [reply for reply in replies if reply.first_sound_s is not None]
    return Delays(
        n=len(sounding),
        first_sound_ms=_median([1000 * (reply.first_sound_s or 0.0) for reply in sounding]),
        whole_ms=_median([1000 * reply.whole_s for reply in sounding]),
        sound_s=_median([len(reply.sound) / HEARD_HZ for reply in sounding]),
        words_ahead=fmean(reply.words_ahead for reply in sounding) if sounding else None,
    )


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def delays_table(took: Delays) -> Table:
    table = Table(title=f"{took.n} replies with sound", box=None, title_justify="left", header_style="dim")
    names = ("first sound, ms", "whole reply, ms", "it sounds, s", "words ahead")
    values = (took.first_sound_ms, took.whole_ms, took.sound_s, took.words_ahead)
    for name in names:
        table.add_column(name, justify="right")
    table.add_row(*map(shown, values))
    return table
