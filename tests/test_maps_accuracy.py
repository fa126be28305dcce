"""From pictures of maps to walls: by hand, and on what the simulator draws."""

import numpy as np
import pytest

from gqn_rl.analyses.maps.accuracy import (
    cell_accuracy,
    cell_brightness,
    constant_guess,
    fit_threshold,
    free_iou,
    psnr,
    wall_iou,
)
from gqn_rl.envs.maze.scene import MazeScene
from tests.tiny_mazes import DARK, LIGHT, paint, random_walls


def test_iou_and_accuracy_by_hand():
    """Two of three wall cells found and one invented: 2 of 4 in the union; five free cells in both, 7 in either."""
    true = np.array([[[1, 1, 1], [0, 0, 0], [0, 0, 0]]], bool)
    predicted = np.array([[[1, 1, 0], [1, 0, 0], [0, 0, 0]]], bool)
    assert wall_iou(predicted, true).tolist() == [2 / 4]
    assert free_iou(predicted, true).tolist() == [5 / 7]
    assert cell_accuracy(predicted, true).tolist() == [7 / 9]
    nothing = np.zeros((1, 3, 3), bool)
    assert wall_iou(nothing, nothing).tolist() == [1.0] and wall_iou(nothing, true).tolist() == [0.0]


@pytest.mark.parametrize(("cells", "size"), [(5, 16), (5, 32), (7, 64), (9, 64), (11, 64)])
def test_a_painted_map_reads_back_as_its_walls(cells, size):
    """Whether or not cells fall on whole pixels, the middle of every cell has its own brightness."""
    walls = random_walls(20, cells)
    brightness = cell_brightness(paint(walls, size), cells)
    np.testing.assert_allclose(brightness, np.where(walls, DARK, LIGHT))
    assert np.array_equal(brightness < fit_threshold(brightness, walls), walls)


def test_too_small_a_map_is_refused():
    """A map with less than a pixel for the middle of a cell cannot be read."""
    with pytest.raises(ValueError, match="8 pixels is too small for 11 cells"):
        cell_brightness(np.zeros((1, 8, 8, 3), np.uint8), 11)


def test_threshold_makes_the_fewest_mistakes():
    """Walls at 1, 2 and 6, free cells at 4, 7 and 8: between 2 and 4 one is told wrongly, elsewhere more or as many."""
    brightness = np.array([[[1.0, 2.0, 6.0], [4.0, 7.0, 8.0]]])
    walls = np.array([[[1, 1, 1], [0, 0, 0]]], bool)
    assert fit_threshold(brightness, walls) == 3.0
    brightness[0, 0, 2] = 3.5
    assert fit_threshold(brightness, walls) == 3.75


def test_constant_guess_is_the_best_of_its_measure():
    """Cell 0 is wall in four of five mazes, cell 1 in the first of these, then in the first three: by hand."""
    walls = np.zeros((5, 1, 2), bool)
    walls[:4, 0, 0] = True
    walls[0, 0, 1] = True
    assert constant_guess(walls, cell_accuracy).tolist() == [[True, False]]
    assert constant_guess(walls, wall_iou).tolist() == [[True, False]]  # (0.5 + 3 + 0) / 5 against (1 + 1.5 + 0) / 5
    walls[:3, 0, 1] = True
    assert constant_guess(walls, cell_accuracy).tolist() == [[True, True]]
    assert constant_guess(walls, wall_iou).tolist() == [[True, True]]  # (1.5 + 1 + 0) / 5 against (3 + 0.5 + 0) / 5


def test_psnr_in_closed_form():
    """An error of 51 of 255 everywhere is −10 log₁₀ 0.04 dB."""
    black = np.zeros((2, 4, 4, 3), np.uint8)
    np.testing.assert_allclose(psnr(black + 51, black), -10 * np.log10(0.04))


@pytest.mark.parametrize("cells", [5, 7, 9])
def test_true_maps_read_back_as_their_layout(cells):
    """A threshold fitted on 30 mazes tells every cell of 30 others, whatever lies in it and whatever the textures."""
    scene, rng, maps, walls = MazeScene(cells), np.random.default_rng(0), [], []
    for _ in range(60):
        scene.sample(rng)
        maps.append(scene.top_view())
        walls.append(scene.walls)
    brightness, walls = cell_brightness(np.array(maps), cells), np.array(walls)
    threshold = fit_threshold(brightness[:30], walls[:30])
    assert np.array_equal(brightness[30:] < threshold, walls[30:])
