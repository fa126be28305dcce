"""Cameras: where a camera may stand, as named data. Every camera draws poses from an explicit random generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from gqn_rl.poses import CameraPose


class Camera(Protocol):
    """Anything that draws camera poses."""

    def sample(self, rng: np.random.Generator) -> CameraPose:
        """Draws one pose in the world frame."""
        ...

    def describe(self) -> dict[str, Any]:
        """Returns JSON-ready facts that identify the distribution."""
        ...


class _Described:
    def describe(self) -> dict[str, Any]:
        return {"kind": type(self).__name__.lower(), **dataclasses.asdict(self)}  # type: ignore[call-overload]


@dataclasses.dataclass(frozen=True)
class Fixed(_Described):
    """A camera that never moves.

    Attributes:
        position_w: x, y, z in metres.
        target_w: the point it looks at, in metres.
    """

    position_w: tuple[float, float, float]
    target_w: tuple[float, float, float]

    def sample(self, rng: np.random.Generator) -> CameraPose:
        """Returns the one pose; `rng` is not used."""
        return CameraPose.look_at(self.position_w, self.target_w)


@dataclasses.dataclass(frozen=True)
class Dome(_Described):
    """A camera anywhere on a part of a dome, looking near the dome's centre; uniform in each range.

    Attributes:
        center_w: the centre in metres.
        radius_m: nearest and farthest distance from the centre.
        azimuth_deg: first and last angle about z at which it may stand, 0 along +x; the range may pass 360.
        elevation_deg: lowest and highest angle above the horizontal plane through the centre.
        aim_jitter_m: the line of sight passes within this distance of the centre along each axis.
    """

    center_w: tuple[float, float, float]
    radius_m: tuple[float, float]
    azimuth_deg: tuple[float, float]
    elevation_deg: tuple[float, float]
    aim_jitter_m: float = 0.0

    def sample(self, rng: np.random.Generator) -> CameraPose:
        """Draws one pose."""
        radius = rng.uniform(*self.radius_m)
        azimuth, elevation = np.deg2rad([rng.uniform(*self.azimuth_deg), rng.uniform(*self.elevation_deg)])
        outward = np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        aim = np.asarray(self.center_w) + rng.uniform(-self.aim_jitter_m, self.aim_jitter_m, 3)
        return CameraPose.look_at(np.asarray(self.center_w) + radius * outward, aim)


@dataclasses.dataclass(frozen=True)
class Showing:
    """A camera that sees other groups of the model, or other decoration, than MuJoCo draws by default.

    Attributes:
        camera: where it stands.
        visual: what it sees, see `gqn_rl.envs.visual`.
    """

    camera: Camera
    visual: Mapping[str, Any]

    def sample(self, rng: np.random.Generator) -> CameraPose:
        """Draws one pose."""
        return self.camera.sample(rng)

    def describe(self) -> dict[str, Any]:
        """Returns the camera's facts and what it sees."""
        return {**self.camera.describe(), "visual": dict(self.visual)}


def ring(center_w: tuple[float, float, float], radius_m: float, height_m: float) -> Dome:
    """Returns a camera on a horizontal circle `height_m` above `center_w`, looking at it (the paper's ring camera)."""
    distance = float(np.hypot(radius_m, height_m))
    elevation = float(np.rad2deg(np.arctan2(height_m, radius_m)))
    return Dome(center_w, (distance, distance), (0.0, 360.0), (elevation, elevation))
