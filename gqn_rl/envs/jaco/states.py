"""Where the arm is in a random scene: named distributions of states, from which data for pretraining are drawn.

`reachable` and `wandering` know no task; `reaching` does, and is kept for data sets that were made with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import mujoco
import numpy as np

from gqn_rl.envs.jaco.model import ARM_JOINTS, FINGER_JOINTS, LARGE_ACTUATOR, SMALL_ACTUATOR

ACTION_S = 0.1  # how long an agent holds the joints' speeds
EPISODE_ACTIONS = 50
LONGEST_HOLD = 15  # actions for which an arm that wanders goes on as it was going
REACHING_SHARE = 0.5  # of the scenes of `reaching`: the arm has been heading for the target
GUESSES = 6  # directions of which an arm that heads for the target takes the best
FINGER_RANGE_RAD = (0.15, 1.35)
SPEED_RAD_S = np.where(np.arange(len(ARM_JOINTS)) < 3, LARGE_ACTUATOR["speed"], SMALL_ACTUATOR["speed"])


class Arm(Protocol):
    """What is asked of a scene whose arm is moved; `JacoScene` is one."""

    model: mujoco.MjModel
    data: mujoco.MjData
    joint_addresses: np.ndarray

    @property
    def lowest_m(self) -> float: ...  # noqa: D102
    @property
    def hand_w(self) -> np.ndarray: ...  # noqa: D102
    @property
    def target_w(self) -> np.ndarray: ...  # noqa: D102

    def set_joint_angles(self, angles_rad: np.ndarray) -> None:
        """Puts the joints at angles, float64 [9]."""

    def stop_at_floor(self, before: np.ndarray) -> None:
        """Goes back to `before` where a link is below the floor."""


def reachable(scene: Arm, rng: np.random.Generator) -> int:
    """Puts every joint anywhere within its limits, until no link is below the floor; takes no action.

    In an episode's 50 actions each joint can be turned by half a turn or more, so an agent gets wherever this is.
    """
    low, high = joint_limits_rad(scene.model)
    while True:
        scene.set_joint_angles(rng.uniform(low, high))
        if scene.lowest_m >= 0.0:
            return 0


def wandering(scene: Arm, rng: np.random.Generator) -> int:
    """Moves the arm on from an episode's start, every joint back, forth or not at all, each direction for a while."""
    hold = int(rng.integers(1, LONGEST_HOLD, endpoint=True))
    num_actions = int(rng.integers(EPISODE_ACTIONS, endpoint=True))
    _wander(scene, rng, num_actions, hold)
    return num_actions


def reaching(scene: Arm, rng: np.random.Generator) -> int:
    """Wanders in half of the scenes, and in the others heads for the target by its true distance: this knows a task."""
    heads, hold = rng.random() < REACHING_SHARE, int(rng.integers(1, LONGEST_HOLD, endpoint=True))
    num_actions = int(rng.integers(EPISODE_ACTIONS, endpoint=True))
    if not heads:
        _wander(scene, rng, num_actions, hold)
        return num_actions
    for _ in range(num_actions):
        before = scene.data.qpos.copy()
        tried = rng.integers(-1, 1, (GUESSES, len(SPEED_RAD_S)), endpoint=True)
        _move(scene, before, min(tried, key=lambda direction: _move(scene, before, direction)))
        scene.stop_at_floor(before)
    return num_actions


def joint_limits_rad(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lowest and highest angle of each joint, arm then fingers, float64 [9]; half a turn where none is."""
    joints = [model.joint(name) for name in ARM_JOINTS]
    ranges = [tuple(joint.range) if joint.limited[0] else (-np.pi, np.pi) for joint in joints]
    low, high = np.array([*ranges, *[FINGER_RANGE_RAD] * len(FINGER_JOINTS)]).T
    return low, high


def _wander(scene: Arm, rng: np.random.Generator, num_actions: int, hold: int) -> None:
    """Takes `num_actions` in random directions, a new one after every `hold`."""
    for action in range(num_actions):
        before = scene.data.qpos.copy()
        if action % hold == 0:
            direction = rng.integers(-1, 1, len(SPEED_RAD_S), endpoint=True)
        _move(scene, before, direction)
        scene.stop_at_floor(before)


def _move(scene: Arm, qpos: np.ndarray, direction: np.ndarray) -> float:
    """Turns the arm's joints from `qpos` for one action at full speed, back, forth or not; returns the distance, m."""
    scene.data.qpos[:] = qpos
    scene.data.qpos[scene.joint_addresses[: len(SPEED_RAD_S)]] += direction * SPEED_RAD_S * ACTION_S
    mujoco.mj_kinematics(scene.model, scene.data)
    return float(np.linalg.norm(scene.target_w - scene.hand_w))


STATES: dict[str, Callable[[Arm, np.random.Generator], int]] = {
    "reachable": reachable,
    "wandering": wandering,
    "reaching": reaching,
}
"""By name; each takes a scene at an episode's start, leaves its arm elsewhere, and returns the actions that it took."""

POSTURES = {
    "reachable": "all that joints can reach",
    "wandering": "moments of episodes of random actions",
    "reaching": "moments of episodes, half of them reaching",
}
"""How a data set's manifest says it."""
