"""DigitCubeScene: a cube in a room with a handwritten digit on each face, of which a picture shows three.

What is on a face that was not seen is anyone's guess, but one guess: seen from two sides, it is the same digit. A model
whose latents belong to a picture guesses for each side anew; one whose latents belong to the scene does not.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from gqn_rl.envs.cameras import Camera, Dome, Fixed, _Described
from gqn_rl.envs.digit_cube.model import (
    CUBE_SIDE_M,
    FACES,
    IMAGES_PER_DIGIT,
    NUM_DIGITS,
    TOP,
    compiled_model,
    digit_images,
)
from gqn_rl.envs.scene import MujocoScene
from gqn_rl.poses import CameraPose

AIM_W = (0.0, 0.0, 0.45 * CUBE_SIDE_M)
RADIUS_M = 2.15
ELEVATION_DEG = 32.0
CORNERS = {"north_east": 45.0, "north_west": 135.0, "south_west": 225.0, "south_east": 315.0}
"""Angles about the vertical from which two upright faces are seen alike, degrees, and the top above them."""


@dataclasses.dataclass(frozen=True)
class Corners(_Described):
    """A camera near one of the cube's upright edges, from where it sees three faces.

    Attributes:
        jitter_deg: it stands within this angle of the corner, and as far above or below.
    """

    jitter_deg: float = 8.0

    def sample(self, rng: np.random.Generator) -> CameraPose:
        """Draws one pose."""
        azimuth = list(CORNERS.values())[rng.integers(len(CORNERS))] + rng.uniform(-self.jitter_deg, self.jitter_deg)
        return pose_at(azimuth, ELEVATION_DEG + rng.uniform(-self.jitter_deg, self.jitter_deg) / 2)


def pose_at(azimuth_deg: float, elevation_deg: float = ELEVATION_DEG) -> CameraPose:
    """Returns the pose at an angle about the vertical, degrees, 0 along +x, that looks at the cube."""
    azimuth, elevation = np.deg2rad([azimuth_deg, elevation_deg])
    outward = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    return CameraPose.look_at(np.asarray(AIM_W) + RADIUS_M * np.array(outward), AIM_W)


CAMERAS: dict[str, Camera] = {
    "ring": Dome(AIM_W, (RADIUS_M, RADIUS_M), (0.0, 360.0), (ELEVATION_DEG - 4, ELEVATION_DEG + 4)),
    "corners": Corners(),
}
"""Where pretraining's camera may stand, by the name that `camera` takes."""


class DigitCubeScene(MujocoScene):
    """A random digit cube.

    Args:
        camera: "ring" (anywhere around the cube) or "corners" (near one of its upright edges).
        image_size: height and width of pictures in pixels.
        fovy_deg: vertical field of view.

    Attributes:
        images: which of `digit_images` is on each face, by the face's name.
    """

    DEPTHS_M = (1.2, 2.6)
    WAVELENGTHS_M = (2.0, 1.0, 0.5, 0.25)
    state_names = tuple(f"digit/{face}_{digit}" for face in (*FACES, TOP) for digit in range(NUM_DIGITS))

    def __init__(self, camera: str = "ring", image_size: int = 64, fovy_deg: float = 45.0):
        if camera not in CAMERAS:
            raise ValueError(f"`camera` must be one of {', '.join(CAMERAS)}, got {camera!r}.")
        pose = pose_at(CORNERS["north_east"])
        cameras = {"moving": CAMERAS[camera], "fixed": Fixed(pose.position_w, AIM_W)}
        super().__init__(copy.copy(compiled_model()), cameras, image_size, fovy_deg)
        self.camera, self.images = camera, dict.fromkeys((*FACES, TOP), 0)
        self.sample(np.random.default_rng(0))

    def sample(self, rng: np.random.Generator) -> None:
        """Draws the digits anew: on each face any digit, in any of its handwritings."""
        digits = rng.integers(NUM_DIGITS, size=len(self.images))
        self.show(digits * IMAGES_PER_DIGIT + rng.integers(IMAGES_PER_DIGIT, size=len(digits)))

    def show(self, images: ArrayLike) -> None:
        """Puts images, int [5], numbers of `digit_images`, onto the faces east, north, west, south and top."""
        chosen = np.asarray(images)
        most = len(digit_images()[1]) - 1
        if chosen.shape != (len(self.images),) or not 0 <= chosen.min() <= chosen.max() <= most:
            raise ValueError(f"`images` must be {len(self.images)} numbers from 0 to {most}, got {chosen.tolist()}.")
        for face, image in zip(self.images, chosen, strict=True):
            self.images[face] = int(image)
            self.model.geom_matid[self.model.geom(f"face_{face}").id] = self.model.material(f"digit_{image}").id
        mujoco.mj_forward(self.model, self.data)

    @property
    def digits(self) -> dict[str, int]:
        """The digit on each face, by the face's name."""
        return {face: int(digit_images()[1][image]) for face, image in self.images.items()}

    def state(self) -> np.ndarray:
        """Returns the true state, float32 [50]: for each face 1 for its digit and 0 for the others."""
        return np.eye(NUM_DIGITS, dtype=np.float32)[list(self.digits.values())].ravel()

    def describe(self) -> dict[str, Any]:
        """Returns the manifest's facts of this scene."""
        return {**super().describe(), "settings": {"camera": self.camera}}
