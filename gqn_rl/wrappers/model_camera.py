"""ModelCamera: a camera of the environment's own model, drawn exactly as MuJoCo draws it."""

from __future__ import annotations

import dataclasses
from typing import Any

import mujoco
import numpy as np

from gqn_rl.envs.cameras import Camera
from gqn_rl.views import CameraPose

_VERTICAL = 1e-6
"""A line of sight whose horizontal part is shorter has the yaw of the picture's upper edge."""
_LEVEL_DEG = 1.0
"""A camera that is rolled by less counts as upright."""


@dataclasses.dataclass(frozen=True)
class ModelCamera:
    """A camera that the environment's model defines, wherever the physics has carried it.

    Its picture is MuJoCo's, with its roll, field of view, principal point and projection. Its viewpoint is where it is
    and where it looks.

    Attributes:
        name: in the model, or its number there.
    """

    name: str | int

    def number(self, model: mujoco.MjModel) -> int:
        """Returns its number in `model`.

        Raises:
            ValueError: `model` has no such camera; lists those that it has.
        """
        number = self.name
        if isinstance(number, str):
            number = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA.value, number)
        if not 0 <= number < model.ncam:
            names = [model.camera(i).name for i in range(model.ncam)]
            raise ValueError(f"`camera` must be one of the model's cameras ({names}) or its number, got {self.name!r}.")
        return number

    def pose(self, model: mujoco.MjModel, data: mujoco.MjData) -> CameraPose:
        """Returns where the camera stands in `data` and where it looks; its roll is left out."""
        position, (_, up, backward) = self._frame(model, data)
        pose = CameraPose.look_at(position, position - backward)
        if np.hypot(*backward[:2]) > _VERTICAL:
            return pose
        yaw_rad = float(np.arctan2(*(up * np.sign(backward[2]))[1::-1]))  # it looks straight down, or up
        return dataclasses.replace(pose, yaw_rad=yaw_rad)

    def unsaid(self, model: mujoco.MjModel, data: mujoco.MjData) -> str:
        """Returns in a sentence what a viewpoint does not say of this camera, "" where it says everything."""
        number, facts = self.number(model), []
        _, (right, _, backward) = self._frame(model, data)
        roll_deg = float(np.rad2deg(np.arcsin(np.clip(right[2], -1, 1))))
        if abs(roll_deg) > _LEVEL_DEG and np.hypot(*backward[:2]) > _VERTICAL:
            facts.append(f"is rolled by {abs(roll_deg):.0f}°")
        if _is_orthographic(model, number):
            facts.append("is orthographic")
        if np.any(model.cam_sensorsize[number]) and np.any(model.cam_intrinsic[number, 2:]):
            facts.append("has its principal point off the middle of the picture")
        found = " and ".join(facts)
        return found and f"`camera` {self.name!r} {found}, which is drawn, but which a viewpoint does not say."

    def fovy_deg(self, model: mujoco.MjModel) -> float:
        """Returns its vertical field of view in degrees.

        Raises:
            ValueError: it is orthographic and has none.
        """
        number = self.number(model)
        if _is_orthographic(model, number):
            raise ValueError(f"`camera` {self.name!r} is orthographic and has no field of view; choose another camera.")
        height_m = float(model.cam_sensorsize[number, 1])
        if height_m > 0:
            return float(2 * np.rad2deg(np.arctan2(height_m / 2, model.cam_intrinsic[number, 1])))
        return float(model.cam_fovy[number])

    def _frame(self, model: mujoco.MjModel, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
        """Returns the position [3], and rows right, up and backward [3, 3], in the world frame."""
        number = self.number(model)
        return data.cam_xpos[number], data.cam_xmat[number].reshape(3, 3).T


def find_camera(env: Any, model: mujoco.MjModel, camera: Camera | str | int) -> Camera | ModelCamera:
    """Resolves the name or number of a camera; an object is returned as it is.

    Args:
        env: the bare environment, which may have `cameras` of its own.
        model: its model.
        camera: an object, a name or a number.

    Raises:
        ValueError: there is no such camera; lists those that there are.
    """
    if isinstance(camera, bool | int | np.integer):
        if isinstance(camera, bool) or not 0 <= camera < model.ncam:
            raise ValueError(f"`camera` must be a number from 0 to {model.ncam - 1} in this model, got {camera!r}.")
        return ModelCamera(int(camera))
    if not isinstance(camera, str):
        return camera
    own: dict[str, Camera] = getattr(env, "cameras", {})
    if camera in own:
        return own[camera]
    in_model = [model.camera(i).name for i in range(model.ncam)]
    if camera in in_model:
        return ModelCamera(camera)
    names = [*own, *in_model] or "none; give a camera object, such as one of `GymnasiumScene(id).cameras`"
    raise ValueError(f"`camera` must be one of this environment's cameras ({names}), got {camera!r}.")


def _is_orthographic(model: mujoco.MjModel, number: int) -> bool:
    projection = getattr(model, "cam_projection", None)
    return bool(model.cam_orthographic[number] if projection is None else projection[number])
