"""Statistics over seeds against hand computations."""

import numpy as np
import pytest
from scipy import stats

from gqn_rl.curves.lines import first_crossing, mean_height, on_common_grid
from gqn_rl.statistics import bootstrap, estimate, iqm, percentile_interval


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], 7.0),
        ([0.0, 1.0, 50.0], 17.0),  # floor(3 / 4) = 0: nothing is cut
        ([100.0, 2.0, 4.0, 0.0], 3.0),  # 0 and 100 are cut
        ([100.0, 2.0, 4.0, 0.0, 6.0], 4.0),  # floor(5 / 4) = 1 at each end
        ([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 90.0, 90.0], 2.5),  # two at each end
    ],
)
def test_iqm_is_the_mean_without_the_outer_quarters(values, expected):
    """Worked by hand, with numbers of seeds that four divides and does not divide."""
    assert iqm(np.array(values)) == pytest.approx(expected)


@pytest.mark.parametrize("num_seeds", range(1, 12))
def test_iqm_is_scipys_trimmed_mean_at_every_step(num_seeds):
    """For [n, T] values the mean is taken over seeds, as `scipy.stats.trim_mean(..., 0.25)` does."""
    values = np.random.default_rng(num_seeds).normal(size=(num_seeds, 6))
    np.testing.assert_allclose(iqm(values), stats.trim_mean(values, 0.25, axis=0))


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    """95 % intervals of the mean-like IQM of 12 normal draws hold the true centre in 85 to 99 % of 100 repetitions."""
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        low, high = percentile_interval(bootstrap(iqm, [rng.normal(3.0, 2.0, size=12)], seed))
        held += low <= 3.0 <= high
    assert 85 <= held <= 99


def test_bootstrap_resamples_each_stratum_within_itself():
    """The difference of two constant strata never varies, and a constant stratum never borrows from the other."""
    samples = bootstrap(lambda a, b: iqm(a) - iqm(b), [np.full(5, 5.0), np.full(6, 2.0)], 0)
    assert set(samples) == {3.0}


def test_a_single_seed_has_no_interval():
    """One run tells nothing about the spread, so its bounds are undefined."""
    value, low, high = estimate(iqm, [np.array([4.0])], 0)
    assert value == 4.0
    assert np.isnan([low, high]).all()


def test_interval_may_end_in_infinity():
    """Where many resamples never reach the level, the upper bound is infinite and the lower one is not NaN."""
    low, high = percentile_interval(np.array([1.0] * 60 + [np.inf] * 40))
    assert (low, high) == (1.0, np.inf)


@pytest.mark.parametrize(
    ("level", "expected"),
    [(50.0, 15.0), (80.0, 30 + 10 * 60 / 70), (0.0, 0.0), (100.0, np.inf)],
)
def test_first_crossing_is_linear_between_evaluations(level, expected):
    """Worked by hand on a curve that crosses 50 twice: the first crossing counts; a level never reached is infinite."""
    x, y = np.array([0.0, 10.0, 20.0, 30.0, 40.0]), np.array([0.0, 40.0, 60.0, 20.0, 90.0])
    assert first_crossing(x, y, level) == pytest.approx(expected)


def test_mean_height_is_the_area_over_the_length():
    """A ramp from 0 to 10 followed by a plateau at 10 twice as long has mean height 25 / 3."""
    assert mean_height(np.array([0.0, 1.0, 3.0]), np.array([0.0, 10.0, 10.0])) == pytest.approx(25 / 3)


def test_common_grid_keeps_measured_points_and_what_all_curves_cover():
    """Points of either curve within the shared stretch stay; values in between are linear."""
    xs, ys = [np.array([0.0, 2.0, 4.0]), np.array([1.0, 3.0])], [np.array([0.0, 2.0, 4.0]), np.array([10.0, 30.0])]
    grid, values = on_common_grid(xs, ys)
    assert grid.tolist() == [1.0, 2.0, 3.0]
    assert values.tolist() == [[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]
