"""ShepardMetzlerScene: a random object of coloured cubes before a plain sky, seen from all sides."""

from __future__ import annotations

import copy
import functools
from typing import Any

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from gqn_rl.envs.cameras import Camera, Dome, Fixed
from gqn_rl.envs.lights import add_sun
from gqn_rl.envs.scene import MujocoScene
from gqn_rl.envs.shepard_metzler.objects import centred, chirality, draw_walk

PART_SIDE_M = {5: 0.25, 7: 0.19}
"""Side of a cube by the number of parts: as large as keeps even a straight object in the picture."""
PART_COLOURS = {
    "red": (0.92, 0.08, 0.08),
    "green": (0.05, 0.65, 0.10),
    "blue": (0.12, 0.20, 0.95),
    "yellow": (1.00, 0.88, 0.05),
    "magenta": (0.90, 0.12, 0.85),
    "cyan": (0.05, 0.82, 0.90),
    "orange": (1.00, 0.48, 0.02),
}
"""Of the parts of one object, in any order: each part has a colour of its own, by which it is known in the state."""
PART_EMISSION = 0.2
SKY_COLOURS = (0.62, 0.65, 0.70), (0.80, 0.82, 0.84)  # zenith, horizon

CAMERA_DISTANCE_M = 1.8
ELEVATION_DEG = (-75.0, 75.0)
FIXED_AT_W = (1.3, 0.8, 0.9)


class ShepardMetzlerScene(MujocoScene):
    """A random object: a self-avoiding walk of cubes, centred, each cube in a colour of its own.

    Args:
        parts: number of cubes, 5 or 7.
        image_size: height and width of pictures in pixels.
        fovy_deg: vertical field of view.

    Attributes:
        walk: the present object's cubes on the grid, in the order of the walk, int [parts, 3].
        colours: their colours by name, in the same order.
    """

    DEPTHS_M = (1.1, 2.5)

    def __init__(self, parts: int = 7, image_size: int = 64, fovy_deg: float = 45.0):
        if parts not in PART_SIDE_M:
            raise ValueError(f"`parts` must be one of {list(PART_SIDE_M)}, got {parts!r}.")
        self.parts = parts
        cameras: dict[str, Camera] = {
            "moving": Dome((0.0, 0.0, 0.0), (CAMERA_DISTANCE_M,) * 2, (0.0, 360.0), ELEVATION_DEG),
            "fixed": Fixed(FIXED_AT_W, (0.0, 0.0, 0.0)),
        }
        super().__init__(copy.copy(_compiled_model(parts)), cameras, image_size, fovy_deg)
        self._palette = list(PART_COLOURS)[:parts]
        self.state_names = (
            *(f"position/{colour}_{axis}" for colour in self._palette for axis in "xyz"),
            "chirality",
        )
        self.sample(np.random.default_rng(0))

    def sample(self, rng: np.random.Generator) -> None:
        """Draws an object anew."""
        walk = draw_walk(rng, self.parts)
        self.show(walk, [self._palette[number] for number in rng.permutation(self.parts)])

    def show(self, walk: ArrayLike, colours: list[str]) -> None:
        """Puts up the object of the cubes `walk`, int [parts, 3], coloured by the names `colours`, all different."""
        walk = np.asarray(walk)
        if walk.shape != (self.parts, 3) or sorted(colours) != sorted(self._palette):
            raise ValueError(f"`walk` must have {self.parts} cubes, `colours` each of {self._palette} once.")
        self.walk, self.colours = walk, colours
        self.model.geom_pos[:] = self.positions_w
        self.model.geom_rgba[:, :3] = [PART_COLOURS[colour] for colour in colours]
        mujoco.mj_forward(self.model, self.data)

    @property
    def positions_w(self) -> np.ndarray:
        """Middles of the cubes in the order of the walk, metres, float64 [parts, 3]."""
        return centred(self.walk) * PART_SIDE_M[self.parts]

    def state(self) -> np.ndarray:
        """Returns the true state, float32 [S]: where the part of each colour is, metres, and the object's chirality."""
        order = [self.colours.index(colour) for colour in self._palette]
        return np.append(self.positions_w[order].ravel(), chirality(self.walk)).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """Returns the manifest's facts of this scene."""
        return {**super().describe(), "parts": self.parts}


@functools.cache
def _compiled_model(parts: int) -> mujoco.MjModel:
    """Compiles the model of objects of so many parts once per process; its geoms are the cubes, all in one place."""
    spec = mujoco.MjSpec()
    spec.modelname = "shepard_metzler"
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    spec.stat.extent, spec.stat.center = 1.0, [0, 0, 0]
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.40] * 3, [0.0] * 3
    spec.visual.headlight.specular = [0.0] * 3
    # Each of the six directions that faces can have is lit differently, so the picture shows how it is turned.
    for direction, strength in (((-0.5, -0.3, -0.8), 0.5), ((0.2, 0.8, 0.3), 0.25)):
        light = add_sun(spec)
        light.dir, light.diffuse, light.specular = direction, [strength] * 3, [0.0] * 3
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=32, height=32)
    sky.builtin = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT
    sky.rgb1, sky.rgb2 = SKY_COLOURS
    spec.add_material(name="part", emission=PART_EMISSION, specular=0, shininess=0)
    half = PART_SIDE_M[parts] / 2
    for number in range(parts):
        spec.worldbody.add_geom(name=f"part_{number}", type=mujoco.mjtGeom.mjGEOM_BOX, size=[half] * 3, material="part")
    model = spec.compile()
    model.geom_sameframe[:] = 0  # cubes lie where they are put, whatever they were compiled with
    return model
