"""What is measured beside the curves: final score, area, success, steps to a share of the oracle, ratios of steps.

The paper counts how much earlier an agent comes to what raw pixels end with. Here: steps to `PIXELS_SHARE` per
cent of the way there from the random agent, under the same camera.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np

from gqn_rl.curves.comparison import Axis, Comparison, final_value
from gqn_rl.curves.runs import Run
from gqn_rl.curves.statistics import Estimate, estimate, first_crossing, iqm, mean_height

LEVELS = (50, 80)
"""Scores, in per cent of the oracle, to which the environment steps are counted."""
PIXELS = "pixels"
PIXELS_SHARE = 80
"""Per cent of the final score of pixels to which the environment steps are counted too."""
LEARNT = 5.0
"""Points of the score that an agent must gain over its untrained self before it has learnt something."""
UNDEFINED = Estimate(np.nan, np.nan, np.nan)


@dataclasses.dataclass(frozen=True)
class Row:
    """One cell of the comparison: IQM over its seeds, each measure with its bootstrap interval.

    Attributes:
        num_steps: environment steps that every seed of the cell has reached.
        final_return: return after training.
        final: score after training (a return when there is no oracle).
        area: mean score over the steps that all cells of the camera have reached.
        success: share of successful episodes after training, in [0, 1].
        steps_50, steps_80: environment steps until the IQM curve first reaches that score; infinity when it never does.
        ratio_50, ratio_80: those steps divided by the reference's; NaN when neither gets there or there is no such run.
        steps_of_pixels: environment steps until the IQM curve reaches `PIXELS_SHARE` % of what pixels end with;
            infinity when it never does, NaN where pixels gained no more than `LEARNT`.
        gain_on_pixels: those steps of pixels divided by this row's; 0 when this row never gets there.
        hours_gain_on_pixels: the same of wall-clock hours; NaN where the seeds of a row share no hour.
    """

    env: str
    agent: str
    camera: str
    repr: str
    seeds: int
    num_steps: int
    final_return: Estimate
    final: Estimate
    area: Estimate
    success: Estimate
    steps_50: Estimate
    steps_80: Estimate
    ratio_50: Estimate
    ratio_80: Estimate
    steps_of_pixels: Estimate
    gain_on_pixels: Estimate
    hours_gain_on_pixels: Estimate


def measure(comparison: Comparison, seed: int) -> list[Row]:
    """Returns one row for each camera and representation of a comparison; `seed` is that of every bootstrap."""
    rows = []
    for camera in comparison.cameras:
        cells = comparison.cells(camera)
        horizon = min(run.env_steps[-1] for runs in cells.values() for run in runs)
        rows += [_row(comparison, camera, name, cells, horizon, seed) for name in cells]
    return rows


def _row(comparison: Comparison, camera: str, name: str, cells: dict, horizon: float, seed: int) -> Row:
    runs: list[Run] = cells[name]
    grid, scores = comparison.curves(runs)
    steps, ratios = {}, {}
    for level in LEVELS:
        steps[f"steps_{level}"], ratios[f"ratio_{level}"] = _steps_and_ratio(comparison, cells, name, level, seed)
    steps_of_pixels, gain_on_pixels, hours_gain_on_pixels = _against_pixels(comparison, cells, name, seed)
    early = grid <= max(horizon, grid[0])
    return Row(
        comparison.env,
        comparison.agent,
        camera,
        name,
        seeds=len(runs),
        num_steps=int(grid[-1]),
        final=estimate(iqm, [comparison.final_scores(runs)], seed),
        area=estimate(lambda s: mean_height(grid[early], iqm(s)[early]), [scores], seed),
        success=estimate(iqm, [np.array([final_value(run.success) for run in runs])], seed),
        final_return=estimate(iqm, [np.array([final_value(run.returns) for run in runs])], seed),
        **steps,
        **ratios,
        steps_of_pixels=steps_of_pixels,
        gain_on_pixels=gain_on_pixels,
        hours_gain_on_pixels=hours_gain_on_pixels,
    )


def _steps_and_ratio(
    comparison: Comparison, cells: dict, name: str, level: int, seed: int
) -> tuple[Estimate, Estimate]:
    if comparison.oracle_return is None:
        return UNDEFINED, UNDEFINED
    grid, scores = comparison.curves(cells[name])
    steps = estimate(partial(_crossing, grid, level), [scores], seed)
    if name == comparison.reference or comparison.reference not in cells:
        return steps, UNDEFINED
    reference_grid, reference_scores = comparison.curves(cells[comparison.reference])

    def ratio(scores: np.ndarray, reference_scores: np.ndarray) -> float:
        return ratio_of_steps(_crossing(grid, level, scores), _crossing(reference_grid, level, reference_scores))

    return steps, estimate(ratio, [scores, reference_scores], seed)


def _against_pixels(comparison: Comparison, cells: dict, name: str, seed: int) -> tuple[Estimate, Estimate, Estimate]:
    """Returns steps to `PIXELS_SHARE` % of what pixels end with, and how many times these, and the hours, they need."""
    if comparison.oracle_return is None or PIXELS not in cells:
        return UNDEFINED, UNDEFINED, UNDEFINED
    steps = _Race(comparison, cells, name, "env_steps")
    if name == PIXELS:
        return estimate(steps.crossing_of_pixels, [steps.pixels], seed), UNDEFINED, UNDEFINED
    hours = _Race(comparison, cells, name, "hours")
    return (
        estimate(steps.crossing, [steps.scores, steps.pixels], seed),
        estimate(steps.gain, [steps.scores, steps.pixels], seed),
        estimate(hours.gain, [hours.scores, hours.pixels], seed) if hours.is_shared else UNDEFINED,
    )


class _Race:
    """A row and pixels along one axis, on their way to `PIXELS_SHARE` % of what pixels end with.

    Each pixel run carries its first and its final score as last columns, so every resample forms the level anew.

    Attributes:
        scores, pixels: of the row's runs and of pixels, one row a run, to draw samples from.
        is_shared: whether the runs have any of the axis in common; those on one side may share no hour.
    """

    def __init__(self, comparison: Comparison, cells: dict, name: str, axis: Axis):
        self._grid, self.scores = comparison.curves(cells[name], axis)
        self._pixel_grid, pixel_scores = comparison.curves(cells[PIXELS], axis)
        first = comparison.score(np.array([run.returns[0] for run in cells[PIXELS]]))
        self.pixels = np.column_stack([pixel_scores, first, comparison.final_scores(cells[PIXELS])])
        self.is_shared = min(len(self._grid), len(self._pixel_grid)) > 0

    def crossing(self, scores: np.ndarray, pixels: np.ndarray) -> float:
        return _crossing(self._grid, _level(pixels), scores)

    def crossing_of_pixels(self, pixels: np.ndarray) -> float:
        return _crossing(self._pixel_grid, _level(pixels), pixels[:, :-2])

    def gain(self, scores: np.ndarray, pixels: np.ndarray) -> float:
        return ratio_of_steps(self.crossing_of_pixels(pixels), self.crossing(scores, pixels))


def _level(pixels: np.ndarray) -> float:
    first, final = iqm(pixels[:, -2:])
    return float(PIXELS_SHARE / 100 * final) if has_learnt(first, final) else np.nan


def has_learnt(first: float, last: float) -> bool:
    """Whether an agent has gained so much since its first, untrained evaluation that a share of its score says much."""
    return last - first > LEARNT


def ratio_of_steps(steps: float, reference_steps: float) -> float:
    """Returns steps / reference_steps; NaN where neither got there, both were there from the start or either is NaN.

    >>> [ratio_of_steps(a, b) for a, b in ((8.0, 2.0), (8.0, 0.0), (np.inf, 2.0), (np.inf, np.inf), (0.0, 0.0))]
    [4.0, inf, inf, nan, nan]
    """
    if steps == reference_steps and (steps == 0 or np.isinf(steps)):
        return np.nan
    return np.inf if reference_steps == 0 else steps / reference_steps


def _crossing(grid: np.ndarray, level: float, scores: np.ndarray) -> float:
    return first_crossing(grid, iqm(scores), level)
