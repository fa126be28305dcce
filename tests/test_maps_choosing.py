"""The choice of views and its comparison, on mazes whose views tell known cells."""

import numpy as np
import pytest
import torch

from gqn_rl.analyses.maps.choosing import at_random, by_gain, choose_views, compare, farthest, frontier, score_views
from gqn_rl.analyses.maps.evaluation import MapJudge, accuracy_by_views, evaluate_maps
from gqn_rl.statistics import Estimate, mean_over_scenes
from gqn_rl.views import CameraPose
from gqn_rl.writers.tables import write_rows
from tests.tiny_mazes import PaintingDecoder, known_mazes, paint, random_walls, tiny_gqn


@pytest.fixture
def mazes():
    """Four mazes of five views; view k tells the walls of row k and says nothing of other rows."""
    walls = random_walls(4)
    walls[:, :, 0] = True  # a wall in every row
    psi = np.zeros((4, 5, 5, 5))
    for row in range(5):
        psi[:, row, row] = np.where(walls[:, row], 1.0, -1.0)
    return known_mazes(walls, psi.reshape(4, 5, 25))


def judge_of(mazes):
    return MapJudge.fit(mazes.maps, mazes.walls)


def at(places):
    """Viewpoints [1, K, 7] at x, y and yaw in degrees."""
    return np.array([[CameraPose((x, y, 0.5), np.deg2rad(yaw), 0.0).viewpoint for x, y, yaw in places]])


def test_choice_follows_what_is_wanted(mazes):
    """Views 0, then 3, then 1: by how much they are wanted, never twice, the first one given."""
    order = choose_views(lambda mazes, taken: np.tile([9.0, 2.0, 0.0, 5.0, 1.0], (4, 1)), mazes, 5)
    assert order.tolist() == [[0, 3, 1, 4, 2]] * 4
    with pytest.raises(ValueError, match=r"`num_views` must be in \[1, 5\].*got 6"):
        choose_views(farthest, mazes, 6)


def test_scores_are_the_iou_of_what_was_told(mazes):
    """After each view the IoU is the share of walls in the rows told so far; after all views it is 1."""
    order = np.tile([0, 3, 1, 4, 2], (4, 1))
    scores = score_views(order, PaintingDecoder(), judge_of(mazes), mazes)
    told = np.cumsum(mazes.walls.sum(axis=2)[:, order[0]], axis=1)
    np.testing.assert_allclose(scores, told / mazes.walls.sum(axis=(1, 2))[:, None])
    assert (scores[:, -1] == 1).all()


def test_accuracy_by_views_is_that_of_the_first_views(mazes):
    """One view tells one row, two tell two, four tell four; the best constant guess stands beside them."""
    told = np.cumsum(mazes.walls.sum(axis=2), axis=1) / mazes.walls.sum(axis=(1, 2))[:, None]
    judged = dict(accuracy_by_views(PaintingDecoder(), mazes, judge_of(mazes)))
    assert list(judged) == [1, 2, 4]
    for count, measures in judged.items():
        np.testing.assert_allclose(measures["wall_iou"], told[:, count - 1])
    values = evaluate_maps(PaintingDecoder(), mazes, judge_of(mazes))
    assert values["eval/wall_iou_2view"] == pytest.approx(told[:, 1].mean())
    assert values["eval/accuracy_constant"] == pytest.approx(
        (mazes.walls == (mazes.walls.mean(axis=0) > 0.5)).mean(), abs=0.05
    )


def test_walls_are_read_from_maps(mazes):
    """The judge tells every cell of painted maps that it was not fitted on."""
    others = random_walls(10, seed=5)
    assert np.array_equal(judge_of(mazes).walls(paint(others)), others)


def test_farthest_keeps_away_from_where_it_was():
    """From (0, 0) the distances are 1, 2 and √8; beside (2, 2), then, those to the nearer of both."""
    viewpoints = at([(0, 0, 0), (1, 0, 0), (0, -2, 0), (2, 2, 0)])
    maze = known_mazes(np.zeros((1, 5, 5), bool), np.zeros((1, 4, 1)), viewpoints)
    taken = np.array([[True, False, False, False]])
    np.testing.assert_allclose(farthest(maze, taken), [[0, 1, 2, np.sqrt(8)]], atol=1e-6)
    assert choose_views(farthest, maze, 4).tolist() == [[0, 3, 2, 1]]


