"""Rows of function calls that are right, over many sets of them, beside what was reported of SpeechFCEval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from rich.table import Table

from duologue.evaluate.distribution import Interval, bootstrap
from duologue.evaluate.function_calling import Verdict

Column = Literal["ACE single", "ACE parallel", "BFCL single", "BFCL parallel", "SmartInteract"]
"""The sets of the paper's table."""
COLUMNS: tuple[Column, ...] = get_args(Column)


@dataclass(frozen=True)
class Accuracy:
    """Rows that are right, of all; the share with its interval over rows; how often each fault was found. `strict`:
    rows that are right by the strict verdict, None where it was not asked for."""

    right: int
    rows: int
    share: Interval
    faults: Mapping[str, int]
    strict: int | None = None


def accuracy(verdicts: Sequence[Verdict], strict: Sequence[Verdict] | None = None, seed: int = 0) -> Accuracy:
    """Of the verdicts on rows by the official rules, and on the same ones by the strict."""
    right = [verdict.right for verdict in verdicts]
    share = bootstrap(right, lambda drawn: sum(drawn) / len(drawn) if drawn else None, seed)
    faults = Counter(verdict.fault for verdict in verdicts if verdict.fault)
    strictly = None if strict is None else sum(verdict.right for verdict in strict)
    return Accuracy(sum(right), len(right), share, dict(faults.most_common()), strictly)


REPORTED: Mapping[str, tuple[float, ...]] = {
    "Fun-Audio-Chat 8B": (66.30, 54.50, 92.73, 87.63, 79.79, 76.19),
    "Fun-Audio-Chat 30B-A3B": (76.40, 59.10, 92.21, 86.29, 84.13, 79.63),
    "GPT-Audio": (68.30, 60.20, 88.58, 83.60, 66.77, 73.49),
    "Gemini-2.5-Pro": (68.30, 53.40, 88.41, 80.91, 79.19, 74.04),
    "Step-Audio2-mini": (38.90, 4.50, 77.51, 49.73, 41.92, 42.51),
}
"""Rows of SpeechFCEval that are right, % (technical report of Fun-Audio-Chat): `COLUMNS`, and the mean of the five."""


def accuracy_table(measured: Mapping[str, Mapping[Column, Accuracy]]) -> Table:
    """The paper's columns, % right by the official rules: what was reported of others, and each model's own sets. Below
    it every set in a row of its own: its interval, rows that are right, also by the strict verdict, and faults."""
    table = Table(title="function calls right, %", box=None, title_justify="left", header_style="dim")
    for name in ("", *COLUMNS, "mean", "95 %", "right", "strictly", "faults"):
        table.add_column(name, justify="left" if name in ("", "faults") else "right")
    for model, shares in REPORTED.items():
        table.add_row(f"[dim]{model}, reported[/]", *(f"[dim]{share:.2f}[/]" for share in shares))
    for model, sets in measured.items():
        table.add_row(
            model, *(_percent(sets[name].share.value) if name in sets else "–" for name in COLUMNS), _mean(sets)
        )
        for name, found in sets.items():
            table.add_row(f"  {name}", *("" for _ in (*COLUMNS, "mean")), *_told(found))
    return table


def _mean(sets: Mapping[Column, Accuracy]) -> str:
    """Over the five sets; of fewer there is none."""
    shares = [sets[name].share.value for name in COLUMNS if name in sets]
    known = [share for share in shares if share is not None]
    return _percent(sum(known) / len(known) if len(known) == len(COLUMNS) else None)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}"


def _told(found: Accuracy) -> tuple[str, ...]:
    low, high = found.share.low, found.share.high
    interval = "–" if low is None or high is None else f"{100 * low:.1f}…{100 * high:.1f}"
    strictly = "–" if found.strict is None else f"{found.strict} of {found.rows}"
    faults = ", ".join(f"{fault} {count}" for fault, count in found.faults.items())
    return interval, f"{found.right} of {found.rows}", strictly, faults
