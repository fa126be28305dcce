"""Linear probes: what they find, what they must not find."""

import numpy as np
import pytest

from gqn_rl import probes


def make(num_scenes, seed, num_features=20):
    """Random r and a state of four entries: linear in r, linear with noise of equal variance, unrelated, constant."""
    rng = np.random.default_rng(seed)
    r = rng.normal(size=(num_scenes, num_features)) * 3 + 1
    signal = (r[:, 0] - r[:, 1]) / np.sqrt(18)
    state = [signal, signal + rng.normal(size=num_scenes), rng.normal(size=num_scenes), np.ones(num_scenes)]
    return r, np.stack(state, axis=1)


def test_probe_finds_what_is_there_and_nothing_else():
    """R² is 1 for a linear entry, one half when half its variance is noise, about 0 for an unrelated one."""
    r2 = probes.probe_r2(*make(800, 0), *make(400, 1))
    assert r2[0] > 0.9999
    assert r2[1] == pytest.approx(0.5, abs=0.1)
    assert -0.1 < r2[2] < 0.05
    assert np.isnan(r2[3])


def test_strength_is_chosen_where_features_outnumber_scenes():
    """With 300 features for 200 scenes an unrelated entry is not made up: the penalty is chosen large."""
    r2 = probes.probe_r2(*make(200, 0, 300), *make(400, 1, 300))
    assert -0.1 < r2[2] < 0.05


def test_dead_features_do_no_harm():
    """Entries of r that never vary in training change nothing, even if they vary on held-out scenes."""
    (train_r, train_state), (heldout_r, heldout_state) = make(200, 0), make(100, 1)
    expected = probes.probe_r2(train_r, train_state, heldout_r, heldout_state)
    train_r = np.concatenate([train_r, np.full((200, 5), 2.0)], axis=1)
    heldout_r = np.concatenate([heldout_r, np.random.default_rng(2).normal(size=(100, 5))], axis=1)
    np.testing.assert_allclose(probes.probe_r2(train_r, train_state, heldout_r, heldout_state), expected, atol=1e-9)


@pytest.mark.parametrize("num_features", [4, 90])
def test_ridge_matches_its_closed_form(num_features):
    """Predictions for each strength are those of (XᵀX/N + αI)⁻¹ Xᵀy/N on centred data, with few features or many."""
    (x, y), (x_new, _) = make(60, 0, num_features), make(7, 1, num_features)
    centred = x - x.mean(0)
    for strength, given in zip(probes.RIDGE_STRENGTHS, probes._ridge_paths(x, y, x_new), strict=True):
        weights = np.linalg.solve(
            centred.T @ centred / 60 + strength * np.eye(num_features), centred.T @ (y - y.mean(0)) / 60
        )
        np.testing.assert_allclose(given, (x_new - x.mean(0)) @ weights + y.mean(0), atol=1e-9)


def test_large_maps_are_pooled_and_small_ones_are_not():
    """A map of 256 × 16 × 16 becomes 256 × 4 × 4 block means; one that fits is only flattened."""
    r = np.random.default_rng(0).normal(size=(2, 256, 16, 16))
    pooled = probes.features(r)
    assert pooled.shape == (2, 256 * 4 * 4)
    assert pooled[1, 4 * 4 + 1] == pytest.approx(r[1, 1, 0:4, 4:8].mean())
    small = r[:, :4, :4, :4]
    np.testing.assert_array_equal(probes.features(small), small.reshape(2, -1))


def test_groups_leave_out_entries_without_variance():
    """A target on the floor has no z to find: its R² is the mean of x and y; a thing of constants has none."""
    groups = probes.group_means(["target_x", "target_y", "target_z", "base_x"], np.array([0.4, 0.6, np.nan, np.nan]))
    assert groups == {"target": pytest.approx(0.5)}


def test_what_stands_before_a_slash_is_the_group():
    """Entries of things that may be missing are averaged over them; NaN ones are left out."""
    groups = probes.group_means(["shape/red_box", "shape/blue_box", "x/red"], np.array([0.2, 0.4, np.nan]))
    assert groups == {"shape": pytest.approx(0.3)}


def test_spread_of_a_constant_and_of_a_scene_code():
    """The same ψ for every scene has spread 0; a ψ that depends on the scene alone has a scene share of 1."""
    rng = np.random.default_rng(0)
    view_noise = np.tile(rng.normal(size=(1, 3, 5)), (200, 1, 1))
    constant, scene = probes.spread(view_noise), probes.spread(np.repeat(rng.normal(size=(200, 1, 5)), 3, axis=1))
    assert constant == {"std": pytest.approx(0), "scene_share": pytest.approx(0)}
    assert scene["scene_share"] == pytest.approx(1) and scene["std"] == pytest.approx(1, abs=0.1)
