"""Is an answer right? Strict in what it says, tolerant in how it says it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from duologue.desk import numbers
from duologue.desk.clock import MONTH, WEEKDAY
from duologue.desk.errands import CANCELLABLE
from duologue.desk.facts import NAMES
from duologue.desk.kinds import Value, find, names, union
from duologue.desk.orders import spot_order
from duologue.desk.questions import Question
from duologue.desk.rules import Language
from duologue.desk.times import DURATION, TIME
from duologue.desk.transcript import plain

_WORD = names("answer_word", "yes = 是的, 对; no = 不是, 不对, 没有; same = 一样; cancelled, canceled = 取消")
_NAME = union("any_name", (*NAMES, WEEKDAY, MONTH, CANCELLABLE, _WORD))
_NO_NUMBER_ZH = re.compile("一[些样点共下杯个]")
CARRIER_WORDS = 6
"""Words that may stand around a phrase that is said back."""


def check(question: Question, answer: str) -> bool:
    """Whether an answer, from a model or a transcript of its speech, says what it should and nothing against it.

    Words or figures, a whole sentence or the bare result: what counts are the numbers, names, letters ... in it.
    They must be those of the right answer, beside which only those of the question may be said again, in order.
    """
    kind, wanted = question.content.kind, list(question.content.values)
    if kind == "phrase":
        return _says(plain(answer, question.language), plain(str(wanted[0]), question.language), question.language)
    if kind == "words":
        return [word for word in re.findall("[a-z']+", answer.lower()) if word in wanted] == wanted
    found = _found(kind, answer, question.language)
    asked = [m.text for m in question.history if m.role != "tool"] + [question.text]
    mentioned = [value for text in asked for value in _found(kind, text, question.language)]
    if kind == "name":
        found, wanted = sorted(found, key=str), sorted(wanted, key=str)
        mentioned = [value for value in mentioned if value not in wanted]
        return wanted == [value for value in found if value not in mentioned]
    return found == _found(kind, question.answer, question.language) or _right(found, wanted, mentioned)


def _right(found: Sequence[Value], wanted: Sequence[Value], mentioned: Sequence[Value]) -> bool:
    """The result last, or first, and beside it what the question mentions."""
    count = len(wanted)
    last = list(found[-count:]) == wanted and _in_order(found[:-count], mentioned)
    return last or (list(found[:count]) == wanted and _in_order(found[count:], mentioned))


def _in_order(some: Sequence[Value], of: Sequence[Value]) -> bool:
    rest = iter(of)
    return all(value in rest for value in some)


def _says(answer: str, phrase: str, language: Language) -> bool:
    padded = f" {answer} " if language == "en" else answer
    before, middle, after = padded.partition(f" {phrase} " if language == "en" else phrase)
    around = len((before + after).split()) if language == "en" else len(before + after)
    return bool(middle) and around <= CARRIER_WORDS


# ---------------------------------------------------------------- what an answer says


def _found(kind: str, text: str, language: Language) -> list[Value]:
    return _FINDERS[kind](text, language)


def _numbers(text: str, language: Language) -> list[Value]:
    if language == "zh":
        text = _NO_NUMBER_ZH.sub("", text)
    text = re.sub(r"(?<=\d)\s+(?=\d)", ", ", text)
    clauses = re.split(r"[;:，。、；：！？!?]|[,.](?!\d)", text)
    return [number for clause in clauses for number in numbers.find(plain(clause, language), language)]


def _digits(text: str, language: Language) -> list[Value]:
    said = plain(text, language, by_digit=True)
    spoken = said.split() if language == "en" else list(said)
    known = {*numbers.ONES[:10], "oh"} if language == "en" else {*numbers.DIGITS_ZH, "幺", "〇"}
    digits = [word for word in spoken if word in known]
    return [numbers.read_digits((" " if language == "en" else "").join(digits), language)] if digits else []


def _letters(text: str, language: Language) -> list[Value]:
    letters = re.findall(r"(?<![a-z'])[a-z](?![a-z'])", text.lower())
    return ["".join(letters)] if letters else []


def _order(text: str, language: Language) -> list[Value]:
    values = spot_order(plain(text, language), language) or {}
    return [f"{slot}={value}" for slot, value in sorted(values.items())]


_FINDERS: dict[str, Callable[[str, Language], list[Value]]] = {
    "number": _numbers,
    "digits": _digits,
    "letters": _letters,
    "minutes": lambda text, language: find(TIME, plain(text, language), language),
    "seconds": lambda text, language: find(DURATION, plain(text, language), language),
    "name": lambda text, language: find(_NAME, plain(text, language), language),
    "order": _order,
}
