"""ShepardMetzlerScene: connected parts that do not meet, two hands, and a state that says what is drawn."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from gqn_rl.envs import make_scene
from gqn_rl.envs.shepard_metzler.objects import STEPS, centred, chirality, draw_walk
from gqn_rl.envs.shepard_metzler.scene import CAMERA_DISTANCE_M, PART_COLOURS, PART_SIDE_M, ShepardMetzlerScene
from tests.projection import nearest_colour, pixel, project

ROTATIONS = [
    rotation
    for axes in itertools.permutations(np.eye(3, dtype=int))
    for signs in itertools.product((1, -1), repeat=3)
    if np.linalg.det(rotation := np.array(axes) * np.array(signs)[:, None]) > 0
]


@pytest.fixture(scope="module", params=sorted(PART_SIDE_M))
def scene(request):
    return ShepardMetzlerScene(request.param)


@pytest.mark.parametrize("num_parts", sorted(PART_SIDE_M))
def test_objects_are_connected_and_do_not_meet_themselves(num_parts):
    """300 walks: exactly so many different cubes, each sharing a face with the one before."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        walk = draw_walk(rng, num_parts)
        assert walk.shape == (num_parts, 3) and len({tuple(place) for place in walk}) == num_parts
        assert (np.abs(np.diff(walk, axis=0)).sum(axis=1) == 1).all()


def test_the_first_two_steps_have_the_frequencies_of_the_walk():
    """Six first steps, each a sixth; of the second, a fifth goes straight on."""
    rng = np.random.default_rng(1)
    steps = np.array([np.diff(draw_walk(rng, 5), axis=0)[:2] for _ in range(1500)])
    shares = [(steps[:, 0] == step).all(axis=1).mean() for step in STEPS]
    assert shares == pytest.approx([1 / 6] * 6, abs=0.04)
    assert (steps[:, 0] == steps[:, 1]).all(axis=1).mean() == pytest.approx(1 / 5, abs=0.04)


def test_chirality_is_that_of_the_object_not_of_its_pose():
    """It is the same under all 24 rotations and read from the other end, and opposite in each mirror."""
    rng = np.random.default_rng(2)
    assert len(ROTATIONS) == 24
    for _ in range(30):
        walk = draw_walk(rng, 7)
        assert {chirality(walk @ rotation) for rotation in ROTATIONS} == {chirality(walk)}
        assert chirality(walk[::-1]) == chirality(walk)
        for axis in range(3):
            mirrored = walk.copy()
            mirrored[:, axis] *= -1
            assert chirality(mirrored) == -chirality(walk)


def test_flat_objects_have_no_hand():
    """A walk in one plane is its own mirror image."""
    assert chirality(np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 1, 0), (2, 2, 0)])) == 0
    assert chirality(np.array([(0, 0, z) for z in range(5)])) == 0


@pytest.mark.parametrize("num_parts", sorted(PART_SIDE_M))
def test_both_hands_are_as_frequent(num_parts):
    """Among 600 objects as many turn right as left, and some have no hand."""
    rng = np.random.default_rng(3)
    hands = np.sign([chirality(draw_walk(rng, num_parts)) for _ in range(600)])
    assert abs((hands > 0).mean() - (hands < 0).mean()) < 0.1
    assert (hands != 0).mean() > 0.4 and (hands == 0).any()


def test_every_object_is_whole_in_the_picture_from_everywhere(scene):
    """The ball around a straight object, the longest, touches no edge; all corners of 60 objects are in the picture."""
    half = np.deg2rad(scene.fovy_deg / 2)
    straight = np.arange(scene.parts)[:, None] * STEPS[0]
    farthest = np.linalg.norm(np.abs(centred(straight)) + 0.5, axis=1).max()  # corner of a cube, in sides
    assert farthest * PART_SIDE_M[scene.parts] < CAMERA_DISTANCE_M * np.sin(half)
    rng, corners = np.random.default_rng(4), np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
    for _ in range(60):
        scene.sample(rng)
        points = (centred(scene.walk)[:, None] + corners).reshape(-1, 3) * PART_SIDE_M[scene.parts]
        pose = scene.sample_pose(rng)
        assert np.linalg.norm(pose.position_w) == pytest.approx(CAMERA_DISTANCE_M)
        assert np.abs(project(pose, points, scene.fovy_deg)).max() < 1
        assert np.abs(project(pose, (0, 0, 0), scene.fovy_deg)).max() < 1e-6


