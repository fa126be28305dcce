"""How many directions of r an encoder's file tells agents of: enough that what a linear probe reads is still there."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
import torch

from gqn_rl.directions import scene_directions
from gqn_rl.probes import group_means, probe_r2

FEWEST_DIRECTIONS = 16
"""Directions that are told in any case: no probe knows of what the state does not list."""
LARGEST_LOSS = 0.2
"""R² that a thing may lose by what is not told: entries that tell little more cost an agent more than they give."""

_FITTING_SHARE = 0.75


@dataclasses.dataclass(frozen=True)
class TellingDirections:
    """Chooses how many of the directions, the most telling first, are told.

    Those in which scenes differ more than views of one scene do are told, and at least `FEWEST_DIRECTIONS`. Where
    the state is known, twice as many are told until no thing in it loses more than `LARGEST_LOSS` of the R² that a
    probe has with any number of them; a warning says what would have been left out.

    Args:
        state_names: of the state's entries; none where the data have no state.
        states: float [N, S], one per scene.
    """

    state_names: Sequence[str]
    states: np.ndarray

    def __call__(self, psi: torch.Tensor) -> int:
        """Returns the number for what K views each of N scenes say, float [N, K, R], in standard entries."""
        most_telling_first = scene_directions(psi, psi.shape[-1])
        told = (psi[:, 0] @ most_telling_first).numpy()
        most, by_variance = told.shape[1], scene_directions(psi).shape[1]
        number = max(by_variance, min(FEWEST_DIRECTIONS, most))
        if not self.state_names or by_variance == most:
            return number
        numbers = [number]
        while numbers[-1] < most:
            numbers.append(min(2 * numbers[-1], most))
        read = {k: self._read(told[:, :k]) for k in {by_variance, *numbers}}
        best = {thing: max(r2[thing] for r2 in read.values()) for thing in read[most]}
        number = next(k for k in numbers if k == most or not losses(best, read[k]))
        if left_out := losses(best, read[by_variance]):
            warnings.warn(
                f"Scenes differ more than views of one scene do in {by_variance} of r's {psi.shape[-1]} directions, "
                f"which leave out what a linear probe reads in others: {', '.join(left_out)}. So the {number} most "
                "telling ones are kept; pretraining for longer separates them.",
                stacklevel=2,
            )
        return number

    def _read(self, told: np.ndarray) -> dict[str, float]:
        """Returns R² of every thing, read out of [N, D] on scenes that the probe was not fitted on."""
        split = round(len(told) * _FITTING_SHARE)
        r2 = probe_r2(told[:split], self.states[:split], told[split:], self.states[split : len(told)])
        return group_means(self.state_names, r2)


def losses(best: dict[str, float], told: dict[str, float]) -> list[str]:
    """Returns which things lose more than `LARGEST_LOSS` of R², in words, the largest loss first.

    >>> losses({"goal": 0.625, "hand": 0.875, "wall": -0.5}, {"goal": 0.125, "hand": 0.625, "wall": -2.0})
    ['goal (R² 0.12 instead of 0.62)', 'hand (R² 0.62 instead of 0.88)']
    """
    lost = {thing: max(r2, 0.0) - max(told[thing], 0.0) for thing, r2 in best.items()}
    return [
        f"{thing} (R² {told[thing]:.2f} instead of {best[thing]:.2f})"
        for thing in sorted(lost, key=lost.__getitem__, reverse=True)
        if lost[thing] > LARGEST_LOSS
    ]
