"""What a GQN expects to learn from a look: over a maze's places, against its true errors, and as views accumulate.

Predicted information gain is `uncertainty.predicted_information_gain`, in nats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from gqn_rl.analyses.maps.geometry import PoseGrid
from gqn_rl.models import SceneModel
from gqn_rl.progress import tqdm
from gqn_rl.statistics import mean_over_scenes
from gqn_rl.uncertainty import predicted_information_gain
from gqn_rl.views import Views, prepare_images

HEADINGS: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "max": np.max}
"""How the gains of several headings at one place become one number."""
_LOOKS_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class GainsAndErrors:
    """What was expected of the same looks, and what they showed, as views accumulate.

    Attributes:
        counts: the numbers C of views that r was summed over.
        gains: predicted information gain, nats, float64 [N, C, Q].
        errors: mean squared error per pixel value of the picture drawn at the prior's mean, float64 [N, C, Q].
    """

    counts: Sequence[int]
    gains: np.ndarray
    errors: np.ndarray


def information_gain(model: SceneModel, r: Tensor, viewpoints: np.ndarray | Tensor, num_samples: int) -> np.ndarray:
    """Returns the predicted information gain of many looks, in portions: r [B, ...], viewpoints [B, Q, 7] → [B, Q]."""
    device = next(model.parameters()).device
    r, viewpoints = r.to(device), torch.as_tensor(viewpoints, device=device)
    at_once = max(1, _LOOKS_AT_ONCE // len(r))
    gains = [predicted_information_gain(model, r, part, num_samples) for part in viewpoints.split(at_once, dim=1)]
    return torch.cat(gains, dim=1).double().cpu().numpy()


def gain_over_maze(
    model: SceneModel, r: Tensor, grid: PoseGrid, num_samples: int, headings: str = "mean"
) -> np.ndarray:
    """Returns the predicted information gain at every place of a maze, nats, float64 [S, S], NaN where none can stand.

    Args:
        model: the network.
        r: what was seen so far, [*representation_shape].
        grid: places and headings.
        num_samples: imagined pictures per look.
        headings: how those of one place are put together, a name of `HEADINGS`.
    """
    if headings not in HEADINGS:
        raise ValueError(f"`headings` must be one of {sorted(HEADINGS)}, got {headings!r}.")
    places, directions = grid.viewpoints.shape[:2]
    gains = information_gain(model, r[None], grid.viewpoints.reshape(1, -1, 7), num_samples)
    return grid.picture(HEADINGS[headings](gains.reshape(places, directions), axis=1))


@torch.inference_mode()
def gains_and_errors(
    model: SceneModel, psi: Tensor, queries: Views, counts: Sequence[int], num_samples: int, progress: bool = True
) -> GainsAndErrors:
    """Measures the same queries of each maze after more and more views.

    Args:
        model: the network.
        psi: ψ of views that are not among the queries, [N, K, *representation_shape], K at least `max(counts)`.
        queries: uint8 [N, Q, H, W, 3] and float32 [N, Q, 7].
        counts: numbers of views, the first ones of each maze.
        num_samples: imagined pictures per look.
        progress: show a progress bar.
    """
    device = next(model.parameters()).device
    shape = (len(psi), len(counts), queries.images.shape[1])
    gains, errors = np.empty(shape), np.empty(shape)
    at_once = max(1, _LOOKS_AT_ONCE // shape[2])
    for first in tqdm(range(0, len(psi), at_once), desc="gain and error", unit="batch", disable=not progress):
        part = slice(first, first + at_once)
        viewpoints = torch.as_tensor(queries.viewpoints[part], device=device)
        truth = prepare_images(torch.as_tensor(queries.images[part], device=device))
        for index, count in enumerate(counts):
            r = psi[part, :count].sum(dim=1).to(device)
            gains[part, index] = information_gain(model, r, viewpoints, num_samples)
            drawn = model.draw(r, viewpoints, sample=False)
            errors[part, index] = (drawn - truth).square().mean(dim=(-3, -2, -1)).double().cpu().numpy()
    return GainsAndErrors(counts, gains, errors)


def correlations(measured: GainsAndErrors, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Correlates predicted information gain with the true error: a row for each number of views and one for all.

    "within" correlates the looks at one maze and averages over mazes, with a bootstrap interval; "pooled" correlates
    all looks at once. The row "all" has looks after every number of views together.
    """
    rows = []
    for index, count in enumerate(measured.counts):
        rows.append({"views": str(count)} | _correlate(measured.gains[:, index], measured.errors[:, index], rng))
    flat = (len(measured.gains), -1)
    return [*rows, {"views": "all"} | _correlate(measured.gains.reshape(flat), measured.errors.reshape(flat), rng)]


def decline(measured: GainsAndErrors, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Says how gain and error fall as views accumulate: a row for each number of views.

    `falls` is the share of mazes whose mean gain is lower than after the number of views before (NaN in the first row).
    """
    gains, errors = measured.gains.mean(axis=2), measured.errors.mean(axis=2)  # [N, C]
    rows: list[dict[str, Any]] = []
    for index, count in enumerate(measured.counts):
        falls = float((gains[:, index] < gains[:, index - 1]).mean()) if index else np.nan
        row = mean_over_scenes(gains[:, index], rng).columns("gain_nats")
        rows.append(
            {"views": count} | row | {"falls": falls} | mean_over_scenes(errors[:, index], rng).columns("error")
        )
    return rows


def _correlate(gains: np.ndarray, errors: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Returns both correlations of [N, M] looks, within mazes and pooled."""
    columns: dict[str, float] = {}
    for name, correlate in (("pearson", _pearson), ("spearman", _spearman)):
        within = np.array([correlate(*looks) for looks in zip(gains, errors, strict=True)])
        columns |= mean_over_scenes(within, rng).columns(f"{name}_within")
        columns[f"{name}_pooled"] = correlate(gains.ravel(), errors.ravel())
    return columns


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the correlation, NaN where one of the two never varies."""
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else np.nan


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return _pearson(stats.rankdata(a), stats.rankdata(b))
