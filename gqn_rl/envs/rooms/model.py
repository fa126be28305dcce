"""The MuJoCo model of every room: walls, floor, light, and places for objects of any shape, size and colour.

Compiled once per process. A geom can change its mesh, colour and place at any time, so a new room is a few numbers.
"""

from __future__ import annotations

import functools

import mujoco
import numpy as np

from gqn_rl.envs.lights import add_sun
from gqn_rl.envs.maze.model import texture_pixels
from gqn_rl.envs.rooms.shapes import SHAPES

UNIT_M = 0.5
"""The paper's rooms measure 7 × 7 units; half a metre each gives them the size of the Jaco's room."""
ROOM_HALF_SIZE_M = 3.5 * UNIT_M
WALL_HEIGHT_M = 2 * UNIT_M
MAX_OBJECTS = 3
SIZES_M = (0.26, 0.30, 0.34, 0.38)
"""Of objects: the radius of the circle on the floor that they stand in."""

WALL_TEXTURES = {
    "red": ("style_01/wall_red_d", (0.76, 0.46, 0.44)),
    "green": ("style_04/wall_green_bright_d", (0.50, 0.66, 0.48)),
    "cerise": ("style_04/wall_cerise_d", (0.74, 0.50, 0.66)),
    "orange": ("style_03/wall_orange_bright_d", (0.80, 0.60, 0.42)),
    "yellow": ("style_02/wall_yellow_bright_d", (0.78, 0.74, 0.48)),
}
FLOOR_TEXTURES = {
    "yellow": ("style_05/floor_orange_bright_d", (0.76, 0.70, 0.50)),
    "white": ("style_04/floor_blue_bright_d", (0.78, 0.78, 0.78)),
    "blue": ("style_03/floor_blue_bright_d", (0.52, 0.62, 0.76)),
}
"""The paper's textures are DeepMind Lab's: the pattern comes out of labmaze's assets, the mean colour is ours.

Saturated objects before desaturated rooms: what stands out is learnt first.
"""
TEXTURE_CONTRAST = 0.5  # of the pattern, against the original's
TEXTURE_WIDTH_M = 2 * UNIT_M
SKY_COLOURS = (0.55, 0.70, 0.92), (0.85, 0.90, 0.96)  # zenith, horizon

OBJECT_COLOURS = {
    "red": (0.95, 0.08, 0.08),
    "green": (0.05, 0.70, 0.12),
    "blue": (0.10, 0.18, 0.95),
    "yellow": (1.00, 0.90, 0.05),
    "magenta": (0.90, 0.10, 0.85),
    "cyan": (0.05, 0.85, 0.90),
}
OBJECT_EMISSION = 0.25

SHOWN, HIDDEN = 0, 4
"""Geom groups: MuJoCo's default options draw the first and leave out the second."""
NEAREST_DRAWN_M, FARTHEST_DRAWN_M = 0.05, 20.0


def mesh_name(shape: str, size_m: float) -> str:
    """Returns the name of the mesh of a shape in a size.

    >>> mesh_name("box", 0.26)
    'box_0.26'
    """
    return f"{shape}_{size_m:g}"


@functools.cache
def compiled_model() -> mujoco.MjModel:
    """Returns the model of all rooms; every scene works on a copy.

    Geoms by name: "floor", "wall_0" to "wall_3", "object_0" to "object_2", which are hidden; one light.
    """
    spec = mujoco.MjSpec()
    spec.modelname = "rooms"
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    spec.stat.extent, spec.stat.center = 1.0, [0, 0, 0]  # so that the planes below are in metres
    spec.visual.map.znear, spec.visual.map.zfar = NEAREST_DRAWN_M, FARTHEST_DRAWN_M
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.62] * 3, [0.05] * 3
    spec.visual.headlight.specular = [0.0] * 3
    sun = add_sun(spec, "sun")
    sun.diffuse, sun.specular = [0.40] * 3, [0.0] * 3
    _add_materials(spec)
    _add_room(spec)
    _add_objects(spec)
    model = spec.compile()
    model.geom_sameframe[:] = 0  # objects lie where they are put, whatever they were compiled with
    return model


def _add_materials(spec: mujoco.MjSpec) -> None:
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=32, height=32)
    sky.builtin = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT
    sky.rgb1, sky.rgb2 = SKY_COLOURS
    spec.add_material(name="object", emission=OBJECT_EMISSION, specular=0, shininess=0)
    for kind, textures in (("wall", WALL_TEXTURES), ("floor", FLOOR_TEXTURES)):
        for colour, (asset, mean) in textures.items():
            name, pixels = f"{kind}_{colour}", tinted(asset, mean)
            texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3)
            texture.height, texture.width = pixels.shape[:2]
            texture.data = pixels.tobytes()
            material = spec.add_material(name=name, specular=0, shininess=0, texuniform=True)
            material.texrepeat = [1 / TEXTURE_WIDTH_M] * 2
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def _add_room(spec: mujoco.MjSpec) -> None:
    """Adds the floor and four walls, planes that face inward."""
    half, height = ROOM_HALF_SIZE_M, WALL_HEIGHT_M / 2
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    spec.worldbody.add_geom(name="floor", type=plane, size=[half, half, 1], material="floor_white")
    for side in range(4):
        angle = side * np.pi / 2
        outward, up = np.array([np.cos(angle), np.sin(angle), 0.0]), np.array([0.0, 0.0, 1.0])
        turn = np.empty(4)
        mujoco.mju_mat2Quat(turn, np.column_stack([np.cross(up, -outward), up, -outward]).ravel())
        wall = spec.worldbody.add_geom(name=f"wall_{side}", type=plane, size=[half, height, 1], material="wall_red")
        wall.pos, wall.quat = half * outward + height * up, turn


def _add_objects(spec: mujoco.MjSpec) -> None:
    """Adds a mesh of every shape in every size, and hidden geoms that can wear any of them."""
    for shape, points in SHAPES.items():
        for size_m in SIZES_M:
            spec.add_mesh(name=mesh_name(shape, size_m), uservert=(points * size_m).ravel())
    for number in range(MAX_OBJECTS):
        geom = spec.worldbody.add_geom(name=f"object_{number}", type=mujoco.mjtGeom.mjGEOM_MESH, material="object")
        geom.meshname, geom.group = mesh_name("box", SIZES_M[0]), HIDDEN
        geom.contype, geom.conaffinity = 0, 0


def tinted(asset: str, mean: tuple[float, float, float]) -> np.ndarray:
    """Reads the light and shade of one of labmaze's textures in shades of a colour, uint8 [H, W, 3]."""
    shade = texture_pixels(asset).mean(axis=-1, keepdims=True)
    shade = 1 + TEXTURE_CONTRAST * (shade / shade.mean() - 1)
    return np.rint(np.clip(shade * mean, 0, 1) * 255).astype(np.uint8)
