"""Observations that are arrays or dicts of arrays: stacked over steps, flattened, checked, as tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.utils import obs_as_tensor


def as_tensors(observations: Any) -> Any:
    """Gives an array, or each of a dict, as a tensor."""
    return obs_as_tensor(observations, torch.device("cpu"))


def check_finite(observations: Any) -> None:
    """Stops NaN before the policy sees it: drawing an action would fail in a way that names no cause."""
    parts = observations.values() if isinstance(observations, dict) else [observations]
    if not all(np.isfinite(part).all() for part in parts if part.dtype.kind == "f"):
        raise FloatingPointError(
            "an observation is not finite: look for NaN in what the environment returns; the parameters are those "
            "before it."
        )


def stack_steps(observations: list[Any]) -> Any:
    """Stacks T observations [N, ...], arrays or dicts of arrays, to [N, T, ...]."""
    if isinstance(observations[0], dict):
        return {key: np.stack([part[key] for part in observations], axis=1) for key in observations[0]}
    return np.stack(observations, axis=1)


def flat_steps(batch: Any) -> Any:
    """Reshapes an array, or each of a dict, from [N, T, ...] to [N * T, ...]."""
    if isinstance(batch, dict):
        return {key: flat_steps(value) for key, value in batch.items()}
    return batch.reshape(-1, *batch.shape[2:])
