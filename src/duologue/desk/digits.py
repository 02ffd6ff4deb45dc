"""Strings of digits: said back, turned round, added up."""

from __future__ import annotations

from random import Random

from duologue.desk import numbers
from duologue.desk.intents import Asked, Content, Intent, Solution, sentence_case
from duologue.desk.kinds import DIGITS, Values


def _digits_said(digits: str, asked: Asked) -> Solution:
    text = sentence_case(numbers.say_digits(digits, asked.language)) + asked.said(".", "。")
    return Solution(text, Content("digits", (digits,)), reasoning=f"the digits are {' '.join(digits)}")


def _back(asked: Asked) -> Solution:
    return _digits_said(str(asked.values["digits"]), asked)


def _backwards(asked: Asked) -> Solution:
    return _digits_said(str(asked.values["digits"])[::-1], asked)


def _add_up(asked: Asked) -> Solution:
    digits = [int(d) for d in str(asked.values["digits"])]
    total = numbers.say(sum(digits), asked.language)
    text = asked.said(f"They add up to {total}.", f"加起来是{total}。")
    return Solution(
        text, Content("number", (sum(digits),)), reasoning=f"{' + '.join(map(str, digits))} = {sum(digits)}"
    )


def some_digits(random: Random) -> Values:
    return {"digits": "".join(random.choice("0123456789") for _ in range(random.randint(3, 7)))}


_D = "<digits>{digits}"
DIGIT_STRINGS = (
    Intent(
        "digits",
        "digits",
        {"en": (_D, f"(repeat | say) [the] (digits | numbers) {_D}"), "zh": (_D, f"(重复 | 说) [数字] {_D}")},
        _back,
        (DIGITS,),
        some_digits,
        held_out=True,
    ),
    Intent(
        "digits_backwards",
        "digits",
        {"en": (f"(say | repeat) {_D} backwards",), "zh": (f"倒着 (说 | 念) {_D}",)},
        _backwards,
        (DIGITS,),
        some_digits,
        held_out=True,
    ),
    Intent(
        "digits_sum",
        "digits",
        {"en": (f"add up [the] (digits | numbers) {_D}",), "zh": (f"把 数字 {_D} (加 起来 | 相加)",)},
        _add_up,
        (DIGITS,),
        some_digits,
        held_out=True,
    ),
)
