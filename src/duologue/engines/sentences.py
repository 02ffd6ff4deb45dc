"""Cutting a reply into pieces for synthesis while it is still being written, in English and Mandarin.

A piece is out as soon as the first character of the next one was read, and the pieces do not depend on how the text
arrives. Joined without white space they are the text without white space.
"""

from __future__ import annotations

import re

_MARKS = ".!?…。！？；"
_CLOSERS = "\"'”’)]}」』）】》〉"
_END = re.compile(rf"\n|[{_MARKS}][{_MARKS}{re.escape(_CLOSERS)}]*")
_CHINESE = re.compile(r"[\u2e80-\u2fff\u3040-\u9fff\uf900-\ufaff]")
_OPEN_CHINESE = "，、：—"

_BEFORE_A_NAME = frozenset(
    "dr mr mrs ms prof st mt gen col lt capt sgt rev hon gov sen rep pres e.g i.e eg ie cf vs viz al ca approx".split()
)
_BEFORE_A_NUMBER = frozenset(
    "no nos nr vol ch pp p sec fig eq jan feb mar apr jun jul aug sep sept oct nov dec".split()
)


class SentenceCutter:
    """Text in, as it comes; pieces out.

    `first_comma_after`: the first piece may also end at a comma once it has so many characters, so that speaking
    starts earlier; None never does.
    """

    def __init__(self, first_comma_after: int | None = None) -> None:
        self._text = ""
        self._comma_after = first_comma_after

    def push(self, text: str) -> list[str]:
        """The pieces that are known to be complete with `text`."""
        self._text += text
        return self._cut(final=False)

    def flush(self) -> list[str]:
        """The text has ended: what is left."""
        pieces = self._cut(final=True)
        rest, self._text = self._text.strip(), ""
        return [*pieces, rest] if rest else pieces

    def _cut(self, final: bool) -> list[str]:
        pieces = []
        while (end := self._first_end(final)) is not None:
            piece, self._text = self._text[:end].strip(), self._text[end:]
            if piece:
                pieces.append(piece)
                self._comma_after = None
        return pieces

    def _first_end(self, final: bool) -> int | None:
        """Where the first piece of the text ends; None while that cannot be told."""
        for mark in _END.finditer(self._text):
            following = self._text[mark.end() :]
            if not following.strip() and "\n" not in following and mark.group() != "\n" and not final:
                return self._comma(mark.start())
            if _is_end(self._text[: mark.start()], mark.group(), following):
                return self._comma(mark.start()) or mark.end()
        return self._comma(len(self._text))

    def _comma(self, before: int) -> int | None:
        if self._comma_after is None:
            return None
        comma = re.compile(r",(?=\s)|，").search(self._text, self._comma_after, before)
        return comma.end() if comma else None


def cut(text: str) -> list[str]:
    """The pieces of a whole text."""
    cutter = SentenceCutter()
    return cutter.push(text) + cutter.flush()


def _is_end(before: str, mark: str, following: str) -> bool:
    """Does a piece end with `mark`, given the text before it and at least one character that follows?"""
    gap, following = _leading_space(following)
    if mark == "\n" or "\n" in gap:
        return True
    bare = mark.rstrip(_CLOSERS)
    if set(bare) <= {".", "…"} and bare != ".":
        return not following or following[0].isupper()
    if any(character in "。！？；" for character in bare):
        return not following.startswith(tuple(_OPEN_CHINESE))
    if following and not gap and not _CHINESE.match(following):
        return False
    if following[:1].islower():
        return False
    return bare != "." or not _is_abbreviation(before, following)


def _leading_space(text: str) -> tuple[str, str]:
    bare = text.lstrip()
    return text[: len(text) - len(bare)], bare


def _is_abbreviation(before: str, following: str) -> bool:
    """Is the full stop after `before` part of an abbreviation, an initial or a list number?"""
    sentence = before.lstrip()
    if sentence.isdigit():
        return bool(following)
    word = re.split(r"[\s(\[\"'“‘（]", sentence)[-1]
    if word.lower() in _BEFORE_A_NAME:
        return True
    if word.lower() in _BEFORE_A_NUMBER:
        return following[:1].isdigit()
    return _is_initial(word, sentence)


def _is_initial(word: str, sentence: str) -> bool:
    """J. K. Rowling, U.S. Navy; but "It is I." ends."""
    if not re.fullmatch(r"(?:[A-Z]\.)*[A-Z]", word):
        return False
    return word != "I" or bool(re.search(r"[A-Z]\.\s+I$", sentence))
