"""When people take turns: quantiles from 2,438 calls of Switchboard, 259 hours of American English by telephone.

Offsets and gaps are in onset order with listed back-channels taken out (`turn_taking.onset_order`); pauses are the
silences above 200 ms between the words of one turn. The tails (offsets beyond 2 s, gaps above 1.5 s, overlaps below
-2 s) owe much to that order: calibrate on the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_AT = (0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Quantiles:
    """A distribution in seconds: its least value, fifteen quantiles from p1 to p99, its largest value; straight in
    between. Where the extremes are not known, what lies beyond p1 and p99 is taken to lie at them."""

    values_s: tuple[float, ...]
    least_s: float | None = None
    most_s: float | None = None

    def __call__(self, p: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Values in seconds at probabilities in [0, 1]; draws where `p` is drawn evenly from it."""
        least_s = self.values_s[0] if self.least_s is None else self.least_s
        most_s = self.values_s[-1] if self.most_s is None else self.most_s
        return np.asarray(np.interp(p, (0.0, *_AT, 1.0), (least_s, *self.values_s, most_s)))

    @cached_property
    def sample(self) -> NDArray[np.float64]:
        """1000 values that stand for the distribution, in order."""
        return self((np.arange(1000) + 0.5) / 1000)


BODY_S = (-2.0, 3.0)
"""Offsets within this range are the body: 94 % of them."""

# fmt: off
HUMAN: dict[str, Quantiles] = {
    "fto": Quantiles(
        (-4.37, -1.92, -1.08, -0.48, -0.35, -0.23, -0.04, 0.09, 0.20, 0.34, 0.42, 0.54, 0.99, 1.67, 3.82)),
    "fto_body": Quantiles(
        (-1.76, -1.14, -0.75, -0.38, -0.28, -0.18, -0.01, 0.11, 0.21, 0.34, 0.42, 0.53, 0.92, 1.41, 2.43), *BODY_S),
    "pause": Quantiles(
        (0.21, 0.23, 0.26, 0.32, 0.35, 0.38, 0.44, 0.51, 0.59, 0.70, 0.76, 0.85, 1.11, 1.41, 2.38), 0.2, 3.0),
    "gap": Quantiles(
        (0.01, 0.04, 0.07, 0.14, 0.17, 0.20, 0.27, 0.36, 0.47, 0.63, 0.74, 0.89, 1.53, 2.34, 4.59), 0.0),
    "gap_within_1s": Quantiles(
        (0.01, 0.03, 0.06, 0.12, 0.14, 0.17, 0.22, 0.28, 0.35, 0.44, 0.50, 0.56, 0.72, 0.84, 0.97), 0.0, 1.0),
    "overlap": Quantiles(
        (-5.53, -3.16, -2.14, -1.24, -1.00, -0.83, -0.59, -0.44, -0.33, -0.23, -0.19, -0.15, -0.07, -0.03, -0.01),
        most_s=0.0),
}
# fmt: on
"""Seconds. `overlap` is the negative offsets, `gap` the positive ones."""
