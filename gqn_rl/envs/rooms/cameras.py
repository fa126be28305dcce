"""Cameras of the Rooms: on a ring around the middle, or free among the objects."""

from __future__ import annotations

from typing import Any

import numpy as np

from gqn_rl.envs.cameras import Camera, Fixed, ring
from gqn_rl.envs.rooms.model import ROOM_HALF_SIZE_M
from gqn_rl.poses import CameraPose

FOVY_DEG = 60.0
AIM_HEIGHT_M = 0.22
"""About the middle of an object."""
RING_RADIUS_M, RING_HEIGHT_M = 1.65, 1.0
FREE_HEIGHT_M = (0.6, 1.1)
WALL_CLEARANCE_M = 0.12
OBJECT_CLEARANCE_M = 0.45
"""From a free camera to the circle that an object stands in, along the floor: no object fills the picture."""
AIM_RADIUS_M = 0.5
"""A free camera looks at a point within this distance of the room's middle …"""
AIM_DISTANCE_M = 0.9  # … and at least this far away along the floor


class Free:
    """A camera anywhere in the room but too near to an object, looking across the middle of the room.

    Attributes:
        footprints: x, y and radius in metres of the circle that each object stands in, float64 [N, 3].
    """

    def __init__(self) -> None:
        self.footprints = np.empty((0, 3))

    def sample(self, rng: np.random.Generator) -> CameraPose:
        """Draws one pose; draws again while it is too near to an object or to what it looks at."""
        reach = ROOM_HALF_SIZE_M - WALL_CLEARANCE_M
        while True:
            place = rng.uniform(-reach, reach, 2)
            distance, angle = AIM_RADIUS_M * np.sqrt(rng.uniform()), rng.uniform(-np.pi, np.pi)
            aim = distance * np.array([np.cos(angle), np.sin(angle)])
            gaps = np.linalg.norm(self.footprints[:, :2] - place, axis=1) - self.footprints[:, 2]
            if np.linalg.norm(aim - place) >= AIM_DISTANCE_M and (gaps >= OBJECT_CLEARANCE_M).all():
                return CameraPose.look_at((*place, rng.uniform(*FREE_HEIGHT_M)), (*aim, AIM_HEIGHT_M))

    def describe(self) -> dict[str, Any]:
        """Returns JSON-ready facts that identify the distribution."""
        return {
            "kind": "free",
            "height_m": FREE_HEIGHT_M,
            "wall_clearance_m": WALL_CLEARANCE_M,
            "object_clearance_m": OBJECT_CLEARANCE_M,
            "aim_radius_m": AIM_RADIUS_M,
            "aim_distance_m": AIM_DISTANCE_M,
        }


MIDDLE_W = (0.0, 0.0, AIM_HEIGHT_M)
FIXED = Fixed((RING_RADIUS_M, 0.0, RING_HEIGHT_M), MIDDLE_W)


def make_camera(name: str) -> Camera:
    """Returns the camera called "ring" or "free".

    Raises:
        ValueError: for another name.
    """
    if name == "ring":
        return ring(MIDDLE_W, RING_RADIUS_M, RING_HEIGHT_M - AIM_HEIGHT_M)
    if name == "free":
        return Free()
    raise ValueError(f"`camera` must be 'ring' or 'free', got {name!r}.")
