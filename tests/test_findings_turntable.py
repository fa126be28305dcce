"""The turntable's cameras, found in those of the data."""

import numpy as np
import pytest

from gqn_rl.analyses.turntable import find_orbit, rendered_turn, stored_turn, turn_in_place
from gqn_rl.envs.cameras import Dome, ring
from gqn_rl.views import CameraPose
from tests.tiny_findings import make_scenes, rng
from tests.tiny_pretraining import make_data


def viewpoints_of(camera, count=400):
    source = rng()
    return np.array([camera.sample(source).viewpoint for _ in range(count)])


def test_a_ring_is_found():
    """The ring camera's own centre, distance and height, and the whole circle."""
    orbit = find_orbit(viewpoints_of(ring((0.1, -0.2, 0.3), 1.6, 0.8)))
    np.testing.assert_allclose(orbit.center_w, (0.1, -0.2, 0.3), atol=1e-3)
    assert orbit.distance_m == pytest.approx(np.hypot(1.6, 0.8), abs=1e-3)
    assert orbit.sweep_rad == pytest.approx(2 * np.pi)
    places = np.array([pose.position_w for pose in orbit.poses(8)])
    np.testing.assert_allclose(places[:, 2], 1.1, atol=1e-3)
    np.testing.assert_allclose(np.hypot(places[:, 0] - 0.1, places[:, 1] + 0.2), 1.6, atol=1e-3)


def test_a_part_of_a_dome_is_swept_to_and_fro():
    """The camera never enters the sector that the data leave out, and comes back the way it went."""
    dome = Dome((0, 0, 0), (1.6, 1.9), (-150.0, 150.0), (30.0, 55.0), aim_jitter_m=0.02)
    orbit = find_orbit(viewpoints_of(dome))
    assert np.rad2deg(orbit.sweep_rad) == pytest.approx(300, abs=6)
    poses = orbit.poses(12)
    azimuths = np.rad2deg([np.arctan2(*pose.position_w[1::-1]) for pose in poses])
    assert np.abs(azimuths).max() <= 150
    for there, back in zip(poses[1:6], poses[:6:-1], strict=True):
        np.testing.assert_allclose(there.position_w, back.position_w, atol=1e-9)


def test_cameras_that_look_anywhere_have_no_orbit():
    """As in a maze; there the camera turns where it stands."""
    source = rng()
    poses = [CameraPose((*source.uniform(-3, 3, 2), 0.5), source.uniform(-np.pi, np.pi), 0.0) for _ in range(400)]
    assert find_orbit(np.array([pose.viewpoint for pose in poses])) is None
    turn = turn_in_place(poses[0].viewpoint, 4)
    assert {pose.position_w for pose in turn} == {turn[0].position_w}
    headings = np.array([pose.forward_w for pose in turn])
    np.testing.assert_allclose(headings @ headings[0], [1, 0, -1, 0], atol=1e-6)


def test_without_a_scene_the_stored_views_turn(tmp_path):
    """Those that were not given, by yaw, with their own pictures."""
    _, heldout = make_data(tmp_path)
    scenes = np.arange(3)
    turn = stored_turn(heldout, scenes, num_context=2)
    assert turn.images.shape == (3, 3, 16, 16, 3)
    yaws = np.arctan2(turn.viewpoints[..., 3], turn.viewpoints[..., 4])
    assert (np.diff(yaws, axis=1) >= 0).all()
    for scene in scenes:
        stored = heldout.views(np.array([scene]), np.array([[2, 3, 4]]))
        rest = {stored.viewpoints[0, i].tobytes(): stored.images[0, i] for i in range(3)}
        for viewpoint, image in zip(turn.viewpoints[scene], turn.images[scene], strict=True):
            np.testing.assert_array_equal(rest.pop(viewpoint.tobytes()), image)


def test_the_truth_is_drawn_again(tmp_path):
    """Scenes are seen from all around: as many pictures as asked for, all different."""
    dataset = make_scenes(tmp_path, "rooms", held_out_scenes=30)  # cameras on all sides
    turn = rendered_turn(dataset, np.arange(2), 6, progress=False)
    assert turn.images.shape == (2, 6, 16, 16, 3)
    assert len({image.tobytes() for image in turn.images.reshape(12, -1)}) == 12
