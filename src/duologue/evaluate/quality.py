"""Are the words right? Word and character error rates over a corpus, with the normaliser named.

The rate is the sum of errors over the sum of reference tokens; an utterance with an empty reference has no rate of
its own, but what was heard in it still counts as inserted. Alignment by jiwer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import jiwer

from duologue.desk import numbers
from duologue.evaluate.distribution import Interval, bootstrap

# ---------------------------------------------------------------- normalisers


@dataclass(frozen=True)
class Normaliser:
    """How a text becomes tokens, and the name under which every table states it."""

    name: str
    tokens: Callable[[str], list[str]]


_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_INSIDE_A_WORD = re.compile(r"(?<=[^\W_])'(?=[^\W_])")
_HAN_OR_RUN = re.compile(f"[{_HAN}]|[^\\s{_HAN}]+")


def plain(text: str) -> str:
    """NFKC, lower case, punctuation and symbols dropped (an apostrophe inside a word kept, a dash made a space),
    white space folded."""
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    inside = {match.start() for match in _INSIDE_A_WORD.finditer(text)}
    return " ".join("".join(c if i in inside else _kept(c) for i, c in enumerate(text)).split())


def _kept(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Pd":
        return " "
    return "" if category[0] in "PSC" and not character.isspace() else character


PLAIN = Normaliser("plain", lambda text: plain(text).split())
"""English words."""

CHARACTERS = Normaliser("characters", lambda text: list(plain(text).replace(" ", "")))
"""Characters of `plain`, spaces left out: the CER of English."""

ZH = Normaliser("zh", lambda text: _HAN_OR_RUN.findall(plain(text)))
"""Mandarin: each character of `plain`, and each run of Latin letters and digits, is a token. Digits stay digits."""

ZH_SPOKEN = Normaliser("zh, numbers spoken", lambda text: ZH.tokens(_spoken(text)))
"""The same with numbers in words first: 25 is 二十五, 3.5 is 三点五, 007 is 零零七."""


def _spoken(text: str) -> str:
    return re.sub(r"([0-9]+)(?:\.([0-9]+))?", _in_words, unicodedata.normalize("NFKC", text))


def _in_words(number: re.Match[str]) -> str:
    whole, part = number.groups()
    as_digits = len(str(int(whole))) < len(whole) or int(whole) >= numbers.LIMIT
    words = numbers.say_digits(whole, "zh") if as_digits else numbers.say(int(whole), "zh")
    return f"{words}点{numbers.say_digits(part, 'zh')}" if part else words


def whisper_english(spelling: Mapping[str, str] | None = None) -> Normaliser:
    """transformers' normaliser of Whisper: brackets, fillers, contractions, numbers. British spelling is folded by
    `spelling`, which a Whisper tokenizer carries (`WhisperTokenizer.english_spelling_normalizer`); without it the
    name says so."""
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normalise = EnglishTextNormalizer(dict(spelling or {}))
    name = "whisper_en" if spelling else "whisper_en (spelling as it is)"
    return Normaliser(name, lambda text: str(normalise(text)).split())


# ---------------------------------------------------------------- error rates


@dataclass(frozen=True)
class Errors:
    """Against `reference_tokens` tokens: how many were substituted, deleted, inserted."""

    substituted: int = 0
    deleted: int = 0
    inserted: int = 0
    reference_tokens: int = 0

    @property
    def rate(self) -> float | None:
        """Errors by reference token, above 1 where much is inserted; None without a reference."""
        wrong = self.substituted + self.deleted + self.inserted
        return wrong / self.reference_tokens if self.reference_tokens else None

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.substituted + other.substituted,
            self.deleted + other.deleted,
            self.inserted + other.inserted,
            self.reference_tokens + other.reference_tokens,
        )


def errors(reference: str, hypothesis: str, normaliser: Normaliser = PLAIN) -> Errors:
    """Of one utterance."""
    true, heard = normaliser.tokens(reference), normaliser.tokens(hypothesis)
    if not true:
        return Errors(inserted=len(heard))
    found = jiwer.process_words(" ".join(true), " ".join(heard))
    return Errors(found.substitutions, found.deletions, found.insertions, len(true))


@dataclass(frozen=True)
class ErrorRate:
    """Of a corpus, with its interval over utterances and the name of the normaliser."""

    errors: Errors
    rate: Interval
    utterances: int
    normaliser: str


def error_rate(pairs: Iterable[tuple[str, str]], normaliser: Normaliser = PLAIN, seed: int = 0) -> ErrorRate:
    """Of (reference, hypothesis) pairs: word errors, or character errors, as the normaliser cuts."""
    each = [errors(reference, hypothesis, normaliser) for reference, hypothesis in pairs]
    rate = bootstrap(each, lambda drawn: _total(drawn).rate, seed)
    return ErrorRate(_total(each), rate, len(each), normaliser.name)


def _total(each: Sequence[Errors]) -> Errors:
    return sum(each, Errors())
