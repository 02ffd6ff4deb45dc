"""Tool calls, really done: what is kept for one caller, and what is said about each result."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from duologue.desk import numbers
from duologue.desk.errands import CANCELLABLE, TOOLS
from duologue.desk.intents import sentence_case
from duologue.desk.orders import describe
from duologue.desk.rules import Language
from duologue.desk.times import say_duration
from duologue.dialogue import Tool, ToolCall

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Timer:
    """Rings at `ends_at`, `seconds` after it was set."""

    seconds: int
    ends_at: datetime.datetime


@dataclass
class Kept:
    """What one caller has had done."""

    now: Callable[[], datetime.datetime]
    orders: list[dict[str, Any]] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)

    def do(self, call: ToolCall) -> dict[str, Any]:
        """Do it and return the result; {"error": why} when the call cannot be done."""
        try:
            arguments = call.parsed()
            check_arguments(call.name, arguments)
            done: dict[str, Any] = getattr(self, f"_{call.name}")(**arguments)
        except (ValueError, LookupError) as problem:
            return {"error": str(problem)}
        return done

    def _order_drink(self, **order: Any) -> dict[str, Any]:
        self.orders.append(order)
        return {"order": order}

    def _change_order(self, **changes: Any) -> dict[str, Any]:
        if not self.orders:
            raise LookupError("there is no order to change: order a drink first")
        self.orders[-1] = {**self.orders[-1], **changes}
        return {"order": self.orders[-1]}

    def _set_timer(self, seconds: int) -> dict[str, Any]:
        self.timers.append(Timer(seconds, self.now() + datetime.timedelta(seconds=seconds)))
        return {"seconds": seconds}

    def _take_note(self, text: str) -> dict[str, Any]:
        self.notes.append(text)
        return {"text": text}

    def _dial(self, number: str) -> dict[str, Any]:
        self.dialled.append(number)
        return {"number": number}

    def _read_back(self, what: str) -> dict[str, Any]:
        if what == "notes":
            return {"notes": list(self.notes)}
        if what == "orders":
            return {"orders": list(self.orders)}
        left = [(timer.ends_at - self.now()).total_seconds() for timer in self.timers]
        return {"timers": [round(seconds) for seconds in left if seconds > 0]}

    def _cancel(self, what: str) -> dict[str, Any]:
        lists: dict[str, list[Any]] = {"order": self.orders, "timer": self.timers, "note": self.notes}
        kept = lists[what]
        if not kept:
            raise LookupError(f"there is no {what} to cancel")
        kept.pop()
        return {"cancelled": what}


def check_arguments(name: str, arguments: Arguments) -> None:
    """Raises ValueError, naming the argument, when they do not fit the tool's schema."""
    schema = _tool_named(name).parameters
    properties: Mapping[str, Mapping[str, Any]] = schema["properties"]
    for missing in [key for key in schema["required"] if key not in arguments]:
        raise ValueError(f"{name} needs the argument {missing!r}")
    for key, value in arguments.items():
        if key not in properties:
            raise ValueError(f"{name} has no argument {key!r}: it takes {', '.join(properties)}")
        _check_value(f"{name}: {key}", value, properties[key])


def _tool_named(name: str) -> Tool:
    for tool in TOOLS:
        if tool.name == name:
            return tool
    raise ValueError(f"there is no tool {name!r}: there are {', '.join(tool.name for tool in TOOLS)}")


def _check_value(what: str, value: Any, schema: Mapping[str, Any]) -> None:
    expected = str if schema["type"] == "string" else int
    if type(value) is not expected:
        raise ValueError(f"{what} must be of type {schema['type']}, not {value!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise ValueError(f"{what} cannot be {value!r}: it is one of {', '.join(schema['enum'])}")
    if "pattern" in schema and not re.search(schema["pattern"], str(value)):
        raise ValueError(f"{what} {value!r} does not match {schema['pattern']}")
    if "minimum" in schema and value < schema["minimum"]:
        raise ValueError(f"{what} must be at least {schema['minimum']}, not {value}")


# ---------------------------------------------------------------- saying what was done


def confirmation(call: ToolCall, output: str, language: Language) -> str:
    """What is said about the result of a call, whoever executed it."""
    result = _as_object(output)
    if "error" in result:
        said = {"en": "I'm sorry, that did not work.", "zh": "对不起，没有办成。"}[language]
        return f"{said} {sentence_case(str(result['error']))}." if language == "en" else said
    known = {**_as_object(call.arguments), **result}
    if call.name not in _SAID:
        return {"en": "Done.", "zh": "好了。"}[language]
    return _SAID[call.name](known, language)


def _as_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _ordered(known: Arguments, language: Language) -> str:
    order = describe(known.get("order", known), language)
    return f"One {order}, coming up." if language == "en" else f"好的，一杯{order}，马上就来。"


def _changed(known: Arguments, language: Language) -> str:
    order = describe(known.get("order", known), language)
    return f"All right, one {order}." if language == "en" else f"好的，改成一杯{order}。"


def _timed(known: Arguments, language: Language) -> str:
    duration = say_duration(known["seconds"], language)
    return f"The timer is set for {duration}." if language == "en" else f"定时器定好了，{duration}。"


def _noted(known: Arguments, language: Language) -> str:
    return f"I wrote down: {known['text']}." if language == "en" else f"记下了：{known['text']}。"


def _dialled(known: Arguments, language: Language) -> str:
    number = numbers.say_digits(known["number"], language)
    return f"Dialing {number}." if language == "en" else f"正在拨打{number}。"


def _cancelled(known: Arguments, language: Language) -> str:
    what = known["what"]
    return f"Your {what} is cancelled." if language == "en" else f"{CANCELLABLE.say(what, 'zh')}已取消。"


def _read(known: Arguments, language: Language) -> str:
    what = known["what"]
    entries = [_entry_said(what, entry, language) for entry in known.get(what, ())]
    if language == "en":
        return sentence_case("; then ".join(entries)) + "." if entries else f"You have no {what}."
    return "；".join(entries) + "。" if entries else "什么都没有。"


def _entry_said(what: str, entry: Any, language: Language) -> str:
    if what == "orders":
        return describe(entry, language)
    return say_duration(entry, language) if what == "timers" else str(entry)


_SAID: dict[str, Callable[[Arguments, Language], str]] = {
    "order_drink": _ordered,
    "change_order": _changed,
    "set_timer": _timed,
    "take_note": _noted,
    "dial": _dialled,
    "cancel": _cancelled,
    "read_back": _read,
}
