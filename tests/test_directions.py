"""Directions in which scenes differ: found without labels, white, and without what changes between views alone."""

import numpy as np
import pytest
import torch

from gqn_rl.directions import scene_directions
from gqn_rl.models.readout import Readout, Statistics
from gqn_rl.models.representations.ground_plan import PlanGeometry
from gqn_rl.models.representations.points import PointGeometry
from gqn_rl.representation import random_encoder, view_statistics
from gqn_rl.scene_encoder import SceneEncoder, read
from gqn_rl.views import CameraPose, Views
from tests.flat_settings import build_model


def standard(psi):
    """Gives every entry mean 0 and deviation 1."""
    return (psi - psi.mean((0, 1))) / psi.std((0, 1), correction=0)


@pytest.fixture(scope="module")
def psi():
    """Returns two scene entries, one of them noisy, mixed into five with two of noise: [500, 4, 5], and the scenes."""
    generator = torch.Generator().manual_seed(0)
    scenes = torch.randn(500, 1, 2, generator=generator)
    noise = torch.randn(500, 4, 4, generator=generator)
    seen = torch.cat(
        [scenes[..., :1] + 0.1 * noise[..., :1], scenes[..., 1:] + 0.5 * noise[..., 1:2], noise[..., 2:]], -1
    )
    mixed = torch.cat([seen @ torch.randn(4, 4, generator=generator), seen[..., :1]], -1)
    return standard(mixed), scenes[:, 0]


def test_as_many_directions_as_scenes_differ_in(psi):
    """Five entries that mix two facts of the scene and two noises have two telling directions, and hold the facts."""
    mixed, scenes = psi
    directions = scene_directions(mixed)
    assert directions.shape == (5, 2)
    told = (mixed @ directions)[:, 0]
    fit = torch.linalg.lstsq(told, scenes).solution
    residual = (told @ fit - scenes).square().mean(0)
    assert residual[0] < 0.05 and residual[1] < 0.25  # noise variances 0.01 and 0.2 of what one view shows


def test_what_is_told_is_white_and_the_most_telling_comes_first(psi):
    """Deviation 1 and no correlation over views; the share between scenes falls from one direction to the next."""
    mixed, _ = psi
    told = mixed @ scene_directions(mixed)
    covariance = torch.cov(told.flatten(0, 1).T, correction=0)
    torch.testing.assert_close(covariance, torch.eye(2), atol=0.01, rtol=0)
    share = told.mean(1).var(0) / told.flatten(0, 1).var(0)
    assert 1.0 >= share[0] > share[1] > 0.5


def test_noise_alone_keeps_one_direction():
    """Views that say nothing of their scene still yield an observation, of one entry."""
    noise = torch.randn(200, 3, 6, generator=torch.Generator().manual_seed(0))
    assert scene_directions(standard(noise)).shape == (6, 1)


def test_a_sum_of_views_is_told_as_the_sum_of_what_they_tell(psi):
    """For a vector r the directions are linear."""
    mixed, _ = psi
    reading = Readout(None, Statistics(torch.tensor(0.0), torch.tensor(1.0), scene_directions(mixed)))
    one, two = mixed[:, 0], mixed[:, 1]
    both = [reading(part, None, "world") for part in (one, two, one + two)]
    torch.testing.assert_close(both[0] + both[1], both[2], atol=1e-5, rtol=1e-5)


