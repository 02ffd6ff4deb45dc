"""How well a duplex model converses on recorded users of the desk: answers right, turns taken and yielded.

Answers are checked by the desk's program, in what the model writes and in what a recogniser hears of its speech. Turns
are measured on the stream's clock, against the record of when the user spoke, as OmniFlatten measures them (§5); a
chunk later they are heard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor
from typing import Any

import numpy as np

from duologue.desk import Question
from duologue.dialogue import Tool
from duologue.duplex import Talking
from duologue.evaluate.acc_at_k import HOLD_TOKENS, Accuracy, Switch, accuracy, takes_turn, yields
from duologue.evaluate.answers import Answered, Ears, judged, percent
from duologue.evaluate.conversing import Track
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import resample
from duologue.synthesis import Scene
from duologue.synthesis.placing import Event

GOES_ON_UNITS = 25
"""How long the assistant must not fall silent after a back-channel began."""

Row = Mapping[str, Any]

# ---------------------------------------------------------------- answers


def answered(talking: Talking, row: Row, track: Track, tools: Sequence[Tool], ears: Ears | None = None) -> Answered:
    """The answer to the last question of a recording (a line of a synthesised manifest)."""
    question, since = Question.from_json(row["questions"][-1]), asked_at(row, talking.codec.unit_hz) + track.waited
    written, calls = talking.text_of(track.ids("text", since), tools)
    heard, _ = talking.text_of(track.ids("heard", since - talking.chunk_units + 1), ())
    spoken = None if ears is None else ears(_at_16_khz(talking, track, since))
    return judged(question, heard, written, calls, spoken)


def asked_at(row: Row, unit_hz: float) -> int:
    """The place at which the user begins to ask the last question."""
    turn = row["questions"][-1]["turn"]
    return min(_unit(event["start_s"], unit_hz) for event in row["scene"]["events"] if event["turn"] == turn)


def later_turns(row: Row, unit_hz: float) -> list[int]:
    """The places at which the user begins to speak again, after an answer: nobody asks on before it is over."""
    begun: dict[int, int] = {}
    for event in row["scene"]["events"]:
        if event["speaker"] == "user" and event["kind"] != "back_channel":
            place = _unit(event["start_s"], unit_hz)
            begun[event["turn"]] = min(place, begun.get(event["turn"], place))
    return sorted(begun.values())[1:]


def _unit(at_s: float, unit_hz: float) -> int:
    """The place of what begins then; exact where it begins between two units."""
    return floor(round(at_s * unit_hz, 6))


def _at_16_khz(talking: Talking, track: Track, since: int) -> Audio:
    return resample(track.sound(talking, since), talking.codec.said_hz, HEARD_HZ)


# ---------------------------------------------------------------- turns


@dataclass(frozen=True)
class Turns:
    """`takes`: the assistant after the user's turns. `yields`: the assistant when the user came in. `goes_on`: percent
    of the back-channels that did not stop it, `back_channels` of them came while it spoke and had more to say."""

    takes: Accuracy
    yields: Accuracy
    goes_on: float | None
    back_channels: int


def turns(rows: Sequence[Row], tracks: Sequence[Track], unit_hz: float) -> Turns:
    """Of recordings of users, and what the model made of them."""
    token_ms = round(1000 / unit_hz)
    taken, yielded, kept = list[Switch](), list[Switch](), list[bool]()
    for row, track in zip(rows, tracks, strict=True):
        lane, events = track.sounds, Scene.from_json(row["scene"]).events
        taken += [takes_turn(lane, place, token_ms) for place in _ends(events, unit_hz) if place < len(lane)]
        yielded += [yields(lane, place, token_ms) for place in _onsets(events, "barge_in", unit_hz)]
        kept += [on for place in _onsets(events, "back_channel", unit_hz) if (on := _goes_on(track, place)) is not None]
    return Turns(accuracy(taken), accuracy(yielded), percent(kept), len(kept))


def _ends(events: Sequence[Event], unit_hz: float) -> list[int]:
    """Places of the user's last units: of turns that are answered before the user speaks again."""
    asked = [e for e in events if e.speaker == "user" and e.kind in ("turn", "barge_in")]
    last = [a for a, b in pairwise((*asked, None)) if a is not None and (b is None or b.turn != a.turn)]
    return [ceil(round(event.end_s * unit_hz, 6)) - 1 for event in last]


def _onsets(events: Sequence[Event], kind: str, unit_hz: float) -> list[int]:
    """Places at which the user comes in so: of several stretches of one turn the first."""
    first = {event.turn: event for event in reversed(events) if event.speaker == "user" and event.kind == kind}
    return sorted(_unit(event.start_s, unit_hz) for event in first.values())


def _goes_on(track: Track, place: int) -> bool | None:
    """Whether the assistant speaks on through what begins here; None where it did not speak, or had said it all."""
    lane = track.sounds[place : place + GOES_ON_UNITS]
    if len(lane) < GOES_ON_UNITS or not lane[:HOLD_TOKENS].any():
        return None
    holds = np.lib.stride_tricks.sliding_window_view(~lane, HOLD_TOKENS).all(axis=1)
    if not holds.any():
        return True
    return None if _said_all(track, place + int(holds.argmax())) else False


def _said_all(track: Track, stop: int) -> bool:
    """Whether nothing was written in the two seconds before the assistant stopped: it had come to its end."""
    return not track.ids("text", stop - 2 * GOES_ON_UNITS, stop)
