"""Where one can stand, what one sees there, and what predicted information gain has to do with errors."""

import numpy as np
import pytest
import torch
from torch import nn

from gqn_rl.analyses.maps.geometry import pose_grid, visible_cells
from gqn_rl.analyses.maps.information import (
    GainsAndErrors,
    correlations,
    decline,
    gain_over_maze,
    gains_and_errors,
    information_gain,
)
from gqn_rl.envs.maze.layout import CORRIDOR, MazeLayout, draw_layout
from gqn_rl.envs.maze.motion import is_free
from gqn_rl.views import CameraPose, Views, prepare_images
from tests.flat_settings import generate
from tests.tiny_mazes import IMAGE_SIZE, tiny_gqn

CORRIDOR_5 = np.ones((5, 5), bool)
CORRIDOR_5[2] = False
"""One corridor from west to east through the middle of solid wall."""
PRIOR_NATS = 2 * 2 * 16 * 0.3**2 / 2
"""KL of N(0.3, 1) from N(0, 1) in each of L · 2 · 4 · 4 latents."""


@pytest.fixture
def model():
    """A GQN whose posterior is always N(0.3, 1) and whose prior is always N(0, 1)."""
    model = tiny_gqn()
    for cores, head, mean in (
        (model.density.inference, "posterior", 0.3),
        (model.density.generation, "prior", 0.0),
    ):
        for core in cores:
            nn.init.zeros_(getattr(core, head).conv.weight)
            getattr(core, head).conv.bias.data = torch.tensor([mean] * 2 + [0.0] * 2)
    return model


def viewpoint(x, y, yaw_deg=0.0):
    return CameraPose((x, y, 0.5), np.deg2rad(yaw_deg), 0.0).viewpoint


