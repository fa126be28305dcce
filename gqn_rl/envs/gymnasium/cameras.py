"""Cameras around whatever moves in an environment."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from gqn_rl.envs.cameras import Camera, Dome, Fixed
from gqn_rl.envs.renderer import DEFAULT_FOVY_DEG

RADII = (0.95, 1.1)
"""Of the dome, times the distance at which a ball around everything movable just fits into the picture."""


AIM_JITTER = 0.05  # times the radius of that ball


ELEVATION_DEG = (30.0, 60.0)


AZIMUTH_DEG, HELD_OUT_AZIMUTH_DEG = (-150.0, 150.0), (150.0, 210.0)


FIXED_AZIMUTH_DEG, FIXED_ELEVATION_DEG = -90.0, 45.0  # x to the right, z up, as planar tasks are drawn


_DIGITS = 3  # of lengths that come from rollouts: another version of MuJoCo must not make another data set


@dataclasses.dataclass(frozen=True)
class Ball:
    """A ball around everything that moves.

    Attributes:
        center_w: metres.
        radius_m: metres.
    """

    center_w: tuple[float, float, float]
    radius_m: float


def make_cameras(
    bound: Callable[[], Ball],
    center_w: Sequence[float] | None = None,
    reach_m: float | None = None,
    azimuth_deg: Sequence[float] = AZIMUTH_DEG,
    elevation_deg: Sequence[float] = ELEVATION_DEG,
) -> tuple[Ball, dict[str, Camera]]:
    """Returns the ball that must be in view, and cameras "fixed", "moving" and "heldout" around it.

    Args:
        bound: finds the ball; called only where it is not given whole.
        center_w: of the ball, in metres.
        reach_m: its radius.
        azimuth_deg: of "moving"; "heldout" stands behind, between 150° and 210°.
        elevation_deg: of "moving" and "heldout".
    """
    if center_w is None or reach_m is None:
        found = bound()
        center_w, reach_m = center_w or found.center_w, reach_m or found.radius_m
    if reach_m <= 0:
        raise ValueError(f"`camera.reach_m` must be above 0, got {reach_m}.")
    x, y, z = map(float, center_w)
    distance = reach_m / math.sin(math.radians(DEFAULT_FOVY_DEG) / 2)
    near, far = (_rounded(factor * distance) for factor in RADII)
    elevation = (float(elevation_deg[0]), float(elevation_deg[1]))
    moving = Dome(
        (x, y, z),
        (near, far),
        (float(azimuth_deg[0]), float(azimuth_deg[1])),
        elevation,
        _rounded(AIM_JITTER * reach_m),
    )
    front = Dome((x, y, z), (distance, distance), (FIXED_AZIMUTH_DEG,) * 2, (FIXED_ELEVATION_DEG,) * 2)
    px, py, pz = (_rounded(value) for value in front.sample(np.random.default_rng(0)).position_w)
    heldout = dataclasses.replace(moving, azimuth_deg=HELD_OUT_AZIMUTH_DEG)
    return Ball((x, y, z), float(reach_m)), {
        "fixed": Fixed((px, py, pz), (x, y, z)),
        "moving": moving,
        "heldout": heldout,
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _decimals(scale: float) -> int:
    return _DIGITS - 1 - math.floor(math.log10(scale))
