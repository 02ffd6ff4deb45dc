"""What was heard, made plain: lower case, no punctuation, numbers in words, no fillers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from duologue.desk import numbers
from duologue.desk.rules import Language

_HAN = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
_DIGITS = re.compile(r"\d+")
_SYMBOLS: dict[Language, dict[str, str]] = {
    "en": {
        "+": " plus ",
        "-": " minus ",
        "−": " minus ",
        "×": " times ",
        "*": " times ",
        "÷": " divided by ",
    },
    "zh": {"+": "加", "-": "减", "−": "减", "×": "乘以", "*": "乘以", "÷": "除以"},
}
_FILLERS: dict[Language, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(?:um+|uh+|er+m?|hm+|ah|please|okay|so|well|like|you know|(?:can|could|would) you(?: tell me)?|"
        r"tell me|do you know|i(?:'d like| want) to know|just|actually|hey) (?=\S)|"
        r"(?<=\S) (?:please|thanks|thank you)$"
    ),
    "zh": re.compile(
        "请问|请|麻烦你?|你?能不能|你?可不可以|你?知道|告诉我|嗯+|呃+|啊|那个|我想知道|[吧呢呀啦哦]$|谢谢你?$"
    ),
}
_HOMOPHONES = {
    "to": "two", "too": "two", "for": "four", "fore": "four", "won": "one", "ate": "eight", "tree": "three",
    "nein": "nine", "hole": "whole", "ice": "iced", "mocca": "mocha", "mocker": "mocha", "moka": "mocha",
    "shop": "shot", "shots": "shot", "roasts": "roast", "rose": "roast", "ounces": "ounce", "late": "latte",
    "latter": "latte", "lattes": "latte", "cappucino": "cappuccino", "capuccino": "cappuccino",
    "expresso": "espresso",
}  # fmt: skip
"""What recognisers without the desk's grammar write for words of the desk; tried last."""


def language_of(text: str, otherwise: Language = "en") -> Language:
    """Mandarin where there are its characters, English where there are only Latin letters, else `otherwise`."""
    if _HAN.search(text):
        return "zh"
    return "en" if re.search("[a-zA-Z]", text) else otherwise


def plain(text: str, language: Language, *, by_digit: bool = False) -> str:
    """English: words with one space between. Mandarin: characters without spaces, Latin words kept apart.

    `by_digit` reads "314" as "three one four" rather than as a number.
    """
    text = text.lower().replace("’", "'").replace("°", " degrees ")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = _clock_times(text, language)
    text = re.sub(r"(?<=\d)\s*([-−+×*÷])\s*(?=\d)", lambda m: _SYMBOLS[language][m[1]], text)
    text = re.sub(r"[+×*÷]", lambda m: _SYMBOLS[language][m[0]], text)
    text = re.sub(r"(?:^|(?<=\s))[-−](?=\d)", "minus " if language == "en" else "负", text)
    text = _DIGITS.sub(lambda m: _in_words(m[0], language, by_digit), text)
    text = re.sub(r"[^\w']|_", " ", text)
    if language == "zh":
        return re.sub(r"(?<=[\u4e00-\u9fff]) +| +(?=[\u4e00-\u9fff])", "", " ".join(text.split()))
    return " ".join(word.strip("'") for word in text.split() if word.strip("'"))


def _clock_times(text: str, language: Language) -> str:
    """ "3:05" becomes "3 oh 5", "3:00" becomes "3 o'clock"."""

    def said(match: re.Match[str]) -> str:
        hour, minute = match[1], int(match[2])
        if language == "zh":
            return f"{hour}点" + (f"{'零' if minute < 10 else ''}{minute}分" if minute else "")
        return f"{hour} " + (f"{'oh ' if minute < 10 else ''}{minute}" if minute else "o'clock")

    return re.sub(r"\b(\d{1,2})[:：]([0-5]\d)\b", said, text)


def _in_words(digits: str, language: Language, by_digit: bool) -> str:
    alone = by_digit or len(digits) > 9 or (len(digits) > 1 and digits.startswith("0"))
    said = numbers.say_digits(digits, language) if alone else numbers.say(int(digits), language)
    return f" {said} " if language == "en" else said


def without_fillers(text: str, language: Language) -> str:
    """What is left when "um", "please", "can you tell me" are taken away; the text itself if nothing is."""
    previous, left = "", text
    while left != previous:
        previous, left = left, _FILLERS[language].sub("", left).strip()
    return left or text


def readings(text: str, language: Language) -> Iterator[str]:
    """The ways in which an utterance may be meant, the likeliest first."""
    heard = plain(text, language)
    candidates = [heard, without_fillers(heard, language)]
    candidates += [without_fillers(plain(text, language, by_digit=True), language)]
    if language == "en":
        candidates += [" ".join(_HOMOPHONES.get(w, w) for w in c.split()) for c in candidates[1:]]
    yield from dict.fromkeys(c for c in candidates if c)
