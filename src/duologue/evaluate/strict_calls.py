"""The strict verdict on calls of functions, beside the official ones (`bfcl.py`, `acebench.py`), whose truths it reads.

Each argument must equal what is expected, objects key by key, and strings but for case and white space. An int passes
for a float. An expected argument may be left out where BFCL's truth accepts "", in ACEBench's never. Calls in any order
are given to expectations as well as can be: none is right for want of a better order of looking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from duologue.dialogue import Tool
from duologue.evaluate.bfcl import Given

_NEAREST = ("value", "type", "unexpected", "missing", "name")
"""Faults, that of the call which came nearest first."""


class _Expected(NamedTuple):
    """A call, with the values that each argument may have; of BFCL's (`choices`) those inside objects are lists too."""

    name: str
    accepted: Mapping[str, Sequence[Any]]
    choices: bool


def fault(given: Given, tools: Sequence[Tool], truth: Any, rules: str, in_order: bool = False) -> str:
    """What is wrong, "" if nothing; by the first of ACEBench's several right answers where none fits."""
    faults = [_answer_fault(given, tools, answer, in_order) for answer in _answers(truth, rules)]
    return "" if "" in faults else faults[0] if faults else "schema"


def _answers(truth: Any, rules: str) -> Iterator[list[_Expected]]:
    if rules == "bfcl":
        yield [_Expected(*_first(each), True) for each in truth]
        return
    for answer in truth if isinstance(truth, list) else [truth]:
        numbered = r"_\d+$" if len(answer) > 1 else r"(?!)"
        values = {name: {key: [value] for key, value in expected.items()} for name, expected in answer.items()}
        yield [_Expected(re.sub(numbered, "", name), each, choices=False) for name, each in values.items()]


def _first(expected: Mapping[str, Mapping[str, Sequence[Any]]]) -> tuple[str, Mapping[str, Sequence[Any]]]:
    return next(iter(expected.items()), ("", {}))


def _answer_fault(given: Given, tools: Sequence[Tool], answer: Sequence[_Expected], in_order: bool) -> str:
    schemas = {tool.name: tool.parameters for tool in tools}
    if any(each.name not in schemas for each in answer):
        return "schema"
    if len(given) != len(answer):
        return "count"
    faults = [[_call_fault(call, each, schemas[each.name]) for call in given] for each in answer]
    if in_order:
        return next((row[place] for place, row in enumerate(faults) if row[place]), "")
    taken = assigned([[not found for found in row] for row in faults])
    left = [row for place, row in enumerate(faults) if place not in taken.values()]
    free = [call for call in range(len(given)) if call not in taken]
    return min((left[0][call] for call in free), key=_NEAREST.index) if left else ""


def assigned(fits: Sequence[Sequence[bool]]) -> dict[int, int]:
    """Columns given to rows that they fit, [rows][columns], one to one and as many as can be: row by column."""
    taken = dict[int, int]()

    def placed(row: int, seen: set[int]) -> bool:
        for column, fit in enumerate(fits[row]):
            if fit and column not in seen:
                seen.add(column)
                if column not in taken or placed(taken[column], seen):
                    taken[column] = row
                    return True
        return False

    for row in range(len(fits)):
        placed(row, set())
    return taken


def _call_fault(call: tuple[str, Mapping[str, Any]], expected: _Expected, schema: Mapping[str, Any]) -> str:
    called, arguments = call
    if called != expected.name:
        return "name"
    if any(key not in arguments for key in schema.get("required", ())):
        return "missing"
    if any(key not in expected.accepted or key not in schema.get("properties", {}) for key in arguments):
        return "unexpected"
    for key, value in arguments.items():
        accepted = expected.accepted[key]
        if not any(same(value, each, expected.choices) for each in accepted):
            return "value" if any(_alike(value, each) for each in accepted) else "type"
    left_out = (values for key, values in expected.accepted.items() if key not in arguments)
    return "missing" if any(not expected.choices or "" not in values for values in left_out) else ""


def same(value: Any, expected: Any, choices: bool = False) -> bool:
    """Whether two values of JSON are the same; `choices`: what an object expects at a key is a list of such values,
    with "" among them where the key may be left out."""
    if isinstance(value, dict) and isinstance(expected, dict):
        left_out = expected.keys() - value.keys()
        return (
            value.keys() <= expected.keys()
            and all(choices and isinstance(expected[key], list) and "" in expected[key] for key in left_out)
            and all(_same_at_key(part, expected[key], choices) for key, part in value.items())
        )
    if isinstance(value, list) and isinstance(expected, list):
        return len(value) == len(expected) and all(same(a, b, choices) for a, b in zip(value, expected, strict=True))
    if isinstance(value, str) and isinstance(expected, str):
        return _folded(value) == _folded(expected)
    return _alike(value, expected) and bool(value == expected)


def _same_at_key(value: Any, expected: Any, choices: bool) -> bool:
    if choices and isinstance(expected, list) and any(same(value, each, choices) for each in expected):
        return True
    return same(value, expected, choices)


def _alike(value: Any, expected: Any) -> bool:
    return type(value) is type(expected) or (type(value) is int and type(expected) is float)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
