"""The rules of BFCL (Berkeley function calling leaderboard): each argument has a list of accepted values.

Types are strict, but a value of the type that the accepted ones have passes for a variable of that name. Strings are
compared without case, spaces and , . / - _ * ^, with ' for ". Lists have an order. Arguments of the type "object" are
not looked at, and "number" is an integer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from duologue.dialogue import Tool, ToolCall

Given = Sequence[tuple[str, Mapping[str, Any]]]
"""Calls: the function's name, and its arguments."""

_TYPES: Mapping[str, type] = {
    "string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list, "dict": dict,
    "any": str, "number": int, "object": dict,
}  # fmt: skip
_LISTS = ("array", "tuple")
_UNHEARD = re.compile(r"[ ,./\-_*^]")


def exactly(calls: Sequence[ToolCall]) -> list[dict[str, dict[str, list[Any]]]]:
    """The truth that asks for these calls and no others."""
    return [{call.name: {key: [value] for key, value in call.parsed().items()}} for call in calls]


def fault(given: Given, tools: Sequence[Tool], truth: Sequence[Mapping[str, Any]], in_order: bool = False) -> str:
    """What is wrong, "" if nothing. Each expected call in turn takes the first of the calls left that fits it, or
    (`in_order`) simply the first."""
    if len(given) != len(truth):
        return "count"
    left = list(given)
    for expected in truth:
        if not expected:
            return "schema"
        name, accepted = next(iter(expected.items()))
        faults = until_right(_call_fault(call, name, accepted, tools) for call in (left[:1] if in_order else left))
        if faults[-1]:
            return faults[0]
        left.pop(len(faults) - 1)
    return ""


def until_right(faults: Iterable[str]) -> list[str]:
    """Faults up to the first call that has none."""
    seen = list[str]()
    for found in faults:
        seen.append(found)
        if not found:
            break
    return seen


def _call_fault(
    call: tuple[str, Mapping[str, Any]], name: str, accepted: Mapping[str, Any], tools: Sequence[Tool]
) -> str:
    schema = next((tool.parameters for tool in tools if tool.name == name), None)
    if schema is None or not {"properties", "required"} <= set(schema):
        return "schema"
    called, arguments = call
    if called != name:
        return "name"
    if any(key not in arguments for key in schema["required"]):
        return "missing"
    for key, value in arguments.items():
        if key not in schema["properties"] or key not in accepted:
            return "unexpected"
        if found := _argument_fault(value, schema["properties"][key], accepted[key]):
            return found
    return "missing" if any(key not in arguments and "" not in values for key, values in accepted.items()) else ""


def _argument_fault(value: Any, schema: Mapping[str, Any], accepted: Sequence[Any]) -> str:
    kind = str(schema.get("type"))
    if kind == "object":
        return ""
    inner = schema.get("items", {}).get("type") if kind in _LISTS else None
    if kind not in _TYPES or (kind in _LISTS and inner not in _TYPES):
        return "schema"
    wanted, item = _TYPES[kind], _TYPES[inner] if inner else None
    value = widened(value) if wanted is float else value
    if not _of_type(value, wanted, item, accepted):
        return "type"
    variable = type(value) is not wanted or _type_of(accepted) not in (None, wanted)
    return "" if _accepted(value, wanted, item, accepted, variable) else "value"


def widened(value: Any) -> Any:
    """An int as a float, where a float can be so large."""
    try:
        return float(value) if type(value) is int else value
    except OverflowError:
        return value


def _of_type(value: Any, wanted: type, item: type | None, accepted: Sequence[Any]) -> bool:
    exact = type(value) is wanted
    if not exact:
        return type(value) is _type_of(accepted)
    if item is None:
        return True
    lists = [each if isinstance(each, list) else None for each in accepted]
    return any(each is None or all(_of_type(v, item, None, each) for v in value) for each in lists)


def _type_of(accepted: Sequence[Any]) -> type | None:
    """That of the first accepted value; "" stands for an argument left out."""
    return next((type(value) for value in accepted if value != ""), None)


def _accepted(value: Any, wanted: type, item: type | None, accepted: Sequence[Any], variable: bool) -> bool:
    if variable or wanted not in (dict, list, str):
        return value in accepted
    if wanted is dict:
        return _dict_accepted(value, accepted)
    if wanted is str:
        return plain(value) in [plain(each) for each in accepted if isinstance(each, str)]
    if item is dict:
        return any(_dicts_accepted(value, each) for each in accepted)
    return [plain(v) for v in value] in [[plain(v) for v in each] for each in accepted]


def _dict_accepted(value: Any, accepted: Sequence[Any]) -> bool:
    return isinstance(value, dict) and any(
        all(key in each and plain(v) in [plain(a) for a in each[key]] for key, v in value.items())
        and all(key in value or "" in values for key, values in each.items())
        for each in accepted
        if each != ""
    )


def _dicts_accepted(values: Sequence[Any], accepted: Sequence[Any]) -> bool:
    return len(values) == len(accepted) and all(map(_dict_accepted, values, ([each] for each in accepted)))


def plain(value: Any) -> Any:
    """A string as it is compared; anything else as it is."""
    return _UNHEARD.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value
