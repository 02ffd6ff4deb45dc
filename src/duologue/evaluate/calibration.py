"""How like people the timing is that dialogues are synthesised with: each manner of it against the human distributions,
and how often things happen, against people's rates.

Nothing is spoken: sentences last as long as their letters, so that thousands of turns are placed in a second. How long
they last does not change the offsets between them, but it does the rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from rich.table import Table

from duologue.dialogue import Dialogue, Speaker
from duologue.evaluate.timing import Tracks
from duologue.evaluate.turn_statistics import Likeness, as_people_counted, likeness
from duologue.evaluate.turn_taking import INTERRUPTION_MS, Events, events
from duologue.evaluate.turns_report import shown as as_shown
from duologue.synthesis.placing import place
from duologue.synthesis.script import scripts
from duologue.synthesis.timing import TIMINGS

LETTERS_PER_S = 14.0
DIALOGUES = 400
PEOPLE_A_MINUTE = {"backchannel": 3.9, "pause": 16.0, "interruption": 0.86}
"""Of Switchboard's calls, pooled: back-channels, pauses above 200 ms inside turns, transfers below -1 s."""
RATE_NAMES = {"backchannel": "back-channels", "pause": "pauses", "interruption": "interruptions"}
KINDS = ("fto", "fto_body", "gap", "gap_within_1s", "overlap", "pause")


def simulated(timing: str, count: int = DIALOGUES, seed: int = 0) -> list[Events]:
    """What happens in so many dialogues of the desk, timed in a manner of `TIMINGS`."""
    found = []
    for number, script in enumerate(islice(scripts(seed, "train", "en"), count)):
        placed = place(script, TIMINGS[timing](), _length_ms, np.random.default_rng([seed, number]))
        said = Dialogue(tuple(e.utterance(e.speaker) for e in placed if e.speaker != "bystander"))
        found.append(events(Tracks.of_dialogue(said)))
    return found


def _length_ms(speaker: Speaker, text: str) -> int:
    return round(1000 * len(text) / LETTERS_PER_S)


@dataclass(frozen=True)
class Calibrated:
    """Distance to people by kind of event, and how many of the events of `PEOPLE_A_MINUTE` there are in a minute."""

    likeness: Mapping[str, Likeness]
    a_minute: Mapping[str, float | None]


def calibrated(count: int = DIALOGUES, seed: int = 0) -> dict[str, Calibrated]:
    """Each manner beside people."""
    return {timing: against_people(simulated(timing, count, seed), seed) for timing in TIMINGS}


def against_people(recordings: Sequence[Events], seed: int = 0) -> Calibrated:
    """Counted as the statistics of people are: in onset order, and but for themselves without back-channels."""
    each = [as_people_counted(found) for found in recordings]
    counts = {
        "backchannel": sum(len(found.backchannels) for found in recordings),
        "pause": sum(len(values["pause"]) for values in each),
        "interruption": sum(value < -INTERRUPTION_MS / 1000 for values in each for value in values["fto"]),
    }
    minutes = sum(found.tracks.duration_ms for found in recordings) / 60_000
    rates = {kind: count / minutes if minutes else None for kind, count in counts.items()}
    return Calibrated(likeness(recordings, seed), rates)


def table(found: Mapping[str, Calibrated]) -> Table:
    """A row for each manner: distances, how many events there were beside each; rates, those of people above."""
    title = "distance to people (Wasserstein-1), s; events a minute"
    shown = Table(title=title, box=None, title_justify="left", header_style="dim")
    for name in ("timing", *KINDS, *RATE_NAMES.values()):
        shown.add_column(name, justify="left" if name == "timing" else "right")
    shown.add_row(
        "[dim]people[/]", *("" for _ in KINDS), *(f"[dim]{PEOPLE_A_MINUTE[kind]:.2f}[/]" for kind in RATE_NAMES)
    )
    for timing, one in found.items():
        rates = (as_shown(one.a_minute[kind]) for kind in RATE_NAMES)
        shown.add_row(timing, *(distance(one.likeness[kind]) for kind in KINDS), *rates)
    return shown


def distance(like: Likeness) -> str:
    """As a table shows it."""
    return "–" if like.distance_s.value is None else f"{like.distance_s.value:.2f} (n {like.n})"
