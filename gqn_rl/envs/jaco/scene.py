"""JacoScene: a Kinova Jaco arm in the middle of a room with one coloured sphere to reach for."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from gqn_rl.envs.cameras import Camera, Dome, Fixed
from gqn_rl.envs.jaco.met import SUFFIX, load_met_states
from gqn_rl.envs.jaco.model import (
    ARM_JOINTS,
    FINGER_JOINTS,
    FLOOR_COLOURS,
    HAND_SITE,
    NOWHERE_W,
    OBSTACLE_RADIUS_M,
    TARGET_COLOURS,
    TARGET_RADIUS_M,
    WALL_COLOURS,
    compiled_model,
)
from gqn_rl.envs.jaco.states import FINGER_RANGE_RAD, POSTURES, STATES
from gqn_rl.envs.meshes import check_meshes, describe_meshes
from gqn_rl.envs.scene import MujocoScene

# Joint angles as an episode starts, rad: any heading, other joints around Kinova's home posture, fingers anywhere.
HOME_RAD = {"arm_joint_2": 2.54, "arm_joint_3": 4.22, "arm_joint_4": 1.14, "arm_joint_5": -2.30, "arm_joint_6": -2.02}
HOME_SPREAD_RAD = 0.75
JOINT_RANGES_RAD = {
    "arm_joint_1": (-np.pi, np.pi),
    **{joint: (angle - HOME_SPREAD_RAD, angle + HOME_SPREAD_RAD) for joint, angle in HOME_RAD.items()},
    **dict.fromkeys(FINGER_JOINTS, FINGER_RANGE_RAD),
}
# Where the hand may be then: distance from the arm's axis and height, m; off the floor and in view.
HAND_AXIS_DISTANCE_M = (0.2, 0.65)
HAND_HEIGHT_M = (0.12, 0.75)
# Where the target may be: distance from the arm's axis, and height of its centre when it floats, m.
TARGET_AXIS_DISTANCE_M = (0.3, 0.6)
TARGET_HEIGHT_M = (TARGET_RADIUS_M, 0.6)
# Where an obstacle may be, likewise.
OBSTACLE_AXIS_DISTANCE_M = (0.2, 0.65)
OBSTACLE_HEIGHT_M = (OBSTACLE_RADIUS_M, 0.6)

DOME_CENTER_W = (0.0, 0.0, 0.28)
DOME = Dome(
    DOME_CENTER_W, radius_m=(1.6, 1.9), azimuth_deg=(-150.0, 150.0), elevation_deg=(30.0, 55.0), aim_jitter_m=0.05
)
CAMERAS: dict[str, Camera] = {
    "fixed": Fixed((1.34, 0.0, 1.40), DOME_CENTER_W),
    "moving": DOME,
    "heldout": dataclasses.replace(DOME, azimuth_deg=(150.0, 210.0)),
}
"""Where cameras may stand; no pretraining or moving camera ever enters the held-out sixth of the dome."""


class JacoScene(MujocoScene):
    """A random Jaco room: wall and floor material, joint angles, and a target of random colour and position.

    Args:
        image_size: height and width of pictures in pixels.
        fovy_deg: vertical field of view.
        target_on_floor: whether the target rests on the floor (its place is then plain from one picture) or floats.
        meshes: "simple" draws the arm with as many faces as a small picture shows, "full" as Kinova's files have it,
            several times as slowly and hardly otherwise (docs/rendering.md). Both move exactly alike.
        states: where the arm is in a random scene, one of `jaco_states.STATES`, or a file of states that an agent has
            met, arm, target and obstacle (`jaco_met.py`).
        obstacle: share of random scenes in which there is a second, black ball, which `JacoAvoid` is about; its
            presence and place are part of the state then. 0 leaves it out of the model.
        light: brightness of all lamps, as a share of the usual.

    Attributes:
        num_actions: actions that the present random scene has cost, from an episode's start on.
    """

    DEPTHS_M = (1.0, 2.4)

    state_names = (
        *(f"{function}_joint_{i}" for i in range(1, 7) for function in ("sin", "cos")),
        *(f"finger_{i}" for i in range(1, 4)),
        *("hand_x", "hand_y", "hand_z", "target_x", "target_y", "target_z"),
        *(f"{thing}_{channel}" for thing in ("target", "floor", "wall") for channel in ("red", "green", "blue")),
    )
    """sin and cos of the arm's angles; finger angles, rad; hand and target in the world frame, m; colours in [0, 1]."""
    obstacle_names = ("obstacle", "obstacle_x", "obstacle_y", "obstacle_z")
    """1 if there is an obstacle, else all are 0; its place in the world frame, m."""

    def __init__(
        self,
        image_size: int = 64,
        fovy_deg: float = 45.0,
        target_on_floor: bool = True,
        meshes: str = "simple",
        states: str = "wandering",
        obstacle: float = 0.0,
        light: float = 1.0,
    ):
        if states not in STATES and not states.endswith(SUFFIX):
            raise ValueError(
                f"`states` must be one of {', '.join(STATES)}, got {states!r}; or an {SUFFIX} of states met."
            )
        self._met = load_met_states(states) if states.endswith(SUFFIX) else None
        if not 0.0 <= obstacle <= 1.0:
            raise ValueError(f"`obstacle` must be a share in [0, 1], got {obstacle!r}.")
        if light < 0.0:
            raise ValueError(f"`light` must be a share of at least 0, got {light!r}.")
        model = copy.copy(compiled_model(check_meshes(meshes), obstacle > 0))
        if light != 1.0:
            model.light_diffuse[:] *= light
            model.vis.headlight.ambient[:] *= light
            model.vis.headlight.diffuse[:] *= light
        super().__init__(model, dict(CAMERAS), image_size, fovy_deg)
        self.target_on_floor, self.meshes, self.states, self.obstacle = target_on_floor, meshes, states, obstacle
        self.light, self.num_actions = light, 0
        joints = [model.joint(name) for name in (*ARM_JOINTS, *FINGER_JOINTS)]
        self.joint_addresses = np.array([joint.qposadr[0] for joint in joints])
        self._joint_low, self._joint_high = np.array([JOINT_RANGES_RAD[joint.name] for joint in joints]).T
        self._hand = model.site(HAND_SITE).id
        self._links = [i for i in range(model.nbody) if model.body(i).name.startswith("arm_")]
        self._target_geom = model.geom("target").id
        self._target_mocap = model.body("target").mocapid[0]
        self._floor = model.geom("floor").id
        self._walls = [model.geom(f"wall_{side}").id for side in range(4)]
        if obstacle:
            self._obstacle_mocap = model.body("obstacle").mocapid[0]
            self.state_names = (*type(self).state_names, *self.obstacle_names)

    def sample(self, rng: np.random.Generator) -> None:
        """Draws a start of an episode, and the arm where it is in one of `states`."""
        self.sample_start(rng)
        if self.obstacle:
            self.place_obstacle(self.draw_obstacle(rng) if rng.random() < self.obstacle else NOWHERE_W)
        if self._met is None:
            self.num_actions = STATES[self.states](self, rng)
        else:
            self._show(self._met.states[rng.integers(len(self._met.states))])
        mujoco.mj_forward(self.model, self.data)

    def snapshot(self) -> np.ndarray:
        """Returns the joints' angles, rad, and where target and obstacle are, m, float64 [15]."""
        obstacle = self.obstacle_w if self.obstacle else NOWHERE_W
        return np.concatenate([self.joint_angles_rad, self.target_w, obstacle])

    def _show(self, snapshot: np.ndarray) -> None:
        """Puts arm, target and, where the scene has one, the obstacle where they were."""
        angles, target, obstacle = np.split(snapshot, [9, 12])
        self.set_joint_angles(angles)
        self.place_target(target)
        if self.obstacle:
            self.place_obstacle(obstacle)

    def sample_start(self, rng: np.random.Generator, looks: str = "random") -> None:
        """Draws posture and target anew, as an episode begins, and with looks="random" all colours too."""
        if looks == "random":
            self._paint(*(int(rng.integers(len(pool))) for pool in (FLOOR_COLOURS, WALL_COLOURS, TARGET_COLOURS)))
        else:
            self._paint(0, 0, 0)
        mujoco.mj_resetData(self.model, self.data)
        self._sample_posture(rng)
        self._sample_target(rng)
        mujoco.mj_forward(self.model, self.data)

    def _paint(self, floor: int, wall: int, target: int) -> None:
        """Gives floor, walls and target the colours of these numbers."""
        self.model.geom_matid[self._floor] = self.model.material(f"floor_{floor}").id
        self.model.geom_matid[self._walls] = self.model.material(f"wall_{wall}").id
        self.model.geom_rgba[self._target_geom, :3] = list(TARGET_COLOURS.values())[target]

    def _sample_posture(self, rng: np.random.Generator) -> None:
        """Draws joint angles until the hand is inside its workspace and no link is below the floor."""
        while True:
            self.set_joint_angles(rng.uniform(self._joint_low, self._joint_high))
            x, y, z = self.hand_w
            in_reach = HAND_AXIS_DISTANCE_M[0] < np.hypot(x, y) < HAND_AXIS_DISTANCE_M[1]
            if in_reach and HAND_HEIGHT_M[0] < z < HAND_HEIGHT_M[1] and self.lowest_m >= 0.0:
                return

    def stop_at_floor(self, before: np.ndarray) -> None:
        """Puts the arm back to the positions `before`, at rest, if hand or a link came below the floor."""
        if self.lowest_m < 0.0:
            self.data.qpos[:], self.data.qvel[:] = before, 0.0
            mujoco.mj_kinematics(self.model, self.data)

    @property
    def lowest_m(self) -> float:
        """Height of the lowest of the links' origins and the hand, metres."""
        return float(min(self.data.xpos[self._links, 2].min(), self.hand_w[2]))

    def _sample_target(self, rng: np.random.Generator) -> None:
        """Draws the target uniformly over the area of its ring."""
        x, y = _in_ring(rng, TARGET_AXIS_DISTANCE_M)
        height = TARGET_RADIUS_M if self.target_on_floor else rng.uniform(*TARGET_HEIGHT_M)
        self.place_target((x, y, height))

    def place_target(self, position_w: ArrayLike) -> None:
        """Puts the target's centre to `position_w`, metres."""
        self._place(self._target_mocap, position_w)

    def draw_obstacle(self, rng: np.random.Generator) -> np.ndarray:
        """Draws a place for the obstacle, uniformly over its ring and heights, float64 [3]."""
        return np.array([*_in_ring(rng, OBSTACLE_AXIS_DISTANCE_M), rng.uniform(*OBSTACLE_HEIGHT_M)])

    def place_obstacle(self, position_w: ArrayLike) -> None:
        """Puts the obstacle's centre to `position_w`, metres; below the floor is nowhere."""
        self._place(self._obstacle_mocap, position_w)

    def _place(self, mocap: int, position_w: ArrayLike) -> None:
        self.data.mocap_pos[mocap] = position_w
        mujoco.mj_kinematics(self.model, self.data)  # or pictures would show it where it was

    def set_joint_angles(self, angles_rad: np.ndarray) -> None:
        """Puts the six arm joints, then the three fingers, to these angles, float64 [9], and all links with them."""
        self.data.qpos[self.joint_addresses] = angles_rad
        mujoco.mj_kinematics(self.model, self.data)

    @property
    def joint_angles_rad(self) -> np.ndarray:
        """Angles of the six arm joints, then of the three fingers, float64 [9]."""
        return self.data.qpos[self.joint_addresses]

    @property
    def hand_w(self) -> np.ndarray:
        """Position of the grip site in metres, float64 [3]."""
        return self.data.site_xpos[self._hand]

    @property
    def target_w(self) -> np.ndarray:
        """Position of the target's centre in metres, float64 [3]."""
        return self.data.mocap_pos[self._target_mocap]

    @property
    def obstacle_w(self) -> np.ndarray:
        """Position of the obstacle's centre in metres, float64 [3]."""
        return self.data.mocap_pos[self._obstacle_mocap]

    def state(self) -> np.ndarray:
        """Returns the true state, float32 [S], in the order of `state_names`."""
        arm, fingers = np.split(self.joint_angles_rad, [len(ARM_JOINTS)])
        colours = self.model.geom_rgba[self._target_geom, :3], self._colour(self._floor), self._colour(self._walls[0])
        angles = np.stack([np.sin(arm), np.cos(arm)], axis=1).ravel()
        return np.concatenate(
            [angles, fingers, self.hand_w, self.target_w, *colours, *self._obstacle_state()], dtype=np.float32
        )

    def _obstacle_state(self) -> list[np.ndarray]:
        if not self.obstacle:
            return []
        is_there = self.obstacle_w[2] > 0.0
        return [np.array([is_there, *(self.obstacle_w if is_there else np.zeros(3))])]

    def _colour(self, geom: int) -> tuple[float, ...]:
        """Returns the mean colour of the material that `geom` wears."""
        kind, number = self.model.material(self.model.geom_matid[geom]).name.split("_")
        return {"floor": FLOOR_COLOURS, "wall": WALL_COLOURS}[kind][int(number)]

    def describe(self) -> dict[str, Any]:
        """Returns the manifest's facts of this scene."""
        postures = POSTURES.get(self.states, "states that an agent has met")
        settings: dict[str, Any] = {"target_on_floor": self.target_on_floor, "postures": postures}
        settings |= self._met.facts() if self._met is not None else {}
        # What older data sets do not say is left out where it is as theirs, so that they can be continued.
        settings |= {"states": self.states} if self.states != "reaching" else {}
        settings |= {"obstacle": self.obstacle} if self.obstacle else {}
        settings |= {"light": self.light} if self.light != 1.0 else {}
        return {**super().describe(), **settings, "meshes": describe_meshes(self.meshes)}


def _in_ring(rng: np.random.Generator, axis_distance_m: tuple[float, float]) -> tuple[float, float]:
    """Draws x and y uniformly over the area of a ring around the arm's axis, metres."""
    inner, outer = axis_distance_m
    distance, angle = np.sqrt(rng.uniform(inner**2, outer**2)), rng.uniform(-np.pi, np.pi)
    return distance * np.cos(angle), distance * np.sin(angle)
