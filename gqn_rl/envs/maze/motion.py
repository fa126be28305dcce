"""How a body moves in a maze: it slides along walls and never enters them, worked out on the grid without physics.

The body is an upright square prism aligned with the grid, half a side wide as `BODY_RADIUS_M`; it holds the circle of
that radius. Against axis-aligned walls each axis can then be moved by itself, and contact is exact.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from gqn_rl.envs.maze.layout import MazeLayout

BODY_RADIUS_M = 0.2
"""No body and no camera comes nearer to a wall, along either axis."""
_TOUCHING_M = 1e-9


@dataclasses.dataclass
class Body:
    """Where the agent is.

    Attributes:
        position_w: x and y in metres.
        heading_rad: counter-clockwise, 0 along +x, in [−π, π).
    """

    position_w: tuple[float, float] = (0.0, 0.0)
    heading_rad: float = 0.0

    def move(self, layout: MazeLayout, forward_m: float, left_m: float, turn_rad: float) -> None:
        """Turns, then moves as far as walls allow, sliding along those it meets; less than a metre."""
        heading = self.heading_rad + turn_rad
        self.heading_rad = float((heading + np.pi) % (2 * np.pi) - np.pi)
        sin, cos = np.sin(self.heading_rad), np.cos(self.heading_rad)
        step = forward_m * cos - left_m * sin, forward_m * sin + left_m * cos
        self.position_w = slide(layout.solid, self.position_w, step)


def slide(solid: np.ndarray, position_w: tuple[float, float], step_w: tuple[float, float]) -> tuple[float, float]:
    """Returns where a body comes that wants to move by `step_w`, metres: first along x, then along y.

    Args:
        solid: `MazeLayout.solid`.
        position_w: x and y where it stands, not in a wall.
        step_w: less than a metre along each axis.
    """
    x, y = position_w
    x = _advance(solid, x, y, step_w[0])
    y = _advance(solid.T, y, x, step_w[1])
    return x, y


def _advance(solid: np.ndarray, along: float, across: float, step: float) -> float:
    """Moves along the first axis of `solid` until the body's leading side touches a wall."""
    half, side = len(solid) / 2, float(np.sign(step))
    cell = int(np.floor(along + step + side * BODY_RADIUS_M + half))
    left, right = across - BODY_RADIUS_M + _TOUCHING_M + half, across + BODY_RADIUS_M - _TOUCHING_M + half
    if not (solid[cell, int(left)] or solid[cell, int(right)]):
        return float(along + step)
    face = (cell if side > 0 else cell + 1) - half
    return float(face - side * BODY_RADIUS_M)


def is_free(layout: MazeLayout, position_w: tuple[float, float]) -> bool:
    """Tells whether a body fits at `position_w`."""
    solid, reach = layout.solid, BODY_RADIUS_M - _TOUCHING_M
    x, y = (coordinate + len(solid) / 2 for coordinate in position_w)
    return not any(solid[int(x + dx), int(y + dy)] for dx in (-reach, reach) for dy in (-reach, reach))


def free_position(layout: MazeLayout, rng: np.random.Generator) -> tuple[float, float]:
    """Draws x and y uniformly from where a body fits, metres."""
    cells = layout.free_cells_w
    while True:
        x, y = cells[rng.integers(len(cells))] + rng.uniform(-0.5, 0.5, 2)
        if is_free(layout, (x, y)):
            return float(x), float(y)
