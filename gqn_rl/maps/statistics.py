"""Means over mazes with bootstrap intervals, and rows of numbers as CSV."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gqn_rl.runlog import write_atomic

NUM_RESAMPLES = 2000
LEVEL = 0.95


class Mean(NamedTuple):
    """A mean over mazes and the bounds of its bootstrap interval at `LEVEL`."""

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """Returns the three numbers as columns of a table.

        >>> Mean(0.5, 0.4, 0.6).columns("iou")
        {'iou': 0.5, 'iou_low': 0.4, 'iou_high': 0.6}
        """
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def mean_over_mazes(values: np.ndarray, rng: np.random.Generator) -> Mean:
    """Returns the mean of one number per maze, [N]; mazes that have none (NaN) are left out.

    A single maze has no interval: its bounds are NaN.
    """
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return Mean(float(values.mean()) if len(values) else np.nan, np.nan, np.nan)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(NUM_RESAMPLES)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Mean(float(values.mean()), float(low), float(high))


def write_rows(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows with the same columns as a CSV file, whole or not at all; floats with six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    write_atomic(path, text.getvalue())
