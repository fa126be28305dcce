"""Linear probes: what a ridge regression can read out of r about a scene's true state, which no pixel metric shows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

RIDGE_STRENGTHS = tuple(10.0**power for power in range(-4, 4))
"""Candidate penalties, relative to the number of scenes, on standardised features."""
MAX_FEATURES = 4096
"""A larger r is averaged over blocks of neighbouring positions until it is this small."""

_CHOOSING_SHARE = 0.25
_SMALLEST_VARIANCE = 1e-10
_COMPONENT = re.compile(r"_(x|y|z|red|green|blue|\d+_\d+)$")
_COLOURS = ("red", "green", "blue")


def probe_r2(
    train_r: np.ndarray, train_state: np.ndarray, heldout_r: np.ndarray, heldout_state: np.ndarray
) -> np.ndarray:
    """Fits state entries from r on training scenes and judges them on held-out scenes.

    The penalty of each entry is the one that does best on the last quarter of the training scenes.

    Args:
        train_r: float [N, *shape], one r per training scene.
        train_state: float [N, S].
        heldout_r: float [M, *shape].
        heldout_state: float [M, S].

    Returns:
        float64 [S]: R² of each entry on the held-out scenes; NaN for an entry that never varies.
    """
    train, heldout = features(train_r), features(heldout_r)
    mean, std = train.mean(axis=0), train.std(axis=0)
    std = np.where(std > 1e-9 * max(std.max(), 1e-30), std, 1.0)
    train, heldout = (train - mean) / std, (heldout - mean) / std
    split = round(len(train) * (1 - _CHOOSING_SHARE))
    scores = [
        r2(prediction, train_state[split:])
        for prediction in _ridge_paths(train[:split], train_state[:split], train[split:])
    ]
    best = np.nan_to_num(np.array(scores), nan=-np.inf).argmax(axis=0)
    predictions = np.array(_ridge_paths(train, train_state, heldout))
    return r2(predictions[best, :, np.arange(train_state.shape[1])].T, heldout_state)


def features(r: np.ndarray) -> np.ndarray:
    """Flattens r to float64 [N, D], average-pooling a map [N, C, H, W] by twos while D would exceed `MAX_FEATURES`."""
    r = np.asarray(r, np.float64)
    while r.ndim == 4 and r[0].size > MAX_FEATURES and min(r.shape[2:]) % 2 == 0:
        N, C, H, W = r.shape
        r = r.reshape(N, C, H // 2, 2, W // 2, 2).mean(axis=(3, 5))
    return r.reshape(len(r), -1)


def r2(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns 1 - (residual variance / variance of the truth) per column, [N, S] twice → [S]; NaN without variance."""
    truth = np.asarray(truth, np.float64)
    variance = truth.var(axis=0)
    residual = np.square(prediction - truth).mean(axis=0)
    return np.where(variance > _SMALLEST_VARIANCE, 1 - residual / np.maximum(variance, _SMALLEST_VARIANCE), np.nan)


def group_means(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    """Averages entries that belong together, leaving out NaN.

    >>> group_means(["hand_x", "hand_y", "sin_joint_1", "wall_red"], np.array([0.25, 0.75, 0.5, 1.0]))
    {'hand': 0.5, 'sin_joint_1': 0.5, 'wall_colour': 1.0}
    """
    groups: dict[str, list[float]] = {}
    for name, value in zip(names, values, strict=True):
        groups.setdefault(group_name(name), []).append(float(value))
    present = {group: [value for value in members if not np.isnan(value)] for group, members in groups.items()}
    return {group: float(np.mean(members)) for group, members in present.items() if members}


def group_name(entry: str) -> str:
    """Returns the thing that a state entry describes: `hand` for `hand_x`, `wall_colour` for `wall_red`.

    Rows and columns of a grid are one thing: `wall` for `wall_3_0`. What stands before a slash is the thing, whatever
    stands behind it: `shape` for `shape/red_box`.
    """
    if "/" in entry:
        return entry.split("/")[0]
    component = _COMPONENT.search(entry)
    thing = _COMPONENT.sub("", entry)
    return f"{thing}_colour" if component and component[1] in _COLOURS else thing


def spread(psi: np.ndarray) -> Mapping[str, float]:
    """Measures whether r tells scenes apart.

    Args:
        psi: float [N, K, D], one representation for each of K views of N scenes.

    Returns:
        `std`: deviation of one view's ψ across scenes over its root mean square (0: the same for every scene);
        `scene_share`: deviation of a scene's mean ψ over that of all ψ (1: all variation is between scenes).
        Both are means over entries.
    """
    total = psi.reshape(-1, psi.shape[-1]).std(axis=0)
    between = psi.mean(axis=1).std(axis=0)
    rms = np.sqrt(np.square(psi).mean()) + 1e-12
    alive = total > 1e-9 * rms
    share = float((between[alive] / total[alive]).mean()) if alive.any() else 0.0
    return {"std": float(psi[:, 0].std(axis=0).mean() / rms), "scene_share": share}


def _ridge_paths(x: np.ndarray, y: np.ndarray, x_new: np.ndarray) -> list[np.ndarray]:
    """Predicts y at `x_new` for every candidate penalty, from one eigen-decomposition of the smaller of XᵀX and XXᵀ."""
    N, D = x.shape
    x_mean, y_mean = x.mean(axis=0), np.asarray(y, np.float64).mean(axis=0)
    x, y, x_new = x - x_mean, y - y_mean, x_new - x_mean
    if D <= N:
        eigenvalues, directions = np.linalg.eigh(x.T @ x / N)
        target, projected = directions.T @ (x.T @ y) / N, x_new @ directions
    else:
        eigenvalues, directions = np.linalg.eigh(x @ x.T / N)
        target, projected = directions.T @ y, x_new @ x.T @ directions / N
    return [projected @ (target / (np.maximum(eigenvalues, 0) + a)[:, None]) + y_mean for a in RIDGE_STRENGTHS]
