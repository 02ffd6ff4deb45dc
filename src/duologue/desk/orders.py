"""Orders at a coffee bar: the tool, what people say, and the order that is in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import Any

from duologue.desk.intents import Asked, Call, Content, Intent, Solution
from duologue.desk.kinds import Kind, Values, expression, find_spans, measured, names
from duologue.desk.rules import Language
from duologue.dialogue import Tool

DRINK = names(
    "coffee_drink",
    """
    americano = 美式咖啡, 美式; cappuccino = 卡布奇诺; coffee = 咖啡; drip coffee = 滴滤咖啡;
    espresso = 浓缩咖啡, 意式浓缩; house coffee = 招牌咖啡; iced coffee = 冰咖啡; iced mocha = 冰摩卡;
    latte = 拿铁咖啡, 拿铁; mocha = 摩卡咖啡, 摩卡
    """,
)
SIZE = names(
    "size",
    """
    small = 小杯, 小的; medium = 中杯; large = 大杯, 大的; eight ounce = 八盎司; twelve ounce = 十二盎司;
    sixteen ounce = 十六盎司; twenty ounce = 二十盎司
    """,
)
ROAST = names(
    "roast",
    """
    light roast = 浅烘, 浅度烘焙; medium roast = 中烘, 中度烘焙; dark roast = 深烘, 深度烘焙
    """,
)
SHOTS = names("number_of_shots", "single shot = 单份; double shot = 双份; triple shot = 三份")
AMOUNT = names(
    "amount",
    """
    some = 一些; a bit of = 一点; a little bit of = 一点点; a lot of = 很多; lots of = 许多
    """,
)
_MILK = names(
    "milk",
    """
    milk = 牛奶; whole milk = 全脂牛奶; skim milk = 脱脂牛奶; soy milk = 豆奶; almond milk = 杏仁奶;
    oat milk = 燕麦奶; cream = 奶油
    """,
)
_SUGAR = names("sugar", "sugar = 糖; brown sugar = 红糖; sweetener = 代糖")
MILK = measured("milk_amount", AMOUNT, _MILK)
SUGAR = measured("sugar_amount", AMOUNT, _SUGAR)
SLOTS: tuple[Kind, ...] = (DRINK, SIZE, ROAST, SHOTS, MILK, SUGAR)

_PROPERTIES: dict[str, Any] = {
    **{kind.name: {"type": "string", "enum": list(kind.values)} for kind in (DRINK, SIZE, ROAST, SHOTS)},
    **{kind.name: {"type": "string"} for kind in (MILK, SUGAR)},
}
ORDER_DRINK = Tool(
    "order_drink",
    "Order a drink from the coffee maker.",
    {"type": "object", "properties": _PROPERTIES, "required": ["coffee_drink"]},
)
CHANGE_ORDER = Tool(
    "change_order",
    "Change the last order: what is given replaces what was ordered.",
    {"type": "object", "properties": _PROPERTIES, "required": []},
)


# ---------------------------------------------------------------- understanding

_NO_ORDER = {
    "en": re.compile(r"\b(?:what|how|which|who|where|when|why|is|does|don't|not|spell|repeat|say|plus|minus|times)\b"),
    "zh": re.compile("什么|多少|哪|怎么|几|吗"),
}
_WITHOUT = {"en": r"\b(?:with )?(?:no|without)(?: any)? ", "zh": "(?:不加|不要|不放)"}
_CHANGE = {
    "en": re.compile(r"^(?:no )?(?:make (?:it|that)|change (?:it|that)|actually|with|and with|in)\b|\binstead$"),
    "zh": re.compile("^(?:改成|换成|改为|要|加|再加)|改成|换成"),
}


def spot_order(text: str, language: Language) -> Values | None:
    """The order in a plain text, from the words that count, in any order and with any words between.

    "make me a twelve ounce latte" and "latte twelve ounce" are the same. None without anything of an order.
    """
    if _NO_ORDER[language].search(text):
        return None
    values: dict[str, int | str] = {}
    for kind, thing in ((MILK, _MILK), (SUGAR, _SUGAR)):
        if refused := re.search(f"{_WITHOUT[language]}({expression(thing, language)})", text + " "):
            values[kind.name] = f"no {thing.read(refused[1].strip(), language)}"
            text = text.replace(refused[0].strip(), "|")
    for kind in (MILK, SUGAR, ROAST, SHOTS, SIZE, DRINK):
        for value, start, end in reversed(find_spans(kind, text, language)):
            if kind is DRINK and values.get(kind.name, value) != value:
                values["more"] = "yes"
            values[kind.name] = value
            text = f"{text[:start]}{'| ' if language == 'en' else '|'}{text[end:]}"
    return values or None


_ORDERING = {
    "en": re.compile(r"\b(?:get|have|like|want|make|give|brew|order|take|i'll|one)\b"),
    "zh": re.compile("[要来点想给杯买]"),
}


def _spot_new(text: str, language: Language) -> Values | None:
    """An order that stands by itself: most of the words are its own, or a word says that it is one."""
    values = spot_order(text, language)
    if not values:
        return None
    own = describe(values, language).replace("，", "")
    share = len(own.split()) / len(text.split()) if language == "en" else len(own) / len(text)
    asked_for = "coffee_drink" in values and _ORDERING[language].search(text)
    return values if asked_for or share >= 1 / 3 else None


def is_change(text: str, language: Language) -> bool:
    return bool(_CHANGE[language].search(text))


# ---------------------------------------------------------------- saying


def _slot_said(kind: Kind, value: str, language: Language) -> str:
    if language == "en" or kind not in (MILK, SUGAR):
        return kind.say(value, language)
    if value.startswith("no "):
        return "不加" + kind.say(value.removeprefix("no "), "zh")
    return "加" + kind.say(value, "zh")


def describe(order: Mapping[str, Any], language: Language) -> str:
    """The order as a barista says it back: "large dark roast latte with oat milk"."""
    said = {kind.name: _slot_said(kind, str(order[kind.name]), language) for kind in SLOTS if order.get(kind.name)}
    before = [said[name] for name in ("size", "roast", "number_of_shots") if name in said]
    after = [said[name] for name in ("milk_amount", "sugar_amount") if name in said]
    drink = said.get("coffee_drink", "")
    if language == "zh":
        return "".join([*before, drink]) + "".join(f"，{extra}" for extra in after)
    return " ".join([*before, drink]) + (f" with {' and '.join(after)}" if after else "")


# ---------------------------------------------------------------- answering


def _order(asked: Asked) -> Solution:
    order = {kind.name: asked.values[kind.name] for kind in SLOTS if kind.name in asked.values}
    if "more" in asked.values:
        return Solution(asked.said("One drink at a time, please. Which one is first?", "请一杯一杯地点，先要哪一杯？"))
    if "coffee_drink" not in order:
        return Solution(asked.said("Which drink would you like?", "您要什么饮料？"))
    name = "change_order" if asked.intent.name == "change" else "order_drink"
    content = Content("order", tuple(f"{slot}={value}" for slot, value in sorted(order.items())))
    return Solution("", content, (Call(name, order),), "; ".join(map(str, content.values)))


def _change(asked: Asked, before: Asked) -> Asked | None:
    """ "make it a large one": the order before, with what is new in it."""
    if before.intent.name not in ("order", "change"):
        return None
    return Asked(asked.intent, {**before.values, **asked.values}, asked.language, asked.now)


def _complete(asked: Asked, before: Asked) -> Asked | None:
    """ "a latte" after "which drink would you like?"."""
    if before.intent is not ORDER or "coffee_drink" in before.values:
        return None
    return Asked(ORDER, {**before.values, **asked.values}, asked.language, asked.now)


def _spot_change(text: str, language: Language) -> Values | None:
    values = spot_order(text, language)
    return values if values and (is_change(text, language) or "coffee_drink" not in values) else None


def _some_order(random: Random) -> Values:
    chances = {SIZE: 0.5, ROAST: 0.4, SHOTS: 0.4, MILK: 0.4, SUGAR: 0.4}
    values = {kind.name: random.choice(kind.values) for kind, chance in chances.items() if random.random() < chance}
    return {"coffee_drink": random.choice(DRINK.values), **values}


def _some_change(random: Random) -> Values:
    kind = random.choice((SIZE, ROAST, SHOTS, MILK, SUGAR))
    return {kind.name: random.choice(kind.values)}


_S, _R, _H = "<size>{size}", "<roast>{roast}", "<number_of_shots>{number_of_shots}"
_M, _G = "<milk_amount>{milk_amount}", "<sugar_amount>{sugar_amount}"
_ANY_ORDER = (
    f"([{_S}] [{_R}] [{_H}] | [{_S}] {_H} {_R} | {_R} {_S} [{_H}] | {_R} {_H} {_S} | {_H} {_S} [{_R}] | {_H} {_R} {_S})"
)
_LEAD = "((can | could | may) i (get | have) | i'd like | i would like | i want | (get | give | make) me | brew)"
_EXTRAS = f"({_M} [and {_G}] | {_G} [and {_M}])"
_LEAD_ZH = "(我 要 | 我 想 要 | 来 | 给 我 来 | 我 想 点)"

ORDER = Intent(
    "order",
    "order",
    {
        "en": (f"[{_LEAD}] [a | an] {_ANY_ORDER} <coffee_drink>{{coffee_drink}} [with {_EXTRAS}] [please]",),
        "zh": (f"{_LEAD_ZH} 一 杯 {_ANY_ORDER} <coffee_drink>{{coffee_drink}} [加 {_M}] [加 {_G}]",),
    },
    _order,
    SLOTS,
    _some_order,
    spot=_spot_new,
)
CHANGE = Intent(
    "change",
    "follow-ups",
    {
        "en": (
            f"make (it | that) (a | an) ({_S} | {_H}) one",
            f"make (it | that) [a] ({_S} | {_R} | {_H})",
            f"with ({_M} | {_G}) [instead | please]",
        ),
        "zh": (f"改成 ({_S} | {_R} | {_H}) [的]", f"(再 加 | 加) ({_M} | {_G})"),
    },
    _order,
    SLOTS,
    _some_change,
    _change,
    _spot_change,
)
COMPLETED = Intent("completed", "follow-ups", {"en": (), "zh": ()}, _order, SLOTS, None, _complete, spot_order)
