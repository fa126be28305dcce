"""Running sums of ψ over the views that a context names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Context = Literal["current", "window", "episode"]


CONTEXTS = ("current", "window", "episode")


class ContextSum:
    """Running sums of ψ for `num_envs` episodes: the present view, the last `window`, or all since the reset.

    >>> total = ContextSum((1,), num_envs=1, context="window", window=2)
    >>> [float(total.add(np.full((1, 1), psi, np.float32), [0])[0, 0]) for psi in (1, 2, 4)]
    [1.0, 3.0, 6.0]
    """

    def __init__(self, shape: tuple[int, ...], num_envs: int, context: Context, window: int):
        self._whole_episode = context == "episode"
        slots = window if context == "window" else 1
        self._psi = np.zeros((num_envs, slots, *shape), np.float32)
        self._next_slot = np.zeros(num_envs, int)

    def reset(self, indices: Sequence[int] | np.ndarray) -> None:
        """Starts new episodes in the environments `indices`."""
        self._psi[indices] = 0
        self._next_slot[indices] = 0

    def add(self, psi: np.ndarray, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Takes one more view in each of `indices` [n], ψ float32 [n, *shape]; returns their r [n, *shape]."""
        if self._whole_episode:
            self._psi[indices, 0] += psi
        else:
            self._psi[indices, self._next_slot[indices]] = psi
            self._next_slot[indices] = (self._next_slot[indices] + 1) % self._psi.shape[1]
        return self.value(indices)

    def value(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns a copy of the present r of `indices` [n], float32 [n, *shape]."""
        return self._psi[indices].sum(axis=1)
