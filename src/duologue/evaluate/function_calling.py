"""Did the model call the right functions? Rows of SpeechFCEval, by the rules of BFCL and of ACEBench.

A row asks for one call or for several at once, in any order, and is right or wrong as a whole. The rules (`bfcl.py`,
`acebench.py`) judge as the scorers that Fun-Audio-Chat (arXiv 2512.20156) published its figures with, oddities
included, so that figures can stand beside the published ones; where those scorers stop, only the row is lost.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table

from duologue.dialogue import Tool, ToolCall
from duologue.evaluate import acebench, bfcl
from duologue.evaluate.distribution import Interval, bootstrap
from duologue.model.tagged_calls import read_calls

Rules = Literal["bfcl", "ace"]


@dataclass(frozen=True)
class Verdict:
    """`fault` is the first thing that is wrong, "" where nothing is:

    unreadable      a call without name or arguments, or whose arguments are no object
    count, name     too many or too few calls; another function
    missing         an argument that has to be there
    unexpected      an argument that the function does not have, or that was not asked for
    type, value     of an argument
    schema          the expected call cannot be judged: its function has no schema, or schema or truth are of a form
                    that the rules do not know
    """

    fault: str = ""

    @property
    def right(self) -> bool:
        return not self.fault


def judge(calls: Sequence[ToolCall], tools: Sequence[Tool], truth: Any, rules: Rules) -> Verdict:
    """Are these the calls that `truth` asks for?

    truth   for BFCL [{function: {argument: [accepted values, "" where it may be left out]}}, ...];
            for ACEBench {function: {argument: value}, ...}, or a list of such of which any will do

    """
    try:
        given = [(call.name, call.parsed()) for call in calls]
    except ValueError:
        return Verdict("unreadable")
    try:
        return Verdict(_FAULT[rules](given, tools, truth))
    except (AttributeError, TypeError):
        return Verdict("schema")


_FAULT = {"bfcl": bfcl.fault, "ace": acebench.fault}


# ---------------------------------------------------------------- rows of SpeechFCEval


def judge_row(row: Mapping[str, Any], rules: Rules) -> Verdict:
    """A row as SpeechFCEval writes it: `function` (schemas), `ground_truth`, both perhaps as JSON text, and `predict`,
    the model's text."""
    tools, truth = (_parsed(row[name]) for name in ("function", "ground_truth"))
    try:
        calls = read_calls(row.get("predict", ""))
    except ValueError:
        return Verdict("unreadable")
    return judge(calls, [_tool(entry) for entry in tools], truth, rules)


def _tool(entry: Mapping[str, Any]) -> Tool:
    function = entry.get("function", entry)
    return Tool(function["name"], function.get("description", ""), function.get("parameters", {}))


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


# ---------------------------------------------------------------- over many


@dataclass(frozen=True)
class Accuracy:
    """Rows that are right, of all; the share with its interval over rows; how often each fault was found."""

    right: int
    rows: int
    share: Interval
    faults: Mapping[str, int]


def accuracy(verdicts: Sequence[Verdict], seed: int = 0) -> Accuracy:
    right = [verdict.right for verdict in verdicts]
    share = bootstrap(right, lambda drawn: sum(drawn) / len(drawn) if drawn else None, seed)
    faults = Counter(verdict.fault for verdict in verdicts if verdict.fault)
    return Accuracy(sum(right), len(right), share, dict(faults.most_common()))


REPORTED = {
    "Fun-Audio-Chat 8B": ("66.30 / 54.50", "92.73 / 87.63", "79.79", "76.19"),
    "Fun-Audio-Chat 30B-A3B": ("76.40 / 59.10", "92.21 / 86.29", "84.13", "79.63"),
    "GPT-Audio": ("68.30 / 60.20", "88.58 / 83.60", "66.77", "73.49"),
    "Gemini-2.5-Pro": ("68.30 / 53.40", "88.41 / 80.91", "79.19", "74.04"),
    "Step-Audio2-mini": ("38.90 / 4.50", "77.51 / 49.73", "41.92", "42.51"),
}
"""Rows of SpeechFCEval that are right, % (technical report of Fun-Audio-Chat): ACE and BFCL single / parallel,
SmartInteract, the mean of the five."""


def accuracy_table(measured: Mapping[str, Accuracy]) -> Table:
    """Sets of rows beside what was reported of others."""
    table = Table(title="function calls right, %", box=None, title_justify="left", header_style="dim")
    for name in ("", "ACE single / parallel", "BFCL single / parallel", "SmartInteract", "mean"):
        table.add_column(name, justify="right" if name else "left")
    for model, shares in REPORTED.items():
        table.add_row(f"[dim]{model}, reported[/]", *(f"[dim]{share}[/]" for share in shares))
    for name, found in measured.items():
        table.add_row(name, *_measured(found))
    return table


def _measured(found: Accuracy) -> tuple[str, ...]:
    """Share with its interval, rows, faults."""
    share = found.share
    if share.value is None or share.low is None or share.high is None:
        return (f"{found.right} of {found.rows}",)
    interval = f"{100 * share.value:.2f} ({100 * share.low:.1f} to {100 * share.high:.1f})"
    faults = ", ".join(f"{fault} {count}" for fault, count in found.faults.items())
    return interval, f"{found.right} of {found.rows}", faults
