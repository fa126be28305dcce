"""What is measured beside the curves: final score, area, success, steps to a share of the oracle, ratios of steps.

The paper counts how much earlier an agent comes to what raw pixels end with. Here: steps to `PIXELS_SHARE` per
cent of the way there from the random agent, under the same camera.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np

from gqn_rl.curves.comparison import Comparison, final_value
from gqn_rl.curves.crossings import Climb, ratio_of_climbs
from gqn_rl.curves.lines import mean_height
from gqn_rl.curves.runs import Run
from gqn_rl.statistics import Estimate, beside, estimate, iqm

LEVELS = (50, 80)
"""Scores, in per cent of the oracle, to which the environment steps are counted."""
PIXELS = "pixels"
PIXELS_SHARE = 80
"""Per cent of the final score of pixels to which the environment steps are counted too."""
LEARNT = 5.0
"""Points of the score that an agent must gain over its untrained self before it has learnt something."""
UNDEFINED = Estimate(np.nan, np.nan, np.nan)
_OF_PIXELS = ("steps_of_pixels", "gain_on_pixels", "repaid_pictures", "repaid_actions")


@dataclasses.dataclass(frozen=True)
class Row:
    """One cell of the comparison: IQM over its seeds, each measure with its bootstrap interval.

    Attributes:
        num_steps: environment steps that every seed of the cell has reached.
        first_evaluation: environment steps of the first evaluation after training began. A crossing before it is not
            interpolated: `steps_...` then equal it and are upper bounds, and ratios to them are bounds as well.
        final_return: return after training.
        final: score after training (a return when there is no oracle).
        area: mean score over the steps that all cells of the camera have reached.
        success: share of successful episodes after training, in [0, 1].
        steps_50, steps_80: environment steps until the IQM curve first reaches that score; infinity when it never does.
        ratio_50, ratio_80: those steps divided by the reference's; NaN when neither gets there, when both are only
            bounds, or when there is no such run.
        steps_of_pixels: environment steps until the IQM curve reaches `PIXELS_SHARE` % of what pixels end with;
            infinity when it never does, NaN where pixels gained no more than `LEARNT`.
        gain_on_pixels: those steps of pixels divided by this row's; 0 when this row never gets there.
        repaid_pictures, repaid_actions: agents after which the pictures and actions of pretraining are repaid, each
            trained so far instead of one on pixels; infinity when pixels get there first, NaN where there were none or
            nobody counted.
    """

    env: str
    agent: str
    camera: str
    repr: str
    seeds: int
    num_steps: int
    first_evaluation: int
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
    repaid_pictures: Estimate
    repaid_actions: Estimate


def measure(comparison: Comparison, seed: int) -> list[Row]:
    """Returns one row for each camera and representation of a comparison; `seed` is that of every bootstrap."""
    rows = []
    for camera in comparison.cameras:
        cells = comparison.cells(camera)
        climbs = {name: Climb(comparison, runs) for name, runs in cells.items()}
        horizon = min(run.env_steps[-1] for runs in cells.values() for run in runs)
        for name, runs in cells.items():
            measured: dict[str, Any] = {
                "env": comparison.env,
                "agent": comparison.agent,
                "camera": camera,
                "repr": name,
            }
            measured |= _after_training(comparison, runs, climbs[name], horizon, seed)
            measured |= _steps_to_the_oracle(comparison, climbs, name, seed)
            measured |= _steps_to_pixels(comparison, climbs, cells, name, seed)
            rows.append(Row(**measured))
    return rows


def _after_training(comparison: Comparison, runs: list[Run], climb: Climb, horizon: float, seed: int) -> dict[str, Any]:
    """Returns what a row says beside steps and their ratios."""
    early = climb.grid <= max(horizon, climb.grid[0])
    return {
        "seeds": len(runs),
        "num_steps": int(climb.grid[-1]),
        "first_evaluation": int(climb.first_evaluation),
        "final": estimate(iqm, [comparison.final_sample(runs)], seed),
        "area": estimate(lambda s: mean_height(climb.grid[early], iqm(s)[early]), [climb.sample], seed),
        "success": estimate(iqm, [np.array([final_value(run.success) for run in runs])], seed),
        "final_return": estimate(iqm, [np.array([final_value(run.returns) for run in runs])], seed),
    }


def _steps_to_the_oracle(comparison: Comparison, climbs: dict[str, Climb], name: str, seed: int) -> dict[str, Estimate]:
    """Returns steps to each of `LEVELS`, and their ratios to those of the comparison's reference."""
    climb, reference = climbs[name], climbs.get(comparison.reference)
    found = {f"{measure}_{level}": UNDEFINED for measure in ("steps", "ratio") for level in LEVELS}
    if comparison.oracle_return is None:
        return found
    for level in LEVELS:
        found[f"steps_{level}"] = estimate(partial(climb.steps_to, level), [climb.sample], seed)
        if reference is not None and name != comparison.reference:
            ratio = partial(_ratio_at, climb, reference, level)
            found[f"ratio_{level}"] = estimate(ratio, [climb.sample, reference.sample], seed)
    return found


