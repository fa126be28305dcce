"""Where one can stand in a maze, and which cells a view shows: plain geometry on the grid, without pictures."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gqn_rl.envs.maze.cameras import EYE_HEIGHT_M
from gqn_rl.envs.maze.layout import CORRIDOR, MazeLayout
from gqn_rl.envs.maze.motion import is_free
from gqn_rl.views import CameraPose

_RAYS, _STEP_M = 33, 0.05


class PoseGrid(NamedTuple):
    """Every free place of a regular grid over a maze, looking in every one of some directions.

    Attributes:
        free: bool [S, S], north row first: where one can stand.
        viewpoints: float32 [P, A, 7], the P free places row by row, A headings counter-clockwise from east.
    """

    free: np.ndarray
    viewpoints: np.ndarray

    def picture(self, values: np.ndarray) -> np.ndarray:
        """Puts one value for each free place, [P], where it belongs: float64 [S, S], NaN elsewhere."""
        picture = np.full(self.free.shape, np.nan)
        picture[self.free] = values
        return picture


def pose_grid(walls: np.ndarray, per_cell: int, num_headings: int) -> PoseGrid:
    """Returns the poses at eye height from which a maze could be looked at.

    Args:
        walls: bool [n, n], north row first.
        per_cell: places per metre along each axis; places too near to a wall to stand there are left out.
        num_headings: directions, evenly spread.
    """
    layout = MazeLayout(np.where(walls, 0, CORRIDOR))
    cells = len(walls)
    axis = (np.arange(cells * per_cell) + 0.5) / per_cell - cells / 2
    places = [[(float(x), float(y)) for x in axis] for y in axis[::-1]]
    free = np.array([[is_free(layout, place) for place in row] for row in places])
    headings = np.arange(num_headings) * 2 * np.pi / num_headings
    viewpoints = [
        [CameraPose((*place, EYE_HEIGHT_M), float(yaw), 0.0).viewpoint for yaw in headings]
        for row, row_free in zip(places, free, strict=True)
        for place, is_place in zip(row, row_free, strict=True)
        if is_place
    ]
    return PoseGrid(free, np.array(viewpoints, np.float32))


def visible_cells(walls: np.ndarray, viewpoint: np.ndarray, fovy_deg: float) -> np.ndarray:
    """Returns the inner cells that a view shows, bool [n, n], the walls that end its lines of sight among them.

    Args:
        walls: bool [n, n], north row first; beyond them lies a ring of wall.
        viewpoint: float32 [7], level.
        fovy_deg: the camera's field of view, the same in height and in width.
    """
    cells = len(walls)
    x, y, _, sin_yaw, cos_yaw = viewpoint[:5]
    slopes = np.linspace(-1, 1, _RAYS) * math.tan(math.radians(fovy_deg) / 2)  # from right to left
    directions = np.stack([cos_yaw - slopes * sin_yaw, sin_yaw + slopes * cos_yaw], axis=1)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    distances = np.arange(0, cells * math.sqrt(2), _STEP_M)
    points = np.array([x, y]) + directions[:, None] * distances[:, None]  # [rays, steps, 2]
    column, row = np.floor(points[..., 0] + cells / 2).astype(int), np.floor(cells / 2 - points[..., 1]).astype(int)
    inside = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < cells)
    row, column = np.where(inside, row, 0), np.where(inside, column, 0)
    solid = ~inside | walls[row, column]
    walls_before = np.cumsum(solid, axis=1) - solid
    seen = inside & (walls_before == 0)
    visible = np.zeros_like(walls)
    visible[row[seen], column[seen]] = True
    return visible