def test_points_are_told_in_directions_of_what_they_read_and_plans_as_they_are():
    """An untrained points encoder: deviation 1 and mean 0 over its views; in the camera's frame the reading alone."""
    rng = np.random.default_rng(0)
    places = [CameraPose.look_at(rng.uniform(1, 2, 3), (0, 0, 0)).viewpoint for _ in range(128)]
    views = Views(rng.integers(0, 256, (64, 2, 32, 32, 3), dtype=np.uint8), np.stack(places).reshape(64, 2, 7))
    config = {"name": "gqn", "image_size": 32, "encoder": "points", "num_points": 3, "r_channels": 18, "num_steps": 1}
    encoder = random_encoder(config, seed=0, views=views)
    r = encoder.encode_views(*(np.concatenate(part) for part in views))
    told = read(encoder.readout, r)
    assert told.shape[1] <= 18 and np.abs(told.mean(axis=0)).max() < 1e-3
    np.testing.assert_allclose(told.std(axis=0), 1.0, atol=0.05)
    seen = read(encoder.readout, r, np.concatenate(views.viewpoints), "camera")
    np.testing.assert_array_equal(seen, read(Readout(PointGeometry(3)), r, np.concatenate(views.viewpoints), "camera"))
    assert "r_directions" not in view_statistics(np.zeros((4, 2, 3, 2, 2), np.float32), PlanGeometry(4.0))


def points_statistics():
    """Returns the statistics of three points: scenes differ in where the first one is, and in their looks."""
    generator = torch.Generator().manual_seed(0)
    scenes = torch.randn(300, 1, 2, generator=generator).expand(-1, 3, -1)
    psi = torch.ones(300, 3, 18)
    psi[..., 3:12] = 0.01 * torch.randn(
        300, 3, 9, generator=generator
    )  # x, y, z of three points that views are sure of
    psi[..., 3] += scenes[..., 0]
    psi[..., 12:17] = scenes[..., 1:] * torch.arange(1.0, 6.0)
    return view_statistics(psi.numpy(), PointGeometry(3))


def test_points_may_be_told_by_their_places_alone():
    """A colour that r knows is among all directions and not among those of places; None is places."""
    statistics = points_statistics()
    everything, places = statistics["r_directions"], statistics["r_place_directions"]
    assert everything.shape[1] == 2 and places.shape == (18, 1)
    assert not places[9:].any() and places[:9].any()


def test_an_encoder_gives_positions_unless_all_is_asked_for():
    """`features` chooses among a file's directions; what it does not have, and what is unknown, is refused."""
    config = {"name": "gqn", "image_size": 32, "encoder": "points", "num_points": 3, "r_channels": 18, "num_steps": 1}
    model, statistics = build_model(**config), points_statistics()
    for features, name in ((None, "r_place_directions"), ("positions", "r_place_directions"), ("all", "r_directions")):
        readout = SceneEncoder(model, statistics, features=features).readout
        assert torch.equal(readout.directions, statistics[name])
    without = {key: value for key, value in statistics.items() if key != "r_place_directions"}
    assert torch.equal(SceneEncoder(model, without).readout.directions, statistics["r_directions"])
    with pytest.raises(ValueError, match="does not keep positions and appearance apart"):
        SceneEncoder(model, without, features="positions")
    with pytest.raises(ValueError, match="null or one of all, positions, got 'colours'"):
        SceneEncoder(model, statistics, features="colours")


def test_as_many_directions_as_are_asked_for_the_same_ones_first():
    """Of 6 entries with 2 that scenes differ in, 4 asked for begin with those 2; dead entries give no direction."""
    generator = torch.Generator().manual_seed(0)
    scenes = torch.randn(400, 1, 2, generator=generator).expand(-1, 4, -1)
    noise = torch.randn(400, 4, 3, generator=generator)
    psi = torch.cat([scenes + 0.1 * noise[..., :2], noise, torch.zeros(400, 4, 1)], dim=-1)
    psi = psi / psi.flatten(0, 1).std(0).clamp(min=0.1)
    usual, four, all_of_them = scene_directions(psi), scene_directions(psi, 4), scene_directions(psi, 6)
    assert usual.shape == (6, 2) and four.shape == (6, 4) and all_of_them.shape == (6, 5)
    assert torch.equal(four[:, :2], usual) and torch.equal(all_of_them[:, :4], four)
    assert (psi @ all_of_them).isfinite().all()