def test_state_says_where_the_part_of_each_colour_is_drawn(scene):
    """Geoms as drawn: position and colour as in the state; the part nearest to the camera shows its colour there."""
    rng = np.random.default_rng(5)
    for _ in range(30):
        scene.sample(rng)
        state = dict(zip(scene.state_names, scene.state().tolist(), strict=True))
        colours = list(PART_COLOURS)[: scene.parts]
        places = {colour: np.array([state[f"position/{colour}_{axis}"] for axis in "xyz"]) for colour in colours}
        for number in range(scene.parts):
            geom = scene.model.geom(f"part_{number}").id
            rgb = tuple(scene.model.geom_rgba[geom, :3].round(4).tolist())
            (colour,) = (name for name in colours if np.allclose(PART_COLOURS[name], rgb, atol=1e-3))
            np.testing.assert_allclose(scene.data.geom_xpos[geom], places[colour], atol=1e-6)
        assert sum(places.values()) == pytest.approx(np.zeros(3), abs=1e-5)
        assert state["chirality"] == chirality(scene.walk)
        pose = scene.sample_pose(rng)
        nearest = min(places, key=lambda name: np.linalg.norm(places[name] - pose.position_w))
        shown = pixel(scene.render(pose), project(pose, places[nearest], scene.fovy_deg))
        assert nearest_colour(shown, PART_COLOURS) == nearest


def test_parts_have_all_colours_in_any_order(scene):
    """Each part a colour of its own; within 60 objects, the first part has had every colour."""
    rng, first = np.random.default_rng(6), set()
    for _ in range(60):
        scene.sample(rng)
        assert sorted(scene.colours) == sorted(list(PART_COLOURS)[: scene.parts])
        first.add(scene.colours[0])
    assert len(first) == scene.parts


def test_a_mirror_image_looks_different():
    """The same colours on the mirrored walk give another picture and the opposite chirality in the state."""
    scene, walk = ShepardMetzlerScene(5), np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 1)])
    pose, seen = scene.cameras["fixed"].sample(np.random.default_rng(0)), []
    for one in (walk, walk * (1, 1, -1)):
        scene.show(one, list(PART_COLOURS)[:5])
        seen.append((scene.render(pose).astype(float), scene.state()[-1]))
    assert np.abs(seen[0][0] - seen[1][0]).mean() > 3
    assert seen[0][1] == -seen[1][1] == chirality(walk) != 0


def test_the_same_generator_state_gives_the_same_pictures(scene):
    """Object, pose and picture are functions of the seed alone, in any scene and after any history."""
    seen = []
    for one in (scene, ShepardMetzlerScene(scene.parts)):
        rng = np.random.default_rng(42)
        one.sample(rng)
        seen.append((one.state(), one.render(one.sample_pose(rng)), one.render(one.sample_pose(rng))))
        scene.sample(np.random.default_rng(7))
    for first, second in zip(*seen, strict=True):
        assert np.array_equal(first, second)


def test_description_names_the_number_of_parts():
    """Data sets of 5 and of 7 parts are told apart; all facts are JSON."""
    facts = [json.loads(json.dumps(ShepardMetzlerScene(parts).describe())) for parts in (5, 7)]
    assert [fact["parts"] for fact in facts] == [5, 7]


@pytest.mark.parametrize("parts", [4, 6, "7"])
def test_other_numbers_of_parts_are_refused(parts):
    """With the numbers that there are."""
    with pytest.raises(ValueError, match=r"`parts` must be one of \[5, 7\], got"):
        make_scene("shepard_metzler", parts=parts)


def test_objects_that_do_not_fit_the_scene_are_refused():
    """Too few cubes, and a colour twice."""
    scene, walk = ShepardMetzlerScene(5), np.arange(5)[:, None] * STEPS[0]
    colours = list(PART_COLOURS)[:5]
    for wrong_walk, wrong_colours in ((walk[:4], colours[:4]), (walk, colours[:4] + colours[:1])):
        with pytest.raises(ValueError, match="`walk` must have 5 cubes, `colours` each of"):
            scene.show(wrong_walk, wrong_colours)
