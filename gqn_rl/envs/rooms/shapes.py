"""The seven shapes of the Rooms, each the convex hull of a few points that stand on the floor inside a unit circle."""

from __future__ import annotations

import numpy as np

NUM_SIDES = 20
"""Of what is round: as many as a picture of 64 pixels shows."""
NUM_RINGS = 9  # of a sphere, from pole to pole


def _ring(radius: float, height: float, num_points: int = NUM_SIDES) -> np.ndarray:
    """Returns points on a level circle about z, float64 [num_points, 3]."""
    angles = np.arange(num_points) * 2 * np.pi / num_points
    return np.column_stack([radius * np.cos(angles), radius * np.sin(angles), np.full(num_points, height)])


def _ball(radius: float, heights: tuple[float, ...]) -> np.ndarray:
    """Returns points of a ball around each height; the hull of two balls is a capsule."""
    polar = np.linspace(0.05, np.pi - 0.05, NUM_RINGS)
    return np.concatenate(
        [_ring(radius * np.sin(angle), height + radius * np.cos(angle)) for height in heights for angle in polar]
    )


def _box() -> np.ndarray:
    half = np.sqrt(0.5)
    return np.array([(x, y, z) for x in (-half, half) for y in (-half, half) for z in (0.0, 2 * half)])


def _icosahedron() -> np.ndarray:
    """Returns its corners; it stands on one."""
    radius, ring, height = 0.95, 2 / np.sqrt(5), 1 / np.sqrt(5)
    lower = _ring(ring, -height, 5) * (-1, 1, 1)  # turned by half a side against the upper ring
    corners = np.concatenate([[(0, 0, 1), (0, 0, -1)], _ring(ring, height, 5), lower])
    return corners * radius + (0, 0, radius)


def _triangle() -> np.ndarray:
    """Returns the corners of a prism that lies on a side, as a tent does: a triangle when seen along x."""
    half_length, half_width, height = 0.45, 0.88, 1.5
    return np.array(
        [(x, y, z) for x in (-half_length, half_length) for y, z in ((-half_width, 0), (half_width, 0), (0, height))]
    )


SHAPES: dict[str, np.ndarray] = {
    "box": _box(),
    "sphere": _ball(0.85, (0.85,)),
    "cylinder": np.concatenate([_ring(0.75, 0.0), _ring(0.75, 1.4)]),
    "capsule": _ball(0.55, (0.55, 1.55)),
    "cone": np.concatenate([_ring(0.9, 0.0), [(0.0, 0.0, 1.8)]]),
    "icosahedron": _icosahedron(),
    "triangle": _triangle(),
}
"""Points by name, float64 [N, 3]: the floor is z = 0, the middle the z axis, no point is farther than 1 from it."""

SYMMETRY = {"box": 4, "icosahedron": 5, "triangle": 2}
"""Into how many equal parts a turn about z falls; every shape that is not listed is round."""
