"""Questions about digit cubes, and the classifier that reads digits in pictures that answer them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.svm import SVC

from gqn_rl.envs.digit_cube.model import FACES
from gqn_rl.envs.digit_cube.scene import CORNERS, DigitCubeScene, pose_at
from gqn_rl.views import Views

_AZIMUTHS_DEG = list(CORNERS.values())
_NAMES = list(FACES)
_SIDES = 2
"""An upright face is seen from the corners at its left and at its right; corner k shows faces k and k + 1."""


class Questions(NamedTuple):
    """N cubes: one view of each, and what is asked.

    Attributes:
        context: the given view, [N, 1, ...], from a corner.
        query: a face that it does not show, from both sides, [N, 2, ...].
        known: a face that it shows, from the other side, [N, 1, ...].
        corners: views from all corners, [N, 4, ...], beginning with the one opposite to the given one.
        faces: number of the face that `query` shows, int [N]; in the order of `FACES`.
        known_faces: of the one that `known` shows.
        digits: what is on the faces of `query`, int [N, 1].
        known_digits: on those of `known`, int [N].
    """

    context: Views
    query: Views
    known: Views
    corners: Views
    faces: np.ndarray
    known_faces: np.ndarray
    digits: np.ndarray
    known_digits: np.ndarray

    def first(self, count: int) -> Questions:
        """Returns the questions about the first `count` cubes."""
        context, query, known, corners = (Views(*(array[:count] for array in part)) for part in self[:4])
        faces, known_faces, digits, known_digits = (part[:count] for part in self[4:])
        return Questions(context, query, known, corners, faces, known_faces, digits, known_digits)


def cube_of(manifest: dict[str, Any]) -> DigitCubeScene:
    """Returns the scene that a data set was made of.

    Raises:
        ValueError: it is another one.
    """
    if manifest["scene"] != "digit_cube":
        raise ValueError(
            f"`data.root` holds scenes of '{manifest['scene']}', expected digit cubes; "
            "`python -m gqn_rl.generate_data env=digit_cube` makes some."
        )
    facts = manifest["scene_facts"]
    return DigitCubeScene(**facts["settings"], image_size=manifest["image_size"], fovy_deg=facts["fovy_deg"])


def ask(scene: DigitCubeScene, rng: np.random.Generator, count: int) -> Questions:
    """Draws cubes and asks of each about one of the two faces that a view from a random corner does not show."""
    pictures, viewpoints, faces, digits = [], [], [], []
    for _ in range(count):
        scene.sample(rng)
        corner = int(rng.integers(len(CORNERS)))
        face = corner + 2 + int(rng.integers(2))  # corner k shows k and k + 1
        order = np.array([corner, face - 1, face, corner - 1, corner + 2, corner + 1, corner + 3, corner]) % len(
            CORNERS
        )
        drawn = views_from_corners(scene)
        pictures.append(drawn.images[order])
        viewpoints.append(drawn.viewpoints[order])
        faces.append((face % len(CORNERS), corner))
        digits.append([scene.digits[_NAMES[number]] for number in faces[-1]])
    images, looks = np.stack(pictures), np.stack(viewpoints)
    context, query, known, corners = (
        Views(images[:, part], looks[:, part]) for part in (slice(0, 1), slice(1, 3), slice(3, 4), slice(4, 8))
    )
    (face_numbers, known_faces), (face_digits, known_digits) = np.array(faces).T, np.array(digits).T
    return Questions(context, query, known, corners, face_numbers, known_faces, face_digits[:, None], known_digits)


def views_from_corners(scene: DigitCubeScene) -> Views:
    """Returns the present cube from all corners: images uint8 [4, H, W, 3] and viewpoints float32 [4, 7]."""
    poses = [pose_at(azimuth) for azimuth in _AZIMUTHS_DEG]
    return Views(np.stack([scene.render(pose) for pose in poses]), np.stack([pose.viewpoint for pose in poses]))


class DigitReader:
    """Says which digit is on a face in a picture from one of its two corners: a support vector machine for each."""

    def __init__(self, machines: dict[tuple[int, int], SVC]):
        self._machines = machines

    @classmethod
    def trained(cls, scene: DigitCubeScene, rng: np.random.Generator, count: int) -> DigitReader:
        """Trains on true pictures of `count` random cubes."""
        pictures, digits = [], []
        for _ in range(count):
            scene.sample(rng)
            pictures.append(views_from_corners(scene).images)
            digits.append([scene.digits[name] for name in _NAMES])
        seen, told = _values(np.stack(pictures)), np.array(digits)  # [N, 4, values], [N, 4]
        machines = {}
        for face in range(len(_NAMES)):
            for side in range(_SIDES):
                corner = (face - 1 + side) % len(CORNERS)
                machines[face, side] = SVC(C=10.0).fit(seen[:, corner], told[:, face])
        return cls(machines)

    def read(self, questions: Questions, images: np.ndarray) -> np.ndarray:
        """Returns the digits on the faces asked about in pictures [N, 2, H, W, 3] from both sides, int [N, 2]."""
        values = _values(images)
        return np.stack([self._read(questions.faces, side, values[:, side]) for side in range(_SIDES)], axis=1)

    def read_known(self, questions: Questions, images: np.ndarray) -> np.ndarray:
        """Returns the digits on faces that the context shows, in pictures [N, 1, H, W, 3] from the other side."""
        return self._read(questions.known_faces, 0, _values(images)[:, 0])

    def _read(self, faces: np.ndarray, side: int, values: np.ndarray) -> np.ndarray:
        found = np.empty(len(faces), int)
        for face in np.unique(faces):
            found[faces == face] = self._machines[int(face), side].predict(values[faces == face])
        return found


def _values(images: np.ndarray) -> np.ndarray:
    """Returns pictures uint8 [N, K, H, W, 3] as rows of numbers in [0, 1], [N, K, H W 3]."""
    return images.reshape(*images.shape[:2], -1) / 255.0
