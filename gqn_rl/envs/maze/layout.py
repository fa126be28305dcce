"""MazeLayout: where a maze has walls and rooms, drawn by DeepMind Lab's generator; the world frame of its cells.

Cells are squares of one metre. Row 0 of a grid is the northern row (+y), column 0 the western one (−x); the middle of
the maze is the origin. Grids hold the inner cells alone; a ring of wall one cell thick lies around them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import NamedTuple

import labmaze  # type: ignore[import-untyped]
import numpy as np
from scipy import ndimage

MAX_ROOMS = 2
ROOM_CELLS = (3, 5)  # least and greatest side of a room
EXTRA_CONNECTION_PROBABILITY = 0.3  # of openings beyond those that a tree needs: many mazes have loops
DEAD_ENDS_SHARE = 0.5  # of mazes that keep corridors which lead nowhere
LEAST_FREE_SHARE = 0.4
"""Mazes with less free space than this share of the inner cells are drawn again: a lone room is no maze."""
CORRIDOR, ROOM = 1, 2
"""Entries of `MazeLayout.areas`; 0 is wall."""


class Face(NamedTuple):
    """A straight stretch of wall face, as long as one kind of area lies before it.

    Attributes:
        x, y: its middle on the floor, metres.
        quarter: the direction that it faces: 0 south (−y), 1 west, 2 north, 3 east.
        length: metres.
        area: what lies before it, `CORRIDOR` or `ROOM`.
    """

    x: float
    y: float
    quarter: int
    length: int
    area: int


class Rectangle(NamedTuple):
    """A rectangle of cells: its middle and its extent along x and y, metres."""

    x: float
    y: float
    width: int
    depth: int


@dataclasses.dataclass(frozen=True, eq=False)
class MazeLayout:
    """What stands where in a maze.

    Attributes:
        areas: int [n, n] over the inner cells: 0 wall, `CORRIDOR`, `ROOM`.
    """

    areas: np.ndarray

    @property
    def walls(self) -> np.ndarray:
        """True where an inner cell is wall, bool [n, n]."""
        return self.areas == 0

    @functools.cached_property
    def free_cells_w(self) -> np.ndarray:
        """Middles of the free cells, float64 [C, 2], metres, row by row."""
        rows, columns = np.nonzero(self.areas)
        return cell_centers_w(rows, columns, len(self.areas))

    @functools.cached_property
    def solid(self) -> np.ndarray:
        """True where there is wall, the ring included, bool [n + 2, n + 2], indexed [x, y] from the south-west."""
        return np.pad(self.walls, 1, constant_values=True)[::-1].T.copy()

    def faces(self) -> list[Face]:
        """Returns every wall face that borders free space, merged into the longest stretches."""
        areas = np.pad(self.areas, 1)
        half, found = len(areas) / 2, []
        for quarter in range(4):
            turned = np.rot90(areas, quarter)  # now the faces wanted are those on the north side of a free cell
            before = np.where(turned[:-1] == 0, turned[1:], 0)
            for row, line in enumerate(before.tolist(), start=1):
                for area, start, stop in _runs(line):
                    x, y = _turn_back((start + stop) / 2 - half, half - row, quarter)
                    found.append(Face(x, y, quarter, stop - start, area))
        return found


def draw_layout(rng: np.random.Generator, cells: int) -> MazeLayout:
    """Draws a maze of `cells` × `cells` inner cells: one or two rooms and corridors, all free cells connected."""
    size = cells + 2
    while True:
        maze = labmaze.RandomMaze(
            height=size,
            width=size,
            max_rooms=int(rng.integers(1, MAX_ROOMS, endpoint=True)),
            room_min_size=ROOM_CELLS[0],
            room_max_size=ROOM_CELLS[1],
            extra_connection_probability=EXTRA_CONNECTION_PROBABILITY,
            simplify=bool(rng.random() >= DEAD_ENDS_SHARE),
            random_seed=int(rng.integers(2**31)),
        )
        inner = slice(1, -1), slice(1, -1)
        free = np.asarray(maze.entity_layer)[inner] != "*"
        rooms = np.asarray(maze.variations_layer)[inner] != "."
        layout = MazeLayout(np.where(free, np.where(rooms, ROOM, CORRIDOR), 0))
        if rooms.any() and free.mean() >= LEAST_FREE_SHARE and is_connected(layout):
            return layout


def is_connected(layout: MazeLayout) -> bool:
    """Tells whether every free cell can be reached from every other."""
    return ndimage.label(layout.areas > 0)[1] == 1


def cell_centers_w(rows: np.ndarray, columns: np.ndarray, cells: int) -> np.ndarray:
    """Returns the middles of inner cells in metres, float64 [..., 2].

    >>> cell_centers_w(np.array(0), np.array(6), 7).tolist()
    [3.0, 3.0]
    """
    middle = (cells - 1) / 2
    return np.stack([columns - middle, middle - rows], axis=-1)


def rectangles(mask: np.ndarray) -> list[Rectangle]:
    """Covers the true cells of a square grid around the origin by rectangles without overlap.

    >>> rectangles(np.array([[1, 1], [1, 0]], bool))
    [Rectangle(x=0.0, y=0.5, width=2, depth=1), Rectangle(x=-0.5, y=-0.5, width=1, depth=1)]
    """
    left_over, half, found = mask.copy(), len(mask) / 2, []
    for top, left in np.argwhere(mask).tolist():
        if not left_over[top, left]:
            continue
        width = _leading_trues(left_over[top, left:])
        depth = _leading_trues(np.asarray(left_over[top:, left : left + width].all(axis=1)))
        left_over[top : top + depth, left : left + width] = False
        found.append(Rectangle(left + width / 2 - half, half - top - depth / 2, width, depth))
    return found


def _leading_trues(line: np.ndarray) -> int:
    return len(line) if line.all() else int(line.argmin())


def _runs(line: list[int]) -> list[tuple[int, int, int]]:
    """Returns (value, start, stop) of every stretch of one value other than 0."""
    found, start = [], 0
    for value, stretch in itertools.groupby(line):
        stop = start + len(list(stretch))
        if value:
            found.append((value, start, stop))
        start = stop
    return found


def _turn_back(x: float, y: float, quarters: int) -> tuple[float, float]:
    """Turns a point clockwise about the origin by quarter turns."""
    for _ in range(quarters):
        x, y = y, -x
    return x, y
