"""The calibration error of a camera's observed pose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gqn_rl.views import CameraPose


class PoseNoise:
    """A constant calibration error of a camera's pose.

    Args:
        position_m: standard deviation of the error of each coordinate.
        angle_deg: of the errors of yaw and pitch.
    """

    def __init__(self, position_m: float, angle_deg: float):
        self._deviations = np.array([position_m] * 3 + [np.deg2rad(angle_deg)] * 2)
        self._error = np.zeros(5)
        self._rng = np.random.default_rng()

    def draw(self, seed: Sequence[int] | None) -> None:
        """Draws another error; with a seed, from a new stream."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        if self._deviations.any():
            self._error = self._rng.normal(0.0, self._deviations)

    def added_to(self, pose: CameraPose) -> CameraPose:
        """Returns the pose with the error."""
        if not self._error.any():
            return pose
        x, y, z, yaw_rad, pitch_rad = np.array([*pose.position_w, pose.yaw_rad, pose.pitch_rad]) + self._error
        return CameraPose((float(x), float(y), float(z)), float(yaw_rad), float(pitch_rad))


def _checked_noise(pose_noise: Sequence[float]) -> Sequence[float]:
    if len(pose_noise) != 2 or min(pose_noise) < 0:
        raise ValueError(f"`pose_noise` must be two deviations of at least 0, metres and degrees, got {pose_noise}.")
    return pose_noise
