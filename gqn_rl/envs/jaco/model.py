"""The Jaco's room as a MuJoCo model: arm, hand, target, walls, floor and their pool of materials."""

from __future__ import annotations

import functools
import importlib.util
import pathlib
import warnings

import mujoco
import numpy as np

from gqn_rl.envs.meshes import simplify

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
OBSTACLE_RADIUS_M = 0.08
NOWHERE_W = (0.0, 0.0, -1.0)

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
OBSTACLE_COLOUR = (0.04, 0.04, 0.05)  # of no target, and darker than anything else in the room
# Pool of materials: a texture built by MuJoCo from two colours.
WALL_COLOURS = ((0.62, 0.55, 0.50), (0.52, 0.58, 0.62), (0.60, 0.60, 0.52), (0.58, 0.52, 0.60), (0.66, 0.64, 0.62))
FLOOR_COLOURS = ((0.72, 0.70, 0.66), (0.60, 0.64, 0.66), (0.66, 0.60, 0.55))


@functools.cache
def compiled_model(meshes: str, obstacle: bool = False) -> mujoco.MjModel:
    """Compiles the room once per process, kind of meshes and number of balls; every scene works on a copy."""
    _warn_of_old_physics()
    spec = _room_spec()
    if obstacle:
        _add_ball(spec, "obstacle", OBSTACLE_RADIUS_M)
        spec.geom("obstacle").rgba = [*OBSTACLE_COLOUR, 1.0]
    if meshes == "simple":
        simplify(spec, full=spec.copy().compile())
    return spec.compile()


def _warn_of_old_physics() -> None:
    """Says that the arm moves otherwise with releases of MuJoCo that damp actuators beyond the force they can give."""
    if tuple(map(int, mujoco.__version__.split(".")[:2])) < (3, 5):
        warnings.warn(
            f"With MuJoCo {mujoco.__version__} the arm speeds up more slowly than with 3.5.0 or later, where its "
            "actuators give all the force that they can: returns of JacoReach are not comparable.",
            stacklevel=3,
        )


def _room_spec() -> mujoco.MjSpec:
    """Describes room, arm, hand and target."""
    spec = mujoco.MjSpec()
    spec.modelname = "jaco_room"
    spec.compiler.degree = False  # as Kinova's files; MuJoCo 3.3.0 reads joint limits of what is attached in our unit
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.gravity = [0.0, 0.0, 0.0]  # Kinova's firmware compensates gravity
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.35] * 3, [0.35] * 3
    spec.worldbody.add_light(pos=[0, 0, 3.5], dir=[0, 0, -1], diffuse=[0.45] * 3, specular=[0.1] * 3, castshadow=False)
    _add_room(spec)
    _add_arm(spec)
    spec.add_material(name="target", emission=TARGET_EMISSION)
    _add_ball(spec, "target", TARGET_RADIUS_M).material = "target"
    spec.add_material(name="reference_site")  # where MuJoCo before 3.17 looks for that of Kinova's sites
    return spec


def _add_ball(spec: mujoco.MjSpec, name: str, radius_m: float) -> mujoco.MjsGeom:
    """Adds a ball that nothing moves but who writes its position; until then it is out of sight."""
    body = spec.worldbody.add_body(name=name, pos=NOWHERE_W, mocap=True)
    return body.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[radius_m, 0, 0])


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
        # Force is gain × (commanded speed − speed): what `set_to_velocity` does, which MuJoCo 3.3.0 lacks.
        actuator.gainprm[0], actuator.biasprm[2], actuator.biastype = gain, -gain, mujoco.mjtBias.mjBIAS_AFFINE
        actuator.ctrllimited = actuator.forcelimited = True
        actuator.ctrlrange = [-limit["speed"], limit["speed"]]
        actuator.forcerange = [-limit["torque"], limit["torque"]]


def _kinova_folder() -> pathlib.Path:
    """Finds dm_control's Kinova files (BSD-3-Clause) without importing dm_control."""
    package = importlib.util.find_spec("dm_control")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("The Jaco arm needs dm_control's model files; install `dm_control`.")
    return pathlib.Path(package.submodule_search_locations[0]) / "third_party" / "kinova"
