"""How like people the timing is that dialogues are synthesised with: each manner of it against the human distributions.

Nothing is spoken: sentences last as long as their letters, so that thousands of turns are placed in a second. How long
they last does not change the offsets between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import numpy as np
from rich.table import Table

from duologue.dialogue import Dialogue, Speaker
from duologue.evaluate.timing import Tracks
from duologue.evaluate.turn_statistics import Likeness, likeness
from duologue.evaluate.turn_taking import Events, events
from duologue.synthesis.placing import place
from duologue.synthesis.script import scripts
from duologue.synthesis.timing import TIMINGS

LETTERS_PER_S = 14.0
DIALOGUES = 400
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


def calibrated(count: int = DIALOGUES, seed: int = 0) -> dict[str, dict[str, Likeness]]:
    """The distance of each manner to people."""
    return {timing: likeness(simulated(timing, count, seed), seed) for timing in TIMINGS}


def table(found: Mapping[str, Mapping[str, Likeness]]) -> Table:
    """A row for each manner; how many events there were beside each distance."""
    shown = Table(title="distance to people (Wasserstein-1), s", box=None, title_justify="left", header_style="dim")
    for name in ("timing", *KINDS):
        shown.add_column(name, justify="left" if name == "timing" else "right")
    for timing, each in found.items():
        shown.add_row(timing, *(distance(each[kind]) for kind in KINDS))
    return shown


def distance(like: Likeness) -> str:
    """As a table shows it."""
    return "–" if like.distance_s.value is None else f"{like.distance_s.value:.2f} (n {like.n})"
