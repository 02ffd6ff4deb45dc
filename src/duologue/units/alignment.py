"""When each letter was said: the likeliest path of CTC through what is known to have been said (Graves et al. 2006)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLANK = 0


def last_steps(log_odds: NDArray[np.float32], letters: Sequence[int]) -> NDArray[np.int64] | None:
    """The last step at which each of the letters is written, [L], on the likeliest path: log odds [S, letters + 1],
    blank first. None where so many letters have no room in so few steps."""
    if not len(letters) or len(log_odds) < len(letters):
        return None if len(letters) else np.zeros(0, np.int64)
    states = np.full(2 * len(letters) + 1, BLANK)
    states[1::2] = letters
    may_skip = np.zeros(len(states), np.bool_)
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    score, came = np.full(len(states), -np.inf), np.zeros((len(log_odds), len(states)), np.int8)
    score[:2] = log_odds[0, states[:2]]
    for step in range(1, len(log_odds)):
        by = np.stack([score, _later(score, 1), np.where(may_skip, _later(score, 2), -np.inf)])
        came[step] = by.argmax(0)
        score = by.max(0) + log_odds[step, states]
    if np.isneginf(max(score[-1], score[-2])):
        return None
    return _ends(came, len(states) - 1 - int(score[-2] > score[-1]))


def _later(score: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    return np.concatenate([np.full(by, -np.inf), score[:-by]])


def _ends(came: NDArray[np.int8], state: int) -> NDArray[np.int64]:
    last = np.full(came.shape[1] // 2, -1)
    for step in range(len(came) - 1, -1, -1):
        if state % 2 and last[state // 2] < 0:
            last[state // 2] = step
        state -= int(came[step, state])
    return last
