"""What the nano LLaMA-Omni is taught: questions that nobody spoke, and in which rows the units of a word lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from duologue.data.encode import Stretch
from duologue.units.nano_ears import WordEars
from small_llama import tiny
from small_units import codec
from test_recipes import recipe


class Ends:
    """An aligner that was told where words end, and what it was asked."""

    def __init__(self, *ends: int) -> None:
        self.ends, self.asked = list(ends), list[tuple[str, ...]]()

    def word_ends(self, codes: Tensor, words: Sequence[str]) -> list[int]:
        self.asked.append(tuple(words))
        return self.ends


def labels(text: str, units: Sequence[int], *ends: int) -> list[list[int]]:
    """Of each token's four rows, those that are no blanks."""
    model, aligner = tiny(labels=4), Ends(*ends)
    example = {"tokens": np.array(model.ids_of(text)), "units": np.array(units)}
    found = recipe("llama_omni").Placing(model, aligner)(example).reshape(-1, 4)
    return [[int(label) for label in row if label != model.speech.blank] for row in found]


def test_the_units_of_a_word_lie_in_its_rows() -> None:
    assert labels("two plus four .", [1, 2, 3, 4, 5, 6, 7, 8], 1, 4, 6) == [[1, 2], [3, 4, 5], [6, 7], [8]]


def test_what_has_no_room_begins_earlier_or_goes_on_later() -> None:
    assert labels("two plus four .", range(9), 1, 7, 8) == [[0, 1, 2, 3], [4, 5, 6, 7], [8], []]
    assert labels("two plus four .", range(8), 0, 5, 7) == [[0, 1], [2, 3, 4, 5], [6, 7], []]


def test_calls_and_ends_are_not_spoken() -> None:
    assert labels("four . <call> set timer </call>", [1, 2, 3], 1) == [[1, 2], [3], [], [], [], []]
    assert labels("four . <|end|>", [1, 2, 3], 1) == [[1, 2], [3], []]


def test_words_are_aligned_once() -> None:
    model, aligner = tiny(labels=4), Ends(1, 2)
    place = recipe("llama_omni").Placing(model, aligner)
    for _ in range(3):
        place({"tokens": np.array(model.ids_of("two four")), "units": np.array([1, 2, 3])})
    assert aligner.asked == [("two", "four")]


@pytest.mark.parametrize(
    ("units", "expected"),
    [((3, 3, 0, 0, 0), (3, 3, 0)), ((0, 0, 3, 0), (0, 0, 3, 0)), ((0, 0), (0,)), ((), ())],
)
def test_units_of_all_sources_end_alike(
    units: tuple[int, ...], expected: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the dialogues, and those of sound files; an answer that is cut is not spoken."""
    llama_omni, stretch = recipe("llama_omni"), Stretch("assistant", 0, units, "two")
    monkeypatch.setattr(llama_omni, "units_of", lambda audio, tokenizer: np.array(units, np.int64))
    words = np.zeros((1, 64), np.float16)
    told = [recipe("nano_ears").HeardExchange([], words, one) for one in (stretch, replace(stretch, cut=True))]
    monkeypatch.setattr(llama_omni, "conversations", lambda *_: [told])
    assert llama_omni.codec_units(codec())(np.zeros(9, np.float32)) == expected
    ((whole, cut),) = llama_omni.heard(None, Path(), "", [])
    assert (whole.units, cut.units) == (expected, ())


@pytest.mark.parametrize(("asked", "known"), [("two four", True), ("two seven", False)])
def test_questions_that_nobody_spoke_are_heard_clearly(asked: str, known: bool) -> None:
    ears = tiny().ears
    assert isinstance(ears, WordEars)
    lessons = list(recipe("llama_omni").clearly(ears, [(asked, "four")]))
    assert len(lessons) == known
    if known:
        torch.testing.assert_close(torch.from_numpy(lessons[0][0].asked).float(), ears.vectors, atol=1e-2, rtol=1e-2)
