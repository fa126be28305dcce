"""Batched twins of GQNObservationWrapper: one forward pass per step for all environments side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from gqn_rl.wrappers.context import Encoder, RepresentationMap, RepresentationSpec
from gqn_rl.wrappers.context_sum import Context
from gqn_rl.wrappers.representation import Viewpoint

_FINAL = "final_obs"
"""Under which Gymnasium hands over the last observation of an episode that was replaced within the step."""


class GQNVecEnv(VecEnvWrapper):
    """GQNObservationWrapper for Stable-Baselines3's vector environments; terminal observations are encoded too.

    Arguments as for `GQNObservationWrapper`, by name after `context`, but `viewpoint` can only be a constant.
    """

    def __init__(
        self,
        venv: VecEnv,
        encoder: Encoder | str,
        context: Context = "current",
        *,
        viewpoint: Viewpoint | None = None,
        **settings: Any,
    ):
        spec = RepresentationSpec(encoder, context, **settings)
        self._map = RepresentationMap(spec, venv.observation_space, num_envs=venv.num_envs, viewpoint=viewpoint)
        super().__init__(venv, observation_space=self._map.observation_space)

    def reset(self) -> dict[str, np.ndarray]:
        """Resets every environment and its context."""
        self._map.reset()
        return self._map.step(self.venv.reset())

    def step_wait(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Encodes the new views together with the last views of the episodes that have just ended."""
        views, rewards, dones, infos = self.venv.step_wait()
        ended = np.flatnonzero(dones)
        last = [infos[i]["terminal_observation"] for i in ended]
        observations, last = self._map.step_with_last(views, last, ended)
        for i, observation in zip(ended, last, strict=True):
            infos[i]["terminal_observation"] = observation
        return observations, rewards, dones, infos


class GQNVectorEnv(gym.vector.VectorWrapper):
    """GQNObservationWrapper for Gymnasium's vector environments, in each of their autoreset modes.

    NEXT_STEP: the step after an episode's end starts a new context. SAME_STEP: `infos["final_obs"]` is encoded with
    the ended episode's context. Environments that do not say their mode are of the second kind where `infos` has
    "final_obs", else of the first. DISABLED: `reset(options={"reset_mask": ...})` starts new contexts where the mask is
    set. Arguments as for `GQNObservationWrapper`, by name after `context`, but `viewpoint` can only be a constant.
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv,
        encoder: Encoder | str,
        context: Context = "current",
        *,
        viewpoint: Viewpoint | None = None,
        **settings: Any,
    ):
        super().__init__(env)
        spec = RepresentationSpec(encoder, context, **settings)
        self._map = RepresentationMap(spec, env.single_observation_space, num_envs=env.num_envs, viewpoint=viewpoint)
        self.single_observation_space = self._map.observation_space
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self._mode = _autoreset_mode(env)
        self._ended = np.zeros(env.num_envs, bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets all environments, or those that `options["reset_mask"]` names, and their contexts."""
        mask = (options or {}).get("reset_mask")
        restarted = np.flatnonzero(np.ones(self.num_envs, bool) if mask is None else mask)
        views, infos = self.env.reset(seed=seed, options=options)
        self._ended[restarted] = False
        self._map.reset(restarted)
        return self._map.step_some(views, restarted), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Encodes the new views together with the last views of episodes that were replaced within the step."""
        views, rewards, terminated, truncated, infos = self.env.step(actions)
        if self._mode in (AutoresetMode.NEXT_STEP, None):
            self._map.reset(np.flatnonzero(self._ended))
        self._ended = np.logical_or(terminated, truncated)
        is_same_step = self._mode == AutoresetMode.SAME_STEP or (self._mode is None and _FINAL in infos)
        if not (is_same_step and self._ended.any()):
            return self._map.step(views), rewards, terminated, truncated, infos
        replaced = np.flatnonzero(self._ended)
        observations, last = self._map.step_with_last(views, [_one(infos[_FINAL], int(i)) for i in replaced], replaced)
        final = np.full(self.num_envs, None, object)
        final[replaced] = last
        return observations, rewards, terminated, truncated, {**infos, _FINAL: final}


def _autoreset_mode(env: gym.vector.VectorEnv) -> AutoresetMode | None:
    """Returns how the environments begin anew, None where they do not say: as Gymnasium's do, or as `infos` shows."""
    mode = (env.metadata or {}).get("autoreset_mode")
    try:
        return None if mode is None else AutoresetMode(mode)
    except ValueError as error:
        known = [mode.value for mode in AutoresetMode]
        raise ValueError(f"`env.metadata['autoreset_mode']` must be one of {known}, got {mode!r}.") from error


def _one(observations: Any, index: int) -> Any:
    """Returns one environment's observation out of a batch: an array, a dict of arrays, or an array of objects."""
    if isinstance(observations, Mapping):
        return {key: value[index] for key, value in observations.items()}
    return observations[index]
