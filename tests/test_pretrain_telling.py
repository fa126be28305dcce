"""How many directions an encoder's file tells of: what a probe reads of a scene stays, and what would go is named."""

import warnings

import numpy as np
import pytest
import torch

from gqn_rl.directions import scene_directions
from gqn_rl.pretrain.telling import FEWEST_DIRECTIONS, TellingDirections
from gqn_rl.probes import probe_r2
from gqn_rl.representation import view_statistics

NUM_SCENES = 800


def seen(num_clear, num_faint, num_noise):
    """ψ of 4 views [N, 4, R] of clear facts, of faint ones (two fifths of the variance), and of the view; the facts."""
    rng = np.random.default_rng(0)
    facts = rng.normal(size=(NUM_SCENES, num_clear + num_faint))
    noise = rng.normal(size=(NUM_SCENES, 4, num_clear + num_faint + num_noise))
    noise[..., :num_clear] *= 0.1
    noise[..., num_clear:] *= 1.5**0.5
    noise[..., : num_clear + num_faint] += facts[:, None]
    return noise.astype(np.float32), facts


def names(num_clear, num_faint):
    """Names of the facts; the faint ones are goals."""
    return [f"hand{i}_x" for i in range(num_clear)] + [f"goal{i}_x" for i in range(num_faint)]


def test_a_goal_that_the_variance_would_drop_is_kept_and_named():
    """Two of 225 directions pass by their variance; the goal is in the third, is told, and a warning has its R²."""
    psi, facts = seen(2, 1, 222)
    said = r"in 2 of r's 225 directions, .*: goal0 \(R² -?0\.0\d instead of 0\.[23]\d\)\. So the 16 most"
    with pytest.warns(UserWarning, match=said):
        directions = view_statistics(psi, None, TellingDirections(names(2, 1), facts))["r_directions"]
    assert directions.shape == (225, FEWEST_DIRECTIONS)
    told = ((psi - psi.mean((0, 1))) / psi.std((0, 1)))[:, 0] @ directions.numpy()
    read = probe_r2(told[:600], facts[:600], told[600:], facts[600:])
    assert read[0] > 0.95 and read[1] > 0.95 and 0.2 < read[2] < 0.45  # of the variance that is shown, two fifths


def test_as_many_directions_as_hold_everything_that_a_probe_reads():
    """Forty faint facts do not fit into 16 directions: twice as many are told, and none loses more than 0.2 of R²."""
    psi, facts = seen(2, 40, 20)
    with pytest.warns(UserWarning, match="So the 32 most telling ones are kept"):
        directions = view_statistics(psi, None, TellingDirections(names(2, 40), facts))["r_directions"]
    standard = (psi - psi.mean((0, 1))) / psi.std((0, 1))
    told, everything = standard[:, 0] @ directions.numpy(), standard[:, 0]
    few = probe_r2(told[:600], facts[:600], told[600:], facts[600:])
    all_of_it = probe_r2(everything[:600], facts[:600], everything[600:], facts[600:])
    assert (all_of_it.clip(min=0) - few.clip(min=0)).max() <= 0.21


def test_directions_that_hold_everything_are_left_as_they_are():
    """Where scenes differ in more than the fewest, nothing is added and nothing is said."""
    psi, facts = seen(20, 0, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        directions = view_statistics(psi, None, TellingDirections(names(20, 0), facts))["r_directions"]
    assert torch.equal(directions, view_statistics(psi)["r_directions"]) and directions.shape == (40, 20)


def test_without_a_state_the_fewest_directions_are_the_most_telling_ones():
    """No probe can tell, so sixteen are told at least, in silence; an r of fewer entries is told whole."""
    psi, _ = seen(2, 1, 30)
    telling = TellingDirections((), np.zeros((NUM_SCENES, 0), np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        directions = view_statistics(psi, None, telling)["r_directions"]
        assert view_statistics(psi[..., :5], None, telling)["r_directions"].shape == (5, 5)
    standard = torch.from_numpy((psi - psi.mean((0, 1))) / psi.std((0, 1)))
    torch.testing.assert_close(directions, scene_directions(standard, FEWEST_DIRECTIONS), atol=1e-3, rtol=1e-3)
