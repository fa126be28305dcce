"""Runs an agent for whole episodes on fixed seeds, and says how well it did."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

DISTANCE, SUCCESSES = "distance", ("success", "is_success")
"""Keys of `info` at an episode's last step; environments without them leave their columns empty. `is_success` is
Stable-Baselines3's and gymnasium-robotics' word."""
IN_METRES = "distance_in_metres"
"""Attribute, true, of environments whose `info["distance"]` is how many metres remain; elsewhere it is left alone."""
LONGEST_EPISODE = 100_000
"""Steps after which an episode is taken for one that never ends."""


class Agent(Protocol):
    """Whatever predicts actions as Stable-Baselines3's models do."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """Returns actions [num_envs, ...] and the agent's memory."""
        ...


class RandomAgent:
    """Draws actions uniformly from `action_space`: the zero of the normalised score."""

    def __init__(self, action_space: Any, seed: int):
        self._action_space = action_space
        self._action_space.seed(seed)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """Returns a random action for each observation; nothing is remembered."""
        batch = next(iter(observation.values())) if isinstance(observation, Mapping) else observation
        return np.stack([self._action_space.sample() for _ in range(len(batch))]), None


@dataclasses.dataclass(frozen=True)
class Episodes:
    """What happened in E episodes.

    Attributes:
        returns: undiscounted sums of rewards, float [E].
        final_distances: metres to the target at the last step, float [E]; NaN where the environment gives none.
        successes: 1 or 0 at the last step, float [E]; NaN where the environment gives none.
    """

    returns: np.ndarray
    final_distances: np.ndarray
    successes: np.ndarray

    @property
    def mean_return(self) -> float:
        """Mean over episodes."""
        return float(self.returns.mean())

    def row(self) -> dict[str, float | str | None]:
        """Returns the columns of `eval.csv`; what the environment does not tell stays empty."""
        return {
            "mean_return": self.mean_return,
            "std_return": float(self.returns.std()),
            "mean_final_distance": _mean_or_none(self.final_distances),
            "success_rate": _mean_or_none(self.successes),
            "returns": _joined(self.returns),
            "final_distances": _joined(self.final_distances),
        }


def run_episodes(
    agent: Agent,
    envs: VecEnv,
    num_episodes: int,
    seed: int,
    on_step: Callable[[list[dict]], object] | None = None,
    *,
    deterministic: bool = True,
) -> Episodes:
    """Runs `num_episodes` whole episodes, as many side by side as there are environments.

    Episode i starts from `reset(seed=seed + i)`, whatever the number of environments. Actions that are drawn are drawn
    from `seed` too, and torch's random state is afterwards what it was.

    Args:
        agent: chooses the actions.
        envs: the evaluation environments, used by nobody else.
        num_episodes: E.
        seed: of the first episode.
        on_step: called after every step with the environments' infos.
        deterministic: whether the agent takes its best action, or draws one as in training.
    """
    if num_episodes < 1:
        raise ValueError(f"`num_episodes` must be at least 1, got {num_episodes}.")
    starts = range(seed, seed + num_episodes, envs.num_envs)
    with contextlib.nullcontext() if deterministic else torch.random.fork_rng():
        if not deterministic:
            torch.manual_seed(seed)
        rounds = [_one_round(agent, envs, start, on_step, deterministic) for start in starts]
    return Episodes(*(np.concatenate(part)[:num_episodes] for part in zip(*rounds, strict=True)))


def _one_round(
    agent: Agent, envs: VecEnv, seed: int, on_step: Any, deterministic: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs the first episode of every environment; returns returns, final distances and successes, [num_envs] each."""
    envs.seed(seed)
    observation, memory = envs.reset(), None
    is_far = envs.has_attr(IN_METRES)
    starts = running = np.ones(envs.num_envs, bool)
    num_steps = 0
    returns, distances, successes = np.zeros(envs.num_envs), *np.full((2, envs.num_envs), np.nan)
    while running.any():
        actions, memory = agent.predict(observation, state=memory, episode_start=starts, deterministic=deterministic)
        observation, rewards, starts, infos = envs.step(actions)
        num_steps += 1
        returns += rewards * running
        for i in np.flatnonzero(running & starts):
            distances[i] = _number(infos[i].get(DISTANCE)) if is_far else np.nan
            successes[i] = next((_number(infos[i][key]) for key in SUCCESSES if key in infos[i]), np.nan)
        running = running & ~starts
        if on_step is not None:
            on_step(infos)
        if num_steps >= LONGEST_EPISODE and running.any():
            raise ValueError(
                f"an episode has not ended after {num_steps} steps: give the environment a time limit, such as "
                "`max_episode_steps` where it is registered, or `task={max_episode_steps: 1000}`."
            )
    return returns, distances, successes


def random_return(envs: VecEnv, num_episodes: int, seed: int) -> float:
    """Returns the mean return of random actions in the episodes that `run_episodes` would run."""
    return run_episodes(RandomAgent(envs.action_space, seed), envs, num_episodes, seed).mean_return


def action_repeat(envs: VecEnv) -> int:
    """Returns the physics steps per action that the environments declare, 1 when they declare none."""
    for name in ("action_repeat", "frame_skip"):
        if envs.has_attr(name):
            return int(envs.get_attr(name, indices=0)[0])
    return 1


def _number(value: Any) -> float:
    """Returns a number or truth value, NaN for anything else."""
    is_number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf"
    return float(value) if is_number else np.nan


def _mean_or_none(values: np.ndarray) -> float | None:
    return None if np.isnan(values).any() else float(values.mean())


def _joined(values: np.ndarray) -> str | None:
    return None if np.isnan(values).any() else ";".join(f"{value:.6g}" for value in values)
