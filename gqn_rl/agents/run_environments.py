"""The environments of a run: a task, what the agent sees of it, and both under changed conditions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from gqn_rl.agents.encoders import encoder_for
from gqn_rl.envs import make_task
from gqn_rl.wrappers import ObservationSpec, make_envs_of

_MAY_CHANGE = ("pose_noise", "task", "scene")


@dataclasses.dataclass(frozen=True)
class RunEnvironments:
    """What all environments of a run have in common.

    Attributes:
        env_id: the task's Gymnasium id.
        env_kwargs: keyword arguments of the environment itself.
        spec: what the agent sees.
    """

    env_id: str
    env_kwargs: dict[str, Any]
    spec: ObservationSpec

    def make(self, num_envs: int, env_kwargs: Mapping[str, Any] | None = None, **how: Any) -> VecEnv:
        """Makes `num_envs` of them; `env_kwargs` come on top, and all else is as for `make_envs_of`."""
        return make_envs_of(self.spec, self.env_id, self.env_kwargs | dict(env_kwargs or {}), num_envs=num_envs, **how)

    def changed(self, name: str, condition: Mapping[str, Any]) -> RunEnvironments:
        """Returns the same under a condition: another error of camera poses, task or scene.

        Raises:
            ValueError: it changes something else.
        """
        if others := [key for key in condition if key not in _MAY_CHANGE]:
            raise ValueError(f"`conditions.{name}` may change pose_noise, task or scene, got {', '.join(others)}.")
        env_kwargs = self.env_kwargs | dict(condition.get("task", {}))
        if scene := condition.get("scene"):
            env_kwargs["scene"] = {**env_kwargs.get("scene", {}), **scene}
        noise = condition.get("pose_noise") or self.spec.pose_noise
        return dataclasses.replace(self, env_kwargs=env_kwargs, spec=dataclasses.replace(self.spec, pose_noise=noise))


def environments_of(settings: Mapping[str, Any], camera: str) -> RunEnvironments:
    """Returns a run's environments, with the encoder loaded.

    Args:
        settings: the command's, resolved.
        camera: the name of the one that the agent looks through.
    """
    task = make_task(settings["env"]["name"], settings["env"]["scene"], camera)
    env_kwargs = task.env_kwargs | task_arguments(settings["task"])
    encoder = encoder_for(settings, task, camera, env_kwargs)
    spec = ObservationSpec(camera=task.camera, encoder=encoder, **view_settings(settings["repr"]))
    return RunEnvironments(task.env_id, env_kwargs, spec)


def changed_environments(settings: Mapping[str, Any], through: str) -> RunEnvironments:
    """Returns a run's environments seen through a camera under named conditions, such as "moving+pose".

    Raises:
        ValueError: a condition is unknown or changes something else than it may.
    """
    camera, *names = through.split("+")
    conditions = settings["conditions"]
    if unknown := [name for name in names if name not in conditions]:
        raise ValueError(
            f"`transfer` must name conditions of {', '.join(conditions)}, got {unknown[0]!r} in {through!r}."
        )
    environments = environments_of(settings, camera)
    for name in names:
        environments = environments.changed(name, conditions[name])
    return environments


def view_settings(representation: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those settings of `repr` that are attributes of `ObservationSpec`."""
    known = {field.name for field in dataclasses.fields(ObservationSpec)}
    return {key: value for key, value in representation.items() if key in known}


def task_arguments(given: object) -> dict[str, Any]:
    """Returns the keyword arguments of the environment that the config's `task` holds, none for null.

    Raises:
        ValueError: it holds something else.
    """
    if not isinstance(given, Mapping | None):
        raise ValueError(
            f"`task` must be keyword arguments of the environment, such as {{looks: random}}, got {given!r}."
        )
    return dict(given or {})
