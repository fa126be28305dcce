"""Layouts of mazes: solvable, varied, and taken apart into faces and rectangles that lie where the grid says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gqn_rl.envs.maze.layout import (
    CORRIDOR,
    LEAST_FREE_SHARE,
    ROOM,
    MazeLayout,
    cell_centers_w,
    draw_layout,
    is_connected,
    rectangles,
)
from gqn_rl.envs.maze.panels import num_panels

# A room of 1 × 2 cells in the south-west, a corridor from it to the north-east.
SMALL = MazeLayout(np.array([[0, 1, 1], [2, 1, 0], [2, 0, 0]]))


def reachable_cells(areas: np.ndarray) -> int:
    """Counts the cells that a walk from the first free cell reaches, by flooding."""
    frontier, seen = [tuple(np.argwhere(areas)[0])], set()
    while frontier:
        row, column = frontier.pop()
        if (row, column) in seen or not (0 <= row < len(areas) and 0 <= column < len(areas)) or not areas[row, column]:
            continue
        seen.add((row, column))
        frontier += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return len(seen)


@pytest.mark.parametrize("cells", [5, 7, 9, 11])
def test_every_maze_is_solvable_and_has_rooms_and_space(cells):
    """300 mazes: every free cell is reached from every other, one or two rooms, no less free space than promised."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        areas = draw_layout(rng, cells).areas
        assert areas.shape == (cells, cells)
        assert reachable_cells(areas) == (areas > 0).sum() >= LEAST_FREE_SHARE * cells**2
        assert 1 <= ndimage.label(areas == ROOM)[1] <= 2


@pytest.mark.parametrize("cells", [7, 9, 11])
def test_mazes_differ_and_have_one_room_or_two(cells):
    """Among 200 mazes are at least 190 different ones; one room and two both occur, and nearly all have corridors."""
    rng = np.random.default_rng(1)
    mazes = [draw_layout(rng, cells).areas for _ in range(200)]
    assert len({areas.tobytes() for areas in mazes}) >= 190
    assert {ndimage.label(areas == ROOM)[1] for areas in mazes} == {1, 2}
    assert np.mean([(areas == CORRIDOR).any() for areas in mazes]) > 0.95


def test_the_same_generator_state_gives_the_same_maze():
    """A layout is a function of the generator alone."""
    one, other = (draw_layout(np.random.default_rng(5), 7).areas for _ in range(2))
    assert np.array_equal(one, other)


def test_the_first_maze_is_the_one_that_data_sets_were_made_of():
    """Maps are drawn again from a data set's seed: a change of what a seed gives orphans every data set."""
    expected = [".......", "######.", ".#ooo..", ".#ooo#.", "..ooo#.", ".#####.", "......."]
    areas = draw_layout(np.random.default_rng(0), 7).areas
    assert ["".join("#.o"[area] for area in row) for row in areas] == expected


def test_apart_cells_are_not_connected():
    """Cells that touch only at a corner are not connected; side by side they are."""
    assert not is_connected(MazeLayout(np.array([[1, 0], [0, 1]])))
    assert is_connected(MazeLayout(np.array([[1, 1], [0, 1]])))


def test_cells_lie_north_up_around_the_origin():
    """Row 0 is the northern row, column 0 the western one, one metre a cell."""
    assert cell_centers_w(np.array([0, 2]), np.array([0, 1]), 3).tolist() == [[-1, 1], [0, -1]]
    assert SMALL.free_cells_w.tolist() == [[0, 1], [1, 1], [-1, 0], [0, 0], [-1, -1]]


def test_solid_is_indexed_from_the_south_west_with_its_ring():
    """`solid[x, y]` is wall at the ring and where the grid has wall."""
    assert SMALL.solid.shape == (5, 5)
    assert SMALL.solid[[0, -1]].all()
    assert SMALL.solid[:, [0, -1]].all()
    assert not SMALL.solid[1, 1]  # the room's southern cell
    assert SMALL.solid[3, 1]  # the south-eastern corner
    assert not SMALL.solid[3, 3]  # the corridor's north-eastern end


def test_faces_of_a_small_maze_by_hand():
    """Faces that look south: over the corridor's three cells and the room's upper one; east and west ones likewise."""
    faces = {(face.quarter, face.x, face.y, face.length, face.area) for face in SMALL.faces()}
    assert {face for face in faces if face[0] == 0} == {(0, 0.5, 1.5, 2, CORRIDOR), (0, -1.0, 0.5, 1, ROOM)}
    assert {face for face in faces if face[0] == 1} == {
        (1, 1.5, 1.0, 1, CORRIDOR),
        (1, 0.5, 0.0, 1, CORRIDOR),
        (1, -0.5, -1.0, 1, ROOM),
    }
    assert {face for face in faces if face[0] == 3} == {(3, -0.5, 1.0, 1, CORRIDOR), (3, -1.5, -0.5, 2, ROOM)}


@pytest.mark.parametrize("cells", [7, 11])
def test_faces_are_as_long_as_the_border_of_free_space(cells):
    """Their lengths sum to the number of sides between free and wall cells; each looks from wall into its area."""
    rng = np.random.default_rng(2)
    for _ in range(50):
        layout = draw_layout(rng, cells)
        free = np.pad(layout.areas > 0, 1)
        border = (free[1:] != free[:-1]).sum() + (free[:, 1:] != free[:, :-1]).sum()
        assert sum(face.length for face in layout.faces()) == border
        for face in layout.faces():
            angle = -np.pi / 2 * (face.quarter + 1)
            for side, expected in ((0.1, False), (-0.1, True)):
                x, y = face.x + side * np.cos(angle), face.y + side * np.sin(angle)
                assert layout.solid[int(x + len(free) / 2), int(y + len(free) / 2)] == expected


def test_rectangles_cover_each_true_cell_once():
    """Painted back into a grid they give the mask, with no cell painted twice."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        mask = rng.random((8, 8)) < 0.6
        painted = np.zeros((8, 8), int)
        for x, y, width, depth in rectangles(mask):
            top, left = int(4 - y - depth / 2), int(x + 4 - width / 2)
            painted[top : top + depth, left : left + width] += 1
        assert np.array_equal(painted, mask.astype(int))


@pytest.mark.parametrize("cells", [5, 7, 9, 11])
def test_there_are_panels_for_every_maze(cells):
    """The densest pattern of corridors that a grid allows needs no more panels than the bound."""
    areas = np.full((cells, cells), CORRIDOR)
    areas[1::2, 1::2] = 0  # every second cell a pillar: the most faces
    layout = MazeLayout(areas)
    walls = np.pad(layout.walls, 1, constant_values=True)
    assert len(layout.faces()) + len(rectangles(walls)) + 1 <= num_panels(cells)
