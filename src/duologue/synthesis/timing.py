"""When who starts: as a paper has it, or as people do it, drawn from `human_timing.HUMAN`.

Who starts when is an offset from the end of the turn before; a negative one is an overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from numpy.random import Generator

from duologue.synthesis.human_timing import HUMAN

Offset = Callable[[Generator], float]
"""Draws the seconds between the end of one turn and the start of the next."""

# ---------------------------------------------------------------- manners of taking turns


@dataclass(frozen=True)
class Timing:
    """How turns are taken.

    answer           offset of the assistant's start from the user's end
    take             offset of the user's start from the assistant's end
    pauses_per_s     pauses above 0.2 s inside the user's turns, per second of speech
    barge_in_share   of the user's turns that start anywhere in the assistant's turn, beside the overlaps of `take`
    gives_way_ms     least and most time from the user's onset until the assistant is silent; None: never
    back_channels_per_minute   of the assistant's speech
    """

    answer: Offset
    take: Offset
    pauses_per_s: float = 0.0
    barge_in_share: float = 0.0
    gives_way_ms: tuple[int, int] | None = None
    back_channels_per_minute: float = 0.0


def paper() -> Timing:
    """OmniFlatten, section 3 (version 1): the assistant at once, the user after N(0.6, 0.4²) s, no overlap."""
    return Timing(answer=_at_once, take=lambda rng: max(0.0, rng.normal(0.6, 0.4)))


def paper_v2() -> Timing:
    """OmniFlatten's version 2: the same, and the user cuts in; the paper does not say how often."""
    return replace(paper(), barge_in_share=0.2, gives_way_ms=GIVES_WAY_MS)


def human() -> Timing:
    """Users are people; the assistant starts as people do within a second, and rarely early."""
    return Timing(
        answer=_polite,
        take=_people,
        pauses_per_s=1 / 3,
        barge_in_share=0.1,
        gives_way_ms=GIVES_WAY_MS,
        back_channels_per_minute=3.9,
    )


def prompt() -> Timing:
    """Users are people; the assistant starts as soon as it can be sure: what a model should learn to do."""
    return replace(human(), answer=lambda rng: rng.uniform(0.04, 0.16))


def people() -> Timing:
    """Both are people: nobody gives way."""
    return Timing(answer=_people, take=_people, pauses_per_s=1 / 3, back_channels_per_minute=3.9)


TIMINGS: dict[str, Callable[[], Timing]] = {
    manner.__name__: manner for manner in (paper, paper_v2, human, prompt, people)
}

GIVES_WAY_MS = (160, 480)
"""Below 160 ms "mm-hm" and "wait" sound alike."""
EARLY_SHARE = 0.1


def _at_once(rng: Generator) -> float:
    return 0.0


def _polite(rng: Generator) -> float:
    if rng.random() < EARLY_SHARE:
        return -rng.uniform(0, 0.25)
    return float(HUMAN["gap_within_1s"](rng.random()))


def _people(rng: Generator) -> float:
    return float(HUMAN["fto_body"](rng.random()))
