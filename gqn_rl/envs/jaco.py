"""JacoScene: a Kinova Jaco arm in the middle of a room with one coloured sphere to reach for."""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib.util
import pathlib
from typing import Any

import mujoco
import numpy as np

from gqn_rl.envs.cameras import Camera, Dome, Fixed
from gqn_rl.envs.meshes import check_meshes, describe_meshes, simplify
from gqn_rl.envs.scene import MujocoScene

ARM_JOINTS = tuple(f"arm_joint_{i}" for i in range(1, 7))
FINGER_JOINTS = tuple(f"arm_hand_finger_{i}" for i in range(1, 4))
HAND_SITE = "arm_hand_gripsite"

# Firmware limits of Kinova's actuators (datasheet "KA-75+ KA-58 Specifications"): peak torque N·m, speed rad/s.
LARGE_ACTUATOR = {"torque": 30.5, "speed": np.deg2rad(36.0)}  # joints 1-3
SMALL_ACTUATOR = {"torque": 6.8, "speed": np.deg2rad(48.0)}  # joints 4-6
FINGER_ACTUATOR = {"torque": 1.0, "speed": 5.0}  # Kinova's URDF
ARM_VELOCITY_GAIN = 500.0  # N·m·s/rad, stiff enough to follow a commanded speed within 0.01 rad/s
FINGER_VELOCITY_GAIN = 10.0
TIMESTEP_S = 0.01

ROOM_HALF_SIZE_M = 2.2
WALL_HEIGHT_M = 2.0
TARGET_RADIUS_M = 0.08

# Joint angles as an episode starts, rad: any heading, other joints around Kinova's home posture, fingers anywhere.
HOME_RAD = {"arm_joint_2": 2.54, "arm_joint_3": 4.22, "arm_joint_4": 1.14, "arm_joint_5": -2.30, "arm_joint_6": -2.02}
HOME_SPREAD_RAD = 0.75
JOINT_RANGES_RAD = {
    "arm_joint_1": (-np.pi, np.pi),
    **{joint: (angle - HOME_SPREAD_RAD, angle + HOME_SPREAD_RAD) for joint, angle in HOME_RAD.items()},
    **dict.fromkeys(FINGER_JOINTS, (0.15, 1.35)),
}
# Where the hand may be then: distance from the arm's axis and height, m; off the floor and in view.
HAND_AXIS_DISTANCE_M = (0.2, 0.65)
HAND_HEIGHT_M = (0.12, 0.75)
ACTION_S = 0.1  # how long an agent holds the joints' speeds
EPISODE_ACTIONS = 50
LONGEST_HOLD = 15  # actions for which a random scene's arm goes on as it was going
REACHING_SHARE = 0.5  # of random scenes: the arm has been heading for the target
GUESSES = 6  # directions of which an arm that heads for the target takes the best
# Where the target may be: distance from the arm's axis, and height of its centre when it floats, m.
TARGET_AXIS_DISTANCE_M = (0.3, 0.6)
TARGET_HEIGHT_M = (TARGET_RADIUS_M, 0.6)

