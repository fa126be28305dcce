"""Properties that hold for any input: rows of a log that goes on, sums of views, faces of mazes."""

from __future__ import annotations

import csv
import math
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gqn_rl.envs.maze.layout import CORRIDOR, ROOM, MazeLayout, rectangles
from gqn_rl.runlog import RunLog
from gqn_rl.wrappers.context_sum import CONTEXTS, ContextSum

FEW = settings(max_examples=40, deadline=None)
STEPS = st.lists(st.integers(1, 1000), min_size=1, max_size=8, unique=True).map(sorted)
VALUES = st.floats(allow_nan=False, allow_infinity=False, width=32)


@FEW
@given(steps=STEPS, data=st.data())
def test_a_log_that_goes_on_holds_the_rows_of_one_that_never_stopped(steps, data):
    """Rows beyond the step it goes on from are left out, and written again by those who come that way again."""
    rows = {step: {"loss": data.draw(VALUES), "count": data.draw(st.integers(0, 9))} for step in steps}
    first, again = data.draw(st.sampled_from(steps)), data.draw(st.integers(0, len(steps) - 1))
    with tempfile.TemporaryDirectory() as folder:
        with RunLog(folder, tensorboard=False) as log:
            for step in [step for step in steps if step <= max(first, steps[again])]:
                log.log(step, rows[step])
        with RunLog(folder, start_step=steps[again], tensorboard=False) as log:
            for step in steps[again + 1 :]:
                log.log(step, rows[step])
        with open(Path(folder) / "progress.csv", newline="") as file:
            written = list(csv.DictReader(file))
    assert [int(row["step"]) for row in written] == steps
    for row, step in zip(written, steps, strict=True):
        assert math.isclose(float(row["loss"]), rows[step]["loss"], rel_tol=1e-5, abs_tol=1e-12)
        assert int(row["count"]) == rows[step]["count"]


@FEW
@given(
    context=st.sampled_from(CONTEXTS),
    window=st.integers(1, 4),
    events=st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(-9, 9)), max_size=30),
)
def test_sums_of_views_are_those_of_lists(context, window, events):
    """Three episodes side by side; each is a list of its views, emptied where the next one begins."""
    total, lists = ContextSum((2,), 3, context, window), [[], [], []]
    last = {"current": 1, "window": window, "episode": None}[context]
    for index, ends, value in events:
        if ends:
            total.reset([index])
            lists[index] = []
        psi = np.array([[value, 2 * value + 1]], np.float32)
        lists[index].append(psi[0])
        expected = np.sum(lists[index] if last is None else lists[index][-last:], axis=0)
        np.testing.assert_array_equal(total.add(psi, [index])[0], expected)
    for index, seen in enumerate(lists):
        kept = seen if last is None else seen[-last:]
        np.testing.assert_array_equal(total.value([index])[0], np.sum(kept, axis=0) if kept else np.zeros(2))


GRIDS = st.integers(2, 6).flatmap(
    lambda n: st.lists(st.sampled_from([0, CORRIDOR, ROOM]), min_size=n * n, max_size=n * n).map(
        lambda areas: np.array(areas).reshape(n, n)
    )
)


@FEW
@given(areas=GRIDS)
def test_faces_of_a_maze_are_the_borders_of_its_grid(areas):
    """Each metre of each face lies between a wall and a free cell of its area, and every such border has its face."""
    n = len(areas)
    ringed = np.pad(areas, 1)  # a ring of wall around the inner cells
    borders = {}
    for row in range(1, n + 1):
        for column in range(1, n + 1):
            if not ringed[row, column]:
                continue
            x, y = column - 1 - (n - 1) / 2, (n - 1) / 2 - (row - 1)
            for quarter, (down, right) in enumerate([(-1, 0), (0, 1), (1, 0), (0, -1)]):  # the wall's side of the cell
                if not ringed[row + down, column + right]:
                    borders[quarter, x + right / 2, y - down / 2] = ringed[row, column]
    found = {}
    for face in MazeLayout(areas).faces():
        along_x = face.quarter in (0, 2)
        for part in range(face.length):
            offset = part + 0.5 - face.length / 2
            key = (face.quarter, face.x + offset * along_x, face.y + offset * (not along_x))
            assert key not in found
            found[key] = face.area
    assert found == borders


@FEW
@given(areas=GRIDS)
def test_rectangles_cover_the_free_cells_once_each(areas):
    """And nothing else."""
    n, covered = len(areas), np.zeros(areas.shape, int)
    for one in rectangles(areas > 0):
        left, top = one.x - one.width / 2 + n / 2, n / 2 - one.y - one.depth / 2
        covered[round(top) : round(top) + one.depth, round(left) : round(left) + one.width] += 1
    np.testing.assert_array_equal(covered, areas > 0)
