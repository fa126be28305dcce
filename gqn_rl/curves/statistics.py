"""Statistics over seeds: interquartile mean, stratified bootstrap, first crossings and areas.

Notation: `n` seeds, `T` evaluations, `R` bootstrap resamples. Follows Agarwal et al., "Deep reinforcement learning at
the edge of the statistical precipice" (2021): a cell of the comparison is a stratum, and its seeds are resampled with
replacement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.integrate import trapezoid

NUM_RESAMPLES = 2000
LEVEL = 0.95
FEW_SEEDS = 5
"""Below this many seeds there is no interval: a bootstrap over so few covers the truth far too rarely."""


class Estimate(NamedTuple):
    """A value and its bootstrap interval; NaN bounds when there is no interval (fewer than `FEW_SEEDS` seeds)."""

    value: float
    low: float
    high: float


def iqm(values: np.ndarray) -> np.ndarray:
    """Returns the mean over the first axis [n, ...] of what is left without the lowest and the highest quarter.

    `floor(n / 4)` values go at each end, as in `scipy.stats.trim_mean`, so up to three seeds give the plain mean.

    >>> float(iqm(np.array([0.0, 1.0, 3.0, 100.0])))
    2.0
    """
    cut = len(values) // 4
    return np.sort(values, axis=0)[cut : len(values) - cut].mean(axis=0)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Runs of one cell with their episodes: a stratum whose agents hang together by encoder, and all by their episodes.

    A resample draws encoders, then agents of each, and once for all strata the episodes that everybody is judged by.

    Attributes:
        values: of every run and episode, float64 [n, ..., E].
        encoders: a name for each run's encoder, [n].
    """

    values: np.ndarray
    encoders: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    def mean(self) -> np.ndarray:
        """Returns the runs' means over episodes, float64 [n, ...]."""
        return self.values.mean(axis=-1)

    def draw(self, rng: np.random.Generator, episodes: np.ndarray) -> np.ndarray:
        """Returns a resample, float64 [m, ...], judged by these `episodes`, int [E]."""
        names = sorted(set(self.encoders))
        drawn = [names[i] for i in rng.integers(len(names), size=len(names))] if len(names) > 1 else names
        agents = [np.flatnonzero([encoder == name for encoder in self.encoders]) for name in drawn]
        chosen = np.concatenate([some[rng.integers(len(some), size=len(some))] for some in agents])
        weights = np.bincount(episodes, minlength=len(episodes)) / len(episodes)
        return self.values[chosen] @ weights


Stratum = np.ndarray | Sample
"""Runs of one cell: an array [n, ...] of independent ones, or a `Sample`."""


def beside(left: Stratum, right: Stratum) -> Stratum:
    """Puts the columns of two strata of the same runs side by side, [n, a] and [n, b] to [n, a + b]."""
    if isinstance(left, Sample) and isinstance(right, Sample) and left.values.shape[-1] == right.values.shape[-1]:
        return Sample(np.concatenate([left.values, right.values], axis=1), left.encoders)
    return np.column_stack([s.mean() if isinstance(s, Sample) else s for s in (left, right)])


def _resamples(strata: Sequence[Stratum], rng: np.random.Generator) -> list[np.ndarray]:
    """Draws each stratum once; samples with equally many episodes share them."""
    numbers = {s.values.shape[-1] for s in strata if isinstance(s, Sample)}
    episodes = {number: rng.integers(number, size=number) for number in sorted(numbers)}
    return [
        s.draw(rng, episodes[s.values.shape[-1]]) if isinstance(s, Sample) else s[rng.integers(len(s), size=len(s))]
        for s in strata
    ]


def bootstrap(statistic: Callable, strata: Sequence[Stratum], seed: int) -> np.ndarray | None:
    """Returns `statistic(*strata)` on resampled strata, float64 [R, ...]; None where one has fewer than `FEW_SEEDS`.

    Args:
        statistic: takes one array [n_i, ...] for each stratum.
        strata: arrays [n_i, ...] or samples; runs are resampled within their own stratum.
        seed: of the resampling, which begins anew with every call: no interval depends on what else is computed.
    """
    if min(len(stratum) for stratum in strata) < FEW_SEEDS:
        return None
    rng = np.random.default_rng(seed)
    return np.stack([statistic(*_resamples(strata, rng)) for _ in range(NUM_RESAMPLES)])


def percentile_interval(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bounds between which the middle `LEVEL` of `samples` [R, ...] lies; infinities are allowed."""
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(samples, tails, axis=0, method="inverted_cdf")
    return low, high


def estimate(statistic: Callable, strata: Sequence[Stratum], seed: int) -> Estimate:
    """Returns a scalar statistic of the strata with its interval.

    A resample may leave the statistic undefined (NaN: neither agent got there); when more than the tails' share of them
    do, there is no interval.
    """
    value = float(statistic(*(s.mean() if isinstance(s, Sample) else s for s in strata)))
    samples = bootstrap(statistic, strata, seed)
    if samples is None or np.isnan(value) or np.isnan(samples).mean() > 1 - LEVEL:
        return Estimate(value, np.nan, np.nan)
    low, high = percentile_interval(samples[~np.isnan(samples)])
    return Estimate(value, float(low), float(high))


def on_common_grid(xs: Sequence[np.ndarray], ys: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates curves linearly on every x that one of them has and all of them cover.

    Returns:
        The grid, float64 [T], and the curves on it, float64 [n, T]; T is 0 when the curves share no stretch of x.
    """
    start, stop = max(x[0] for x in xs), min(x[-1] for x in xs)
    grid = np.unique(np.concatenate(xs))
    grid = grid[(grid >= start) & (grid <= stop)]
    return grid, np.stack([np.interp(grid, x, y) for x, y in zip(xs, ys, strict=True)])


def first_crossing(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Returns the x at which y first reaches `level`, linear between points; infinity when it never does.

    NaN where `level` is NaN.

    >>> first_crossing(np.array([0.0, 10.0]), np.array([0.0, 100.0]), 80)
    8.0
    """
    if np.isnan(level):
        return float("nan")
    reached = np.flatnonzero(y >= level)
    if len(reached) == 0:
        return float("inf")
    i = int(reached[0])
    if i == 0:
        return float(x[0])
    return float(x[i - 1] + (level - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1]))


def mean_height(x: np.ndarray, y: np.ndarray) -> float:
    """Returns the area under y [T] over x [T], divided by the length of x, so that it has y's unit."""
    return float(trapezoid(y, x) / (x[-1] - x[0])) if len(x) > 1 else float(y[0])
