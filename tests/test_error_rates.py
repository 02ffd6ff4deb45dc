"""Word and character errors: the stated normalisers, the corpus rate, and a slow alignment as twin."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.evaluate.quality import (
    CHARACTERS,
    PLAIN,
    ZH,
    ZH_SPOKEN,
    Errors,
    Normaliser,
    error_rate,
    errors,
    plain,
    whisper_english,
)

laws = settings()

TEXT = st.text("ab'’ -—.,?!$5é我你 \n", max_size=12)


def slow_distance(true: tuple[str, ...], heard: tuple[str, ...]) -> int:
    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        change = distance(i - 1, j - 1) + (true[i - 1] != heard[j - 1])
        return min(change, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(true), len(heard))


@pytest.mark.parametrize("normaliser", [PLAIN, CHARACTERS, ZH], ids=lambda n: n.name)
@laws
@given(reference=TEXT, hypothesis=TEXT)
def test_errors_are_the_fewest_edits(normaliser: Normaliser, reference: str, hypothesis: str) -> None:
    true, heard = normaliser.tokens(reference), normaliser.tokens(hypothesis)
    found = errors(reference, hypothesis, normaliser)
    assert found.substituted + found.deleted + found.inserted == slow_distance(tuple(true), tuple(heard))
    assert found.reference_tokens == len(true)
    assert len(heard) - len(true) == found.inserted - found.deleted


@laws
@given(TEXT)
def test_plain_is_plain_already(text: str) -> None:
    assert plain(plain(text)) == plain(text)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("It's 5 o'clock.", "its five o clock", Errors(3, 0, 1, 3)),
        ("well-known", "well known", Errors(0, 0, 0, 2)),
        ("", "uh", Errors(0, 0, 1, 0)),
        ("It’s", "it's", Errors(0, 0, 0, 1)),
        ("‘Rock’ — and ROLL!", "rock and roll", Errors(0, 0, 0, 3)),
    ],
)
def test_english_words(reference: str, hypothesis: str, expected: Errors) -> None:
    assert errors(reference, hypothesis) == expected


def test_mandarin_characters_and_latin_runs() -> None:
    assert ZH.tokens("我有2个iPhone。") == ["我", "有", "2", "个", "iphone"]
    assert errors("我有2个iPhone。", "我有两个iphone", ZH) == Errors(1, 0, 0, 5)
    assert errors("Hello 世界", "hello世界", ZH) == Errors(0, 0, 0, 3)
    assert ZH.tokens("你好，世界！Ｏ１") == ["你", "好", "世", "界", "o1"]


def test_mandarin_numbers_may_be_spoken() -> None:
    assert ZH_SPOKEN.tokens("25 3.5 ００7号") == list("二十五三点五零零七号")
    assert ZH_SPOKEN.tokens("1" * 13) == list("一" * 13)
    assert errors("一共25块", "一共二十五块", ZH_SPOKEN).rate == 0
    assert errors("一共25块", "一共二十五块", ZH).rate == 3 / 4


def test_whispers_normaliser_knows_fillers_contractions_and_numbers() -> None:
    normaliser = whisper_english()
    assert errors("Um, I won't pay twenty-five dollars [laughs]", "I will not pay $25", normaliser).rate == 0
    assert errors("my colour", "my color", normaliser).rate == 0.5
    assert errors("my colour", "my color", whisper_english({"colour": "color"})).rate == 0
    assert normaliser.name != whisper_english({"colour": "color"}).name


def test_the_rate_is_of_the_corpus() -> None:
    found = error_rate([("one two three four", "one two three"), ("five", "six"), ("", "uh")])
    assert found.errors == Errors(1, 1, 1, 5)
    assert found.rate.value == 3 / 5
    assert (found.utterances, found.normaliser) == (3, "plain")
    assert error_rate([("", "uh")]).rate.value is None
    assert error_rate([]).errors.rate is None


def test_the_interval_holds_the_rate_and_repeats() -> None:
    pairs = [("a b c d", "a b c d" if i % 3 else "a x c d") for i in range(60)]
    found = error_rate(pairs, seed=1)
    assert found == error_rate(pairs, seed=1)
    assert found.rate.low is not None
    assert found.rate.high is not None
    assert found.rate.low < 1 / 12 < found.rate.high
