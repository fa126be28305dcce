"""Gymnasium's MuJoCo environments by their ids, and policies that play in them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from gqn_rl.envs.simulation import find_simulation

Policy = Callable[[Any], Any]
"""Observation of the environment → action."""


def make_mujoco_env(id: str, kwargs: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """Makes an environment without its time limit.

    Raises:
        ValueError: there is none of this id, it cannot be made, or it has no MuJoCo model.
    """
    try:
        env = gym.make(id, disable_env_checker=True, max_episode_steps=-1, **kwargs)
    except (gym.error.Error, ImportError, TypeError) as error:
        raise ValueError(f"`env.id` {id!r} cannot be made with {dict(kwargs)}: {error}") from error
    find_simulation(env)
    return env


def find_policy(path: str) -> Policy:
    """Imports the function that `my_package.my_module:function` names.

    Raises:
        ValueError: there is no such function.
    """
    module, _, name = path.partition(":")
    try:
        policy = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"`policy` must be `package.module:function`, got {path!r}: {error}.") from error
    if not callable(policy):
        raise ValueError(f"`policy` {path!r} must be a function from observation to action, got {policy!r}.")
    return policy
