"""Curves as pairs of x and y: on a common grid, where they first reach a level, and how high they are on average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.integrate import trapezoid


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
