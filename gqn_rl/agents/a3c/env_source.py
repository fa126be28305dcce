"""What each worker makes its own environments from: an id, an environment to copy, or a factory."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import gymnasium as gym
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from gqn_rl.machine import import_triton_before_opengl

Source = Callable[[], gym.Env | VecEnv]
"""Makes an environment, or a small SB3 vector environment whose members one worker steps side by side."""
EnvSource = str | gym.Env | Source
"""What users give: a Gymnasium id, an environment (every worker gets a copy), or a picklable factory."""


def make_source(env: EnvSource) -> Source:
    """Returns a picklable factory of what the user gave.

    Raises:
        ValueError: a vector environment, an environment that cannot be pickled, or something else.
    """
    if isinstance(env, str):
        return functools.partial(gym.make, gym.spec(env))
    if isinstance(env, gym.Env):
        return functools.partial(pickle.loads, _pickled(env))
    if isinstance(env, VecEnv) or not callable(env):
        raise ValueError(
            "`env` must be a Gymnasium id, an environment, or a factory, since every worker makes its own; "
            f"got {type(env).__name__}. A factory may return a vector environment."
        )
    return env


def make_vectorised(source: Source, verbose: int = 0) -> VecEnv:
    """Makes a vector environment as SB3's algorithms want it: monitored, and with the channels of pictures first.

    Raises:
        ValueError: it normalises by running statistics, which each worker would gather for itself.
    """
    import_triton_before_opengl()  # the environments may draw by themselves
    envs = OnPolicyAlgorithm._wrap_env(source(), verbose)
    if unwrap_vec_normalize(envs) is not None:
        raise ValueError("`env` must not use `VecNormalize`, since each worker would normalise in its own way.")
    return envs


def _pickled(env: gym.Env[Any, Any]) -> bytes:
    try:
        return cloudpickle.dumps(env)
    except Exception as error:  # an environment may refuse in any way
        text = f"`env` cannot be copied to the workers ({error}): give a factory, a function that makes it, instead."
        raise ValueError(text) from error
