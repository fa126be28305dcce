"""The MuJoCo model of every digit cube: a plain room, and a cube of five one-sided faces that can wear any digit.

Compiled once per process. A new cube is five numbers of materials: nothing is compiled or uploaded anew.
"""

from __future__ import annotations

import functools

import mujoco
import numpy as np
from numpy.typing import ArrayLike

CUBE_SIDE_M = 1.0
ROOM_HALF_SIZE_M, WALL_HEIGHT_M = 2.6, 1.6
IMAGES_PER_DIGIT = 40
"""Of scikit-learn's pictures of each digit, the first ones: an OpenGL context of MuJoCo holds 1 000 textures."""
NUM_DIGITS = 10

FACES = {"east": 0.0, "north": 90.0, "west": 180.0, "south": 270.0}
"""Upright faces, and the angle about the vertical to which each faces, degrees, 0 along +x."""
TOP = "top"
FACE_COLOURS = {
    "east": (0.95, 0.30, 0.25),
    "north": (0.35, 0.85, 0.35),
    "west": (0.35, 0.50, 1.00),
    "south": (1.00, 0.85, 0.20),
    TOP: (0.95, 0.95, 0.95),
}
"""Of the paper under the digits, which are dark: which face it is can be seen from its colour."""
WALL_COLOUR, FLOOR_COLOUR, SKY_COLOUR = (0.62, 0.60, 0.66), (0.50, 0.46, 0.42), (0.75, 0.82, 0.90)
INK = 0.9
"""How much darker than paper the darkest ink is."""
MARGIN, PIXEL_SIDE = 1, 4  # of paper around a digit, in its pixels; what a pixel of it becomes in the texture


@functools.cache
def digit_images() -> tuple[np.ndarray, np.ndarray]:
    """Returns the handwritten digits that cubes wear: ink in [0, 1], float64 [N, 8, 8], and which each is, int [N]."""
    from sklearn.datasets import load_digits  # here, because other scenes do without it and it takes seconds to import

    digits = load_digits()
    chosen = np.concatenate([np.flatnonzero(digits.target == digit)[:IMAGES_PER_DIGIT] for digit in range(NUM_DIGITS)])
    return digits.images[chosen] / 16.0, digits.target[chosen]


@functools.cache
def compiled_model() -> mujoco.MjModel:
    """Returns the model of all digit cubes; every scene works on a copy.

    Geoms by name: "floor", "wall_0" to "wall_3", "face_east" and so on, "face_top"; material "digit_<n>" for image n.
    """
    spec = mujoco.MjSpec()
    spec.modelname = "digit_cube"
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    spec.stat.extent, spec.stat.center = 1.0, [0, 0, 0]
    spec.visual.map.znear, spec.visual.map.zfar = 0.05, 20.0
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.9] * 3, [0.0] * 3
    spec.visual.headlight.specular = [0.0] * 3
    _add_materials(spec)
    _add_room(spec)
    _add_cube(spec)
    return spec.compile()


def _add_materials(spec: mujoco.MjSpec) -> None:
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=32, height=32)
    sky.builtin = mujoco.mjtBuiltin.mjBUILTIN_FLAT
    sky.rgb1 = sky.rgb2 = SKY_COLOUR
    for name, colour in (("wall", WALL_COLOUR), ("floor", FLOOR_COLOUR)):
        spec.add_material(name=name, rgba=[*colour, 1], specular=0, shininess=0)
    for number, ink in enumerate(digit_images()[0]):
        pixels = np.pad(1 - INK * ink, MARGIN, constant_values=1.0).repeat(PIXEL_SIDE, 0).repeat(PIXEL_SIDE, 1)
        pixels = np.rint(255 * pixels).astype(np.uint8)
        texture = spec.add_texture(name=f"digit_{number}", type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3)
        texture.height, texture.width = pixels.shape
        texture.data = pixels[..., None].repeat(3, axis=-1).tobytes()
        material = spec.add_material(name=f"digit_{number}", specular=0, shininess=0)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f"digit_{number}"


def _add_room(spec: mujoco.MjSpec) -> None:
    """Adds the floor and four walls, planes that face inward."""
    half, height = ROOM_HALF_SIZE_M, WALL_HEIGHT_M / 2
    _add_plane(spec, "floor", "floor", (0, 0, 0), (0, 0, 1), (half, half))
    for side in range(4):
        outward = _direction(90.0 * side)
        _add_plane(spec, f"wall_{side}", "wall", half * outward + [0, 0, height], -outward, (half, height))


def _add_cube(spec: mujoco.MjSpec) -> None:
    half = CUBE_SIDE_M / 2
    _add_plane(spec, f"face_{TOP}", "digit_0", (0, 0, CUBE_SIDE_M), (0, 0, 1), (half, half))
    for name, angle_deg in FACES.items():
        outward = _direction(angle_deg)
        _add_plane(spec, f"face_{name}", "digit_0", half * outward + [0, 0, half], outward, (half, half))
    for name, colour in FACE_COLOURS.items():
        spec.geom(f"face_{name}").rgba = [*colour, 1]


def _add_plane(
    spec: mujoco.MjSpec,
    name: str,
    material: str,
    center_w: ArrayLike,
    normal_w: ArrayLike,
    half_sizes: tuple[float, float],
) -> None:
    """Adds a plane whose texture stands upright where the plane does."""
    normal = np.asarray(normal_w, float)
    up = np.array([0.0, 0.0, 1.0]) if abs(normal[2]) < 0.5 else np.array([0.0, 1.0, 0.0])
    turn = np.empty(4)
    mujoco.mju_mat2Quat(turn, np.column_stack([np.cross(up, normal), up, normal]).ravel())
    plane = spec.worldbody.add_geom(name=name, type=mujoco.mjtGeom.mjGEOM_PLANE, material=material)
    plane.size, plane.pos, plane.quat = [*half_sizes, 1], center_w, turn
    plane.contype, plane.conaffinity = 0, 0


def _direction(angle_deg: float) -> np.ndarray:
    """Returns a horizontal unit vector, float64 [3]."""
    angle = np.deg2rad(angle_deg)
    return np.array([np.cos(angle), np.sin(angle), 0.0])
