"""From the picture of a map to its grid of walls, and how near that grid is to the true one.

A map shows the inner cells and half of the ring around them, north up, wall dark and floor light
(`MazeScene.top_view`). Grids are bool [N, n, n], True where there is wall, north row first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MIDDLE_SHARE = 0.75
"""Share of a cell's side that its brightness is averaged over: neighbours bleed into the rest of a blurred map."""

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two wall grids, [N, n, n] each → how near they are, float64 [N]."""


def cell_brightness(maps: np.ndarray, cells: int) -> np.ndarray:
    """Returns the mean over pixels and colours of the middle of every inner cell, float64 [N, cells, cells], 0 to 255.

    Args:
        maps: uint8 [N, H, H, 3].
        cells: inner cells on a side.
    """
    size = maps.shape[1]
    cell = (np.arange(size) + 0.5) * (cells + 1) / size - 0.5  # where pixels' middles lie, in cells from the inner edge
    offset = np.abs(cell[None] - np.arange(cells)[:, None] - 0.5)
    inside = (offset < MIDDLE_SHARE / 2).astype(float)  # [cells, H]
    if not inside.any(axis=1).all():
        raise ValueError(f"A map of {size} pixels is too small for {cells} cells; draw it larger.")
    weights = inside / inside.sum(axis=1, keepdims=True)
    return np.einsum("iy,nyx,jx->nij", weights, maps.mean(axis=-1), weights, optimize=True)


def fit_threshold(brightness: np.ndarray, walls: np.ndarray) -> float:
    """Returns the brightness below which a cell is best taken for wall: the fewest mistakes on true maps.

    Args:
        brightness: of cells of true maps, [N, n, n].
        walls: the same mazes' walls.

    Returns:
        The middle between two neighbouring values of `brightness`.
    """
    order = np.argsort(brightness, axis=None)
    values, is_wall = brightness.ravel()[order], walls.ravel()[order]
    # With the k darkest cells taken for wall, the mistakes are the free ones among them and the walls beyond.
    mistakes = np.concatenate([[0], np.cumsum(~is_wall)]) + is_wall.sum() - np.concatenate([[0], np.cumsum(is_wall)])
    fewest = int(np.argmin(mistakes[1:-1])) + 1
    return float((values[fewest - 1] + values[fewest]) / 2)


def wall_iou(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Returns intersection over union of the wall cells of each maze, float64 [N]; 1 where neither has any."""
    both, either = (predicted & true).sum(axis=(1, 2)), (predicted | true).sum(axis=(1, 2))
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def free_iou(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Returns intersection over union of the free cells of each maze, float64 [N]."""
    return wall_iou(~predicted, ~true)


def cell_accuracy(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Returns the share of cells that are right, of each maze, float64 [N]."""
    return (predicted == true).mean(axis=(1, 2))


MEASURES: dict[str, Measure] = {"wall_iou": wall_iou, "free_iou": free_iou, "accuracy": cell_accuracy}
"""What is reported of a grid of walls, by name."""


def constant_guess(walls: np.ndarray, measure: Measure) -> np.ndarray:
    """Returns the one grid, bool [n, n], that does best as a guess for every one of the mazes [N, n, n].

    Sought among the grids of the cells that are wall in more than some share of the mazes; for `cell_accuracy` the best
    of all is among them.
    """
    shares = walls.mean(axis=0)
    guesses = [shares > level for level in np.unique(np.concatenate([[-1.0, 0.5], shares.ravel()]))]
    scores = [measure(np.broadcast_to(guess, walls.shape), walls).mean() for guess in guesses]
    return guesses[int(np.argmax(scores))]


def psnr(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Returns each picture's peak signal-to-noise ratio in dB, uint8 [N, H, W, 3] twice → float64 [N]."""
    mse = np.square((predicted.astype(np.float32) - true) / 255).mean(axis=(1, 2, 3), dtype=np.float64)
    return -10 * np.log10(np.maximum(mse, 1e-12))
