"""Times of the clock and durations, as kinds of values."""

from __future__ import annotations

import re

from duologue.desk import numbers
from duologue.desk.kinds import Kind, Value
from duologue.desk.rules import Language

HALF_DAY_MINUTES = 12 * 60

_FIVES = "five | ten | twenty five | twenty"
_TIME_PARTS: dict[str, dict[Language, str]] = {
    "hour": {
        "en": "one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve",
        "zh": "十一 | 十二 | 一 | 两 | 二 | 三 | 四 | 五 | 六 | 七 | 八 | 九 | 十",
    },
    "minute": {
        "en": "oh five | ten | fifteen | twenty five | twenty | thirty five | thirty | forty five | forty | "
        "fifty five | fifty",
        "zh": "零 五 | 十 五 | 十 | 二十 五 | 二十 | 三十 五 | 三十 | 四十 五 | 四十 | 五十 五 | 五十 | 五",
    },
}  # fmt: skip
_TIME_RULE: dict[Language, str] = {
    "en": f"([a] quarter | half | {_FIVES}) past <hour> | ([a] quarter | {_FIVES}) to <hour> | <hour> <minute> | "
    "<hour> [o'clock]",
    "zh": "<hour> 点 (半 | 一 刻 | 三 刻 | <minute> [分] | [整])",
}


def read_time(text: str, language: Language) -> int:
    """Minutes after twelve, 0 to 719: "quarter past three" is 195."""
    return (_read_time_en(text) if language == "en" else _read_time_zh(text)) % HALF_DAY_MINUTES


def _read_time_en(text: str) -> int:
    if match := re.fullmatch(r"(?:a )?(.+) (past|to) (\w+)", text):
        minutes = {"quarter": 15, "half": 30}.get(match[1]) or numbers.read(match[1])
        return 60 * numbers.read(match[3]) + (minutes if match[2] == "past" else -minutes)
    hour, _, minute = text.removesuffix(" o'clock").partition(" ")
    return 60 * numbers.read(hour) + (numbers.read(minute) if minute else 0)


def _read_time_zh(text: str) -> int:
    hour, _, minute = text.partition("点")
    quarters = {"半": 30, "一刻": 15, "三刻": 45, "整": 0, "": 0}
    minutes = quarters[minute] if minute in quarters else numbers.read(minute.removesuffix("分"), "zh")
    return 60 * numbers.read(hour, "zh") + minutes


def say_time(value: Value, language: Language) -> str:
    """ "quarter past three", "three ten"; "三点一刻", "三点十分"."""
    hour, minute = divmod(int(value), 60)
    if language == "en":
        name = numbers.say(hour or 12)
        if minute in (0, 15, 30, 45):
            after = numbers.say(hour + 1)
            return (f"{name} o'clock", f"quarter past {name}", f"half past {name}", f"quarter to {after}")[minute // 15]
        return f"{name} {'oh ' if minute < 10 else ''}{numbers.say(minute)}"
    name = {0: "十二", 2: "两"}.get(hour) or numbers.say(hour, "zh")
    if minute in (0, 15, 30):
        return f"{name}点" + ("", "一刻", "半")[minute // 15]
    return f"{name}点{'零' if minute < 10 else ''}{numbers.say(minute, 'zh')}分"


def write_time(value: Value, language: Language) -> str:
    if language == "zh":
        return numbers.written(say_time(value, "zh"), "zh")
    return f"{int(value) // 60 or 12}:{int(value) % 60:02d}"


TIME = Kind("time", _TIME_RULE, read_time, say_time, write_time, tuple(range(0, 720, 5)), parts=_TIME_PARTS)


# ---------------------------------------------------------------- durations

_UNIT_SECONDS = {"hour": 3600, "minute": 60, "second": 1, "小时": 3600, "分钟": 60, "秒": 1}
_DURATION_RULE: dict[Language, str] = {
    "en": "half an hour | "
    "(an | <below_hundred>) (hours | hour) [and (a half | <below_hundred> (minutes | minute))] | "
    "(a | <below_hundred>) (minutes | minute) [and <below_hundred> (seconds | second)] | "
    "<below_hundred> (seconds | second)",
    "zh": "半 个 小时 | 半 小时 | 一 个 半 小时 | <below_hundred> [个] 小时 [[零] <below_hundred> 分钟] | "
    "<below_hundred> 分钟 [[零] <below_hundred> 秒 [钟]] | <below_hundred> 秒 [钟]",
}


def read_duration(text: str, language: Language) -> int:
    """Seconds: "one hour and thirty minutes" is 5400."""
    if language == "zh":
        text = text.replace("一个半小时", "九十分钟").replace("半个小时", "三十分钟").replace("半小时", "三十分钟")
        found = re.findall(r"([零一二两三四五六七八九十百]+)个?(小时|分钟|秒)", text)
    else:
        text = text.replace("hour and a half", "hour and thirty minutes").replace("half an hour", "thirty minutes")
        found = re.findall(
            r"((?:\w+ ){1,2}?)(hour|minute|second)s?", re.sub(r"\ban? ", "one ", text.replace("and ", ""))
        )
    return sum(numbers.read(count.strip(), language) * _UNIT_SECONDS[unit] for count, unit in found)


def say_duration(value: Value, language: Language) -> str:
    """ "one hour and thirty minutes", "一小时三十分钟"."""
    seconds = int(value)
    amounts = (
        (seconds // 3600, "hour", "小时"),
        (seconds // 60 % 60, "minute", "分钟"),
        (seconds % 60, "second", "秒"),
    )
    if language == "zh":
        return "".join(f"{_two_zh(n)}{zh}" for n, _, zh in amounts if n) or "零秒"
    parts = [f"{numbers.say(n)} {en}{'s' if n > 1 else ''}" for n, en, _ in amounts if n]
    return " and ".join(parts) or "zero seconds"


def _two_zh(number: int) -> str:
    return "两" if number == 2 else numbers.say(number, "zh")


def _write_duration(value: Value, language: Language) -> str:
    return numbers.written(say_duration(value, language), language)


DURATION = Kind("duration", _DURATION_RULE, read_duration, say_duration, _write_duration, parts=numbers.PARTS)