def test_grid_holds_exactly_the_free_places():
    """In 20 mazes: a place is in the grid if and only if a body fits there; headings are spread evenly."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        layout = draw_layout(rng, 7)
        grid = pose_grid(layout.walls, 3, 4)
        assert grid.free.shape == (21, 21) and grid.viewpoints.shape == (grid.free.sum(), 4, 7)
        assert all(is_free(layout, place) for place in grid.viewpoints[:, 0, :2].tolist())
        rows, columns = np.nonzero(~grid.free)
        around = np.stack([(columns + 0.5) / 3 - 3.5, 3.5 - (rows + 0.5) / 3], axis=1)
        assert not any(is_free(layout, tuple(place)) for place in around.tolist())
        np.testing.assert_allclose(grid.viewpoints[0, :, 3:5], [[0, 1], [1, 0], [0, -1], [-1, 0]], atol=1e-6)


def test_grid_puts_values_where_their_places_are():
    """A picture of x + 10 y grows to the east and to the north, and is empty in walls."""
    grid = pose_grid(CORRIDOR_5, 1, 1)
    picture = grid.picture(grid.viewpoints[:, 0, 0] + 10 * grid.viewpoints[:, 0, 1])
    assert picture[2].tolist() == [-2, -1, 0, 1, 2]
    assert np.isnan(picture[[0, 1, 3, 4]]).all()
    turned = pose_grid(CORRIDOR_5.T, 1, 1)
    assert turned.picture(turned.viewpoints[:, 0, 1])[:, 2].tolist() == [2, 1, 0, -1, -2]


def test_a_view_along_a_corridor_shows_it_and_its_walls():
    """From the west end to the east: the corridor and walls beside it, nothing behind, nothing beyond walls."""
    seen = visible_cells(CORRIDOR_5, viewpoint(-1.0, 0.0), 80.0)
    assert seen[2].tolist() == [False, True, True, True, True]
    assert seen[1, 2:].all() and seen[3, 2:].all() and not seen[[0, 4]].any()
    assert not seen[:, 0].any()
    back = visible_cells(CORRIDOR_5, viewpoint(-1.0, 0.0, 180), 80.0)
    assert back[2].tolist() == [True, True, False, False, False]
    north = visible_cells(CORRIDOR_5, viewpoint(1.0, 0.0, 90), 40.0)
    assert np.argwhere(north).tolist() == [[1, 3], [2, 3]]


def test_an_open_field_is_seen_within_the_field_of_view():
    """Looking east from the west edge with 90°: a cell in the wedge |y| < x is seen, one outside is not."""
    seen = visible_cells(np.zeros((7, 7), bool), viewpoint(-3.4, 0.0), 90.0)
    assert seen[3].all() and seen[:, 6].all()
    assert not seen[[0, 1, 5, 6], 0].any()


def test_gain_over_a_maze_is_drawn_where_one_can_stand(model):
    """A gain that is the same everywhere appears at every free place and nowhere else, as mean and as maximum."""
    layout = draw_layout(np.random.default_rng(1), 5)
    grid, r = pose_grid(layout.walls, 2, 3), torch.zeros(8)
    for headings in ("mean", "max"):
        gains = gain_over_maze(model, r, grid, 1, headings)
        np.testing.assert_allclose(gains[grid.free], PRIOR_NATS, rtol=1e-4)
        assert np.isnan(gains[~grid.free]).all()
    with pytest.raises(ValueError, match=r"`headings` must be one of \['max', 'mean'\], got 'least'"):
        gain_over_maze(model, r, grid, 1, "least")


def test_gain_does_not_depend_on_the_portions(model, monkeypatch):
    """Looks are computed some at a time; each keeps its place."""
    views = torch.randn(3, 7, 7)
    monkeypatch.setattr("gqn_rl.analyses.maps.information._LOOKS_AT_ONCE", 6)
    assert information_gain(model, torch.randn(3, 8), views, 1).shape == (3, 7)


def test_errors_are_those_of_the_prior_mean(model):
    """Gain and error of each maze, number of views and look, against the model asked directly."""
    rng = np.random.default_rng(0)
    psi = torch.from_numpy(rng.normal(size=(3, 4, 8)).astype(np.float32))
    images = rng.integers(0, 256, (3, 2, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    queries = Views(images, rng.normal(size=(3, 2, 7)).astype(np.float32))
    measured = gains_and_errors(model, psi, queries, (1, 3), 2, progress=False)
    np.testing.assert_allclose(measured.gains, np.full((3, 2, 2), PRIOR_NATS), rtol=1e-4)
    r = psi[1:2, :3].sum(1)
    with torch.inference_mode():
        drawn = generate(model, r, torch.from_numpy(queries.viewpoints[1:2]), sample=False)
    expected = (drawn - prepare_images(torch.from_numpy(images[1]))).square().mean(dim=(1, 2, 3))
    np.testing.assert_allclose(measured.errors[1, 1], expected, rtol=1e-4)


def test_correlations_by_hand():
    """Within mazes gain and error fall together exactly in rank; between mazes they do the opposite."""
    gains = np.array([[[1.0, 2.0, 3.0]], [[11.0, 12.0, 13.0]]])
    errors = np.array([[[1.0, 4.0, 9.0]], [[-9.0, -4.0, -1.0]]])
    one, everything = correlations(GainsAndErrors((2,), gains, errors), np.random.default_rng(0))
    assert one["views"] == "2" and everything["views"] == "all"
    assert one["spearman_within"] == one["spearman_within_low"] == pytest.approx(1.0)
    assert one["pearson_within"] == pytest.approx(np.corrcoef([1, 2, 3], [1, 4, 9])[0, 1])
    assert one["pearson_pooled"] == pytest.approx(np.corrcoef(gains.ravel(), errors.ravel())[0, 1])
    assert one["spearman_pooled"] < 0 and {k: v for k, v in one.items() if k != "views"} == {
        k: v for k, v in everything.items() if k != "views"
    }


def test_a_constant_has_no_correlation():
    """A model that expects the same of every look has none, not a division by zero."""
    measured = GainsAndErrors((1,), np.ones((3, 1, 4)), np.random.default_rng(0).random((3, 1, 4)))
    assert np.isnan(correlations(measured, np.random.default_rng(0))[0]["pearson_within"])


def test_decline_by_hand():
    """Means over looks and mazes, and the share of mazes in which the gain fell."""
    gains = np.array([[[4.0, 6.0], [1.0, 3.0]], [[2.0, 2.0], [3.0, 3.0]]])
    first, second = decline(GainsAndErrors((1, 4), gains, gains / 10), np.random.default_rng(0))
    assert (first["gain_nats"], second["gain_nats"]) == (3.5, 2.5)
    assert np.isnan(first["falls"]) and second["falls"] == 0.5
    assert second["error"] == pytest.approx(0.25) and first["gain_nats_low"] == 2.0


def test_layout_of_walls_is_the_layout():
    """Walls alone say where one can stand."""
    layout = draw_layout(np.random.default_rng(2), 5)
    assert np.array_equal(MazeLayout(np.where(layout.walls, 0, CORRIDOR)).solid, layout.solid)
