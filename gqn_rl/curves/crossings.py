"""Steps that a representation needs to a score, and how they compare with another's.

Between two evaluations that bracket a crossing the curve is taken as linear. A crossing before the first evaluation
after training began is not interpolated: nothing was measured between the untrained agent and that evaluation, so the
evaluation's steps are an upper bound of the crossing, and a ratio to them is a bound too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gqn_rl.curves.comparison import Comparison
from gqn_rl.curves.lines import first_crossing
from gqn_rl.curves.runs import Run
from gqn_rl.statistics import iqm


class Climb:
    """The curves of one cell of the comparison, and the steps at which their interquartile mean reaches a score.

    Attributes:
        grid: environment steps that all runs cover, float64 [T].
        sample: the runs' scores on the grid, [n, T], as what intervals are drawn from.
        first_evaluation: environment steps after which each run has been evaluated since its training began; 0 where
            one never was.
    """

    def __init__(self, comparison: Comparison, runs: Sequence[Run]):
        self.grid, self.sample = comparison.curve_sample(list(runs))
        self.first_evaluation = max(_first_evaluation(run) for run in runs)

    def steps_to(self, level: float, scores: np.ndarray) -> float:
        """Returns the steps at which the interquartile mean of `scores` [n, T] first reaches `level`.

        Infinity when it never does, NaN where `level` is NaN, and `first_evaluation`, an upper bound, where it does
        before that.
        """
        steps = first_crossing(self.grid, iqm(scores), level)
        return self.first_evaluation if 0 < steps <= self.first_evaluation else steps

    def is_bound(self, steps: float) -> bool:
        """Tells whether `steps`, of `steps_to`, are only an upper bound."""
        return steps == self.first_evaluation


def _first_evaluation(run: Run) -> float:
    trained = run.env_steps[run.env_steps > 0]
    return float(trained[0]) if len(trained) else 0.0


def ratio_of_climbs(climb: Climb, steps: float, other: Climb, other_steps: float) -> float:
    """Returns `steps` of one cell divided by those of another; NaN where both are only upper bounds."""
    if climb.is_bound(steps) and other.is_bound(other_steps):
        return np.nan
    return ratio_of_steps(steps, other_steps)


def ratio_of_steps(steps: float, reference_steps: float) -> float:
    """Returns steps / reference_steps; NaN where neither got there, both were there from the start or either is NaN.

    >>> [ratio_of_steps(a, b) for a, b in ((8.0, 2.0), (8.0, 0.0), (np.inf, 2.0), (np.inf, np.inf), (0.0, 0.0))]
    [4.0, inf, inf, nan, nan]
    """
    if steps == reference_steps and (steps == 0 or np.isinf(steps)):
        return np.nan
    return np.inf if reference_steps == 0 else steps / reference_steps
