"""DigitCubeScene: the digits of the state are those of the picture, and a view shows three faces."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gqn_rl.analyses.cube_questions import DigitReader, ask
from gqn_rl.envs import make_scene
from gqn_rl.envs.digit_cube.model import FACE_COLOURS, IMAGES_PER_DIGIT, TOP, digit_images
from gqn_rl.envs.digit_cube.scene import CORNERS, DigitCubeScene, pose_at


@pytest.fixture(name="scene", scope="module")
def scene_fixture():
    return DigitCubeScene("corners", image_size=64)


def test_images_are_scikit_learns_handwritten_digits():
    """40 of each, ink in [0, 1]."""
    images, digits = digit_images()
    assert images.shape == (400, 8, 8) and images.min() == 0 and images.max() == 1
    assert (np.bincount(digits) == IMAGES_PER_DIGIT).all()


def visible(scene, corner):
    """Returns the faces whose paper shows in the picture from a corner, where all digits are blank enough to see it."""
    picture = scene.render(pose_at(CORNERS[corner])).astype(float) / 255
    hue = picture / picture.max(axis=-1, keepdims=True).clip(0.05)
    counts = {}
    for face, colour in FACE_COLOURS.items():
        wanted = np.array(colour) / max(colour)
        counts[face] = int((np.abs(hue - wanted).max(axis=-1) < 0.06).sum())
    return {face for face, count in counts.items() if count > 60 and face != TOP}


def test_a_corner_shows_two_upright_faces(scene):
    """The north-east corner shows the north and the east face, and so around."""
    scene.show([50] * 5)
    for corner in CORNERS:
        assert visible(scene, corner) == set(corner.split("_"))


def test_a_digit_changes_its_face_and_no_other(scene):
    """From a corner, changing a face that it does not show changes no pixel; changing one that it shows does."""
    corner = pose_at(CORNERS["north_east"])
    scene.show([3, 100, 200, 300, 10])
    before = scene.render(corner)
    scene.show([3, 100, 250, 350, 10])
    assert np.array_equal(scene.render(corner), before)
    for face, images in enumerate(([40, 100, 200, 300, 10], [3, 140, 200, 300, 10])):
        scene.show(images)
        changed = (scene.render(corner) != before).any(axis=-1)
        columns = np.flatnonzero(changed.any(axis=0))
        assert changed.sum() > 20 and ((columns < 32).all() if face == 0 else (columns >= 32).all())


def test_digits_stand_upright_and_are_not_mirrored(scene):
    """Seen straight from before a face, the ink lies where the 8×8 picture has it."""
    images, _ = digit_images()
    for number, azimuth in enumerate((0.0, 90.0, 180.0, 270.0)):
        image = 7 * IMAGES_PER_DIGIT + number  # a seven is neither symmetric nor the same upside down
        scene.show([image] * 5)
        face = scene.render_size(pose_at(azimuth, 0.0), 128, 128).astype(float).mean(axis=-1)[28:98, 28:100]
        ink, true = np.clip(np.median(face) - face, 0, None), images[image]
        likeness = [np.corrcoef(_shrunk(ink), turned.ravel())[0, 1] for turned in (true, true[:, ::-1], true[::-1])]
        assert likeness[0] > max(0.5, *likeness[1:])


def _shrunk(ink):
    """Returns a picture of ink averaged to 8×8 inside its bounding box, as the digit fills its own."""
    inside = ink[5:-5, 5:-5]
    rows, columns = (np.array_split(np.arange(size), 8) for size in inside.shape)
    return np.array([[inside[np.ix_(r, c)].mean() for c in columns] for r in rows]).ravel()


def test_state_tells_the_digits(scene):
    """One entry of ten is 1 for each face, and it is the digit that is shown."""
    scene.sample(np.random.default_rng(3))
    state = dict(zip(scene.state_names, scene.state(), strict=True))
    assert sum(state.values()) == 5
    for face, digit in scene.digits.items():
        assert state[f"digit/{face}_{digit}"] == 1 and scene.digits[face] == scene.images[face] // IMAGES_PER_DIGIT


def test_same_generator_same_cube():
    """Pictures and poses are a pure function of the generator; the facts can be written down."""
    drawn = []
    for _ in range(2):
        rng, one = np.random.default_rng(5), make_scene("digit_cube", image_size=32)
        one.sample(rng)
        drawn.append(one.render(one.sample_pose(rng)))
    assert np.array_equal(*drawn)
    assert json.loads(json.dumps(one.describe()))["settings"] == {"camera": "ring"}


def test_unknown_settings_are_refused():
    """By name."""
    with pytest.raises(ValueError, match="`camera` must be one of ring, corners, got 'dome'"):
        DigitCubeScene("dome")
    with pytest.raises(ValueError, match="`images` must be 5 numbers from 0 to 399"):
        DigitCubeScene().show([400] * 5)


def test_questions_are_about_unseen_faces_and_the_classifier_reads_true_pictures(scene):
    """The face is on none of the context's pixels and on both query pictures; true pictures are read rightly."""
    questions = ask(scene, np.random.default_rng(0), 40)
    reader = DigitReader.trained(scene, np.random.default_rng(1), 200)
    assert (reader.read(questions, questions.query.images) == questions.digits).mean() > 0.85
    assert (reader.read_known(questions, questions.known.images) == questions.known_digits).mean() > 0.85
    for corner_views, face, known in zip(questions.context.viewpoints, questions.faces, questions.known_faces,
                                         strict=True):  # fmt: skip
        corner = round((np.rad2deg(np.arctan2(corner_views[0, 1], corner_views[0, 0])) % 360 - 45) / 90)
        assert known == corner and face % 4 in {(corner + 2) % 4, (corner + 3) % 4}
