"""Unit changes with exact answers."""

from __future__ import annotations

from random import Random

from duologue.desk import numbers
from duologue.desk.intents import Asked, Content, Intent, Solution, sentence_case
from duologue.desk.kinds import NUMBER, Value, Values, names

UNIT = names(
    "unit",
    """
    meters, meter, metres, metre = 米; centimeters, centimeter, centimetres, centimetre = 厘米;
    kilometers, kilometer, kilometres, kilometre = 公里, 千米;
    millimeters, millimeter, millimetres, millimetre = 毫米; hours, hour = 小时, 个小时;
    minutes, minute = 分钟; seconds, second = 秒, 秒钟; days, day = 天; weeks, week = 周, 个星期, 星期;
    months, month = 个月; years, year = 年; kilograms, kilogram, kilos, kilo = 公斤, 千克;
    grams, gram = 克; tons, ton = 吨; liters, liter = 升; milliliters, milliliter = 毫升;
    dozen, dozens = 打; pieces, piece, things, eggs = 个, 个鸡蛋
    """,
)
_FACTORS: dict[tuple[str, str], int] = {
    ("meters", "centimeters"): 100,
    ("centimeters", "millimeters"): 10,
    ("meters", "millimeters"): 1000,
    ("kilometers", "meters"): 1000,
    ("hours", "minutes"): 60,
    ("minutes", "seconds"): 60,
    ("days", "hours"): 24,
    ("weeks", "days"): 7,
    ("years", "months"): 12,
    ("kilograms", "grams"): 1000,
    ("tons", "kilograms"): 1000,
    ("liters", "milliliters"): 1000,
    ("dozen", "pieces"): 12,
}
_PAIRS = (*_FACTORS, *((small, large) for (large, small), factor in _FACTORS.items() if factor < 500))


def _count(asked: Asked) -> int:
    """How many; "a meter" is one."""
    return int(asked.values.get("number", 1))


def _amount(number: int, unit: Value, asked: Asked) -> str:
    if asked.language == "zh":
        return ("两" if number == 2 else numbers.say(number, "zh")) + UNIT.say(unit, "zh")
    name = str(unit)
    return f"{numbers.say(number)} {name.removesuffix('s') if number == 1 else name}"


def _convert(asked: Asked) -> Solution:
    number, have, want = _count(asked), str(asked.values["have"]), str(asked.values["want"])
    if factor := _FACTORS.get((have, want)):
        return _result(asked, [(number * factor, want)], f"{number} times {factor} = {number * factor}")
    if factor := _FACTORS.get((want, have)):
        whole, rest = divmod(number, factor)
        amounts = [(n, unit) for n, unit in ((whole, want), (rest, have)) if n or unit == want]
        return _result(asked, amounts, f"{number} divided by {factor} = {whole}, remainder {rest}")
    have_said, want_said = UNIT.say(have, asked.language), UNIT.say(want, asked.language)
    return Solution(asked.said(f"I cannot turn {have_said} into {want_said}.", f"{have_said}不能换成{want_said}。"))


def _result(asked: Asked, amounts: list[tuple[int, str]], reasoning: str) -> Solution:
    said = [_amount(n, unit, asked) for n, unit in amounts]
    question = _amount(_count(asked), asked.values["have"], asked)
    joint = "零" if amounts[-1][0] < 10 else ""
    are = "is" if _count(asked) == 1 else "are"
    text = asked.said(f"{question} {are} {' and '.join(said)}.", f"{question}是{joint.join(said)}。")
    return Solution(sentence_case(text), Content("number", tuple(n for n, _ in amounts)), reasoning=reasoning)


def _some_units(random: Random) -> Values:
    have, want = random.choice(_PAIRS)
    if factor := _FACTORS.get((have, want)):
        return {"number": random.randrange(2, 100), "have": have, "want": want}
    factor = _FACTORS[want, have]
    return {"number": factor * random.randrange(1, 1000 // factor), "have": have, "want": want}


_N, _HAVE, _WANT = "<number>{number}", "<unit>{have}", "<unit>{want}"
UNITS = (
    Intent(
        "convert",
        "units",
        {
            "en": (
                f"how many {_WANT} [are [there]] in {_N} {_HAVE}",
                f"convert {_N} {_HAVE} (to | into) {_WANT}",
                f"{_N} {_HAVE} (in | is how many) {_WANT}",
            ),
            "zh": (f"{_N} {_HAVE} (等于 | 是 | 有) 多少 {_WANT}",),
        },
        _convert,
        (NUMBER, UNIT),
        _some_units,
    ),
    Intent(
        "convert_one",
        "units",
        {
            "en": (f"how many {_WANT} [are [there]] in (a | an) {_HAVE}",),
            "zh": (f"(一 | 每) {_HAVE} (等于 | 是 | 有) (多少 | 几) {_WANT}",),
        },
        _convert,
        (UNIT,),
    ),
)
