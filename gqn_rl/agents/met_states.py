"""What a trained agent meets while it acts: states for the next round of pretraining."""

from __future__ import annotations

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv


def meet_states(model: BaseAlgorithm, envs: VecEnv, number: int, seed: int) -> np.ndarray:
    """Lets the agent act as in training, drawing its actions, and notes every state that it sees.

    Args:
        model: the agent.
        envs: environments that have `snapshot`, used by nobody else meanwhile.
        number: of states, as many actions and a few resets.
        seed: of episodes and actions; torch's random state is afterwards what it was.

    Returns:
        float64 [number, ...].

    Raises:
        ValueError: the environments have no `snapshot`.
    """
    if not envs.has_attr("snapshot"):
        raise ValueError(
            "`met_states` must be 0 with this environment, which cannot tell its state to a data generator."
        )
    envs.seed(seed)
    observation, memory, found = envs.reset(), None, list[np.ndarray]()
    starts = np.ones(envs.num_envs, bool)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        while len(found) < number:
            found += envs.env_method("snapshot")
            actions, memory = model.predict(observation, state=memory, episode_start=starts, deterministic=False)  # type: ignore[arg-type]
            observation, _, starts, _ = envs.step(actions)
    return np.stack(found[:number])
