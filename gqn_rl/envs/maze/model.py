"""The MuJoCo model of every maze of one size: textures, light, objects, the agent's mark, and a pool of panels.

Compiling a model takes much longer than moving its geoms, so one is compiled per process and size; a new maze arranges
the panels (`maze_panels.py`), materials and objects of its copy.
"""

from __future__ import annotations

import functools
import pathlib

import labmaze  # type: ignore[import-untyped]
import mujoco
import numpy as np
from PIL import Image

from gqn_rl.envs.lights import add_sun
from gqn_rl.envs.maze.panels import HIDDEN, add_panels

WALL_HEIGHT_M = 1.0
WALL_TEXTURES = (
    *("style_01/wall_blue_d", "style_02/wall_lgreen_d", "style_02/wall_purple_d", "style_02/wall_yellow_bright_d"),
    *("style_02/wall_blue_bright_d", "style_03/wall_gray_bright_d"),
    *("style_04/wall_green_bright_d", "style_04/wall_cerise_d"),
)
FLOOR_TEXTURES = (
    *("style_01/floor_blue_bright_d", "style_02/floor_green_bright_d", "style_03/floor_blue_bright_d"),
    *("style_04/floor_cyan_d", "style_04/floor_orange_bright_d", "style_05/floor_orange_bright_d"),
)
"""DeepMind Lab's textures, out of labmaze's assets; one repeat a metre. None is red, the goal's colour."""
TEXTURE_SIZE = 64  # pixels; the originals have 1024
TEXTURE_CONTRAST = 0.6  # towards each texture's mean colour: fine pattern costs a scene model capacity
WALL_TOP_COLOUR = (0.20, 0.20, 0.24)  # dark from above, where every floor is light; from eye height it is never seen
SKY_COLOURS = (0.45, 0.65, 0.95), (0.85, 0.92, 1.0)  # zenith, horizon

GOAL_COLOUR = (0.95, 0.08, 0.08)
OBJECT_COLOURS = {
    "green": (0.05, 0.60, 0.10),
    "blue": (0.10, 0.20, 0.90),
    "yellow": (1.00, 0.90, 0.05),
    "magenta": (0.85, 0.10, 0.80),
    "white": (1.00, 1.00, 1.00),
}
OBJECT_EMISSION = 0.3
_SPHERE, _BOX, _CAPSULE, _CYLINDER = (
    *(mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_BOX),
    *(mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_CYLINDER),
)
OBJECTS = {
    "goal": (_SPHERE, (0.22, 0.0, 0.0), 0.22),
    "box": (_BOX, (0.17, 0.17, 0.17), 0.17),
    "capsule": (_CAPSULE, (0.11, 0.10, 0.0), 0.21),
    "cylinder": (_CYLINDER, (0.20, 0.12, 0.0), 0.12),
}
"""Shape, size and height of the middle in metres: all lower than the eye, which therefore is never inside of one."""

NEAREST_DRAWN_M, FARTHEST_DRAWN_M = 0.05, 60.0


@functools.cache
def compiled_model(cells: int) -> mujoco.MjModel:
    """Returns the model of mazes of `cells` × `cells`, compiled once per process; every scene works on a copy.

    Geoms by name: those of `OBJECTS`; "agent_body" and "agent_nose" of the mocap body "agent", hidden; the panels.
    """
    spec = maze_spec()
    add_panels(spec, cells)
    model = spec.compile()
    model.geom_sameframe[:] = 0  # panels and objects lie where they are put, whatever they were compiled with
    return model


def maze_spec() -> mujoco.MjSpec:
    """Returns everything but the panels: materials, light, objects and the agent's mark."""
    spec = mujoco.MjSpec()
    spec.modelname = "maze"
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    spec.stat.extent, spec.stat.center = 1.0, [0, 0, 0]  # so that the planes below are in metres
    spec.visual.map.znear, spec.visual.map.zfar = NEAREST_DRAWN_M, FARTHEST_DRAWN_M
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.75] * 3, [0.15] * 3
    spec.visual.headlight.specular = [0.0] * 3
    sun = add_sun(spec)
    sun.dir, sun.diffuse, sun.specular = [0.5, 0.3, -0.8], [0.30] * 3, [0.0] * 3
    _add_materials(spec)
    for name, (shape, size, height) in OBJECTS.items():
        spec.worldbody.add_geom(name=name, type=shape, size=size, pos=[0, 0, height], material="object")
    _add_agent(spec)
    return spec


def _add_materials(spec: mujoco.MjSpec) -> None:
    """Adds sky, wall tops, objects, and one material for each wall and floor texture."""
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=32, height=32)
    sky.builtin = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT
    sky.rgb1, sky.rgb2 = SKY_COLOURS
    spec.add_material(name="wall_top", rgba=[*WALL_TOP_COLOUR, 1], specular=0, shininess=0)
    spec.add_material(name="object", emission=OBJECT_EMISSION, specular=0, shininess=0)
    for kind, textures in (("wall", WALL_TEXTURES), ("floor", FLOOR_TEXTURES)):
        for number, asset in enumerate(textures):
            name, pixels = f"{kind}_{number}", texture_pixels(asset)
            texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3)
            texture.width = texture.height = TEXTURE_SIZE
            texture.data = pixels.tobytes()
            material = spec.add_material(name=name, specular=0, shininess=0)
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def _add_agent(spec: mujoco.MjSpec) -> None:
    """Adds a flat mark that shows the agent and, by its nose, its heading from above, too low for its own eye."""
    agent = spec.worldbody.add_body(name="agent", mocap=True)
    for name, shape, size, x, colour in (
        ("agent_body", _CYLINDER, [0.25, 0.04, 0], 0.0, [0.05, 0.05, 0.05, 1]),
        ("agent_nose", _BOX, [0.16, 0.06, 0.05], 0.20, [1, 1, 1, 1]),
    ):
        agent.add_geom(name=name, type=shape, size=size, pos=[x, 0, 0.06], rgba=colour, group=HIDDEN, material="object")


@functools.cache
def texture_pixels(asset: str) -> np.ndarray:
    """Reads one of labmaze's textures, smaller and softer than it is: uint8 [TEXTURE_SIZE, TEXTURE_SIZE, 3]."""
    path = pathlib.Path(labmaze.__file__).parent / "assets" / f"{asset}.png"
    with Image.open(path) as picture:
        small = picture.convert("RGBA").convert("RGB").resize((TEXTURE_SIZE,) * 2, Image.Resampling.BOX)
    pixels = np.asarray(small, float)
    mean = pixels.mean(axis=(0, 1))
    return np.rint(mean + TEXTURE_CONTRAST * (pixels - mean)).astype(np.uint8)


def mean_colour(asset: str) -> np.ndarray:
    """Returns a texture's mean colour, float64 [3] in [0, 1]."""
    return texture_pixels(asset).mean(axis=(0, 1)) / 255
