"""Worlds: scenes that can be drawn at random and looked at from anywhere, and the tasks set in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gqn_rl.envs import renderer  # noqa: F401 (first, since it guards MuJoCo's import against a wrong MUJOCO_GL)
from gqn_rl.envs.jaco import JacoScene
from gqn_rl.envs.maze import MazeScene
from gqn_rl.envs.rooms import RoomsScene
from gqn_rl.envs.shepard_metzler import ShepardMetzlerScene
from gqn_rl.views import Scene

SCENES: dict[str, Callable[..., Scene]] = {
    "jaco": JacoScene,
    "maze": MazeScene,
    "rooms": RoomsScene,
    "shepard_metzler": ShepardMetzlerScene,
}
"""Scenes by the name that `env=` takes."""

ENV_IDS = {"jaco": "gqn_rl/JacoReach-v0", "maze": "gqn_rl/MazeNav-v0"}
"""The Gymnasium id of the task that is set in each scene."""


def task_id(name: str) -> str:
    """Returns the Gymnasium id of the task that is set in the scene called `name`.

    Raises:
        ValueError: for a scene without a task; lists those that have one.
    """
    if name not in ENV_IDS:
        raise ValueError(f"`env` must be a scene with a task, one of {sorted(ENV_IDS)}, got {name!r}.")
    return ENV_IDS[name]


def make_scene(name: str, **settings: Any) -> Scene:
    """Returns the scene called `name`.

    Raises:
        ValueError: for an unknown name; lists the known ones.
    """
    if name not in SCENES:
        raise ValueError(f"`env` must be one of {sorted(SCENES)}, got {name!r}.")
    return SCENES[name](**settings)
