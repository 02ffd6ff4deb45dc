"""Spoken numbers, times and durations; rules."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.desk import numbers
from duologue.desk.kinds import NUMBER, find
from duologue.desk.rules import LANGUAGES, Language, parse, pattern, sentence
from duologue.desk.times import read_duration, read_time, say_duration, say_time
from duologue.desk.transcript import plain

LANGUAGE = st.sampled_from(LANGUAGES)


@given(st.integers(-(10**12) + 1, 10**12 - 1), LANGUAGE)
def test_a_number_read_back_is_the_same(number: int, language: Language) -> None:
    said = numbers.say(number, language)
    assert numbers.read(said, language) == number
    assert numbers.find(said, language) == [number]


@pytest.mark.parametrize(
    ("number", "en", "zh"),
    [
        (0, "zero", "零"),
        (10, "ten", "十"),
        (42, "forty two", "四十二"),
        (105, "one hundred and five", "一百零五"),
        (110, "one hundred and ten", "一百一十"),
        (1001, "one thousand and one", "一千零一"),
        (10010, "ten thousand and ten", "一万零一十"),
        (998001, "nine hundred and ninety eight thousand and one", "九十九万八千零一"),
        (-7, "minus seven", "负七"),
    ],
)
def test_numbers_in_words(number: int, en: str, zh: str) -> None:
    assert (numbers.say(number, "en"), numbers.say(number, "zh")) == (en, zh)


def test_a_number_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="too large to say"):
        numbers.say(10**12)


def test_no_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="'twelve apples' is no number"):
        numbers.read("twelve apples")


@given(st.lists(st.integers(0, 999), min_size=1, max_size=4))
def test_numbers_are_found_among_words(wanted: list[int]) -> None:
    text = " or ".join(numbers.say(n) for n in wanted)
    assert numbers.find(f"it is {text} i think") == wanted


@given(st.text("0123456789", min_size=1, max_size=12), LANGUAGE)
def test_digits_read_back_are_the_same(digits: str, language: Language) -> None:
    assert numbers.read_digits(numbers.say_digits(digits, language), language) == digits


@given(st.integers(0, 719), LANGUAGE)
def test_a_time_read_back_is_the_same(minutes: int, language: Language) -> None:
    assert read_time(say_time(minutes, language), language) == minutes


@given(st.integers(1, 99 * 3600), LANGUAGE)
def test_a_duration_read_back_is_the_same(seconds: int, language: Language) -> None:
    assert read_duration(say_duration(seconds, language), language) == seconds


@pytest.mark.parametrize(
    ("heard", "language", "meant"),
    [
        ("What's 12 + 3?", "en", "what's twelve plus three"),
        ("1,000 metres", "en", "one thousand metres"),
        ("at 3:05", "en", "at three oh five"),
        ("at 3:00!", "en", "at three o'clock"),
        ("It’s “fine”", "en", "it's fine"),
        ("12-3 = ?", "en", "twelve minus three"),
        ("12加3等于多少？", "zh", "十二加三等于多少"),
        ("拼一下 ice cream", "zh", "拼一下ice cream"),
        ("3:15", "zh", "三点十五分"),
    ],
)
def test_plain_text(heard: str, language: Language, meant: str) -> None:
    assert plain(heard, language) == meant


def test_values_are_whole_words() -> None:
    assert find(NUMBER, "someone weighs ten stone", "en") == [10]


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize("rule", ["(a", "a | ", "[a)", "a )", ""])
def test_a_broken_rule_is_an_error(rule: str) -> None:
    with pytest.raises(ValueError, match="rule"):
        parse(rule)


@given(st.integers(0, 10**6), st.sets(st.sampled_from("xy")))
def test_a_sentence_fits_its_rule(seed: int, slots: set[str]) -> None:
    tree = parse("a [b <one>{x}] (c | d+ | e*) [f] [<two>{y} g]")
    said = sentence(tree, lambda name: name.name, frozenset(slots), Random(seed))
    assert said is not None
    matched = re.fullmatch(pattern(tree, lambda name: f"{name} ", "en"), " ".join(said) + " ")
    assert matched
    assert {slot for slot, words in matched.groupdict().items() if words} == slots