def _ratio_at(climb: Climb, reference: Climb, level: float, scores: np.ndarray, reference_scores: np.ndarray) -> float:
    steps, reference_steps = climb.steps_to(level, scores), reference.steps_to(level, reference_scores)
    return ratio_of_climbs(climb, steps, reference, reference_steps)


def _steps_to_pixels(
    comparison: Comparison, climbs: dict[str, Climb], cells: dict[str, list[Run]], name: str, seed: int
) -> dict[str, Estimate]:
    """Returns steps to `PIXELS_SHARE` % of what pixels end with, and how many times as many pixels need.

    Each pixel run carries its first and its final score as last columns, so every resample forms the level anew.
    """
    if comparison.oracle_return is None or PIXELS not in climbs:
        return dict.fromkeys(_OF_PIXELS, UNDEFINED)
    climb, other = climbs[name], climbs[PIXELS]
    pixels = beside(other.sample, comparison.first_and_final_sample(cells[PIXELS]))

    def steps_of_pixels(pixels: np.ndarray) -> float:
        return other.steps_to(_level(pixels), pixels[:, :-2])

    def steps(scores: np.ndarray, pixels: np.ndarray) -> float:
        return climb.steps_to(_level(pixels), scores)

    def gain(scores: np.ndarray, pixels: np.ndarray) -> float:
        return ratio_of_climbs(other, steps_of_pixels(pixels), climb, steps(scores, pixels))

    if name == PIXELS:
        return dict.fromkeys(_OF_PIXELS, UNDEFINED) | {"steps_of_pixels": estimate(steps_of_pixels, [pixels], seed)}
    samples = [climb.sample, pixels]
    found = {"steps_of_pixels": estimate(steps, samples, seed), "gain_on_pixels": estimate(gain, samples, seed)}
    for what in ("pictures", "actions"):
        cost = float(np.mean([getattr(run, what)[0] - run.env_steps[0] for run in cells[name]]))

        def agents(scores: np.ndarray, pixels: np.ndarray, cost: float = cost) -> float:
            return agents_to_repay(cost, steps(scores, pixels), steps_of_pixels(pixels))

        found[f"repaid_{what}"] = estimate(agents, samples, seed) if cost > 0 else UNDEFINED
    return found


def agents_to_repay(cost: float, steps: float, steps_of_pixels: float) -> float:
    """Returns after how many agents that need `steps`, where pixels need others, what pretraining took is repaid.

    >>> [agents_to_repay(1000.0, *pair) for pair in ((100.0, 600.0), (600.0, 100.0), (float("inf"), 100.0))]
    [2.0, inf, inf]
    """
    if np.isnan(steps) or np.isnan(steps_of_pixels):
        return float("nan")
    return cost / (steps_of_pixels - steps) if steps < steps_of_pixels else float("inf")


def _level(pixels: np.ndarray) -> float:
    first, final = iqm(pixels[:, -2:])
    return float(PIXELS_SHARE / 100 * final) if has_learnt(first, final) else np.nan


def has_learnt(first: float, last: float) -> bool:
    """Whether an agent has gained so much since its first, untrained evaluation that a share of its score says much."""
    return last - first > LEARNT
