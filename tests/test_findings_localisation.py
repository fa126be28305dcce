"""Localisation: what is counted, for a model that knows its scene and for one that knows nothing."""

import numpy as np
import pytest
import torch

from gqn_rl.analyses.common import Subject
from gqn_rl.analyses.localisation import (
    SIGMAS,
    LocalisationFindingSettings,
    _row,
    angles_deg,
    answer,
    calibrated,
    data_cameras,
)
from gqn_rl.poses import CameraPose
from gqn_rl.views import Views
from tests.test_localisation import SIZE, Lighthouse, cameras, picture_at
from tests.tiny_findings import make_scenes, rng

SETTINGS = LocalisationFindingSettings(rounds=8, proposals=40)


class Nothing(Lighthouse):
    """A model that draws the same grey picture from everywhere."""

    def mean(self, c):
        return torch.full((*c.viewpoints.shape[:2], 3, SIZE, SIZE), 0.5)


class FakeScenes:
    """Scenes of two views each, as Lighthouse draws them."""

    views_per_scene, num_scenes, manifest = 2, 12, {}

    def __init__(self):
        self.viewpoints = np.stack([cameras(2, seed=200 + scene) for scene in range(self.num_scenes)])
        model = Lighthouse()
        self.images = np.stack([[picture_at(model, v) for v in two] for two in self.viewpoints])

    def views(self, scenes, which):
        return Views(self.images[scenes[:, None], which], self.viewpoints[scenes[:, None], which])


def test_angles_between_lines_of_sight():
    """Up and level are 90° apart, headings as they differ, and where a camera stands does not matter."""
    level = CameraPose((0.0, 0.0, 0.0), 0.0, 0.0).viewpoint
    others = [CameraPose((5.0, 1.0, 0.0), yaw, pitch).viewpoint for yaw, pitch in
              ((0.0, 0.0), (np.pi / 3, 0.0), (-np.pi, 0.0), (0.0, np.pi / 2))]  # fmt: skip
    np.testing.assert_allclose(angles_deg(np.stack(others), level), [0, 60, 180, 90], atol=0.05)


def test_a_model_that_knows_its_scene_finds_the_camera_and_is_sure():
    """Within 3 cm and 3°, the true camera is probable, and the mass is near it rather than anywhere."""
    subject, some = Subject(Lighthouse(), FakeScenes(), progress=False), cameras(400)
    sigma = calibrated(subject, np.arange(4), 1, some, SETTINGS)
    found = [answer(subject, scene, 1, some, SETTINGS.search(sigma), rng()) for scene in range(4, 12)]
    row = _row(found, sigma, len(some), rng())
    assert row["median_error_m"] < 0.03 and row["median_error_deg"] < 3
    assert sigma == SIGMAS[0] and row["nll"] < 0.01 and row["near"] > 3 * row["near_chance"]


def test_a_model_that_knows_nothing_is_at_chance():
    """All candidates are equally probable, at every σ: −log p is log(G + 1), and the mass near is the share near."""
    subject, some = Subject(Nothing(), FakeScenes(), progress=False), cameras(40)
    found = [answer(subject, scene, 1, some, SETTINGS.search(0.1), rng()) for scene in range(3)]
    row = _row(found, 0.1, len(some), rng())
    assert row["nll"] == pytest.approx(np.log(41)) == pytest.approx(row["nll_uniform"])
    assert row["near"] == pytest.approx(row["near_chance"]) and row["near_over_chance"] == pytest.approx(1)


def test_candidates_are_cameras_of_training_scenes(tmp_path):
    """They are drawn from the training split, never from the scenes that are judged."""
    heldout = make_scenes(tmp_path / "data", "rooms")
    some = data_cameras(heldout, rng(), 20)
    assert some.shape == (20, 7)
    judged = np.asarray(heldout.viewpoints).reshape(-1, 7)
    assert not (np.abs(some[:, None] - judged[None]).max(-1) < 1e-6).any()


def test_settings_are_refused_by_the_names_of_the_command_line():
    """What counts must be positive; the search refuses its own."""
    with pytest.raises(ValueError, match=r"`localisation\.num_cameras` must be positive, got 0"):
        LocalisationFindingSettings(num_cameras=0)
    with pytest.raises(ValueError, match="`proposals` at least 1"):
        LocalisationFindingSettings(proposals=0)
    assert LocalisationFindingSettings(rounds=0, num_samples=0).search(0.3).sigma == 0.3
