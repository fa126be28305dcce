"""Shepard-Metzler objects: self-avoiding walks of cubes on a grid, and which of two mirror images one is."""

from __future__ import annotations

import numpy as np

STEPS = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
"""The six steps from a cube to one that shares a face with it, int [6, 3]."""


def draw_walk(rng: np.random.Generator, num_parts: int) -> np.ndarray:
    """Draws a self-avoiding walk: each cube is uniform over the free neighbours of the one before.

    Args:
        rng: source of randomness.
        num_parts: number of cubes, at most 7: so short a walk cannot trap itself.

    Returns:
        Places of the cubes on the grid in the order of the walk, int [num_parts, 3].
    """
    walk = [np.zeros(3, int)]
    while len(walk) < num_parts:
        free = [place for place in walk[-1] + STEPS if not any((place == other).all() for other in walk)]
        walk.append(free[rng.integers(len(free))])
    return np.array(walk)


def centred(walk: np.ndarray) -> np.ndarray:
    """Returns the middles of the cubes about their mean, in units of a cube's side, float64 [N, 3]."""
    return walk - walk.mean(axis=0)


def chirality(walk: np.ndarray) -> int:
    """Counts an object's right-handed turns minus its left-handed ones.

    A turn is three straight limbs in a row that do not lie in one plane. The number does not depend on how the object
    is rotated or from which end it is read; its mirror image has the opposite one, so an object with another
    number than 0 is not its own mirror image.

    >>> chirality(np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)]))
    1
    >>> chirality(np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, -1)]))
    -1
    """
    steps = np.diff(walk, axis=0)
    limbs = steps[np.append(True, (steps[1:] != steps[:-1]).any(axis=1))]
    triples = zip(limbs, limbs[1:], limbs[2:], strict=False)
    return round(sum(float(np.linalg.det(np.array(triple))) for triple in triples))
