"""JacoAvoidEnv: move the hand to the target past a black ball that it must not touch."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from gqn_rl.envs.jaco.model import OBSTACLE_RADIUS_M
from gqn_rl.envs.jaco.reach import JacoReachEnv
from gqn_rl.envs.jaco.scene import OBSTACLE_AXIS_DISTANCE_M, OBSTACLE_HEIGHT_M

HAND_RADIUS_M = 0.07
"""Of the ball around the grip site that counts as the hand."""
TOUCH_COST = 0.25
"""Taken from the reward of every action at whose end the hand touches: a quarter of what being at the target earns."""
LEAST_GAP_M = 0.2
"""Between the obstacle's centre and hand and target as an episode begins."""
WAY_SHARE = (0.3, 0.7)
SPREAD_M = 0.1
NUM_TRIES = 50


class JacoAvoidEnv(JacoReachEnv):
    """Reaching past an obstacle with a Kinova Jaco arm (`gqn_rl/JacoAvoid-v0`).

    `JacoReachEnv` with a second, black ball near the straight way from hand to target. Nothing collides: an action at
    whose end the hand, a ball of 7 cm around the grip site, overlaps with it costs 0.25. An episode that has touched is
    no success. Observed are the obstacle's position and the way to it from the hand too.
    """

    things = ("target", "obstacle")
    scene_settings: ClassVar[dict[str, Any]] = {"obstacle": 1.0}

    def _begin(self) -> None:
        self._has_touched = False
        for _ in range(NUM_TRIES):
            share = self.np_random.uniform(*WAY_SHARE)
            place = self.scene.hand_w + share * (self.scene.target_w - self.scene.hand_w)
            if self._place(place + self.np_random.normal(0.0, SPREAD_M, 3)):
                return
        while not self._place(self.scene.draw_obstacle(self.np_random)):  # hand and target are too near each other
            pass

    def _place(self, place: np.ndarray) -> bool:
        """Puts the obstacle there if it may be there, and tells whether."""
        near_axis, far_axis = OBSTACLE_AXIS_DISTANCE_M
        low, high = OBSTACLE_HEIGHT_M
        is_allowed = near_axis <= np.hypot(*place[:2]) <= far_axis and low <= place[2] <= high
        things = (self.scene.hand_w, self.scene.target_w)
        is_free = min(float(np.linalg.norm(place - thing)) for thing in things) >= LEAST_GAP_M
        if is_allowed and is_free:
            self.scene.place_obstacle(place)
        return bool(is_allowed and is_free)

    def _info(self) -> dict[str, Any]:
        info = super()._info()
        gap = float(np.linalg.norm(self.scene.obstacle_w - self.scene.hand_w)) - OBSTACLE_RADIUS_M - HAND_RADIUS_M
        self._has_touched |= gap < 0.0
        info["reward_terms"]["touch"] = -TOUCH_COST * (gap < 0.0)
        return info | {"gap": gap, "touched": self._has_touched, "success": info["success"] and not self._has_touched}
