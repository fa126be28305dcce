"""The comparison: runs grouped by environment and algorithm, and the scale on which they are scored.

Score = 100 * (return - random) / (oracle - random). `random` is the mean return of a random agent on the evaluation
seeds, from `run.json`. `oracle` is what agents on the true state end with: each oracle run's final return, averaged
over the oracle runs of the same environment and algorithm. A run's final value is the mean of its last
`NUM_FINAL_EVALUATIONS` evaluations. Background runs are drawn and no more; only where there is no other oracle do
theirs score 100.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np

from gqn_rl.curves.lines import on_common_grid
from gqn_rl.curves.runs import Run
from gqn_rl.statistics import Sample, Stratum

ORACLE = "oracle"
REFERENCES = ("gqn_episode", "gqn_pixels", "gqn")
"""The representations that ratios are taken against: the first that was run."""
NUM_FINAL_EVALUATIONS = 3
LABEL_ORDER = (
    *(ORACLE, "gqn", "gqn_window", "gqn_episode", "gqn_pixels"),
    *("pixels", "pixels_stack", "pixels_lstm", "pixels_sb3", "pixels_impala", "pixels_rays", "pixels_points"),
    *("imagenet", "vae", "autoencoder", "supervised", "random_encoder", "random_encoder_episode"),
)

Axis = Literal["env_steps", "pictures", "actions", "hours", "processor_hours"]
"""What curves are drawn over; pictures and actions include those of pretraining."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The runs of one environment and one algorithm, with the returns that score 0 and 100.

    Attributes:
        agent: the algorithm; runs with and without an LSTM stand side by side, told apart by `Run.label`.
        random_return: scores 0.
        oracle_return: scores 100; None when scores cannot be formed, and returns then stay as they are.
        background: runs of the same environment and algorithm to draw behind the curves, counted nowhere.
        nested: whether intervals are of encoders, agents and episodes together, or of agents alone.
    """

    env: str
    agent: str
    runs: tuple[Run, ...]
    random_return: float
    oracle_return: float | None
    background: tuple[Run, ...] = ()
    nested: bool = False

    @property
    def cameras(self) -> list[str]:
        """Cameras to compare under: all that a run other than the oracle has looked through."""
        looking = {run.camera for run in self.runs if run.label != ORACLE}
        return sorted(looking or {run.camera for run in self.runs})

    @property
    def reference(self) -> str:
        """The label that ratios are taken against."""
        labels = {run.label for run in self.runs}
        return next((name for name in REFERENCES if name in labels), REFERENCES[-1])

    def cells(self, camera: str) -> dict[str, list[Run]]:
        """Returns the runs under `camera` by label.

        The oracle never looks through its camera, so where it was not run under this one, another's runs stand in.
        """
        return _by_label(self.runs, camera)

    def background_cells(self, camera: str) -> dict[str, list[Run]]:
        """Returns the background runs under `camera` by label, as `cells` does."""
        return _by_label(self.background, camera)

    @property
    def oracle_is_background(self) -> bool:
        """Tells whether background runs give the return that scores 100."""
        return self.oracle_return is not None and all(run.label != ORACLE for run in self.runs)

    def score(self, returns: np.ndarray) -> np.ndarray:
        """Returns normalised scores, or the returns themselves when there is no oracle to normalise by."""
        if self.oracle_return is None:
            return returns
        return 100 * (returns - self.random_return) / (self.oracle_return - self.random_return)

    def final_sample(self, runs: list[Run]) -> Stratum:
        """Returns each run's final score as what intervals are drawn from."""
        return self._sample(runs, [run.episodes[-NUM_FINAL_EVALUATIONS:].mean(axis=0) for run in runs])

    def first_and_final_sample(self, runs: list[Run]) -> Stratum:
        """Returns each run's first and final score likewise, [n, 2]."""
        last = [run.episodes[-NUM_FINAL_EVALUATIONS:].mean(axis=0) for run in runs]
        return self._sample(runs, [np.stack([run.episodes[0], end]) for run, end in zip(runs, last, strict=True)])

    def curve_sample(self, runs: list[Run]) -> tuple[np.ndarray, Stratum]:
        """Returns the grid of `curves` over environment steps, and the scores on it likewise."""
        grid, scores = self.curves(runs)
        if not self.nested:
            return grid, scores
        curves = [np.stack([np.interp(grid, run.env_steps, one) for one in run.episodes.T], axis=-1) for run in runs]
        return grid, self._sample(runs, curves)

    def _sample(self, runs: list[Run], returns: list[np.ndarray]) -> Stratum:
        """Turns returns of episodes, [..., E] for each run, into a stratum of scores."""
        if not self.nested or len({values.shape for values in returns}) > 1:
            return self.score(np.stack([values.mean(axis=-1) for values in returns]))
        return Sample(self.score(np.stack(returns)), tuple(run.encoder for run in runs))

    def curves(self, runs: list[Run], axis: Axis = "env_steps") -> tuple[np.ndarray, np.ndarray]:
        """Returns the grid, float64 [T], that all `runs` cover and their scores on it, float64 [n, T].

        T is 0 where seeds on machines of different speed share no hour; sharing no step is refused.
        """
        grid, returns = on_common_grid([getattr(run, axis) for run in runs], [run.returns for run in runs])
        if axis == "env_steps" and len(grid) == 0:
            folders = ", ".join(f"`{run.folder}`" for run in runs)
            raise ValueError(f"{folders} have no environment steps in common, so no common curve; finish the shorter.")
        return grid, self.score(returns)


