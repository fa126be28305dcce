"""How the table writes an estimate: a value with its interval, steps, and ratios of steps, which may be bounds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gqn_rl.curves.measures import Row
from gqn_rl.statistics import Estimate


def show(estimate: Estimate, write: Callable[[float], str]) -> str:
    """Writes `value [low, high]`, without the bounds where there are none or all agree; "–" for what is undefined."""
    return "–" if np.isnan(estimate.value) else write(estimate.value) + _interval(estimate, write)


def _interval(estimate: Estimate, write: Callable[[float], str]) -> str:
    value, low, high = (write(x) for x in estimate)
    return "" if np.isnan(estimate.low) or low == value == high else f" [{low}, {high}]"


def steps_of(row: Row) -> Callable[[float], str]:
    """Returns what writes steps of a row: those of its first evaluation are only an upper bound."""

    def write(steps: float) -> str:
        return "not reached" if np.isinf(steps) else "≤ " * (steps == row.first_evaluation) + f"{steps:,.0f}"

    return write


def ratio(estimate: Estimate, row: Row, reference: Row | None, steps: str) -> str:
    """Writes what `steps` of a row are to the reference's, or a bound of it, rounded to the safe side.

    It is a bound where one of the two never gets there, which its budget bounds, and where one gets there before its
    first evaluation.
    """
    if reference is None or np.isnan(estimate.value):
        return show(estimate, _decimals)
    ours, theirs = getattr(row, steps).value, getattr(reference, steps).value
    if theirs == 0:  # there from the start
        return show(estimate, _decimals)
    if np.isinf(estimate.value):
        value = "> " + _rounded(row.num_steps / theirs, math.floor)
    elif estimate.value == 0 and ours > 0:
        value = "< " + _rounded(ours / reference.num_steps, math.ceil)
    elif theirs == reference.first_evaluation:
        value = "≥ " + _rounded(estimate.value, math.floor)
    elif ours == row.first_evaluation:
        value = "≤ " + _rounded(estimate.value, math.ceil)
    else:
        value = _decimals(estimate.value)
    return value + _interval(estimate, _decimals)


def _decimals(ratio: float) -> str:
    return "∞" if np.isinf(ratio) else f"{ratio:.2f}"


def _rounded(ratio: float, towards: Callable[[float], int]) -> str:
    """Writes a bound, `towards` the side on which it holds; what a division leaves behind the ninth decimal is not."""
    return _decimals(towards(round(100 * ratio, 7)) / 100)
