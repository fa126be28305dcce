"""Worlds: scenes that can be drawn at random and looked at from anywhere, and the tasks set in them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gqn_rl.envs import opengl  # noqa: F401 (first, since it guards MuJoCo's import against a wrong MUJOCO_GL)
from gqn_rl.envs.cameras import Camera
from gqn_rl.envs.digit_cube import DigitCubeScene
from gqn_rl.envs.gymnasium import GymnasiumScene
from gqn_rl.envs.jaco import JacoScene
from gqn_rl.envs.maze import MazeScene
from gqn_rl.envs.rooms import RoomsScene
from gqn_rl.envs.shepard_metzler import ShepardMetzlerScene
from gqn_rl.poses import Scene

SCENES: dict[str, Callable[..., Scene]] = {
    "digit_cube": DigitCubeScene,
    "jaco": JacoScene,
    "jaco_avoid": JacoScene,
    "jaco_track": JacoScene,
    "maze": MazeScene,
    "rooms": RoomsScene,
    "shepard_metzler": ShepardMetzlerScene,
}
"""Scenes by the name that `env=` takes."""

ENV_IDS = {
    "jaco": "gqn_rl/JacoReach-v0",
    "jaco_avoid": "gqn_rl/JacoAvoid-v0",
    "jaco_track": "gqn_rl/JacoTrack-v0",
    "maze": "gqn_rl/MazeNav-v0",
}
"""The Gymnasium id of the task that is set in each scene."""


class Task(NamedTuple):
    """What an agent's environment is made of.

    Attributes:
        env_id: its Gymnasium id.
        camera: through which it is looked at: a name that it knows itself, or a camera.
        env_kwargs: its keyword arguments.
        model_settings: what a scene model must know of the scene and its cameras, as the scene describes it.
    """

    env_id: str
    camera: Camera | str
    env_kwargs: dict[str, Any]
    model_settings: dict[str, Any]


def make_task(name: str, scene: Mapping[str, Any], camera: str) -> Task:
    """Returns the task that is set in the scene called `name`, seen as its pretraining pictures are.

    Args:
        name: of the scene, as `make_scene` takes it.
        scene: its settings; an `id` among them makes it that Gymnasium environment.
        camera: name of a camera of the scene.

    Raises:
        ValueError: for a scene without a task; lists those that have one.
    """
    if "id" not in scene:
        with contextlib.closing(make_scene(name, **scene)) as one:
            facts: dict[str, Any] = getattr(one, "model_settings", {})
            return Task(task_id(name), camera, {"scene": dict(scene)}, facts)
    with contextlib.closing(GymnasiumScene(**scene)) as one:
        if camera not in one.cameras:
            raise ValueError(f"`camera` must be one of {list(one.cameras)}, got {camera!r}.")
        return Task(one.id, one.cameras[camera], one.kwargs, one.model_settings)


def task_id(name: str) -> str:
    """Returns the Gymnasium id of the task that is set in the scene called `name`.

    Raises:
        ValueError: for a scene without a task; lists those that have one.
    """
    if name not in ENV_IDS:
        raise ValueError(f"`env` must be a scene with a task, one of {sorted(ENV_IDS)}, got {name!r}.")
    return ENV_IDS[name]


def make_scene(name: str, **settings: Any) -> Scene:
    """Returns the scene called `name`, one of `SCENES`; with an `id` among its settings, that Gymnasium environment.

    Raises:
        ValueError: for an unknown name; lists the known ones.
    """
    if "id" in settings:
        return GymnasiumScene(**settings)
    if name not in SCENES:
        raise ValueError(f"`env` must be one of {sorted(SCENES)}, got {name!r}.")
    return SCENES[name](**settings)