def compare(runs: Sequence[Run], background: Sequence[Run] = (), nested: bool = False) -> list[Comparison]:
    """Groups runs by environment and algorithm, finds the returns that score 0 and 100, and warns of missing ones.

    Of the runs of `background`, those of other environments and algorithms and those that `runs` holds too are left
    out.
    `nested` is the comparisons'.
    """
    groups = sorted({(run.env, run.algorithm) for run in runs})
    folders = {run.folder.resolve() for run in runs}
    background = [run for run in background if run.folder.resolve() not in folders]
    found = [_comparison(*group, _of_group(runs, group), _of_group(background, group)) for group in groups]
    return [dataclasses.replace(one, nested=nested) for one in found]


def _of_group(runs: Sequence[Run], group: tuple[str, str]) -> list[Run]:
    return [run for run in runs if (run.env, run.algorithm) == group]


def final_value(values: np.ndarray) -> float:
    """Returns the mean of the last evaluations of a run, float64 [T]."""
    return float(np.mean(values[-NUM_FINAL_EVALUATIONS:]))


def _comparison(env: str, agent: str, runs: list[Run], background: list[Run]) -> Comparison:
    random_return = float(np.mean([run.random_return for run in runs]))
    oracles = [run for run in runs if run.label == ORACLE] or [run for run in background if run.label == ORACLE]
    oracle_finals = [final_value(run.returns) for run in oracles]
    oracle_return = float(np.mean(oracle_finals)) if oracle_finals else None
    if oracle_return is None:
        warnings.warn(f"{env} with {agent} has no oracle run: returns are shown, not scores.", stacklevel=3)
    elif oracle_return <= random_return:
        what = f"ends at {oracle_return:.2f}, not above the random agent's {random_return:.2f}"
        warnings.warn(f"The oracle of {env} with {agent} {what}: returns are shown, not scores.", stacklevel=3)
        oracle_return = None
    return Comparison(env, agent, tuple(runs), random_return, oracle_return, tuple(background))


def _by_label(runs: Sequence[Run], camera: str) -> dict[str, list[Run]]:
    labels = sorted({run.label for run in runs}, key=_rank)
    cells = {name: [run for run in runs if (run.label, run.camera) == (name, camera)] for name in labels}
    oracles = [run for run in runs if run.label == ORACLE]
    if oracles and not cells[ORACLE]:
        stand_in = min(run.camera for run in oracles)
        cells[ORACLE] = [run for run in oracles if run.camera == stand_in]
    return {name: found for name, found in cells.items() if found}


def _rank(label: str) -> tuple[int, str]:
    return (LABEL_ORDER.index(label) if label in LABEL_ORDER else len(LABEL_ORDER), label)
