"""Cameras of a maze: anywhere free, the agent's own eye, and one high above that sees everything."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gqn_rl.envs.maze.layout import MazeLayout
from gqn_rl.envs.maze.motion import Body, free_position
from gqn_rl.poses import CameraPose

EYE_HEIGHT_M = 0.5
HELDOUT_EYE_HEIGHT_M = 0.75
"""Eye heights: the only one that pretraining ever sees, and one that it never does."""
OVERHEAD_HEIGHT_M = 30.0
"""High enough that walls hide next to no floor, low enough for the depth buffer."""


class Anywhere:
    """A level camera at a random free place of the present maze, looking in a random direction.

    Args:
        height_m: of the camera above the floor.
        layout: the present maze; whoever draws a new one sets it.
    """

    def __init__(self, height_m: float = EYE_HEIGHT_M, layout: MazeLayout | None = None):
        self.height_m = height_m
        self.layout = layout

    def sample(self, rng: np.random.Generator) -> CameraPose:
        """Draws one pose, uniform over free space and over headings."""
        if self.layout is None:
            raise ValueError("`layout` must be set before a pose is drawn; call `scene.sample` first.")
        x, y = free_position(self.layout, rng)
        return CameraPose((float(x), float(y), self.height_m), float(rng.uniform(-np.pi, np.pi)), 0.0)

    def describe(self) -> dict[str, Any]:
        """Returns JSON-ready facts that identify the distribution."""
        return {"kind": "anywhere", "height_m": self.height_m}


@dataclasses.dataclass(frozen=True)
class Eye:
    """The agent's own eye, level and wherever the agent is.

    Attributes:
        body: the agent's body, which moves.
        height_m: of the eye above the floor.
    """

    body: Body
    height_m: float = EYE_HEIGHT_M

    def sample(self, rng: np.random.Generator) -> CameraPose:
        """Returns the present pose; `rng` is not used."""
        x, y = self.body.position_w
        return CameraPose((float(x), float(y), self.height_m), self.body.heading_rad, 0.0)

    def describe(self) -> dict[str, Any]:
        """Returns JSON-ready facts that identify the camera."""
        return {"kind": "eye", "height_m": self.height_m}


@dataclasses.dataclass(frozen=True)
class Overhead:
    """A camera high above the middle that looks straight down, north up, at the inner cells and half of the ring.

    Attributes:
        cells: inner cells on a side; the picture is `cells + 1` metres wide.
    """

    cells: int

    @property
    def fovy_deg(self) -> float:
        """Vertical field of view of this camera, whatever the scene's own."""
        return float(np.rad2deg(2 * np.arctan((self.cells + 1) / 2 / OVERHEAD_HEIGHT_M)))

    def sample(self, rng: np.random.Generator) -> CameraPose:
        """Returns the one pose; `rng` is not used."""
        return self.pose

    @property
    def pose(self) -> CameraPose:
        """Where it stands."""
        return CameraPose((0.0, 0.0, OVERHEAD_HEIGHT_M), np.pi / 2, -np.pi / 2)

    def describe(self) -> dict[str, Any]:
        """Returns JSON-ready facts that identify the camera."""
        return {"kind": "overhead", "height_m": OVERHEAD_HEIGHT_M, "width_m": self.cells + 1, "fovy_deg": self.fovy_deg}
