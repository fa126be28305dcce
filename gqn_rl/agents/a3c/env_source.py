"""What each worker makes its own environments from: an id, an environment to copy, or a factory."""

from __future__ import annotations

import functools
import inspect
import io
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import gymnasium as gym
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, unwrap_vec_normalize

from gqn_rl.machine import import_triton_before_opengl

Source = Callable[[], gym.Env | VecEnv]
"""Makes an environment, or a small SB3 vector environment whose members one worker steps side by side."""
EnvSource = str | gym.Env | VecEnv | Source
"""What users give: a Gymnasium id, an environment or vector environment (every worker gets a copy), or a factory."""

_OF_CLASS = "class_attributes"
"""What Stable-Baselines3's wrappers of vector environments hold of their class."""


def make_source(env: EnvSource) -> Source:
    """Returns a picklable factory of what the user gave.

    Raises:
        ValueError: an environment that cannot be copied, such as one with processes of its own, or something else.
    """
    if isinstance(env, str):
        return functools.partial(gym.make, gym.spec(env))
    if isinstance(env, gym.Env | VecEnv):
        return _copied(env)
    if not callable(env):
        raise ValueError(
            "`env` must be a Gymnasium id, an environment, a vector environment or a factory of one, since every "
            f"worker makes its own; got {type(env).__name__}."
        )
    return env


def make_vectorised(source: Source, verbose: int = 0) -> VecEnv:
    """Makes a vector environment as SB3's algorithms want it: monitored, and with the channels of pictures first.

    Raises:
        ValueError: it gathers running statistics, which those of the workers would never come together of.
    """
    import_triton_before_opengl()  # the environments may draw by themselves
    envs = OnPolicyAlgorithm._wrap_env(source(), verbose)
    normalising = unwrap_vec_normalize(envs)
    if normalising is not None and normalising.training:
        raise ValueError(
            "`env` must not gather statistics (`VecNormalize`), since each worker would normalise in its own way: "
            "gather them beforehand, and set `training = False`."
        )
    return envs


def pickled(held: Any) -> bytes:
    """Pickles environments of any kind, and whatever stands beside them.

    Stable-Baselines3's wrappers of vector environments are pickled whole. By themselves they cannot be, since they hold
    a list of what their class has, and `VecNormalize` would leave its environments behind.
    """
    written = io.BytesIO()
    _Pickler(written).dump(held)
    return written.getvalue()


class _Pickler(cloudpickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        """Says how a wrapper is made again."""
        if isinstance(obj, VecEnvWrapper):
            return _wrapper, (type(obj), {name: value for name, value in vars(obj).items() if name != _OF_CLASS})
        return super().reducer_override(obj)


def _wrapper(kind: type[VecEnvWrapper], held: dict[str, Any]) -> VecEnvWrapper:
    """Makes a wrapper again of what it held."""
    envs = kind.__new__(kind)
    vars(envs).update(held, **{_OF_CLASS: dict(inspect.getmembers(kind))})
    return envs


def _copied(env: gym.Env[Any, Any] | VecEnv) -> Source:
    """Returns a factory of copies of `env`."""
    try:
        return functools.partial(pickle.loads, pickled(env))
    except Exception as error:  # an environment may refuse in any way
        text = f"`env` cannot be copied to the workers ({error}): give a factory, a function that makes it, instead."
        raise ValueError(text) from error
