"""When it is said: the turns of a script placed on the clock.

Where the user comes in while the assistant still has something to say, the assistant gives way. Times are whole
milliseconds inside, seconds outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from numpy.random import Generator

from duologue.desk.rules import Language
from duologue.dialogue import Speaker, Utterance
from duologue.synthesis.human_timing import HUMAN
from duologue.synthesis.script import Line, Script, clauses, joint
from duologue.synthesis.timing import Timing

Kind = Literal["turn", "barge_in", "back_channel", "side_talk"]
Who = Literal["user", "assistant", "bystander"]


@dataclass(frozen=True)
class Event:
    """A stretch of one voice, `start_s` to `end_s`, as long as its sound.

    text       what is said in it; of a cut one all that was to be said. `spoken` is what the voice reads
    turn       counts the dialogue's turns; a turn with pauses has several stretches
    cut        the speaker gave way at `end_s`
    offset_s   of a turn's first stretch: its start, from where the turn before was meant to end
    """

    speaker: Who
    start_s: float
    end_s: float
    text: str
    spoken: str
    kind: Kind = "turn"
    turn: int | None = None
    cut: bool = False
    offset_s: float | None = None

    def utterance(self, speaker: Speaker) -> Utterance:
        return Utterance(speaker, self.start_s, self.end_s, self.text, self.cut)


LengthMs = Callable[[Speaker, str], int]
"""How long a voice takes to say something; speaking it is the caller's."""

LEAD_MS = (300, 1000)
"""Silence before the first turn."""
MOST_OVERLAP = 0.8
"""Share of a turn that the next one may overlap: who starts earlier answers something else."""
BREATH_MS = 100
"""Between two turns of one speaker there is at least this."""
BARGE_IN_AT = (0.2, 0.8)
"""Where in a turn a barge-in comes, as a share of it."""


def place(script: Script, timing: Timing, length_ms: LengthMs, rng: Generator) -> tuple[Event, ...]:
    """The script on the clock, ordered by start. The same for the same generator state."""
    turns: list[list[Event]] = []
    for number, line in enumerate(script.lines):
        parts = _parts(line, script.language, timing, rng)
        if not turns:
            start_ms, offset_ms = int(rng.integers(*LEAD_MS)), None
        else:
            end_ms = _ms(turns[-1][-1].end_s)
            drawn_ms = end_ms + _offset_ms(line.speaker, turns[-1], timing, rng)
            start_ms = max(drawn_ms, _silent_ms(line.speaker, turns) + BREATH_MS)
            offset_ms = start_ms - end_ms
        turn = _stretches(line, parts, number, start_ms, offset_ms, length_ms, rng)
        if turns and line.speaker == "user" and timing.gives_way_ms:
            turns[-1], turn = _given_way(turns[-1], turn, int(rng.integers(*timing.gives_way_ms, endpoint=True)))
        turns.append(turn)
    events = [event for turn in turns for event in turn]
    events += _back_channels(turns, script.language, timing, length_ms, rng)
    return tuple(sorted(events, key=lambda e: (e.start_s, e.end_s, e.speaker)))


def _silent_ms(speaker: Speaker, turns: list[list[Event]]) -> int:
    """When the speaker's own last turn is over."""
    return max((_ms(turn[-1].end_s) for turn in turns if turn[0].speaker == speaker), default=0)


def _offset_ms(speaker: Speaker, before: list[Event], timing: Timing, rng: Generator) -> int:
    start_ms, end_ms = _ms(before[0].start_s), _ms(before[-1].end_s)
    barges = speaker == "user" and rng.random() < timing.barge_in_share
    share = rng.uniform(*BARGE_IN_AT)
    if barges:
        return round((share - 1) * (end_ms - start_ms))
    offset_s = (timing.answer if speaker == "assistant" else timing.take)(rng)
    last_ms = end_ms - _ms(before[-1].start_s)
    return max(round(1000 * offset_s), -round(MOST_OVERLAP * last_ms))


def _stretches(
    line: Line,
    parts: list[str],
    number: int,
    start_ms: int,
    offset_ms: int | None,
    length_ms: LengthMs,
    rng: Generator,
) -> list[Event]:
    """A turn's stretches with pauses of people between them; the spoken text of each but the last goes on."""
    turn: list[Event] = []
    for part in parts:
        last = part is parts[-1]
        spoken = part if last else part.rstrip(",，、") + ","
        end_ms = start_ms + length_ms(line.speaker, spoken)
        text = part if line.speaker == "assistant" else part.rstrip(",，、.。?？")
        offset_s = offset_ms / 1000 if offset_ms is not None and not turn else None
        turn.append(Event(line.speaker, start_ms / 1000, end_ms / 1000, text, spoken, turn=number, offset_s=offset_s))
        start_ms = end_ms + round(1000 * float(HUMAN["pause"](rng.random())))
    return turn


