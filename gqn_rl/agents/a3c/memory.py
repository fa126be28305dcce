"""What a policy with LSTMs remembers: four tensors [layers, N, hidden]; a policy without remembers None."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.policies import ActorCriticPolicy


def empty_memory(policy: ActorCriticPolicy, num_envs: int) -> RNNStates | None:
    """Returns what a policy remembers before an episode."""
    if not isinstance(policy, RecurrentActorCriticPolicy):
        return None
    layers, _, hidden = policy.lstm_hidden_state_shape
    empty = torch.zeros(layers, num_envs, hidden)
    return RNNStates((empty, empty), (empty, empty))


def memory_of(memory: RNNStates | None, index: int) -> RNNStates | None:
    """Returns what is remembered of one environment, with N = 1."""
    return _each(memory, lambda part: part[:, index : index + 1])


def without_ended(memory: RNNStates | None, ended: np.ndarray) -> RNNStates | None:
    """Returns the memory without that of environments whose episode has ended, bool [N]."""
    if memory is None or not ended.any():
        return memory
    goes_on = torch.from_numpy(1.0 - ended.astype(np.float32))[:, None]
    return _each(memory, lambda part: part * goes_on)


def _each(memory: RNNStates | None, change: Callable[[torch.Tensor], torch.Tensor]) -> RNNStates | None:
    return None if memory is None else RNNStates(*(tuple(map(change, state)) for state in memory))