def test_frontier_wants_what_it_has_not_seen():
    """From the middle of a corridor, having looked east: the look west shows more that is new than another one east."""
    walls = np.ones((1, 5, 5), bool)
    walls[0, 2] = False
    maze = known_mazes(walls, np.zeros((1, 3, 1)), at([(0, 0, 0), (1, 0, 0), (0, 0, 180)]))
    wanted = frontier(80.0)(maze, np.array([[True, False, False]]))[0]
    assert wanted[2] > wanted[1] and wanted[0] == 0
    assert choose_views(frontier(80.0), maze, 2).tolist() == [[0, 2]]


def test_frontier_does_not_know_walls_that_it_has_not_seen():
    """Two mazes that differ only behind the given view's back are wanted alike."""
    walls = np.zeros((2, 7, 7), bool)
    walls[1, :, 0] = True
    viewpoints = np.repeat(at([(1.0, 0, 0), (0.5, 0, 180)]), 2, axis=0)
    taken = np.array([[True, False]] * 2)
    one, other = frontier(80.0)(known_mazes(walls, np.zeros((2, 2, 1)), viewpoints), taken)[:, 1]
    assert one == other > 0


def test_gain_asks_the_model_about_the_views_taken():
    """The gains are those of r over the views taken: other views' ψ do not matter, theirs do."""
    model, rng = tiny_gqn(), np.random.default_rng(0)
    psi = rng.normal(size=(2, 3, 8))
    mazes = known_mazes(random_walls(2), psi, rng.normal(size=(2, 3, 7)))
    taken = np.array([[True, False, True]] * 2)

    def wanted(psi):
        torch.manual_seed(0)
        return by_gain(model, 1)(known_mazes(mazes.walls, psi, mazes.viewpoints), taken)

    untaken, own = psi.copy(), psi.copy()
    untaken[:, 1] += 100
    own[:, 2] += 1
    assert wanted(psi).shape == (2, 3) and (wanted(psi) >= 0).all()
    assert np.array_equal(wanted(psi), wanted(untaken)) and not np.array_equal(wanted(psi), wanted(own))


def test_random_choice_takes_every_view_alike(mazes):
    """Over 400 mazes each of four views is taken second about as often as any other."""
    many = known_mazes(random_walls(400), np.zeros((400, 5, 1)))
    second = choose_views(at_random(np.random.default_rng(0)), many, 2)[:, 1]
    assert np.bincount(second, minlength=5)[0] == 0 and np.bincount(second)[1:].min() > 70


def test_comparison_is_paired():
    """A lead of 0.1 in every maze has an interval of no width, however different the mazes are."""
    random = np.array([[0.1, 0.2], [0.5, 0.6], [0.3, 0.8]])
    rows = compare({"gain": random + [0.0, 0.1], "random": random}, "gain", np.random.default_rng(0))
    assert [(row["views"], row["strategy"]) for row in rows] == [
        *((1, "gain"), (1, "random")),
        *((2, "gain"), (2, "random")),
    ]
    lead = rows[3]
    assert [lead["gain_over"], lead["gain_over_low"], lead["gain_over_high"]] == pytest.approx([0.1] * 3)
    assert lead["wall_iou"] == pytest.approx(1.6 / 3) and lead["wall_iou_low"] < 0.4
    assert rows[0]["gain_over"] == rows[1]["gain_over"] == 0


def test_intervals_cover_the_mean():
    """Of 100 samples of 50 normal numbers, the 95 % interval of the mean holds the true one about 95 times."""
    rng = np.random.default_rng(0)
    means = [mean_over_scenes(rng.normal(size=50), rng) for _ in range(100)]
    assert 88 <= sum(mean.low < 0 < mean.high for mean in means) <= 99


def test_missing_numbers_and_single_mazes():
    """NaN is left out; one maze has no interval; none has no mean."""
    rng = np.random.default_rng(0)
    assert mean_over_scenes(np.array([np.nan, 2.0, 2.0]), rng) == Estimate(2.0, 2.0, 2.0)
    assert mean_over_scenes(np.array([3.0]), rng)[0] == 3.0 and np.isnan(mean_over_scenes(np.array([3.0]), rng).low)
    assert np.isnan(mean_over_scenes(np.array([np.nan]), rng).value)


def test_rows_are_written_as_csv(tmp_path):
    """A header, then the rows, floats with six digits."""
    write_rows(tmp_path / "rows.csv", [{"views": 1, "iou": 1 / 3}, {"views": 2, "iou": 0.5}])
    assert (tmp_path / "rows.csv").read_text() == "views,iou\n1,0.333333\n2,0.5\n"