def _parts(line: Line, language: Language, timing: Timing, rng: Generator) -> list[str]:
    """The line cut where its speaker will pause: at as many of its clause borders as its length asks for."""
    found = clauses(line.spoken, language)
    speaks_s = len(line.spoken) / _CHARACTERS_PER_S[language]
    pauses = min(len(found) - 1, int(rng.poisson(timing.pauses_per_s * speaks_s)))
    if line.speaker == "assistant" or not pauses:
        return [line.spoken]
    borders = sorted(1 + rng.choice(len(found) - 1, pauses, replace=False))
    return [joint(language).join(found[a:b]) for a, b in pairwise((0, *borders, len(found)))]


_CHARACTERS_PER_S = {"en": 14.0, "zh": 2.5}


def _given_way(before: list[Event], turn: list[Event], delay_ms: int) -> tuple[list[Event], list[Event]]:
    """The assistant's turn as far as it was said, and the user's, marked, where that cut it short."""
    silent_ms = _ms(turn[0].start_s) + delay_ms
    if before[0].speaker != "assistant" or _ms(before[-1].end_s) <= silent_ms:
        return before, turn
    said = [replace(e, end_s=min(e.end_s, silent_ms / 1000)) for e in before if _ms(e.start_s) < silent_ms]
    said[-1] = replace(said[-1], cut=True)
    return said, [replace(event, kind="barge_in") for event in turn]


# ---------------------------------------------------------------- back-channels

BACK_CHANNELS: dict[Language, tuple[str, ...]] = {
    "en": ("mm hmm", "uh huh", "yeah", "right", "okay", "i see"),
    "zh": ("嗯", "对", "好", "是的", "嗯嗯"),
}
BACK_CHANNEL_MS = (200, 1000)
APART_MS = 500
"""Least time from the user's own speech, and from the start and the end of the assistant's turn."""


def _back_channels(
    turns: list[list[Event]], language: Language, timing: Timing, length_ms: LengthMs, rng: Generator
) -> list[Event]:
    """The user's back-channels: over the assistant's turns, one in a turn at most, at clause borders."""
    heard = [n for n, turn in enumerate(turns) if turn[0].speaker == "assistant"]
    minutes = sum(turns[n][0].end_s - turns[n][0].start_s for n in heard) / 60
    wanted = int(rng.poisson(timing.back_channels_per_minute * minutes))
    found: list[Event] = []
    for n in rng.permutation(heard).tolist() if wanted else ():
        text = str(rng.choice(BACK_CHANNELS[language]))
        lasts_ms = length_ms("user", text)
        spots = [at for at in _borders_ms(turns[n][0], language) if _fits(at, lasts_ms, turns, n)]
        if spots and len(found) < wanted:
            at_ms = int(rng.choice(spots))
            found.append(
                Event(
                    "user",
                    at_ms / 1000,
                    (at_ms + lasts_ms) / 1000,
                    text,
                    text,
                    "back_channel",
                    turns[n][0].turn,
                )
            )
    return found


def _borders_ms(event: Event, language: Language) -> list[int]:
    """When the clause borders of an event are said: as far into its sound as into its text."""
    found = clauses(event.text, language)
    said = [len(joint(language).join(found[:n])) / len(event.text) for n in range(1, len(found))]
    return [round(_ms(event.start_s) + share * (_ms(event.end_s) - _ms(event.start_s))) for share in said]


def _fits(at_ms: int, lasts_ms: int, turns: list[list[Event]], n: int) -> bool:
    before_ms = max(_ms(turns[n][0].start_s), _ms(turns[n - 1][-1].end_s) if n else 0)
    after_ms = min([_ms(turns[n][-1].end_s), *(_ms(turn[0].start_s) for turn in turns[n + 1 : n + 2])])
    free = before_ms + APART_MS <= at_ms and at_ms + lasts_ms + APART_MS <= after_ms
    return free and BACK_CHANNEL_MS[0] <= lasts_ms <= BACK_CHANNEL_MS[1]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
