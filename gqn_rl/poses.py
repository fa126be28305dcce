"""Where cameras stand, and what a scene is that they look at: the part of `views.py` that needs no torch.

Processes that draw pictures import this, and start without torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

IMAGE = "image"
"""Observation key of one camera picture, uint8 [H, W, 3]."""
VIEWPOINT = "viewpoint"
"""Observation key of the camera's viewpoint, float32 [7]."""
REPRESENTATION = "representation"
"""Observation key of the scene representation r, float32."""
PROPRIOCEPTION = "proprioception"
"""Observation key of what a body knows of itself without looking, float32 [n]."""

VIEWPOINT_SIZE = 7
POSE_CONVENTION = "x y z sin_yaw cos_yaw sin_pitch cos_pitch"
"""Order of a viewpoint's entries: metres, then sine and cosine of angles, as DeepMind's gqn-datasets reader has it."""


@dataclasses.dataclass(frozen=True)
class CameraPose:
    """Where a camera stands and where it looks, in the world frame (x forward at yaw 0, z up), without roll.

    Attributes:
        position_w: x, y, z in metres.
        yaw_rad: heading about z, counter-clockwise, 0 along +x.
        pitch_rad: elevation of the line of sight, positive upward.
    """

    position_w: tuple[float, float, float]
    yaw_rad: float
    pitch_rad: float

    @classmethod
    def look_at(cls, position_w: ArrayLike, target_w: ArrayLike) -> CameraPose:
        """Returns the pose at `position_w` whose line of sight passes through `target_w`.

        >>> CameraPose.look_at((1.0, 0.0, 0.0), (0.0, 0.0, 0.0)).forward_w.round(6).tolist()
        [-1.0, 0.0, 0.0]
        """
        x, y, z = np.asarray(position_w, float).tolist()
        dx, dy, dz = np.asarray(target_w, float) - (x, y, z)
        if dx == dy == dz == 0:
            raise ValueError(f"`target_w` must differ from `position_w`, got {(x, y, z)} for both.")
        return cls((x, y, z), float(np.arctan2(dy, dx)), float(np.arctan2(dz, np.hypot(dx, dy))))

    @classmethod
    def from_viewpoint(cls, viewpoint: Iterable[float]) -> CameraPose:
        """Returns the pose that a 7-vector describes (inverse of `viewpoint`)."""
        x, y, z, sin_yaw, cos_yaw, sin_pitch, cos_pitch = (float(v) for v in viewpoint)
        return cls((x, y, z), float(np.arctan2(sin_yaw, cos_yaw)), float(np.arctan2(sin_pitch, cos_pitch)))

    @property
    def viewpoint(self) -> np.ndarray:
        """The pose as float32 [7], ordered as `POSE_CONVENTION`."""
        yaw, pitch = self.yaw_rad, self.pitch_rad
        return np.array([*self.position_w, np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)], np.float32)

    @property
    def forward_w(self) -> np.ndarray:
        """Unit vector of the line of sight, float64 [3]."""
        yaw, pitch = self.yaw_rad, self.pitch_rad
        return np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])


class Scene(Protocol):
    """A world that can be drawn anew at random and looked at from anywhere; randomness is always an argument.

    One that gets into a random scene by acting counts the actions of the present one in `num_actions`.
    """

    image_size: int
    state_names: tuple[str, ...]

    def sample(self, rng: np.random.Generator) -> None:
        """Draws a new random scene."""

    def sample_pose(self, rng: np.random.Generator) -> CameraPose:
        """Draws a camera pose from the pretraining distribution for the present scene."""
        ...

    def render(self, pose: CameraPose) -> np.ndarray:
        """Returns the picture from `pose`, uint8 [image_size, image_size, 3]."""
        ...

    def state(self) -> np.ndarray:
        """Returns the true state, float32 [S], one entry for each of `state_names`."""
        ...

    def describe(self) -> dict[str, Any]:
        """Returns JSON-ready facts a data set needs: scene settings, cameras, renderer and MuJoCo versions."""
        ...

    def close(self) -> None:
        """Frees the renderer."""
