"""Sums, differences, times and division; which is more; putting in order."""

from __future__ import annotations

from random import Random

from duologue.desk import numbers
from duologue.desk.intents import Asked, Content, Intent, Solution, out_of_context, sentence_case
from duologue.desk.kinds import NUMBER, Values, names

OPERATION = names("operation", "plus = 加; minus, take away = 减, 减去")
ADD_OR_MULTIPLY = names(
    "continuation",
    """
    plus, add = 加, 再加, 加上; minus, take away = 减, 再减, 减去; times, multiplied by = 乘以, 再乘以, 乘;
    divided by = 除以, 再除以
    """,
)
_WHAT_IS_ZH = "(等于 多少 | 是 多少 | 得 多少 | 等于 几)"


# ---------------------------------------------------------------- sums


def _plain_sum(asked: Asked, a: int, sign_en: str, sign_zh: str, b: int, result: int) -> Solution:
    a_said, b_said, result_said = (numbers.say(n, asked.language) for n in (a, b, result))
    text = asked.said(f"{a_said} {sign_en} {b_said} is {result_said}.", f"{a_said}{sign_zh}{b_said}等于{result_said}。")
    return Solution(sentence_case(text), Content("number", (result,)), reasoning=f"{a} {sign_en} {b} = {result}")


def _add(asked: Asked) -> Solution:
    a, b = asked.number("a"), asked.number("b")
    return _plain_sum(asked, a, "plus", "加", b, a + b)


def _subtract(asked: Asked) -> Solution:
    a, b = asked.number("a"), asked.number("b")
    return _plain_sum(asked, a, "minus", "减", b, a - b)


def _multiply(asked: Asked) -> Solution:
    a, b = asked.number("a"), asked.number("b")
    return _plain_sum(asked, a, "times", "乘以", b, a * b)


def _divide(asked: Asked) -> Solution:
    a, b = asked.number("a"), asked.number("b")
    if b == 0:
        return Solution(asked.said("Nothing can be divided by zero.", "零不能做除数。"))
    whole, rest = divmod(a, b)
    solution = _plain_sum(asked, a, "divided by", "除以", b, whole)
    if not rest:
        return solution
    rest_said = numbers.say(rest, asked.language)
    text = solution.text[:-1] + asked.said(f", remainder {rest_said}.", f"，余{rest_said}。")
    return Solution(text, Content("number", (whole, rest)), reasoning=f"{a} = {whole} times {b} + {rest}")


def _difference(asked: Asked) -> Solution:
    a, b = asked.number("a"), asked.number("b")
    result = numbers.say(abs(a - b), asked.language)
    text = asked.said(f"The difference is {result}.", f"相差{result}。")
    return Solution(text, Content("number", (abs(a - b),)), reasoning=f"{max(a, b)} minus {min(a, b)} = {abs(a - b)}")


def _chain(asked: Asked) -> Solution:
    result, steps = asked.number("a"), []
    for operation, slot in (("o", "b"), ("p", "c")):
        number = asked.number(slot)
        after = result + number if asked.values[operation] == "plus" else result - number
        steps.append(f"{result} {asked.values[operation]} {number} = {after}")
        result = after
    said = numbers.say(result, asked.language)
    text = asked.said(f"That makes {said}.", f"结果是{said}。")
    return Solution(text, Content("number", (result,)), reasoning="; ".join(steps))


def _two_numbers(random: Random) -> Values:
    top = random.choice((20, 100, 1000))
    return {"a": random.randrange(top), "b": random.randrange(top)}


def _larger_first(random: Random) -> Values:
    values = sorted(int(v) for v in _two_numbers(random).values())
    return {"a": values[1], "b": values[0]}


def _factors(random: Random) -> Values:
    top = random.choice((11, 20, 100))
    return {"a": random.randrange(1000 if top == 11 else top), "b": random.randrange(top)}


