"""Zero-shot transfer: how agents that were trained on one camera do from another, without training there.

Each agent was evaluated once from the other camera, with the model of its last evaluation. What it keeps is a share of
that model's own evaluation, not of the final score: the mean of the last ones would mix in other models. The oracle
sees no camera and has no row.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from gqn_rl.curves.comparison import ORACLE, Comparison
from gqn_rl.curves.measures import UNDEFINED, has_learnt
from gqn_rl.curves.runs import Run
from gqn_rl.statistics import Estimate, estimate, iqm


@dataclasses.dataclass(frozen=True)
class TransferRow:
    """One representation trained on one camera and seen from another: IQM over seeds with its bootstrap interval.

    Attributes:
        camera: trained on.
        evaluated_from: another camera.
        seeds: how many agents were evaluated from there.
        own: score of the last evaluation from the camera trained on, of all agents that were evaluated from any other.
        other: score of the same model from the other camera (a return, as `own`, when there is no oracle).
        kept: `other` divided by what the same agents have from their own camera; NaN unless they have learnt there.
    """

    env: str
    agent: str
    camera: str
    repr: str
    evaluated_from: str
    seeds: int
    own: Estimate
    other: Estimate
    kept: Estimate


def measure_transfer(comparison: Comparison, seed: int) -> list[TransferRow]:
    """Returns one row for each camera, representation and other camera; `seed` is that of every bootstrap."""
    rows = []
    for camera in comparison.cameras:
        for name, runs in comparison.cells(camera).items():
            transferred = [run for run in runs if run.transfer.keys() - {camera} and name != ORACLE]
            own = estimate(iqm, [_own_scores(comparison, transferred)[:, -1]], seed) if transferred else UNDEFINED
            for elsewhere in sorted({other for run in transferred for other in run.transfer} - {camera}):
                seen = [run for run in transferred if elsewhere in run.transfer]
                other, kept = _other_and_kept(comparison, seen, elsewhere, seed)
                key = (comparison.env, comparison.agent, camera, name, elsewhere)
                rows.append(TransferRow(*key, seeds=len(seen), own=own, other=other, kept=kept))
    return rows


def _own_scores(comparison: Comparison, runs: list[Run]) -> np.ndarray:
    """Returns each run's first and last evaluation from its own camera, [n, 2]."""
    return comparison.score(np.array([[run.returns[0], run.returns[-1]] for run in runs]))


def _other_and_kept(comparison: Comparison, runs: list[Run], camera: str, seed: int) -> tuple[Estimate, Estimate]:
    """Returns `TransferRow.other` and `TransferRow.kept`; a seed's scores are resampled together."""
    scores = comparison.score(np.array([run.transfer[camera] for run in runs]))
    other = estimate(iqm, [scores], seed)
    if comparison.oracle_return is None:
        return other, UNDEFINED
    return other, estimate(_share_kept, [np.column_stack([scores, _own_scores(comparison, runs)])], seed)


def _share_kept(scores: np.ndarray) -> float:
    """Returns the share of the IQM of own scores that those from elsewhere have, of rows of elsewhere, first, own."""
    elsewhere, first, own = iqm(scores)
    return float(elsewhere / own) if has_learnt(first, own) else np.nan
