"""What groups of units cost a language model and how well it answers, as tables: the figures of each rate, and each
rate beside the next higher one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rich.table import Table

from duologue.evaluate.answers import percent
from duologue.evaluate.distribution import bootstrap
from duologue.systems.fun_audio_chat import UNIT_HZ

REPORTED = "about 0.5"
"""Hours of training at 5 Hz, as a part of those at higher rates (technical report, section 1)."""


@dataclass(frozen=True)
class Figures:
    """Of one variant and seed. Costs are those of the language model, for one held-out conversation.

    positions         that it reads
    gflops, ms        forward and back: counted, and of the processor's time
    kv_kb             keys and values of all of them
    ms_all            forward and back of the whole model, the head too
    text, units       held-out loss, nats
    right, sounds     each question: whether its answer is right in text; in speech, as heard
    """

    positions: float
    gflops: float
    ms: float
    kv_kb: float
    ms_all: float
    text: float
    units: float
    right: list[bool]
    sounds: list[bool]


COSTS = {
    "positions": "positions",
    "gflops": "GFLOP",
    "ms": "ms",
    "kv_kb": "KV, kB",
    "ms_all": "ms with head",
    "text": "text, nats",
    "units": "units, nats",
}


def costs_table(results: Mapping[int, Sequence[Figures]]) -> Table:
    """Mean ± standard deviation over the seeds; answers with their interval over questions of all seeds."""
    table = Table(title="the language model, a conversation forward and back", box=None, title_justify="left")
    for name in ("", *COSTS.values(), "right in text, %", "in speech, %"):
        table.add_column(name, justify="right" if name else "left")
    for group, figures in results.items():
        answers = [_interval([flag for each in figures for flag in getattr(each, n)]) for n in ("right", "sounds")]
        spread = [_over([getattr(each, name) for each in figures]) for name in COSTS]
        table.add_row(f"groups of {group}, {UNIT_HZ / group:g} Hz", *spread, *answers)
    return table


def shares_table(results: Mapping[int, Sequence[Figures]]) -> Table:
    """Each rate as a part of the next higher one."""
    table = Table(title=f"as a part of the rate above; the report: {REPORTED}", box=None, title_justify="left")
    costs = ("positions", "gflops", "ms", "kv_kb", "ms_all")
    for name in ("", *(COSTS[cost] for cost in costs), "right in text, points"):
        table.add_column(name, justify="right" if name else "left")
    for above, group in zip(sorted(results), sorted(results)[1:], strict=False):
        parts = [_mean(results[group], cost) / _mean(results[above], cost) for cost in costs]
        gained = _difference(results[group], results[above])
        name = f"{UNIT_HZ / group:g} of {UNIT_HZ / above:g} Hz"
        table.add_row(name, *(f"{part:.2f}" for part in parts), gained)
    return table


def _mean(figures: Sequence[Figures], name: str) -> float:
    return fmean(getattr(each, name) for each in figures)


def _over(values: Sequence[float]) -> str:
    return f"{fmean(values):.3g}" + (f" ± {stdev(values):.2g}" if len(values) > 1 else "")


def _interval(flags: Sequence[bool]) -> str:
    found = bootstrap(flags, percent)
    if found.value is None or found.low is None or found.high is None:
        return "–"
    return f"{found.value:.1f} ({found.low:.1f} to {found.high:.1f})"


def _difference(one: Sequence[Figures], other: Sequence[Figures]) -> str:
    """In points, over the same questions."""
    pairs = [pair for a, b in zip(one, other, strict=True) for pair in zip(a.right, b.right, strict=True)]
    found = bootstrap(pairs, lambda drawn: 100 * fmean(a - b for a, b in drawn))
    if found.value is None or found.low is None or found.high is None:
        return "–"
    return f"{found.value:+.1f} ({found.low:+.1f} to {found.high:+.1f})"
