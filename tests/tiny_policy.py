"""A policy that tests name by its import path."""

import numpy as np


def full_throttle(observation: np.ndarray) -> np.ndarray:
    """Turns both of Reacher's joints forward as fast as they go."""
    return np.ones(2, np.float32)


NO_FUNCTION = 3