# Saturated targets and hand before desaturated rooms: what stands out is learnt first (docs/pretraining.md).
ARM_COLOUR = (0.38, 0.38, 0.40)
HAND_COLOUR = (1.0, 0.5, 0.05)
TARGET_EMISSION = 0.5
TARGET_COLOURS = {
    "red": (0.90, 0.10, 0.10),
    "green": (0.10, 0.75, 0.15),
    "blue": (0.12, 0.25, 0.95),
    "yellow": (0.95, 0.85, 0.10),
    "magenta": (0.90, 0.15, 0.80),
    "cyan": (0.10, 0.80, 0.85),
}
# Pool of materials: a texture built by MuJoCo from two colours.
WALL_COLOURS = ((0.62, 0.55, 0.50), (0.52, 0.58, 0.62), (0.60, 0.60, 0.52), (0.58, 0.52, 0.60), (0.66, 0.64, 0.62))
FLOOR_COLOURS = ((0.72, 0.70, 0.66), (0.60, 0.64, 0.66), (0.66, 0.60, 0.55))

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
    """

    state_names = (
        *(f"{function}_joint_{i}" for i in range(1, 7) for function in ("sin", "cos")),
        *(f"finger_{i}" for i in range(1, 4)),
        *("hand_x", "hand_y", "hand_z", "target_x", "target_y", "target_z"),
        *(f"{thing}_{channel}" for thing in ("target", "floor", "wall") for channel in ("red", "green", "blue")),
    )
    """sin and cos of the arm's angles; finger angles, rad; hand and target in the world frame, m; colours in [0, 1]."""

    def __init__(
        self, image_size: int = 64, fovy_deg: float = 45.0, target_on_floor: bool = True, meshes: str = "simple"
    ):
        super().__init__(copy.copy(_compiled_model(check_meshes(meshes))), dict(CAMERAS), image_size, fovy_deg)
        self.target_on_floor = target_on_floor
        self.meshes = meshes
        model = self.model
        joints = [model.joint(name) for name in (*ARM_JOINTS, *FINGER_JOINTS)]
        self._joint_addresses = np.array([joint.qposadr[0] for joint in joints])
        self._joint_low, self._joint_high = np.array([JOINT_RANGES_RAD[joint.name] for joint in joints]).T
        self._hand = model.site(HAND_SITE).id
        self._target_geom = model.geom("target").id
        self._target_mocap = model.body("target").mocapid[0]
        self._floor = model.geom("floor").id
        self._walls = [model.geom(f"wall_{side}").id for side in range(4)]

    def sample(self, rng: np.random.Generator) -> None:
        """Draws a moment of an episode: a start, and the arm where an agent might have moved it since."""
        self.sample_start(rng)
        self._wander(rng)

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
            self.data.qpos[self._joint_addresses] = rng.uniform(self._joint_low, self._joint_high)
            mujoco.mj_kinematics(self.model, self.data)
            x, y, z = self.hand_w
            in_reach = HAND_AXIS_DISTANCE_M[0] < np.hypot(x, y) < HAND_AXIS_DISTANCE_M[1]
            if in_reach and HAND_HEIGHT_M[0] < z < HAND_HEIGHT_M[1] and self._lowest_m >= 0.0:
                return

    def _wander(self, rng: np.random.Generator) -> None:
        """Moves the joints at full speed, back, forth or not at all, for as many actions as an episode may have had.

        Half of the arms move at random, each direction for a while; the others roughly towards the target.
        """
        speed = np.where(np.arange(len(ARM_JOINTS)) < 3, LARGE_ACTUATOR["speed"], SMALL_ACTUATOR["speed"])
        reaching, hold = rng.random() < REACHING_SHARE, rng.integers(1, LONGEST_HOLD, endpoint=True)
        for action in range(rng.integers(EPISODE_ACTIONS, endpoint=True)):
            before = self.data.qpos.copy()
            if reaching:
                directions = rng.integers(-1, 1, (GUESSES, len(speed)), endpoint=True)
                direction = min(directions, key=lambda tried: self._move(before, tried * speed))
            elif action % hold == 0:
                direction = rng.integers(-1, 1, len(speed), endpoint=True)
            self._move(before, direction * speed)
            self.stop_at_floor(before)
        mujoco.mj_forward(self.model, self.data)

    def _move(self, qpos: np.ndarray, speed: np.ndarray) -> float:
        """Puts the arm where the joints' `speed` [6], rad/s, takes it from `qpos`; returns the target's distance, m."""
        self.data.qpos[:] = qpos
        self.data.qpos[self._joint_addresses[: len(speed)]] += speed * ACTION_S
        mujoco.mj_kinematics(self.model, self.data)
        return float(np.linalg.norm(self.target_w - self.hand_w))

    def stop_at_floor(self, before: np.ndarray) -> None:
        """Puts the arm back to the positions `before`, at rest, if hand or a link came below the floor."""
        if self._lowest_m < 0.0:
            self.data.qpos[:], self.data.qvel[:] = before, 0.0
            mujoco.mj_kinematics(self.model, self.data)

    @property
    def _lowest_m(self) -> float:
        """Height of the lowest of the links' origins and the hand, metres."""
        return float(min(self.data.xpos[1:, 2].min(), self.hand_w[2]))

    def _sample_target(self, rng: np.random.Generator) -> None:
        """Draws the target uniformly over the area of its ring."""
        inner, outer = TARGET_AXIS_DISTANCE_M
        distance, angle = np.sqrt(rng.uniform(inner**2, outer**2)), rng.uniform(-np.pi, np.pi)
        height = TARGET_RADIUS_M if self.target_on_floor else rng.uniform(*TARGET_HEIGHT_M)
        self.data.mocap_pos[self._target_mocap] = distance * np.cos(angle), distance * np.sin(angle), height

    @property
    def joint_angles_rad(self) -> np.ndarray:
        """Angles of the six arm joints, then of the three fingers, float64 [9]."""
        return self.data.qpos[self._joint_addresses]

    @property
    def hand_w(self) -> np.ndarray:
        """Position of the grip site in metres, float64 [3]."""
        return self.data.site_xpos[self._hand]

    @property
    def target_w(self) -> np.ndarray:
        """Position of the target's centre in metres, float64 [3]."""
        return self.data.mocap_pos[self._target_mocap]

    def state(self) -> np.ndarray:
        """Returns the true state, float32 [S], in the order of `state_names`."""
        arm, fingers = np.split(self.joint_angles_rad, [len(ARM_JOINTS)])
        colours = self.model.geom_rgba[self._target_geom, :3], self._colour(self._floor), self._colour(self._walls[0])
        angles = np.stack([np.sin(arm), np.cos(arm)], axis=1).ravel()
        return np.concatenate([angles, fingers, self.hand_w, self.target_w, *colours]).astype(np.float32)

    def _colour(self, geom: int) -> tuple[float, ...]:
        """Returns the mean colour of the material that `geom` wears."""
        kind, number = self.model.material(self.model.geom_matid[geom]).name.split("_")
        return {"floor": FLOOR_COLOURS, "wall": WALL_COLOURS}[kind][int(number)]

    def describe(self) -> dict[str, Any]:
        """Returns the manifest's facts of this scene."""
        settings = {"target_on_floor": self.target_on_floor, "postures": "moments of episodes, half of them reaching"}
        return {**super().describe(), **settings, "meshes": describe_meshes(self.meshes)}


