"""Where an environment keeps its MuJoCo model and data: itself, in `physics` (dm_control) or in `sim` (robosuite)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import mujoco

State = tuple[mujoco.MjModel, mujoco.MjData]
Simulation = Callable[[Any], State]
"""An environment's present model and data, of the environment; it is asked before every picture."""

_INNER = ("env", "_env", "ant_env", "point_env")
"""Attributes under which environments hold another environment."""
_MAX_DEPTH = 20


def find_simulation(env: gym.Env[Any, Any]) -> Simulation:
    """Returns a function of the environment that returns its present model and data; see `prepare_picture` too.

    It looks at the environment and at those that it wraps, of Gymnasium or not, for a `model` and `data`, a `physics`
    (dm_control) or a `sim` (robosuite, mujoco-py's surface).

    Raises:
        ValueError: there is none.
    """
    for path, world in _worlds(env):
        for find in (_own, _of_physics, _of_sim):
            if _is_state(find, world):
                return _Found(path, find)
    raise ValueError(
        f"`env` must have a MuJoCo `model` and `data`, by itself or in `physics` or `sim`, to be looked at, "
        f"{env.unwrapped} has none; give `simulation`, a function from the environment to (model, data)."
    )


def prepare_picture(simulation: Simulation, env: gym.Env[Any, Any]) -> State:
    """Has the environment do to its model what it does before it draws; returns its present model and data.

    gymnasium-robotics' Fetch and Hand put the goal's mark into its place there, in `_render_callback`. What the next
    step of the physics starts from stays as it was.

    Args:
        simulation: of `find_simulation`, or a function of the user's, which has to prepare the picture by itself.
        env: the environment, after its first reset.
    """
    prepare = simulation.find_preparation(env) if isinstance(simulation, _Found) else None
    model, data = simulation(env)
    if prepare is None:
        return model, data
    before = data.qacc_warmstart.copy()
    prepare()
    model, data = simulation(env)
    data.qacc_warmstart[:] = before
    return model, data


class _Found:
    """Follows a path of attributes to the environment that holds model and data, at every call anew.

    A class and not a closure, so that a wrapper that keeps one can be pickled.
    """

    def __init__(self, path: tuple[str, ...], find: Simulation):
        self._path, self._find = path, find

    def __call__(self, env: Any) -> State:
        return self._find(self._world(env))

    def find_preparation(self, env: Any) -> Callable[[], object] | None:
        """Returns what the environment does before it draws."""
        return getattr(self._world(env), "_render_callback", None)

    def _world(self, env: Any) -> Any:
        for name in self._path:
            env = getattr(env, name)
        return env


def _worlds(env: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields the environment's core, and whatever it or its wrappers hold, with the attributes that lead there."""
    waiting, seen = [(("unwrapped",), env.unwrapped), ((), env)], set()
    while waiting:
        path, world = waiting.pop(0)
        if id(world) in seen or len(path) > _MAX_DEPTH:
            continue
        seen.add(id(world))
        yield path, world
        inner = ((name, vars(world)[name]) for name in _INNER if name in getattr(world, "__dict__", {}))
        waiting += [((*path, name), held) for name, held in inner]


def _own(world: Any) -> State:
    return world.model, world.data


def _of_physics(world: Any) -> State:
    return world.physics.model.ptr, world.physics.data.ptr


def _of_sim(world: Any) -> State:
    return _raw(world.sim.model, "_model"), _raw(world.sim.data, "_data")


def _raw(held: Any, name: str) -> Any:
    """Returns MuJoCo's own object out of a binding's wrapper around it."""
    return held if isinstance(held, mujoco.MjModel | mujoco.MjData) else getattr(held, name)


def _is_state(find: Simulation, world: Any) -> bool:
    try:
        model, data = find(world)
    except Exception:  # attributes that are missing, or properties that fail before the first reset
        return False
    return isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData)
