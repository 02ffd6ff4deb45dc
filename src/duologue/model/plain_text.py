"""What people say and write, for a tokenizer that has marks: nobody's words are a mark, not even `<|im_end|>`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any


class Mark(str):
    """Text of our own, in which the tokenizer's marks are marks."""


def plain_ids(words: Any, text: str) -> list[int]:
    """Ids of a text, in which what looks like a mark of the tokenizer's is letters: it is read in two pieces."""
    marks = [mark for mark in words.get_added_vocab() if mark in text]
    cuts = {found.start() + 1 for mark in marks for found in re.finditer(f"(?={re.escape(mark)})", text)}
    pieces = [text[start:end] for start, end in pairwise([0, *sorted(cuts), len(text)])]
    return [token for piece in pieces if piece for token in words(piece, add_special_tokens=False).input_ids]


def marked_ids(words: Any, pieces: Iterable[str]) -> list[int]:
    """Ids of pieces, each read for itself: each `Mark` with its marks, all others plain."""
    ids = list[int]()
    for piece in pieces:
        mark = isinstance(piece, Mark)
        ids += words(piece, add_special_tokens=False).input_ids if mark and piece else plain_ids(words, piece)
    return ids
