"""What coordinator and workers send each other: settings once, then work units one way and reports the other."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.policies import ActorCriticPolicy

from gqn_rl.agents.a3c.env_source import Source


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a worker needs to know once; the names are those of `A3C`."""

    source: Source
    policy_class: type[ActorCriticPolicy]
    policy_kwargs: dict[str, Any]
    n_steps: int
    gamma: float
    gae_lambda: float
    vf_coef: float
    max_grad_norm: float
    use_sde: bool
    sde_sample_freq: int
    normalize_advantage: bool
    save_env_state: bool


class WorkUnit(NamedTuple):
    """The right to step one's environments `num_steps` times, with an update after every T of them."""

    num_steps: int
    learning_rate: float
    ent_coef: float

    def rollout_lengths(self, n_steps: int) -> list[int]:
        """Returns T, T, …, and what remains.

        >>> WorkUnit(12, 0.1, 0.0).rollout_lengths(5)
        [5, 5, 2]
        """
        return [min(n_steps, self.num_steps - first) for first in range(0, self.num_steps, n_steps)]


class Report(NamedTuple):
    """What came of a work unit.

    Attributes:
        rewards: as the environments gave them, float32 [N, num_steps].
        dones: ends of episodes, bool [N, num_steps].
        infos: of each step, a list of N dicts with the entries that the main process needs.
        num_updates: how often θ was updated.
        losses: of the last update, means over its rollout, and the gradient's norm.
        state: everything that the worker's next rollout depends on, besides θ; only with its last report.
    """

    rewards: np.ndarray
    dones: np.ndarray
    infos: list[list[dict[str, Any]]]
    num_updates: int
    losses: dict[str, float]
    state: bytes | None
