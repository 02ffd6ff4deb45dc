"""Did the model call the right functions? Rows of SpeechFCEval, by the rules of BFCL and of ACEBench.

A row asks for one call or for several at once, and is right or wrong as a whole. The rules (`bfcl.py`, `acebench.py`)
judge as the scorers that Fun-Audio-Chat (arXiv 2512.20156) published its figures with, oddities included, so that
figures can stand beside the published ones; where those scorers stop, only the row is lost. `strict_calls.py` has the
strict verdict that stands beside theirs, `function_calling_table.py` the figures over many rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from duologue.dialogue import Tool, ToolCall
from duologue.evaluate import acebench, bfcl, strict_calls
from duologue.model.tagged_calls import read_calls

Rules = Literal["bfcl", "ace"]


@dataclass(frozen=True)
class Verdict:
    """`fault` is the first thing that is wrong, "" where nothing is:

    unreadable      a call without name or arguments, or whose arguments are no object, or nested too deep
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


def judge(
    calls: Sequence[ToolCall],
    tools: Sequence[Tool],
    truth: Any,
    rules: Rules,
    in_order: bool = False,
    strict: bool = False,
) -> Verdict:
    """Are these the calls that `truth` asks for?

    truth     for BFCL [{function: {argument: [accepted values, "" where it may be left out]}}, ...];
              for ACEBench {function: {argument: value}, ...}, or a list of such of which any will do
    in_order  BFCL's: each call is the one expected at its place
    strict    by `strict_calls` instead of by the official rules
    """
    try:
        given = [(call.name, call.parsed()) for call in calls]
        if strict:
            return Verdict(strict_calls.fault(given, tools, truth, rules, in_order and rules == "bfcl"))
        if rules == "ace":
            return Verdict(acebench.fault(given, tools, truth))
        return Verdict(bfcl.fault(given, tools, truth, in_order))
    except (ValueError, RecursionError):
        return Verdict("unreadable")
    except (AttributeError, TypeError):
        return Verdict("schema")


# ---------------------------------------------------------------- rows of SpeechFCEval


def judge_row(row: Mapping[str, Any], rules: Rules, strict: bool = False) -> Verdict:
    """A row as SpeechFCEval writes it: `function` (schemas), `ground_truth`, both perhaps as JSON text, `predict`, the
    model's text (None: it said nothing), and `test_category`: but of "parallel" calls are in order. Without a category
    they are in any."""
    try:
        calls = read_calls("" if row.get("predict") is None else row["predict"])
    except (ValueError, TypeError):
        return Verdict("unreadable")
    try:
        tools, truth = [_tool(entry) for entry in _parsed(row["function"])], _parsed(row["ground_truth"])
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return Verdict("schema")
    return judge(calls, tools, truth, rules, "parallel" not in str(row.get("test_category", "parallel")), strict)


def _tool(entry: Mapping[str, Any]) -> Tool:
    function = entry.get("function", entry)
    return Tool(function["name"], function.get("description", ""), function.get("parameters", {}))


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
