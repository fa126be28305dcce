"""Bodies in a maze: they stop at walls, slide along them, and never enter one."""

from __future__ import annotations

import numpy as np
import pytest

from gqn_rl.envs.maze.layout import MazeLayout, draw_layout
from gqn_rl.envs.maze.motion import BODY_RADIUS_M, Body, free_position, is_free, slide

OPEN = MazeLayout(np.ones((3, 3), int))
PILLAR = MazeLayout(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]))


def distance_to_wall(layout: MazeLayout, x: float, y: float) -> float:
    """Distance from a point to the nearest wall cell, in closed form; 0 inside of one."""
    centers = np.argwhere(layout.solid) + 0.5 - len(layout.solid) / 2
    beyond = np.maximum(np.abs(centers - (x, y)) - 0.5, 0)
    return float(np.hypot(*beyond.T).min())


def test_free_movement_is_the_step_asked_for():
    """Away from walls a body goes where it wants."""
    assert slide(OPEN.solid, (0.1, -0.2), (0.3, 0.25)) == pytest.approx((0.4, 0.05))


def test_a_wall_stops_one_axis_and_leaves_the_other():
    """Pushing north-east against the eastern wall slides north, touching exactly."""
    assert slide(OPEN.solid, (1.2, 0.0), (0.3, 0.3)) == pytest.approx((1.5 - BODY_RADIUS_M, 0.3))


def test_a_corner_stops_both_axes():
    """In the corner there is nowhere to go, however often one pushes; then one can leave."""
    position = (1.1, 1.2)
    for _ in range(5):
        position = slide(OPEN.solid, position, (0.3, 0.3))
    assert position == pytest.approx((1.3, 1.3))
    assert slide(OPEN.solid, position, (-0.3, 0.0)) == pytest.approx((1.0, 1.3))


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_pillar_is_met_from_every_side(side):
    """A body stops at its radius from the pillar's face, and passes beside it."""
    assert slide(PILLAR.solid, (side * 0.9, 0.0), (-side * 0.3, 0.0)) == pytest.approx((side * 0.7, 0.0))
    assert slide(PILLAR.solid, (0.0, side * 0.9), (0.0, -side * 0.3)) == pytest.approx((0.0, side * 0.7))
    assert slide(PILLAR.solid, (side * 0.7, 0.0), (0.0, side * 0.3)) == pytest.approx((side * 0.7, side * 0.3))
    assert slide(PILLAR.solid, (side * 0.9, 0.75), (-side * 0.3, 0.0)) == pytest.approx((side * 0.6, 0.75))


@pytest.mark.parametrize("cells", [7, 11])
def test_no_walk_ever_penetrates_a_wall(cells):
    """20 mazes, 500 random steps each up to 0.9 m: never nearer to a wall than the body's radius."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        layout = draw_layout(rng, cells)
        position = free_position(layout, rng)
        for step in rng.uniform(-0.9, 0.9, (500, 2)):
            position = slide(layout.solid, position, tuple(step))
            assert is_free(layout, position)
            assert distance_to_wall(layout, *position) >= BODY_RADIUS_M - 1e-6


def test_free_positions_are_uniform_and_keep_their_distance():
    """Around a pillar: never nearer to a wall than the radius, and the quarters of the ring equally often."""
    rng = np.random.default_rng(0)
    drawn = np.array([free_position(PILLAR, rng) for _ in range(4000)])
    assert min(distance_to_wall(PILLAR, x, y) for x, y in drawn) >= BODY_RADIUS_M - 1e-6
    assert np.abs(drawn).max() == pytest.approx(1.5 - BODY_RADIUS_M, abs=0.01)
    quarters = np.bincount((drawn[:, 0] > 0) * 2 + (drawn[:, 1] > 0), minlength=4) / len(drawn)
    np.testing.assert_allclose(quarters, 0.25, atol=0.03)


def test_a_body_moves_along_its_new_heading():
    """Turning comes first; forward is along the heading, left is a quarter turn counter-clockwise from it."""
    body = Body()
    body.move(OPEN, forward_m=0.3, left_m=0.1, turn_rad=np.pi / 2)
    assert body.position_w == pytest.approx((-0.1, 0.3))
    assert body.heading_rad == pytest.approx(np.pi / 2)


def test_headings_stay_within_half_a_turn():
    """Thirteen turns of 30° from 0 end at 30°, the seventh already beyond half a turn."""
    body, headings = Body(), []
    for _ in range(13):
        body.move(OPEN, 0.0, 0.0, np.deg2rad(30.0))
        headings.append(np.rad2deg(body.heading_rad))
    assert headings[-1] == pytest.approx(30.0)
    assert headings[6] == pytest.approx(-150.0)
