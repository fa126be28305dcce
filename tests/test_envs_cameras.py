"""Cameras stand where they say and look where they say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gqn_rl.envs.cameras import Dome, Fixed, ring
from gqn_rl.envs.jaco.scene import CAMERAS, DOME_CENTER_W


def angles(pose, center_w):
    """Distance in m, azimuth and elevation in degrees of a pose as seen from `center_w`."""
    offset = np.array(pose.position_w) - center_w
    distance = np.linalg.norm(offset)
    return distance, np.rad2deg(np.arctan2(offset[1], offset[0])), np.rad2deg(np.arcsin(offset[2] / distance))


def test_fixed_camera_never_moves():
    """Two draws are the same pose, whatever the generator."""
    camera = Fixed((1.0, 0.0, 1.0), (0.0, 0.0, 0.0))
    assert camera.sample(np.random.default_rng(0)) == camera.sample(np.random.default_rng(1))
    assert camera.sample(np.random.default_rng(0)).pitch_rad == pytest.approx(-np.pi / 4)


def test_dome_keeps_its_ranges_and_fills_them():
    """500 poses stay within distance, azimuth and elevation, and come near both ends of each."""
    dome = Dome((0.1, 0.2, 0.3), radius_m=(1.0, 2.0), azimuth_deg=(-60.0, 30.0), elevation_deg=(10.0, 40.0))
    rng = np.random.default_rng(0)
    drawn = np.array([angles(dome.sample(rng), dome.center_w) for _ in range(500)])
    for values, (low, high) in zip(drawn.T, (dome.radius_m, dome.azimuth_deg, dome.elevation_deg), strict=True):
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high


def test_dome_looks_near_its_centre():
    """The line of sight passes the centre within the jitter's diagonal."""
    dome = Dome((0.0, 0.0, 0.5), (1.5, 1.5), (0.0, 360.0), (30.0, 30.0), aim_jitter_m=0.1)
    rng = np.random.default_rng(0)
    for _ in range(100):
        pose = dome.sample(rng)
        to_center = np.array(dome.center_w) - pose.position_w
        assert np.linalg.norm(np.cross(to_center, pose.forward_w)) <= 0.1 * np.sqrt(3)


def test_ring_stands_on_its_circle():
    """Every pose has the ring's distance from the axis and its height."""
    rng = np.random.default_rng(0)
    positions = np.array([ring((0, 0, 0.2), radius_m=2.0, height_m=1.0).sample(rng).position_w for _ in range(20)])
    np.testing.assert_allclose(np.hypot(*positions[:, :2].T), 2.0)
    np.testing.assert_allclose(positions[:, 2], 1.2)


def test_the_held_out_camera_stands_where_no_other_ever_does():
    """Azimuths of the moving and the held-out Jaco cameras do not meet; together they close the circle."""
    rng = np.random.default_rng(0)
    azimuths = {
        name: np.array([angles(CAMERAS[name].sample(rng), DOME_CENTER_W)[1] for _ in range(500)])
        for name in ("moving", "heldout", "fixed")
    }
    assert np.abs(azimuths["moving"]).max() <= 150.0 <= np.abs(azimuths["heldout"]).min()
    assert np.abs(azimuths["fixed"]).max() <= 150.0


@pytest.mark.parametrize("name", sorted(CAMERAS))
def test_descriptions_are_json(name):
    """What a manifest keeps of a camera is plain JSON and names its kind."""
    description = CAMERAS[name].describe()
    assert json.loads(json.dumps(description))["kind"] in ("fixed", "dome")
