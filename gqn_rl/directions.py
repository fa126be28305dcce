"""Directions of r in which scenes differ more than views of one scene do: what an agent gets of a long r.

An r of hundreds of entries holds a few dozen things. The rest changes with the viewpoint alone, and a policy gradient
of a thousand steps takes it for signal. Fisher's linear discriminants (1936), with scenes as the classes, tell the two
apart without any label: the training data show every scene from several places.
"""

from __future__ import annotations

import torch

_LEAST_STD = 0.05
"""Deviation, of entries that have deviation 1, that is taken for noise whatever the data say."""


def scene_directions(psi: torch.Tensor, number: int | None = None) -> torch.Tensor:
    """Returns the directions in which at least half of the variance is between scenes, the most telling first.

    Args:
        psi: float [N, K, R], what K ≥ 2 views each of N scenes say, entries of mean 0 and deviation 1.
        number: take this many, the most telling, whoever they tell apart; fewer where no more of them vary at all.

    Returns:
        float32 [R, D], 1 ≤ D ≤ R. Over the given views, `psi @ directions` has deviation 1 and no correlations.
    """
    psi = psi.double()
    num_views = psi.shape[1]
    off = psi - psi.mean(dim=1, keepdim=True)
    within = _covariance(off.flatten(0, 1)) * num_views / (num_views - 1)
    within += _LEAST_STD**2 * torch.eye(len(within), dtype=within.dtype)
    between = _covariance(psi.flatten(0, 1)) - within
    inverse = torch.linalg.inv(torch.linalg.cholesky(within))
    ratio, vectors = torch.linalg.eigh(inverse @ between @ inverse.T)
    ratio, vectors = ratio.flip(0), (inverse.T @ vectors).flip(1)
    count = int((ratio >= 1).sum()) if number is None else min(number, int((1 + ratio > _LEAST_STD**2).sum()))
    count = max(count, 1)
    return (vectors[:, :count] / torch.sqrt(1 + ratio[:count])).float()


def _covariance(x: torch.Tensor) -> torch.Tensor:
    """Returns the covariance of x [N, R] about 0, [R, R]."""
    return x.T @ x / len(x)
