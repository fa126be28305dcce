"""JacoTrackEnv: follow a target that rolls about on the floor."""

from __future__ import annotations

import numpy as np

from gqn_rl.envs.jaco.reach import JacoReachEnv
from gqn_rl.envs.jaco.scene import TARGET_AXIS_DISTANCE_M
from gqn_rl.envs.jaco.states import ACTION_S

TARGET_SPEED_M_S = 0.1
"""A centimetre an action: a picture that says where the target is says well enough where it will be."""
TURN_STD_RAD = 0.2
"""Of the change of the target's heading from action to action."""


class JacoTrackEnv(JacoReachEnv):
    """Tracking with a Kinova Jaco arm (`gqn_rl/JacoTrack-v0`): `JacoReachEnv` with a target that moves.

    The target starts where JacoReach's does and rolls at 0.1 m/s in a heading that wanders; where it would leave the
    ring of places that it may have, it is turned back. Reward, success, actions and observations are JacoReach's: the
    true state does not tell the heading, as one picture does not.
    """

    def _begin(self) -> None:
        self._heading_rad = float(self.np_random.uniform(-np.pi, np.pi))

    def _advance(self) -> None:
        self._heading_rad += float(self.np_random.normal(0.0, TURN_STD_RAD))
        step = TARGET_SPEED_M_S * ACTION_S * np.array([np.cos(self._heading_rad), np.sin(self._heading_rad), 0.0])
        here = self.scene.target_w.copy()
        inner, outer = TARGET_AXIS_DISTANCE_M
        if not inner <= np.hypot(*(here + step)[:2]) <= outer:
            outward = here * (1.0, 1.0, 0.0) / np.hypot(*here[:2])
            step -= 2 * (step @ outward) * outward  # as a wall throws it back
            self._heading_rad = float(np.arctan2(step[1], step[0]))
        self.scene.place_target(here + step)
