"""MujocoScene: what every scene made of a MuJoCo model shares, drawing it and describing it."""

from __future__ import annotations

import abc
from typing import Any

import mujoco
import numpy as np

from gqn_rl.envs import opengl, renderer
from gqn_rl.envs.cameras import Camera
from gqn_rl.poses import CameraPose


class MujocoScene(abc.ABC):
    """A random world in a MuJoCo model; implements the `Scene` protocol but for `sample` and `state`.

    Attributes:
        model: this scene's own compiled model; colours and materials of the present world are written into it.
        data: its state.
        image_size: height and width of rendered pictures in pixels.
        cameras: named camera distributions; "moving" is the one that pretraining draws from.
        fovy_deg: vertical field of view of every camera.
        state_names: a name for each entry of `state()`.
        DEPTHS_M: nearest and farthest distance from a camera at which things stand.
        WAVELENGTHS_M: from the scene's size to its details, for sines and cosines of places.
    """

    state_names: tuple[str, ...]
    DEPTHS_M: tuple[float, float]
    WAVELENGTHS_M: tuple[float, ...] = (2.0, 1.0, 0.5)
    _option: mujoco.MjvOption | None = None

    def __init__(self, model: mujoco.MjModel, cameras: dict[str, Camera], image_size: int, fovy_deg: float):
        if image_size < 1:
            raise ValueError(f"`image_size` must be at least 1 pixel, got {image_size}.")
        self.model = model
        self.data = mujoco.MjData(model)
        self.cameras = cameras
        self.image_size = image_size
        self.fovy_deg = fovy_deg

    @abc.abstractmethod
    def sample(self, rng: np.random.Generator) -> None:
        """Draws a new random scene."""

    @abc.abstractmethod
    def state(self) -> np.ndarray:
        """Returns the true state, float32 [S], one entry for each of `state_names`."""

    def sample_pose(self, rng: np.random.Generator) -> CameraPose:
        """Draws a pretraining camera pose."""
        return self.cameras["moving"].sample(rng)

    def render(self, pose: CameraPose) -> np.ndarray:
        """Returns the picture from `pose`, uint8 [image_size, image_size, 3]."""
        return self.render_size(pose, self.image_size, self.image_size)

    def render_size(self, pose: CameraPose, height: int, width: int) -> np.ndarray:
        """Returns the picture from `pose` at another size than the scene's own, uint8 [height, width, 3]."""
        shared = renderer.shared_renderer(self.model, height, width)
        return shared.render(self.model, self.data, pose, self.fovy_deg, self._option)

    @property
    def model_settings(self) -> dict[str, Any]:
        """What a scene model must know of the scene and its cameras, JSON-ready; a data set's manifest holds it."""
        return {
            "fovy_deg": self.fovy_deg,
            "ray_depths_m": list(self.DEPTHS_M),
            "ray_wavelengths_m": list(self.WAVELENGTHS_M),
        }

    def describe(self) -> dict[str, Any]:
        """Returns JSON-ready facts for a data set's manifest: cameras, field of view, renderer and MuJoCo version."""
        vendor, gl_renderer = opengl.gl_strings()
        return {
            "cameras": {name: camera.describe() for name, camera in self.cameras.items()},
            "fovy_deg": self.fovy_deg,
            "model_settings": self.model_settings,
            "gl_vendor": vendor,
            "gl_renderer": gl_renderer,
            "mujoco": mujoco.__version__,
        }

    def close(self) -> None:  # noqa: B027 (nothing to free is the common case)
        """Lets go of the model; the process's shared renderer stays."""
