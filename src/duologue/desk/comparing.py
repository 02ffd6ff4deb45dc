"""Which is more, and putting in order."""

from __future__ import annotations

from random import Random

from duologue.desk import numbers
from duologue.desk.intents import Asked, Content, Intent, Solution, sentence_case
from duologue.desk.kinds import NUMBER, Value, Values, names

SIZE = names(
    "greater",
    """
    bigger, larger, greater, more, higher = 更大, 比较大, 大, 多;
    smaller, less, lower = 更小, 比较小, 小, 少
    """,
)

DIRECTION = names(
    "direction",
    """
    from smallest to largest, from small to large, from lowest to highest, in ascending order = 从小到大;
    from largest to smallest, from large to small, from highest to lowest, in descending order = 从大到小
    """,
)


def _compare(asked: Asked) -> Solution:
    a, b = asked.number("a"), asked.number("b")
    bigger = asked.values["greater"] == "bigger"
    if a == b:
        return Solution(asked.said("They are the same.", "一样大。"), Content("name", ("same",)))
    winner = max(a, b) if bigger else min(a, b)
    said = numbers.say(winner, asked.language)
    text = asked.said(f"{said} is {'bigger' if bigger else 'smaller'}.", f"{said}更{'大' if bigger else '小'}。")
    reasoning = f"{a} minus {b} = {a - b}, which is {'above' if a > b else 'below'} zero"
    return Solution(sentence_case(text), Content("number", (winner,)), reasoning=reasoning)


def _is_it(asked: Asked) -> Solution:
    a, b = asked.number("a"), asked.number("b")
    true = a > b if asked.values["greater"] == "bigger" else a < b
    relation_en, relation_zh = ("bigger", "大于") if a > b else ("smaller", "小于")
    a_said, b_said = numbers.say(a, asked.language), numbers.say(b, asked.language)
    statement = asked.said(f"{a_said} is {relation_en} than {b_said}.", f"{a_said}{relation_zh}{b_said}。")
    if a == b:
        statement = asked.said("they are the same.", "它们一样大。")
    text = asked.said("Yes, " if true else "No, ", "是的，" if true else "不是，") + statement
    return Solution(text, Content("name", ("yes" if true else "no",)), reasoning=f"{a} minus {b} = {a - b}")


def _in_order(asked: Asked) -> Solution:
    wanted: list[int] = sorted(asked.number(slot) for slot in "abc")
    if asked.values["direction"] != "from smallest to largest":
        wanted.reverse()
    first, second, third = (numbers.say(n, asked.language) for n in wanted)
    text = asked.said(f"{first}, then {second}, then {third}.", f"先是{first}，然后是{second}，最后是{third}。")
    content: tuple[Value, ...] = tuple(wanted)
    return Solution(sentence_case(text), Content("number", content), reasoning=" then ".join(map(str, wanted)))


def _two_different(random: Random) -> Values:
    top = random.choice((20, 100, 1000))
    a, b = random.sample(range(top), 2)
    return {"a": a, "b": b, "greater": random.choice(SIZE.values)}


def _three_different(random: Random) -> Values:
    """No two neighbours that run together when spoken: "twenty five" is never twenty and five."""
    while True:
        a, b, c = random.sample(range(1, 100), 3)
        if not any(x >= 20 and x % 10 == 0 and y < 10 for x, y in ((a, b), (b, c))):
            return {"a": a, "b": b, "c": c, "direction": random.choice(DIRECTION.values)}


_A, _B, _C = "<number>{a}", "<number>{b}", "<number>{c}"

COMPARING = (
    Intent(
        "compare",
        "comparing",
        {
            "en": (f"(which | what) [number] is <greater>{{greater}} {_A} or {_B}",),
            "zh": (f"{_A} 和 {_B} 哪个 [数] <greater>{{greater}}",),
        },
        _compare,
        (NUMBER, SIZE),
        _two_different,
    ),
    Intent(
        "is_it",
        "comparing",
        {
            "en": (f"is {_A} <greater>{{greater}} than {_B}",),
            "zh": (f"{_A} 比 {_B} <greater>{{greater}} 吗",),
        },
        _is_it,
        (NUMBER, SIZE),
        _two_different,
    ),
    Intent(
        "in_order",
        "ordering",
        {
            "en": (f"(put | sort | order | arrange) [the numbers] {_A} {_B} [and] {_C} <direction>{{direction}}",),
            "zh": (f"把 {_A} 和 {_B} 和 {_C} <direction>{{direction}} (排列 | 排 一下 | 排序)",),
        },
        _in_order,
        (NUMBER, DIRECTION),
        _three_different,
    ),
)