@functools.cache
def _compiled_model(meshes: str) -> mujoco.MjModel:
    """Compiles the room once per process and kind of meshes; every scene works on a copy."""
    spec = _room_spec()
    if meshes == "simple":
        simplify(spec, full=spec.copy().compile())
    return spec.compile()


def _room_spec() -> mujoco.MjSpec:
    """Describes room, arm, hand and target."""
    spec = mujoco.MjSpec()
    spec.modelname = "jaco_room"
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.gravity = [0.0, 0.0, 0.0]  # Kinova's firmware compensates gravity
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.35] * 3, [0.35] * 3
    spec.worldbody.add_light(pos=[0, 0, 3.5], dir=[0, 0, -1], diffuse=[0.45] * 3, specular=[0.1] * 3, castshadow=False)
    _add_room(spec)
    _add_arm(spec)
    spec.add_material(name="target", emission=TARGET_EMISSION)
    target = spec.worldbody.add_body(name="target", mocap=True)
    target.add_geom(name="target", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[TARGET_RADIUS_M, 0, 0], material="target")
    return spec


def _add_room(spec: mujoco.MjSpec) -> None:
    """Adds a floor, four walls and the pool of materials that they may wear."""
    for kind, colours in (("wall", WALL_COLOURS), ("floor", FLOOR_COLOURS)):
        for number, colour in enumerate(colours):
            _add_material(spec, f"{kind}_{number}", colour)
    half, height = ROOM_HALF_SIZE_M, WALL_HEIGHT_M / 2
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_BOX, size=[half, half, 0.02], pos=[0, 0, -0.02], material="floor_0"
    )
    for side, (x, y) in enumerate(((1, 0), (0, 1), (-1, 0), (0, -1))):
        size = [0.02, half, height] if x else [half, 0.02, height]
        spec.worldbody.add_geom(
            name=f"wall_{side}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=size,
            pos=[x * half, y * half, height],
            material="wall_0",
        )


def _add_material(spec: mujoco.MjSpec, name: str, colour: tuple[float, float, float]) -> None:
    """Adds a material with a soft vertical gradient around `colour`."""
    texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=32, height=32)
    texture.builtin = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT
    texture.rgb1, texture.rgb2 = np.clip(np.multiply(colour, 1.05), 0, 1), np.multiply(colour, 0.95)
    material = spec.add_material(name=name, specular=0.0, shininess=0.0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def _add_arm(spec: mujoco.MjSpec) -> None:
    """Attaches Kinova's arm and hand at the origin, with a velocity actuator for every joint."""
    arm, hand = (mujoco.MjSpec.from_file(str(_kinova_folder() / f"jaco_{part}.xml")) for part in ("arm", "hand"))
    arm_geoms = [geom for geom in arm.geoms if not geom.name.startswith("ring")]  # the rings stay silver
    hand_geoms = hand.geoms
    arm.attach(hand, site="wristsite", prefix="hand_")  # both files define the same materials
    spec.attach(arm, frame=spec.worldbody.add_frame(), prefix="arm_")
    for geoms, colour in ((arm_geoms, ARM_COLOUR), (hand_geoms, HAND_COLOUR)):
        for geom in geoms:
            geom.material, geom.rgba = "", [*colour, 1.0]
    limits = [LARGE_ACTUATOR] * 3 + [SMALL_ACTUATOR] * 3 + [FINGER_ACTUATOR] * 3
    for joint, limit in zip((*ARM_JOINTS, *FINGER_JOINTS), limits, strict=True):
        gain = FINGER_VELOCITY_GAIN if joint in FINGER_JOINTS else ARM_VELOCITY_GAIN
        actuator = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.set_to_velocity(kv=gain)
        actuator.ctrllimited = actuator.forcelimited = True
        actuator.ctrlrange = [-limit["speed"], limit["speed"]]
        actuator.forcerange = [-limit["torque"], limit["torque"]]


def _kinova_folder() -> pathlib.Path:
    """Finds dm_control's Kinova files (BSD-3-Clause) without importing dm_control."""
    package = importlib.util.find_spec("dm_control")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("The Jaco arm needs dm_control's model files; install `dm_control`.")
    return pathlib.Path(package.submodule_search_locations[0]) / "third_party" / "kinova"
