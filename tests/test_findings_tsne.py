"""The score of a code: 1 where scenes are apart, chance where nothing is."""

import numpy as np
import pytest

from gqn_rl.analyses.tsne import chance, codes, embed, nearest_others, scaled, score, yaw_bins
from tests.tiny_findings import rng, tiny_subject
from tests.tiny_pretraining import make_data

N, K, D = 12, 6, 5


def bins():
    return np.tile(np.arange(K) % 3, (N, 1))


def test_scenes_that_lie_apart_score_one():
    """Every neighbour is of the same scene, and the silhouette is nearly 1; camera sectors score 0 or below."""
    code = np.arange(N)[:, None, None] * 10.0 + rng().normal(size=(N, K, D)) * 0.01
    result = score(code, bins(), 5, rng())
    assert result["scene_share"] == result["scene_share_low"] == 1.0
    assert result["scene_silhouette"] > 0.99 and result["camera_silhouette"] < 0.05


def test_a_code_of_the_camera_alone_groups_by_camera():
    """It has the cameras' sectors right and finds scenes no better than chance."""
    code = bins()[..., None] * np.ones(D) + rng().normal(size=(N, K, D)) * 0.01
    result = score(code, bins(), 5, rng())
    assert result["camera_share"] == 1.0 and result["camera_silhouette"] > 0.9
    assert result["scene_share"] < 0.15


def test_a_code_without_meaning_scores_chance():
    """For 100 scenes of 10 views in 8 dimensions, both shares are within 0.01 of chance."""
    sectors = rng(1).integers(4, size=(100, 10))
    result = score(rng().normal(size=(100, 10, 8)), sectors, 5, rng())
    assert result["scene_share"] == pytest.approx(result["scene_chance"], abs=0.01)
    assert result["camera_share"] == pytest.approx(result["camera_chance"], abs=0.02)
    assert result["scene_chance"] == pytest.approx(9 / 999)


def test_a_view_is_not_its_own_neighbour():
    """Points on a line: the nearest others, by hand."""
    assert nearest_others(np.array([[0.0], [1.0], [3.0]]), 1).ravel().tolist() == [1, 0, 1]
    assert chance(np.array([0, 0, 0])) == 1.0


def test_scaling_leaves_out_what_never_varies():
    """Every other entry has mean 0 and deviation 1."""
    code = rng().normal(3, 7, size=(N, K, D))
    code[..., 2] = 4.0
    flat = scaled(code).reshape(-1, D)
    np.testing.assert_allclose(flat.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(flat.std(axis=0), [1, 1, 0, 1, 1], atol=1e-9)


def test_yaw_falls_into_equal_sectors():
    """Four sectors: ahead, left, back, right begin at 0°, 90°, 180° and 270°."""
    yaws = np.deg2rad([1, 91, 181, 271, -1])
    viewpoints = np.zeros((5, 7))
    viewpoints[:, 3], viewpoints[:, 4] = np.sin(yaws), np.cos(yaws)
    assert yaw_bins(viewpoints, 4).tolist() == [0, 1, 2, 3, 3]


def test_every_model_and_the_pixels_have_a_code(tmp_path):
    """One row per view; the embedding has two dimensions and repeats with its seed."""
    _, heldout = make_data(tmp_path)
    found = codes(tiny_subject(heldout), np.arange(8), 4)
    assert list(found) == ["GQN", "VAE", "pixels"]
    assert all(code.shape[:2] == (8, 4) and np.isfinite(code).all() for code in found.values())
    drawn = embed(found["VAE"], 5.0, seed=3)
    assert drawn.shape == (8, 4, 2)
    np.testing.assert_array_equal(drawn, embed(found["VAE"], 5.0, seed=3))
