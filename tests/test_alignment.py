"""The likeliest path of CTC through known letters, against all paths there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from duologue.units.alignment import BLANK, last_steps

LETTERS = 3


def log_odds(seed: int, steps: int) -> NDArray[np.float32]:
    """Log probabilities of the blank and the letters: no two paths are equally likely."""
    scores = np.random.default_rng(seed).normal(size=(steps, LETTERS + 1))
    odds: NDArray[np.float32] = (scores - np.log(np.exp(scores).sum(1, keepdims=True))).astype(np.float32)
    return odds


def read(path: tuple[int, ...]) -> list[tuple[int, int]]:
    """What a path says: each letter with the last step at which it is written."""
    found: list[tuple[int, int]] = []
    for step, letter in enumerate(path):
        if letter == BLANK:
            continue
        if step and path[step - 1] == letter:
            found[-1] = (letter, step)
        else:
            found.append((letter, step))
    return found


def slow(odds: NDArray[np.float32], letters: list[int]) -> list[int] | None:
    """Of all paths that say the letters, the likeliest one."""
    paths = [
        path
        for path in product(range(LETTERS + 1), repeat=len(odds))
        if [letter for letter, _ in read(path)] == letters
    ]
    if not paths:
        return None
    best = max(paths, key=lambda path: sum(float(odds[step, letter]) for step, letter in enumerate(path)))
    return [step for _, step in read(best)]


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 6), st.lists(st.integers(1, LETTERS), max_size=5))
def test_the_last_steps_are_those_of_the_likeliest_of_all_paths(seed: int, steps: int, letters: list[int]) -> None:
    odds = log_odds(seed, steps)
    fast, twin = last_steps(odds, letters), slow(odds, letters)
    assert (None if fast is None else fast.tolist()) == twin


@pytest.mark.parametrize(
    ("letters", "least"), [([1], 1), ([1, 2, 3], 3), ([1, 1], 3), ([2, 2, 2], 5), ([1, 2, 2, 1], 5), ([], 1)]
)
def test_letters_need_a_step_each_and_one_between_equal_ones(letters: list[int], least: int) -> None:
    assert last_steps(log_odds(0, least), letters) is not None
    if least > 1:
        assert last_steps(log_odds(0, least - 1), letters) is None


def test_where_there_is_no_sound_there_is_room_for_no_letter() -> None:
    nothing = np.zeros((0, LETTERS + 1), np.float32)
    assert last_steps(nothing, [1]) is None
    none = last_steps(nothing, [])
    assert none is not None
    assert none.tolist() == []


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.lists(st.integers(1, LETTERS), min_size=1, max_size=40))
def test_long_ones_are_found_where_they_were_put(seed: int, letters: list[int]) -> None:
    """A sure recogniser: each letter is certain for a few steps, blanks are between them."""
    draw, path, lasts = np.random.default_rng(seed), list[int](), list[int]()
    for letter in letters:
        path += [BLANK] * int(draw.integers(1, 4)) + [letter] * int(draw.integers(1, 4))
        lasts.append(len(path) - 1)
    odds = np.full((len(path) + 2, LETTERS + 1), np.log(0.01), np.float32)
    odds[np.arange(len(odds)), [*path, BLANK, BLANK]] = np.log(0.97)
    found = last_steps(odds, letters)
    assert found is not None
    assert found.tolist() == lasts
