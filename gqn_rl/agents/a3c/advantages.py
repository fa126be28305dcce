"""Generalised advantage estimates of a rollout."""

from __future__ import annotations

import numpy as np


def n_step_advantages(
    rewards: np.ndarray, values: np.ndarray, dones: np.ndarray, last_values: np.ndarray, gamma: float, gae_lambda: float
) -> np.ndarray:
    """Returns generalised advantage estimates (Schulman et al. 2016, arXiv:1506.02438, eq. 16), float32 [N, T].

    With λ = 1 they are the paper's: the n-step return up to the rollout's end, bootstrapped there, minus V.

    Args:
        rewards: float32 [N, T].
        values: V of each step's observation, float32 [N, T].
        dones: whether the episode ended after the step, bool [N, T].
        last_values: V of the observation after the last step, float32 [N].
        gamma: discount factor.
        gae_lambda: λ.

    >>> one, none = np.ones((1, 3), np.float32), np.zeros((1, 3), bool)
    >>> n_step_advantages(one, 0 * one, none, one[:, 0], gamma=0.5, gae_lambda=1.0).tolist()
    [[1.875, 1.75, 1.5]]
    """
    advantages = np.zeros_like(values)
    later, next_values = np.zeros_like(last_values), last_values
    for t in reversed(range(values.shape[1])):
        goes_on = 1.0 - dones[:, t]
        surprise = rewards[:, t] + gamma * goes_on * next_values - values[:, t]
        later = surprise + gamma * gae_lambda * goes_on * later
        advantages[:, t], next_values = later, values[:, t]
    return advantages
