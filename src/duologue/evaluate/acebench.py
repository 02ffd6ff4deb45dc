"""The rules of ACEBench as Fun-Audio-Chat has them: one value for each argument, and perhaps several right answers.

A string is right if the expected one is contained in it, compared as in BFCL; lists are compared in order, objects key
by key, all the way down. Numbers, truth values and choices (`enum`) are only looked at for their type, and an expected
argument that may be left out may be left out. Names of expected functions may end in _1, _2 where there are several;
the schema is the first whose name is a part of the expected one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from duologue.dialogue import Tool
from duologue.evaluate.bfcl import Given, plain, until_right, widened

_TYPES: Mapping[str, type] = {
    "string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list, "dict": dict,
    "any": str, "list": list, "object": dict, "objectArray": list, "list(string)": list, "list(enum)": list,
    "int": int, "enum": enumerate, "number": int,
}  # fmt: skip
_NESTED = ("array", "tuple", "list(string)", "list(enum)", "object", "objectArray")
_WORDS = {"true": True, "false": False}


def fault(given: Given, tools: Sequence[Tool], truth: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """What is wrong, "" if nothing; by the first of several right answers where none fits."""
    answers = truth if isinstance(truth, Sequence) else [truth]
    faults = until_right(_answer_fault(given, tools, answer) for answer in answers) or ["schema"]
    return faults[0] if faults[-1] else ""


def _answer_fault(given: Given, tools: Sequence[Tool], answer: Mapping[str, Any]) -> str:
    if len(given) != len(answer):
        return "count"
    names = [re.sub(r"_\d+$", "", name) if len(answer) > 1 else name for name in answer]
    if Counter(names) != Counter(name for name, _ in given):
        return "name"
    for name, (full_name, expected) in zip(names, answer.items(), strict=True):
        calls = (arguments for called, arguments in given if called == name)
        faults = until_right(_call_fault(name, arguments, full_name, expected, tools) for arguments in calls)
        if faults[-1]:
            return faults[0]
    return ""


def _call_fault(
    name: str,
    arguments: Mapping[str, Any],
    full_name: str,
    expected: Mapping[str, Any],
    tools: Sequence[Tool],
) -> str:
    tool = next((tool for tool in tools if tool.name in full_name), None)
    if tool is None:
        return "schema"
    if not arguments or not tool.parameters:
        return "" if not arguments and not tool.parameters else "missing"
    if not {"properties", "required"} <= set(tool.parameters):
        return "schema"
    if expected == tool.parameters["properties"]:
        return ""
    if not expected:
        return "unexpected"
    if tool.name != name:
        return "name"
    return _arguments_fault(arguments, tool.parameters, expected)


def _arguments_fault(arguments: Mapping[str, Any], schema: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    if any(key not in arguments for key in schema["required"]):
        return "missing"
    for key, value in arguments.items():
        if key not in schema["properties"] or key not in expected:
            return "unexpected"
        if found := _argument_fault(value, schema["properties"][key], expected[key]):
            return found
    return ""


def _argument_fault(value: Any, schema: Mapping[str, Any], expected: Any) -> str:
    kind = str(schema.get("type"))
    inner = _inner(kind, schema) if kind in _NESTED else None
    if kind not in _TYPES or (inner is not None and inner not in _TYPES):
        return "schema"
    wanted, item = _TYPES[kind], _TYPES[inner] if inner else None
    value = widened(value) if wanted is float else value
    word = _WORDS.get(value, value) if isinstance(value, str) else value
    if not _of_type(word, wanted, item, expected):
        return "type"
    if type(word) is not wanted or (expected != "" and type(expected) is not wanted):
        return ""
    return "" if _right(value, wanted, item, expected) else "value"


def _inner(kind: str, schema: Mapping[str, Any]) -> str:
    """The type of what is in a list or an object."""
    items = schema.get("items")
    if isinstance(items, Mapping) and "type" in items:
        return str(items["type"])
    return next((name for name in ("string", "enum") if name in kind), "dict")


def _of_type(value: Any, wanted: type, item: type | None, expected: Any) -> bool:
    exact = type(value) is wanted
    if not exact:
        return expected != "" and (type(value) is type(expected) or expected == value)
    if item is None:
        return True
    return any(not isinstance(each, list) or all(_of_type(v, item, None, each) for v in value) for each in expected)


def _right(value: Any, wanted: type, item: type | None, expected: Any) -> bool:
    if wanted is dict:
        return _object_right(value, expected)
    if wanted is list and item is dict:
        return len(value) == len(expected) and all(map(_object_right, value, expected))
    if wanted is str:
        return plain(expected) in plain(value)
    return wanted is not list or [plain(v) for v in value] == [plain(v) for v in expected]


def _object_right(value: Any, expected: Mapping[str, Any]) -> bool:
    return (
        isinstance(value, dict)
        and len(value) == len(expected)
        and all(key in expected and _part_right(part, expected[key]) for key, part in value.items())
    )


def _part_right(value: Any, expected: Any) -> bool:
    value = _WORDS.get(value, value) if isinstance(value, str) else value
    if isinstance(expected, dict):
        return _object_right(value, expected)
    return str(plain(expected)) in str(plain(value))