def _divisible(random: Random) -> Values:
    b = random.randrange(1, random.choice((10, 32)))
    return {"a": b * random.randrange(1000 // b), "b": b}


def _three_numbers(random: Random) -> Values:
    a, b, c = (random.randrange(100) for _ in range(3))
    o = random.choice(("plus", "minus")) if a >= b else "plus"
    p = random.choice(("plus", "minus")) if (a + b if o == "plus" else a - b) >= c else "plus"
    return {"a": a, "b": b, "c": c, "o": o, "p": p}


# ---------------------------------------------------------------- what can be asked

_WHAT_IS = "(what is | what's | how much is | calculate | work out)"
_A, _B, _C = "<number>{a}", "<number>{b}", "<number>{c}"

SUMS = (
    Intent(
        "add",
        "sums",
        {
            "en": (
                f"[{_WHAT_IS}] {_A} (plus | added to) {_B}",
                f"what is the sum of {_A} and {_B}",
                f"add {_A} (and | to) {_B}",
            ),
            "zh": (f"{_A} (加 | 加上) {_B} [{_WHAT_IS_ZH}]", f"{_A} 和 {_B} 的 和 (是 | 等于) 多少"),
        },
        _add,
        (NUMBER,),
        _two_numbers,
    ),
    Intent(
        "subtract",
        "sums",
        {
            "en": (f"[{_WHAT_IS}] {_A} (minus | take away) {_B}", f"(subtract | take) {_B} from {_A}"),
            "zh": (f"{_A} (减 | 减去) {_B} [{_WHAT_IS_ZH}]",),
        },
        _subtract,
        (NUMBER,),
        _larger_first,
    ),
    Intent(
        "difference",
        "sums",
        {
            "en": (f"what is the difference between {_A} and {_B}",),
            "zh": (f"{_A} 和 {_B} 相差 多少", f"{_A} 和 {_B} 的 差 是 多少"),
        },
        _difference,
        (NUMBER,),
        _two_numbers,
    ),
    Intent(
        "chain",
        "sums",
        {
            "en": (f"[{_WHAT_IS}] {_A} <operation>{{o}} {_B} <operation>{{p}} {_C}",),
            "zh": (f"{_A} <operation>{{o}} {_B} <operation>{{p}} {_C} [{_WHAT_IS_ZH}]",),
        },
        _chain,
        (NUMBER, OPERATION),
        _three_numbers,
    ),
    Intent(
        "multiply",
        "times",
        {
            "en": (f"[{_WHAT_IS}] {_A} (times | multiplied by) {_B}", f"multiply {_A} (by | and) {_B}"),
            "zh": (f"{_A} (乘以 | 乘) {_B} [{_WHAT_IS_ZH}]",),
        },
        _multiply,
        (NUMBER,),
        _factors,
    ),
    Intent(
        "divide",
        "times",
        {
            "en": (
                f"[{_WHAT_IS}] {_A} divided by {_B}",
                f"divide {_A} by {_B}",
                f"how many times does {_B} go into {_A}",
            ),
            "zh": (f"{_A} 除以 {_B} [{_WHAT_IS_ZH}]",),
        },
        _divide,
        (NUMBER,),
        _divisible,
    ),
)


# ---------------------------------------------------------------- follow-ups


def _go_on(asked: Asked, before: Asked) -> Asked | None:
    """ "and plus three?": goes on from the last number that the desk worked out."""
    content = before.solved().content
    if content is None or content.kind != "number" or len(content.values) != 1:
        return None
    name = {"plus": "add", "minus": "subtract", "times": "multiply", "divided by": "divide"}[str(asked.values["then"])]
    intent = next(intent for intent in SUMS if intent.name == name)
    return Asked(intent, {"a": content.values[0], "b": asked.values["b"]}, asked.language, asked.now)


def _continuation(random: Random) -> Values:
    return {"then": random.choice(("plus", "minus", "times")), "b": random.randrange(1, 20)}


FOLLOW_UPS = (
    Intent(
        "go_on",
        "follow-ups",
        {
            "en": (
                "(and | then | and then) <continuation>{then} <number>{b}",
                "<continuation>{then} <number>{b}",
            ),
            "zh": ("[然后 | 那] <continuation>{then} <number>{b} [呢 | 是 多少 | 等于 多少]",),
        },
        out_of_context,
        (NUMBER, ADD_OR_MULTIPLY),
        _continuation,
        _go_on,
    ),
)
