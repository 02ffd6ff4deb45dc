"""Turn-taking by token: does the assistant take the turn, and yield it, within K tokens?

OmniFlatten (arXiv 2410.17799) asks for the assistant's token K after the user's last (or first) meaningful one.
Read by the word (`exact`) a short answer that is over by K is wrong and a breath is a stop, so a second reading
stands beside it (`within`): the answer has begun, or sound has stopped for 200 ms, at K or before. Beyond the ends
of a lane is silence. A lane is [S] booleans: is the assistant's token sound?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KS = (1, 5, 10, 25)
TOKEN_MS = 40
FAIL_AFTER_MS = 1500
"""A switch later than this is a failure."""

HOLD_TOKENS = 5
"""Silent tokens in a row that are a stop rather than a breath."""


@dataclass(frozen=True)
class Switch:
    """One moment at which the assistant should have begun to speak, or stopped.

    `switch_k` is how many tokens after the user's it did, None where it did not. `early`: it was already speaking
    when the user ended, which is no success. `tested` is False where it was silent when the user came in: there was
    nothing to yield.
    """

    exact: Mapping[int, bool]
    within: Mapping[int, bool]
    switch_k: int | None
    token_ms: int
    early: bool = False
    tested: bool = True

    @property
    def success(self) -> bool:
        return self.switch_k is not None and self.switch_k * self.token_ms <= FAIL_AFTER_MS

    @property
    def response_ms(self) -> int | None:
        """Stream time from the user's token; None for a failure."""
        return self.switch_k * self.token_ms if self.switch_k is not None and self.success else None


def takes_turn(
    lane: NDArray[np.bool_], last_user_token: int, token_ms: int = TOKEN_MS, ks: Sequence[int] = KS
) -> Switch:
    """Does the assistant speak after the user's last meaningful token?"""
    sound = _padded(lane, last_user_token, ks)[HOLD_TOKENS + last_user_token :]
    early = bool(sound[0])
    onset_k = None if early else _first(sound[1:])
    return Switch(_at(sound, ks), _by(onset_k, ks), onset_k, token_ms, early=early)


def yields(lane: NDArray[np.bool_], first_user_token: int, token_ms: int = TOKEN_MS, ks: Sequence[int] = KS) -> Switch:
    """Does the assistant fall silent after the user's first meaningful token? One that was silent then, and not
    just for a breath, has nothing to yield."""
    silent = np.logical_not(_padded(lane, first_user_token, ks))
    runs = np.lib.stride_tricks.sliding_window_view(silent, HOLD_TOKENS)
    holds = np.logical_and.reduce(runs, axis=1)
    here = HOLD_TOKENS + first_user_token
    tested = not holds[here - HOLD_TOKENS + 1 : here + 1].any()
    stop_k = _first(holds[here + 1 :]) if tested else None
    return Switch(_at(silent[here:], ks), _by(stop_k, ks), stop_k, token_ms, tested=tested)


def _padded(lane: NDArray[np.bool_], token: int, ks: Sequence[int]) -> NDArray[np.bool_]:
    """The lane with silence on both sides: `HOLD_TOKENS` before it, enough after it to look at every K."""
    if token < 0:
        raise ValueError(f"the user's token is a position in the lane, 0 or later, not {token}")
    after = HOLD_TOKENS + max(0, token + max(ks) + 1 - len(lane))
    return np.pad(np.asarray(lane, np.bool_), (HOLD_TOKENS, after))


def _first(true: NDArray[np.bool_]) -> int | None:
    """Position of the first True, counted from 1."""
    return int(true.argmax()) + 1 if true.any() else None


def _at(reached: NDArray[np.bool_], ks: Sequence[int]) -> dict[int, bool]:
    return {k: bool(reached[k]) for k in ks}


def _by(switch_k: int | None, ks: Sequence[int]) -> dict[int, bool]:
    return {k: switch_k is not None and switch_k <= k for k in ks}


# ---------------------------------------------------------------- over many


@dataclass(frozen=True)
class Accuracy:
    """Shares in percent of `n` tested switches, by K and in both readings. The mean is over successes alone;
    `early` ones are failures, `untested` ones are left out."""

    n: int
    exact: Mapping[int, float | None]
    within: Mapping[int, float | None]
    success: float | None
    mean_response_ms: float | None
    early: int
    untested: int


def accuracy(switches: Sequence[Switch], ks: Sequence[int] = KS) -> Accuracy:
    """One row of the table, over switches of one kind."""
    tested = [s for s in switches if s.tested]
    times = [s.response_ms for s in tested if s.response_ms is not None]
    return Accuracy(
        n=len(tested),
        exact={k: _percent([s.exact[k] for s in tested]) for k in ks},
        within={k: _percent([s.within[k] for s in tested]) for k in ks},
        success=_percent([s.success for s in tested]),
        mean_response_ms=float(np.mean(times)) if times else None,
        early=sum(s.early for s in tested),
        untested=len(switches) - len(tested),
    )


def _percent(flags: list[bool]) -> float | None:
    return 100 * sum(flags) / len(flags) if flags else None
