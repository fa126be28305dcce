"""Which view to take next: by predicted information gain, at random, or by what has not been seen; and what it brings.

Every strategy begins with a maze's first view and then takes one of the maze's other views after the other: the
candidates are random poses, the same for all. Only what a strategy has taken is known to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from gqn_rl.analyses.maps.evaluation import MapJudge, draw_maps
from gqn_rl.analyses.maps.geometry import visible_cells
from gqn_rl.analyses.maps.information import information_gain
from gqn_rl.analyses.maps.mazes import EncodedMazes
from gqn_rl.models import SceneModel
from gqn_rl.models.map_decoder import MapDecoder
from gqn_rl.progress import tqdm
from gqn_rl.statistics import mean_over_scenes

Strategy = Callable[[EncodedMazes, np.ndarray], np.ndarray]
"""Mazes and the views taken so far, bool [N, K] → how much each view is wanted next, [N, K]."""


def by_gain(model: SceneModel, num_samples: int) -> Strategy:
    """Wants the view of greatest predicted information gain."""

    def want(mazes: EncodedMazes, taken: np.ndarray) -> np.ndarray:
        weight = torch.from_numpy(taken.astype(np.float32))
        r = torch.einsum("nk,nk...->n...", weight, mazes.psi)
        return information_gain(model, r, mazes.viewpoints, num_samples)

    return want


def at_random(rng: np.random.Generator) -> Strategy:
    """Wants any view as much as any other."""
    return lambda mazes, taken: rng.random(taken.shape)


def farthest(mazes: EncodedMazes, taken: np.ndarray) -> np.ndarray:
    """Wants the view whose place is farthest from the nearest place where one was taken: metres."""
    places = mazes.viewpoints[:, :, :2]
    distances = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)  # [N, K, K]
    return np.where(taken[:, None], distances, np.inf).min(axis=2)


def frontier(fovy_deg: float) -> Strategy:
    """Wants the view that would show the most cells not seen yet, if what was not seen were free.

    Walls that were seen end its lines of sight; those that were not are not known to it.
    """

    def want(mazes: EncodedMazes, taken: np.ndarray) -> np.ndarray:
        wanted = np.zeros(taken.shape)
        for index, (walls, viewpoints) in enumerate(zip(mazes.walls, mazes.viewpoints, strict=True)):
            shown = [visible_cells(walls, viewpoint, fovy_deg) for viewpoint in viewpoints[taken[index]]]
            seen = np.any(shown, axis=0)
            for view in np.flatnonzero(~taken[index]):
                expected = visible_cells(walls & seen, viewpoints[view], fovy_deg)
                wanted[index, view] = (expected & ~seen).sum()
        return wanted

    return want


def choose_views(strategy: Strategy, mazes: EncodedMazes, num_views: int, progress: str | None = None) -> np.ndarray:
    """Returns the views that a strategy takes of each maze, in order, int [N, num_views]; the first one is given.

    Args:
        strategy: says how much each view is wanted; of equals the first is taken.
        mazes: candidates are their K views.
        num_views: at most K.
        progress: name of a progress bar.
    """
    if not 1 <= num_views <= mazes.num_views:
        raise ValueError(f"`num_views` must be in [1, {mazes.num_views}], the views of a maze, got {num_views}.")
    count = len(mazes.psi)
    taken = np.zeros((count, mazes.num_views), bool)
    taken[:, 0] = True
    order = np.zeros((count, num_views), int)
    for step in tqdm(range(1, num_views), desc=progress, unit="view", disable=progress is None):
        order[:, step] = np.where(taken, -np.inf, strategy(mazes, taken)).argmax(axis=1)
        taken[np.arange(count), order[:, step]] = True
    return order


def score_views(order: np.ndarray, decoder: MapDecoder, judge: MapJudge, mazes: EncodedMazes) -> np.ndarray:
    """Returns the wall IoU of the maps drawn after each view taken, float64 [N, num_views]."""
    rows = torch.arange(len(order))[:, None]
    r = mazes.psi[rows, torch.from_numpy(order)].cumsum(dim=1)  # [N, num_views, *representation_shape]
    scores = [judge.judge(draw_maps(decoder, r[:, view]), mazes)["wall_iou"] for view in range(order.shape[1])]
    return np.stack(scores, axis=1)


def compare(scores: Mapping[str, np.ndarray], ours: str, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Compares one strategy with the others on the same mazes: a row for each number of views and strategy.

    Args:
        scores: by strategy, float64 [N, V].
        ours: the strategy that the others are taken from.
        rng: of the bootstrap over mazes.

    Returns:
        `wall_iou` of the strategy, and `gain_over` = ours minus the strategy's, maze by maze, each with its interval.
    """
    rows: list[dict[str, Any]] = []
    for view in range(scores[ours].shape[1]):
        for name, values in scores.items():
            difference = mean_over_scenes(scores[ours][:, view] - values[:, view], rng).columns("gain_over")
            mean = mean_over_scenes(values[:, view], rng).columns("wall_iou")
            rows.append({"views": view + 1, "strategy": name} | mean | difference)
    return rows
