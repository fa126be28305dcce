"""Scene algebra: exact where r is linear in the factors, and factors that change nothing but themselves."""

import numpy as np
import pytest
import torch

from gqn_rl.analyses import algebra
from gqn_rl.analyses.algebra import GRID, METHODS, A, B, C, D, Judged, draw_grid, draw_worlds, judge, rows_of
from gqn_rl.analyses.factors import FACTORS, make_factors
from gqn_rl.envs import make_scene
from gqn_rl.views import CameraPose, prepare_images
from tests.tiny_findings import rng

SIDE = 4


class FlatScene:
    """A picture whose rows are grey as its four values say, whoever looks."""

    def __init__(self):
        self.values = {}

    def sample_pose(self, source):
        return CameraPose((*source.normal(size=3),), 0.0, 0.0)

    def render(self, pose):
        rows = np.array([self.values[name] for name in "abcd"], np.uint8)
        return np.broadcast_to(rows[:, None, None], (SIDE, SIDE, 3)).copy()

    def state(self):
        return np.array([self.values[name] for name in "abcd"])


class FlatFactors:
    pairs = (("a", "b"), ("c", "d"))

    def __init__(self):
        self.scene = FlatScene()

    def draw(self, source):
        return {name: int(source.integers(60, 120)) for name in "abcd"}

    def show(self, values):
        self.scene.values = values


class LinearModel(torch.nn.Module):
    """r is the sum of the pictures, and what is drawn is their mean."""

    def __init__(self, num_views):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0 / num_views))

    def encode(self, views):
        return prepare_images(views.images).sum(dim=1)

    def draw(self, r, viewpoints, sample):
        return (r * self.scale)[:, None].expand(-1, viewpoints.shape[1], -1, -1, -1)


def test_algebra_is_exact_on_a_linear_code():
    """D is found every time, in pictures and in r, with no error; from A or C alone it never is."""
    factors, source = FlatFactors(), rng()
    grids = [draw_grid(factors, factors.pairs[i % 2], source, num_views=2, num_queries=3) for i in range(10)]
    judged = judge(LinearModel(2), grids)
    for name in ("A - B + C", "D"):
        assert (judged[name].picture == D).all() and (judged[name].r == D).all()
        assert judged[name].mse.max() < 1e-10
    assert (judged["A"].picture == A).all() and (judged["C"].r == C).all()


def test_the_grid_has_every_value_with_every_other():
    """A and D share the first factor, C and D the second, B and D neither; everything else is the same in all nine."""
    worlds = draw_worlds(FlatFactors(), ("a", "d"), rng())
    assert len(worlds) == len(GRID) == 9
    assert worlds[A]["a"] == worlds[D]["a"] and worlds[C]["d"] == worlds[D]["d"]
    assert worlds[B]["a"] != worlds[D]["a"] and worlds[B]["d"] != worlds[D]["d"]
    assert len({(world["b"], world["c"]) for world in worlds}) == 1


def test_rows_count_what_was_found():
    """Two triples of one pair, one right and one with a wrong second factor."""
    found = np.array([D, A])
    result = {name: Judged(found, np.array([D, D]), np.array([0.1, 0.3])) for name in METHODS}
    rows = rows_of([("a", "b")] * 2, result, rng())
    assert [row["factors"] for row in rows] == ["all"] * 4 + ["a and b"] * 4
    assert rows[0]["picture"] == 0.5 and rows[0]["r"] == 1.0 and rows[0]["factor"] == 0.75
    assert rows[0]["mse"] == pytest.approx(0.2) and rows[0]["chance"] == pytest.approx(1 / 9)


def entries_that_change(name, factor, **settings):
    """Returns the names of the state's entries that differ when one factor alone is another."""
    scene = make_scene(name, image_size=16, **settings)
    factors, changed = FACTORS[name](scene), set()
    source = rng()
    for _ in range(20):
        first, second = factors.draw(source), factors.draw(source)
        states = []
        for values in (first, {**first, factor: second[factor]}):
            factors.show(values)
            states.append(scene.state())
        changed |= {scene.state_names[i] for i in np.flatnonzero(states[0] != states[1])}
    return changed


@pytest.mark.parametrize(
    ("name", "factor", "beginnings"),
    [
        ("rooms", "shape", ("shape/",)),
        ("rooms", "wall", ("wall_",)),
        ("rooms", "floor", ("floor_",)),
        ("rooms", "place", ("position/", "size/")),
        ("rooms", "colour", ("present/", "position/", "size/", "shape/")),
        ("shepard_metzler", "colours", ("position/",)),
        ("shepard_metzler", "first colours", ("position/",)),
        ("shepard_metzler", "last cube", ("position/", "chirality")),
        ("jaco", "posture", ("sin_", "cos_", "finger_", "hand_")),
        ("jaco", "place", ("target_x", "target_y")),
        ("jaco", "colour", ("target_red", "target_green", "target_blue")),
        ("jaco", "wall", ("wall_",)),
        ("jaco", "floor", ("floor_",)),
    ],
)
def test_a_factor_changes_only_itself(name, factor, beginnings):
    """As the true state has it; objects of rooms are known by their colour, parts by theirs."""
    changed = entries_that_change(name, factor)
    assert changed and all(entry.startswith(beginnings) for entry in changed), changed


@pytest.mark.parametrize("name", sorted(FACTORS))
def test_nine_scenes_of_every_pair_look_different(name):
    """Every pair of factors of every scene can be had, and the nine are told apart by their pictures."""
    factors = FACTORS[name](make_scene(name, image_size=16))
    for pair in factors.pairs:
        grid = draw_grid(factors, pair, rng(), num_views=1, num_queries=2)
        assert len({images.tobytes() for images in grid.query.images}) == 9
        assert grid.seen.images.shape == (9, 1, 16, 16, 3)
        assert not np.array_equal(grid.seen.viewpoints, grid.again.viewpoints)


def test_scenes_without_factors_are_refused():
    """One sentence names those that have some."""
    with pytest.raises(
        ValueError, match=r"those of .'jaco', 'rooms', 'shepard_metzler'.; `data.root` holds scenes of 'x'"
    ):
        make_factors({"scene": "x"})


def test_factors_with_too_few_values_are_refused(monkeypatch):
    """Nine different scenes must be possible."""
    monkeypatch.setattr(algebra, "_MOST_TRIES", 5)
    factors = FlatFactors()
    factors.draw = lambda source: dict.fromkeys("abcd", 1)
    with pytest.raises(ValueError, match="`a` and `b` do not have three values each"):
        draw_worlds(factors, ("a", "b"), rng())
