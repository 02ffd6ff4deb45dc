"""Numbers as they are spoken, in English and Mandarin, and back again."""

from __future__ import annotations

import re

from duologue.desk.rules import Language

_NAMES = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
"""
ONES, TENS = _NAMES.split()[:20], _NAMES.split()[20:]
DIGITS_ZH = "零一二三四五六七八九"

_SIZE_EN = {"thousand": 1000, "million": 10**6, "billion": 10**9}

LIMIT = 10**12
"""Numbers are said below this."""

PARTS: dict[str, dict[Language, str]] = {
    "digit": {
        "en": "zero | oh | one | two | three | four | five | six | seven | eight | nine",
        "zh": "零 | 〇 | 一 | 幺 | 二 | 三 | 四 | 五 | 六 | 七 | 八 | 九",
    },
    "one_to_nine": {
        "en": "one | two | three | four | five | six | seven | eight | nine",
        "zh": "一 | 二 | 两 | 三 | 四 | 五 | 六 | 七 | 八 | 九",
    },
    "below_hundred": {
        "en": f"({' | '.join(TENS)}) [<one_to_nine>] | {' | '.join(reversed(ONES[1:]))}",
        "zh": "[<one_to_nine>] 十 [<one_to_nine>] | <one_to_nine>",
    },
}
RULE: dict[Language, str] = {
    "en": "[(<one_to_nine> | a) hundred [and]] <below_hundred> | (<one_to_nine> | a) hundred | zero",
    "zh": "<one_to_nine> 百 [零 <one_to_nine> | [<one_to_nine>] 十 [<one_to_nine>]] | <below_hundred> | 零",
}
"""What is understood of numbers in questions: 0 to 999, and single digits."""


# ---------------------------------------------------------------- saying


def say(number: int, language: Language = "en") -> str:
    """The number in words: "one hundred and twelve", "一百一十二". Raises ValueError from 10^12 on."""
    if abs(number) >= LIMIT:
        raise ValueError(f"{number} is too large to say: the desk says numbers below {LIMIT}")
    if number < 0:
        return ("minus " if language == "en" else "负") + say(-number, language)
    return _say_en(number) if language == "en" else _say_zh(number)


def _say_en(number: int) -> str:
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f" {ONES[number % 10]}" if number % 10 else "")
    if number < 1000:
        below = f" and {_say_en(number % 100)}" if number % 100 else ""
        return f"{ONES[number // 100]} hundred{below}"
    name, size = next((name, size) for name, size in reversed(_SIZE_EN.items()) if number >= size)
    rest = number % size
    joint = " and " if 0 < rest < 100 else " "
    return f"{_say_en(number // size)} {name}" + (joint + _say_en(rest) if rest else "")


def _say_zh(number: int) -> str:
    if number < 10:
        return DIGITS_ZH[number]
    if 10 <= number < 20:
        return "十" + (DIGITS_ZH[number % 10] if number % 10 else "")
    return _inner_zh(number)


def _inner_zh(number: int) -> str:
    """Inside a larger number ten is 一十."""
    for size, name in ((10**8, "亿"), (10**4, "万"), (1000, "千"), (100, "百"), (10, "十")):
        if number >= size:
            high = _say_zh(number // size) if size >= 10**4 else DIGITS_ZH[number // size]
            rest = number % size
            zero = "零" if 0 < rest < size // 10 else ""
            return high + name + (zero + _inner_zh(rest) if rest else "")
    return DIGITS_ZH[number]


def say_digits(digits: str, language: Language = "en") -> str:
    """Digit by digit: "three one four", "三一四"."""
    return " ".join(ONES[int(d)] for d in digits) if language == "en" else "".join(DIGITS_ZH[int(d)] for d in digits)


# ---------------------------------------------------------------- reading

_VALUE_EN = {word: n for n, word in enumerate(ONES)} | {word: 10 * n for n, word in enumerate(TENS, 2)}
_VALUE_EN |= {"a": 1, "oh": 0}
_VALUE_ZH = {c: n for n, c in enumerate(DIGITS_ZH)} | {"两": 2, "〇": 0, "幺": 1}
_SIZE_ZH = {"十": 10, "百": 100, "千": 1000}


def read(text: str, language: Language = "en") -> int:
    """The number that the words say; the inverse of `say`. Raises ValueError when they say none."""
    sign = -1 if text.startswith(("minus ", "负")) else 1
    text = text.removeprefix("minus ").removeprefix("负")
    try:
        return sign * (_read_en(text.split()) if language == "en" else _read_zh(text))
    except KeyError as unknown:
        raise ValueError(f"{text!r} is no number: {unknown} is not a number word") from None


def _read_en(spoken: list[str]) -> int:
    total = group = 0
    for word in spoken:
        if word == "hundred":
            group *= 100
        elif word in _SIZE_EN:
            total, group = total + group * _SIZE_EN[word], 0
        elif word != "and":
            group += _VALUE_EN[word]
    return total + group


def _read_zh(text: str) -> int:
    for name, size in (("亿", 10**8), ("万", 10**4)):
        high, found, low = text.partition(name)
        if found:
            return _read_zh(high) * size + _read_zh(low)
    total = digit = 0
    for char in text:
        if char in _SIZE_ZH:
            total, digit = total + (digit or 1) * _SIZE_ZH[char], 0
        else:
            digit = _VALUE_ZH[char]
    return total + digit


def read_digits(text: str, language: Language = "en") -> str:
    """The digits that the words say, one by one: "three oh four" gives "304"."""
    values = (_VALUE_EN[w] for w in text.split()) if language == "en" else (_VALUE_ZH[c] for c in text)
    return "".join(map(str, values))


_TENS = rf"(?:{'|'.join(TENS)})"
_SMALL = rf"(?:{'|'.join(reversed(ONES[1:]))})"
_HUNDRED = rf"(?:{_TENS} (?:(?:{'|'.join(ONES[1:10])}) )?|{_SMALL} )"
_THOUSAND = rf"(?:(?:{_SMALL}|a) hundred (?:(?:and )?{_HUNDRED})?|{_HUNDRED})"
_SIZED = rf"(?:(?:{_THOUSAND}|a )(?:{'|'.join(_SIZE_EN)}) (?:and )?)"
_FIND: dict[Language, re.Pattern[str]] = {
    "en": re.compile(rf"\b(?:minus )?(?:{_SIZED}+{_THOUSAND}?|{_THOUSAND}|zero )(?<! and )"),
    "zh": re.compile("负?[零〇一二两三四五六七八九十百千万亿]+"),
}


def find(text: str, language: Language = "en") -> list[int]:
    """The numbers that a text says, in order."""
    return [read(m.group().strip(), language) for m in _FIND[language].finditer(text + " ")]


def written(text: str, language: Language = "en") -> str:
    """The same text with numbers in figures."""
    replaced = _FIND[language].sub(lambda m: f"{read(m.group().strip(), language)} ", text + " ").strip()
    return replaced if language == "en" else replaced.replace(" ", "")
