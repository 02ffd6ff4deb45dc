"""Samples compared: spread, Wasserstein-1, Pearson's r, Jensen-Shannon; how sure one can be. Undefined is None."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """`n` values: mean and quantiles, in the values' unit; None where there is no value."""

    n: int
    mean: float | None
    p10: float | None
    p50: float | None
    p90: float | None
    p99: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if not len(values):
            return cls(0, None, None, None, None, None)
        numbers = np.asarray(values, np.float64)
        p10, p50, p90, p99 = np.quantile(numbers, (0.1, 0.5, 0.9, 0.99)).tolist()
        return cls(len(numbers), float(numbers.mean()), p10, p50, p90, p99)


def wasserstein_1(a: ArrayLike, b: ArrayLike) -> float | None:
    """Area between the two empirical distribution functions, in the unit of the samples [N] and [M]."""
    a, b = np.sort(np.asarray(a, np.float64)), np.sort(np.asarray(b, np.float64))
    if not len(a) or not len(b):
        return None
    at = np.sort(np.concatenate((a, b)))
    below_a = np.searchsorted(a, at[:-1], side="right") / len(a)
    below_b = np.searchsorted(b, at[:-1], side="right") / len(b)
    return float(np.abs(below_a - below_b) @ np.diff(at))


def pearson(x: Sequence[float | None], y: Sequence[float | None]) -> float | None:
    """Correlation over the pairs with both members defined; None with fewer than two, or a constant."""
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    if len(pairs) < 2:
        return None
    one, other = np.array(pairs, dtype=np.float64).T
    if not np.ptp(one) or not np.ptp(other):
        return None
    return float(np.clip(np.corrcoef(one, other)[0, 1], -1, 1))


def jensen_shannon_bits(p: NDArray[np.float64], q: NDArray[np.float64]) -> float | None:
    """Divergence of two histograms [T] after normalising, 0 to 1 bit; None when one of them is empty."""
    if not p.sum() or not q.sum():
        return None
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    return (_relative_bits(p, middle) + _relative_bits(q, middle)) / 2


def _relative_bits(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    some = p > 0
    return float(p[some] @ np.log2(p[some] / q[some]))


# ---------------------------------------------------------------- how sure


@dataclass(frozen=True)
class Interval:
    """A figure with its percentile bootstrap interval. `low` and `high` are None with fewer than two items, where
    nothing can be said; `defined` counts the resamples in which the figure exists."""

    value: float | None
    low: float | None
    high: float | None
    defined: int


def bootstrap(
    items: Sequence[T],
    statistic: Callable[[Sequence[T]], float | None],
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """`statistic(items)` and where it falls when the items (recordings, utterances) are drawn anew."""
    value = statistic(items)
    if value is None or len(items) < 2:
        return Interval(value, None, None, 0)
    rng = np.random.default_rng(seed)
    drawn = (statistic([items[i] for i in rng.integers(len(items), size=len(items))]) for _ in range(resamples))
    values = [v for v in drawn if v is not None]
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2)).tolist() if values else (None, None)
    return Interval(value, low, high, len(values))
