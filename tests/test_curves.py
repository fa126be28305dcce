"""Learning curves: statistics against hand computations, runs read from disk, scores, and what the table says."""

import csv
import json
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats

from gqn_rl.curves import compare, draw_curves, load_runs, measure, measure_transfer, write_csv, write_markdown
from gqn_rl.curves.figures import COLOURS, _draw_panel
from gqn_rl.curves.statistics import (
    bootstrap,
    estimate,
    first_crossing,
    iqm,
    mean_height,
    on_common_grid,
    percentile_interval,
)

HEADER = "env_steps,wall_clock_s,mean_return,std_return,mean_final_distance,success_rate,returns,final_distances"
TRANSFER_HEADER = HEADER.replace("wall_clock_s", "camera")
RANDOM, BEST = 5.0, 25.0


def write_run(root, repr_name, returns, *, camera="moving", seed=0, steps=None, seconds_per_step=0.01, **facts):
    """Writes a run folder whose evaluations had the given mean returns, every 1000 steps; returns the folder."""
    folder = root / f"{repr_name}_{camera}_ppo_seed{seed}"
    folder.mkdir(parents=True)
    known = {"env": "jaco", "repr": repr_name, "camera": camera, "agent": "ppo", "seed": seed, "action_repeat": 10}
    known |= {"random_return": RANDOM, "command": f"python -m gqn_rl.train_agent repr={repr_name} seed={seed}"}
    (folder / "run.json").write_text(json.dumps(known | facts))
    steps = 1000 * np.arange(len(returns)) if steps is None else steps
    rows = [f"{k},{k * seconds_per_step},{r},1.0,0.2,0.5,{r};{r},0.2;0.2" for k, r in zip(steps, returns, strict=True)]
    (folder / "eval.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return folder


def write_transfer(folder, returns, step=3000):
    """Writes what the run's model reached from other cameras, by camera."""
    rows = [f"{step},{camera},{value},1.0,0.2,0.5,{value};{value},0.2;0.2" for camera, value in returns.items()]
    (folder / "transfer.csv").write_text("\n".join([TRANSFER_HEADER, *rows]) + "\n")


def the_comparison(root, behind=None):
    """Returns the only comparison in a folder of runs, before the runs of another."""
    others = load_runs(behind, setting="behind", distinct=False) if behind else []
    (comparison,) = compare(load_runs(root), others)
    return comparison


def rows_of(root):
    """Returns the measured rows by representation."""
    return {row.repr: row for row in measure(the_comparison(root), np.random.default_rng(0))}


# ------------------------------------------------------------------------------------------------------- statistics


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
    for _ in range(100):
        low, high = percentile_interval(bootstrap(iqm, [rng.normal(3.0, 2.0, size=12)], rng))
        held += low <= 3.0 <= high
    assert 85 <= held <= 99


def test_bootstrap_resamples_each_stratum_within_itself():
    """The difference of two constant strata never varies, and a constant stratum never borrows from the other."""
    samples = bootstrap(lambda a, b: iqm(a) - iqm(b), [np.full(3, 5.0), np.full(4, 2.0)], np.random.default_rng(0))
    assert set(samples) == {3.0}


def test_a_single_seed_has_no_interval():
    """One run tells nothing about the spread, so its bounds are undefined."""
    value, low, high = estimate(iqm, [np.array([4.0])], np.random.default_rng(0))
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


# ------------------------------------------------------------------------------------------------------------- runs


def test_runs_are_found_in_folders_patterns_and_lists(tmp_path):
    """A folder is searched at any depth; a pattern and a list name the same runs once each."""
    write_run(tmp_path / "monday" / "jaco", "gqn", [5, 10])
    write_run(tmp_path / "tuesday", "pixels", [5, 6])
    assert [run.repr for run in load_runs(tmp_path)] == ["gqn", "pixels"]
    assert [run.repr for run in load_runs(f"{tmp_path}/*/jaco/gqn_*")] == ["gqn"]
    assert len(load_runs([tmp_path / "monday", tmp_path / "tuesday", tmp_path])) == 2


def test_no_runs_is_one_sentence_that_names_the_place(tmp_path):
    """An empty folder is refused."""
    with pytest.raises(ValueError, match=r"`runs` must hold folders .* found none in .*nowhere"):
        load_runs(tmp_path / "nowhere")


def test_a_run_that_was_not_evaluated_yet_is_left_out_with_a_warning(tmp_path):
    """run.json without eval.csv is a run that has just begun; the others are still loaded."""
    write_run(tmp_path, "gqn", [5, 10])
    (write_run(tmp_path, "pixels", [5, 6]) / "eval.csv").unlink()
    with pytest.warns(UserWarning, match="pixels_moving_ppo_seed0` has no eval.csv yet"):
        assert [run.repr for run in load_runs(tmp_path)] == ["gqn"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "holds no evaluation"),
        (HEADER + "\n", "holds no evaluation"),
        (HEADER + "\n1000,3.0,7.5,0.1,0.2,0.5,1;2,1;2\n2000,6.", "not a table of evaluations"),
        ("step,loss\n1,2\n", "not a table of evaluations"),
        (HEADER + "\n1000,3.0,nan,0.1,0.2,0.5,1;2,1;2\n", "not a finite number"),
        (HEADER + "\n2000,3,7,0,0,0,1;2,\n1000,4,7,0,0,0,1;2,\n", "must go forward"),
    ],
)
def test_a_damaged_eval_csv_is_refused_by_name(tmp_path, content, why):
    """Empty, cut off, foreign, not finite, or out of order: the sentence names the file."""
    folder = write_run(tmp_path, "gqn", [5, 10])
    (folder / "eval.csv").write_text(content)
    with pytest.raises(ValueError, match=rf"gqn_moving_ppo_seed0/eval.csv` .*{why}"):
        load_runs(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"env": "jaco"}'])
def test_a_damaged_run_json_is_refused_by_name(tmp_path, content):
    """Broken JSON, another type, or missing entries: the sentence names the file."""
    folder = write_run(tmp_path, "gqn", [5, 10])
    (folder / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"gqn_moving_ppo_seed0/run\.json`"):
        load_runs(tmp_path)


def test_the_same_run_twice_is_refused(tmp_path):
    """Counting a seed twice would narrow the interval for nothing."""
    write_run(tmp_path / "a", "gqn", [5, 10])
    write_run(tmp_path / "b", "gqn", [5, 10])
    with pytest.raises(ValueError, match="hold the same run and seed"):
        load_runs(tmp_path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "or none"),
        (TRANSFER_HEADER + "\n", "or none"),
        (TRANSFER_HEADER + "\n3000,heldout,7.5,0.1,0.2,0.5,1;2,1;2\n3000,mov", "cut off"),
        (TRANSFER_HEADER + "\n3000,heldout,nan,0.1,0.2,0.5,1;2,1;2\n", "not finite"),
        (TRANSFER_HEADER + "\n3000,heldout,high,0.1,0.2,0.5,1;2,1;2\n", "not a table of evaluations"),
        ("step,loss\n1,2\n", "not a table of evaluations"),
    ],
)
def test_a_damaged_transfer_csv_is_refused_by_name(tmp_path, content, why):
    """Empty, cut off, not finite, not a number, or foreign: the sentence names the file."""
    folder = write_run(tmp_path, "gqn", [5, 6, 7, 8])
    (folder / "transfer.csv").write_text(content)
    with pytest.raises(ValueError, match=rf"gqn_moving_ppo_seed0/transfer.csv` .*{why}"):
        load_runs(tmp_path)


def test_only_the_last_model_counts_as_transferred(tmp_path):
    """A run that went on after it was evaluated from another camera has no evaluation of its present model there."""
    folder = write_run(tmp_path, "gqn", [5, 6, 7, 8])
    write_transfer(folder, {"heldout": 7.0}, step=2000)
    assert load_runs(tmp_path)[0].transfer == {}
    write_transfer(folder, {"heldout": 7.0}, step=3000)
    assert load_runs(tmp_path)[0].transfer == {"heldout": 7.0}


def test_an_environment_without_success_or_episodes_still_loads(tmp_path):
    """Empty success and returns columns are what evaluation writes for environments that do not tell."""
    folder = write_run(tmp_path, "gqn", [5])
    (folder / "eval.csv").write_text(HEADER + "\n1000,3.0,7.5,0.1,,,,\n")
    (run,) = load_runs(tmp_path)
    assert np.isnan(run.success).all()


# ------------------------------------------------------------------------------------------------------- comparison


def test_random_scores_0_and_the_oracles_final_return_100(tmp_path):
    """The oracle ends at 25, the mean of its last three evaluations (22, 25, 28); random is 5, so 15 scores 50."""
    write_run(tmp_path, "oracle", [5, 10, 22, 25, 28])
    write_run(tmp_path, "gqn", [5, 15, 15, 15])
    comparison = the_comparison(tmp_path)
    assert comparison.oracle_return == 25.0
    assert comparison.score(np.array([5.0, 15.0, 25.0])).tolist() == [0.0, 50.0, 100.0]


def test_without_oracle_returns_stay_as_they_are_and_a_warning_says_so(tmp_path):
    """The final score is then the mean return, and steps to a share of the oracle are undefined."""
    write_run(tmp_path, "gqn", [5, 15, 15, 15])
    with pytest.warns(UserWarning, match="jaco with ppo has no oracle run"):
        row = rows_of(tmp_path)["gqn"]
    assert row.final.value == 15.0
    assert np.isnan(row.steps_50.value)


def test_an_oracle_no_better_than_random_normalises_nothing(tmp_path):
    """Dividing by nothing or by less would turn the picture upside down."""
    write_run(tmp_path, "oracle", [5, 4, 4, 4])
    with pytest.warns(UserWarning, match="not above the random agent"):
        assert the_comparison(tmp_path).oracle_return is None


def test_the_oracle_stands_in_for_itself_under_other_cameras(tmp_path):
    """It never looks through a camera, so its fixed-camera runs also serve the moving camera's panel."""
    write_run(tmp_path, "oracle", [5, BEST, BEST, BEST], camera="fixed")
    write_run(tmp_path, "gqn", [5, 15], camera="moving")
    comparison = the_comparison(tmp_path)
    assert comparison.cameras == ["moving"]
    assert list(comparison.cells("moving")) == ["oracle", "gqn"]


def test_steps_and_their_ratio_worked_by_hand(tmp_path):
    """Return 15 (score 50) takes gqn 1000 steps and pixels 3000; only gqn reaches 21 (score 80), at 1600."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, 15, 25, 25])
    write_run(tmp_path, "pixels", [5, 5, 5, 15])
    rows = rows_of(tmp_path)
    assert rows["gqn"].steps_50.value == pytest.approx(1000)
    assert rows["gqn"].steps_80.value == pytest.approx(1600)
    assert rows["pixels"].ratio_50.value == pytest.approx(3.0)
    assert np.isinf(rows["pixels"].steps_80.value)
    assert np.isinf(rows["pixels"].ratio_80.value)


def test_ratio_interval_holds_the_ratio_and_widens_with_the_seeds_spread(tmp_path):
    """Two seeds that need 1000 and 2000 steps against two that need 4000: the ratio is between 2 and 4."""
    for seed, slope in enumerate([10.0, 5.0]):
        write_run(tmp_path, "gqn", RANDOM + slope * np.arange(9), seed=seed)
        write_run(tmp_path, "pixels", RANDOM + 2.5 * np.arange(9), seed=seed)
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    ratio = rows_of(tmp_path)["pixels"].ratio_50
    assert (ratio.low, ratio.high) == (pytest.approx(2.0), pytest.approx(4.0))
    assert ratio.value == pytest.approx(3.0)  # 4000 steps against 10 / 7.5 thousand on the mean curve


def test_area_is_taken_over_the_steps_that_all_cells_have(tmp_path):
    """Training on pixels stops at 2000 steps, so gqn's later success does not count in its area."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, 15, 25, 25, 25])
    write_run(tmp_path, "pixels", [5, 5, 5])
    assert rows_of(tmp_path)["gqn"].area.value == pytest.approx(50.0)


def test_seeds_that_share_no_steps_are_refused_by_name(tmp_path):
    """One seed stopped before the other was first evaluated: there is no common curve."""
    write_run(tmp_path, "gqn", [5, 6], steps=[0, 1000], seed=0)
    write_run(tmp_path, "gqn", [5, 6], steps=[2000, 3000], seed=1)
    write_run(tmp_path, "oracle", [5, BEST])
    with pytest.raises(ValueError, match=r"gqn_moving_ppo_seed0.*no environment steps in common"):
        rows_of(tmp_path)


def test_an_agent_with_a_memory_stands_beside_the_same_agent_without(tmp_path):
    """PPO with and without LSTM share oracle and figure, each under its label; other algorithms do not."""
    write_run(tmp_path / "a", "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path / "b", "pixels", [5, 5, 5, 5])
    write_run(tmp_path / "c", "pixels", [5, 15, 15, 15], agent="ppo_lstm")
    rows = rows_of(tmp_path)
    assert list(rows) == ["oracle", "pixels", "pixels_lstm"]
    assert (rows["pixels"].final.value, rows["pixels_lstm"].final.value) == (0.0, 50.0)
    write_run(tmp_path / "d", "oracle", [RANDOM, BEST, BEST, BEST], agent="a3c")
    assert [(c.agent, len(c.runs)) for c in compare(load_runs(tmp_path))] == [("a3c", 1), ("ppo", 3)]


def test_ratios_are_taken_against_the_memory_where_it_was_run(tmp_path):
    """Pixels need three times the steps of gqn_episode to 50 %, gqn twice; without it gqn is the ruler."""
    write_run(tmp_path / "a", "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path / "a", "gqn", [5, 5, 15, 15])
    write_run(tmp_path / "a", "pixels", [5, 5, 5, 15])
    write_run(tmp_path / "b", "gqn_episode", [5, 15, 15, 15])
    rows = rows_of(tmp_path)
    assert (rows["gqn"].ratio_50.value, rows["pixels"].ratio_50.value) == (pytest.approx(2), pytest.approx(3))
    comparison = the_comparison(tmp_path)
    write_markdown(tmp_path / "table.md", [comparison], list(rows.values()))
    assert "ratio to gqn_episode, 50 %" in (tmp_path / "table.md").read_text()
    assert rows_of(tmp_path / "a")["pixels"].ratio_50.value == pytest.approx(1.5)


@pytest.fixture(name="fixed_level")
def fixed_level_fixture(tmp_path):
    """Oracle 25, random 5: pixels end at 15, score 50, so the level is score 40, return 13, which takes them 2800."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST, BEST, BEST])
    write_run(tmp_path, "pixels", [5, 5, 5, 15, 15, 15])
    return tmp_path


def test_steps_to_a_share_of_what_pixels_end_with_worked_by_hand(fixed_level):
    """Return 13 takes gqn 800 steps, of which pixels need 3.5 times as many; vae never gets there."""
    write_run(fixed_level, "gqn", [5, 15, 25, 25, 25, 25])
    write_run(fixed_level, "vae", [5, 6, 6, 6, 6, 6])
    rows = rows_of(fixed_level)
    assert rows["pixels"].steps_of_pixels.value == pytest.approx(2800)
    assert np.isnan(rows["pixels"].gain_on_pixels.value)
    assert rows["gqn"].steps_of_pixels.value == pytest.approx(800)
    assert rows["gqn"].gain_on_pixels.value == pytest.approx(3.5)
    assert np.isinf(rows["vae"].steps_of_pixels.value)
    assert rows["vae"].gain_on_pixels.value == 0


def test_every_resample_of_pixels_has_its_own_level(tmp_path):
    """The gqn agent climbs 10 per 1000 steps; pixels ending at 15 and 25 set it 800 to 1600 steps high."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    for seed, end in enumerate([15, 25]):
        write_run(tmp_path, "gqn", [5, 15, 25, 25], seed=seed)
        write_run(tmp_path, "pixels", [5, end, end, end], seed=seed)
    rows = rows_of(tmp_path)
    assert rows["gqn"].steps_of_pixels == pytest.approx((1200, 800, 1600))
    assert rows["gqn"].gain_on_pixels == pytest.approx((800 / 1200, 0.5, 1.0))


def test_pixels_that_did_not_learn_set_no_level(tmp_path):
    """Pixels end at 5.8, score 4: 80 % of that would be reached by chance."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, 15, 25, 25])
    write_run(tmp_path, "pixels", [5, 5.8, 5.8, 5.8])
    comparison = the_comparison(tmp_path)
    rows = measure(comparison, np.random.default_rng(0))
    assert all(np.isnan([row.steps_of_pixels.value, row.gain_on_pixels.value]).all() for row in rows)
    write_markdown(tmp_path / "table.md", [comparison], rows)
    assert "Pixels end at 4.0 under the moving camera, not above 5" in (tmp_path / "table.md").read_text()


def test_the_table_compares_with_pixels_only_where_they_were_run(fixed_level):
    """Not reached in 5000 steps: a gain below 2800 / 5000; "–" under a camera without pixels; else no such column."""
    write_run(fixed_level, "vae", [5, 6, 6, 6, 6, 6])
    write_run(fixed_level, "gqn", [5, 15, 25, 25, 25, 25], camera="fixed")
    comparison = the_comparison(fixed_level)
    write_markdown(fixed_level / "table.md", [comparison], measure(comparison, np.random.default_rng(0)))
    lines = (fixed_level / "table.md").read_text().splitlines()
    assert lines[2].endswith("| steps to 80 % of pixels | pixels' steps / these |")
    (vae,) = (line for line in lines if line.startswith("| moving | vae"))
    assert vae.endswith("| not reached | < 0.56 |")
    (gqn,) = (line for line in lines if line.startswith("| fixed | gqn"))
    assert gqn.endswith("| – | – |")
    alone = the_comparison(fixed_level / "gqn_fixed_ppo_seed0", behind=fixed_level)
    write_markdown(fixed_level / "alone.md", [alone], measure(alone, np.random.default_rng(0)))
    assert "of pixels" not in (fixed_level / "alone.md").read_text()


# ----------------------------------------------------------------------------------------------------------- transfer


def test_transfer_and_what_is_kept_worked_by_hand(tmp_path):
    """Two seeds end at 15 and 25, scores 50 and 100, and keep 7 and 17, scores 10 and 60, from the heldout camera."""
    for seed, (own, other) in enumerate([(15, 7.0), (25, 17.0)]):
        write_transfer(write_run(tmp_path, "gqn", [5, own, own, own], seed=seed), {"heldout": other})
    write_transfer(write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST]), {"heldout": BEST})
    write_run(tmp_path, "pixels", [5, 5, 5, 15])
    (row,) = measure_transfer(the_comparison(tmp_path), np.random.default_rng(0))
    assert (row.camera, row.repr, row.evaluated_from, row.seeds) == ("moving", "gqn", "heldout", 2)
    assert row.own == pytest.approx((75, 50, 100))
    assert row.final == pytest.approx((35, 10, 60))
    assert row.kept == pytest.approx((35 / 75, 0.2, 0.6))  # a seed stays with itself: never 10 / 100 nor 60 / 50


def test_nothing_is_kept_of_what_was_not_learnt(tmp_path):
    """An agent that ends at score 4 has no share to keep, nor has a return without an oracle."""
    write_transfer(write_run(tmp_path, "gqn", [5, 5.8, 5.8, 5.8]), {"heldout": 5.6})
    with pytest.warns(UserWarning, match="no oracle run"):
        (row,) = measure_transfer(the_comparison(tmp_path), np.random.default_rng(0))
    assert row.final.value == pytest.approx(5.6)
    assert np.isnan(row.kept.value)
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    (row,) = measure_transfer(the_comparison(tmp_path), np.random.default_rng(0))
    assert row.final.value == pytest.approx(3.0)
    assert np.isnan(row.kept.value)


def test_the_zero_shot_table_has_a_row_for_each_agent_and_columns_for_each_camera(tmp_path):
    """Own score first; a camera that one agent was not seen from, its own among them, is "–"."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_transfer(write_run(tmp_path, "gqn", [5, 15, 15, 15]), {"fixed": 13.0, "moving": 15.0})
    write_transfer(write_run(tmp_path, "gqn", [5, 15, 15, 15], camera="fixed"), {"heldout": 10.0, "moving": 5.0})
    write_transfer(write_run(tmp_path, "gqn", [5, 25, 25, 25], camera="fixed", seed=1), {"moving": 20.0})
    comparison = the_comparison(tmp_path)
    transfers = measure_transfer(comparison, np.random.default_rng(0))
    write_markdown(tmp_path / "t.md", [comparison], measure(comparison, np.random.default_rng(0)), transfers)
    lines = (tmp_path / "t.md").read_text().splitlines()
    start = lines.index("### Zero-shot: trained on one camera, evaluated from another") + 2
    assert [lines[start].split(" | ")[3], *lines[start].split(" | ")[4::2]] == [
        *("own camera, final score", "from fixed", "from heldout", "from moving")
    ]
    fixed = "| fixed | gqn | 1 or 2 | 75.0 [50.0, 100.0] | – | – | 25.0 | 50% | 37.5 [0.0, 75.0] | 50% [0%, 75%] |"
    assert lines[start + 2 : start + 4] == [fixed, "| moving | gqn | 1 | 50.0 | 40.0 | 80% | – | – | – | – |"]
    write_csv(tmp_path / "transfer.csv", transfers)
    with (tmp_path / "transfer.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["camera"], row["evaluated_from"], float(row["final"])) for row in rows] == [
        *(("fixed", "heldout", 25.0), ("fixed", "moving", 37.5), ("moving", "fixed", 40.0))
    ]


def test_without_transfer_there_is_no_zero_shot_table(tmp_path):
    """Runs that were never evaluated from elsewhere leave the table as it was."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    comparison = the_comparison(tmp_path)
    assert measure_transfer(comparison, np.random.default_rng(0)) == []
    write_markdown(tmp_path / "table.md", [comparison], measure(comparison, np.random.default_rng(0)))
    assert "Zero-shot" not in (tmp_path / "table.md").read_text()


# --------------------------------------------------------------------------------------------------------- runs behind


def test_runs_behind_are_counted_nowhere(tmp_path):
    """With a better oracle, a luckier random agent and other pixels behind, every row stays what it was."""
    write_run(tmp_path / "mine", "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path / "mine", "gqn", [5, 15, 25, 25])
    write_run(tmp_path / "theirs", "oracle", [RANDOM, 100, 100, 100], random_return=50.0)
    write_run(tmp_path / "theirs", "pixels", [5, 25, 25])
    alone, before = the_comparison(tmp_path / "mine"), the_comparison(tmp_path / "mine", tmp_path / "theirs")
    assert list(before.cells_behind("moving")) == ["oracle", "pixels"]
    assert (before.random_return, before.oracle_return) == (RANDOM, BEST)
    assert str(measure(before, np.random.default_rng(0))) == str(measure(alone, np.random.default_rng(0)))


def test_the_oracle_behind_scales_the_score_where_there_is_no_other(tmp_path):
    """One trained agent and published curves: 15 is score 50, the table says whose oracle that is, nothing warns."""
    write_run(tmp_path / "mine", "gqn", [5, 15, 15, 15])
    write_run(tmp_path / "theirs", "oracle", [RANDOM, BEST, BEST, BEST], camera="fixed", random_return=50.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = the_comparison(tmp_path / "mine", tmp_path / "theirs")
    assert list(comparison.cells_behind("moving")) == ["oracle"]
    (row,) = measure(comparison, np.random.default_rng(0))
    assert (row.repr, row.final.value) == ("gqn", 50.0)
    write_markdown(tmp_path / "table.md", [comparison], [row])
    assert "the oracle's final return (25.00, of the runs behind)" in (tmp_path / "table.md").read_text()


def test_behind_may_hold_a_seed_twice_and_drops_what_stands_in_front_or_belongs_elsewhere(tmp_path):
    """Other hyper-parameters share all names; the run in front, other environments and algorithms are not drawn."""
    mine = write_run(tmp_path / "a", "gqn", [5, 15])
    write_run(tmp_path / "b", "gqn", [5, 6])
    write_run(tmp_path / "c", "gqn", [5, 7])
    write_run(tmp_path / "d", "gqn", [5, 7], env="maze")
    write_run(tmp_path / "e", "gqn", [5, 7], agent="a3c")
    with pytest.warns(UserWarning, match="no oracle run"):
        comparison = the_comparison(mine, tmp_path)
    assert [run.folder.parent.name for run in comparison.behind] == ["b", "c"]


def test_an_empty_place_behind_is_refused_by_its_name(tmp_path):
    """The sentence names the setting that is wrong."""
    write_run(tmp_path, "gqn", [5, 15])
    with pytest.raises(ValueError, match=r"`behind` must hold folders .* found none in .*nowhere"):
        the_comparison(tmp_path, tmp_path / "nowhere")


def test_runs_behind_are_dotted_and_named_once(tmp_path):
    """Each of three is a line in the colour of its representation; the legend has one entry, the caption a word."""
    write_run(tmp_path / "mine", "gqn", [5, 15, 25])
    for seed, name in enumerate("abc"):
        write_run(tmp_path / name, "gqn", [5, 6 + seed, 7])
    with pytest.warns(UserWarning, match="no oracle run"):
        comparison = the_comparison(tmp_path / "mine", [tmp_path / name for name in "abc"])
    figure = Figure()
    panel = figure.subplots()
    _draw_panel(panel, comparison, "moving", "env_steps", np.random.default_rng(0))
    dotted = [line for line in panel.lines if line.get_zorder() == 1 and len(line.get_xdata())]
    assert [line.get_ydata()[1] for line in dotted] == [6, 7, 8]
    assert {line.get_color() for line in dotted} == {COLOURS["gqn"]}
    names = [text.get_text() for text in panel.get_legend().get_texts()]
    assert names == ["GQN representation, 1 seed", "GQN representation, behind"]
    (_, svg) = draw_curves(comparison, "env_steps", tmp_path / "curves", np.random.default_rng(0))
    assert "Dotted: runs behind" in svg.read_text()


# ------------------------------------------------------------------------------------------------ figures and table


def test_figures_are_written_and_the_same_runs_give_the_same_svg(tmp_path):
    """PNG and SVG appear, for a single seed, for two, and for seeds that share no hour."""
    for seed, seconds_per_step in enumerate([0.01, 100.0]):
        write_run(tmp_path, "gqn", [5, 15, 25], seed=seed, steps=[500, 1000, 1500], seconds_per_step=seconds_per_step)
    write_run(tmp_path, "oracle", [5, BEST, BEST], camera="fixed")
    write_run(tmp_path, "mine", [5, 6, 7], camera="fixed")
    comparison = the_comparison(tmp_path)
    for axis in ("env_steps", "hours"):
        drawn = [draw_curves(comparison, axis, tmp_path / name, np.random.default_rng(0)) for name in ("a", "b")]
        assert [path.name for path in drawn[0]] == ["a.png", "a.svg"]
        assert drawn[0][1].read_bytes() == drawn[1][1].read_bytes()


def test_a_legend_of_many_curves_stands_beside_them(tmp_path):
    """With a fifth curve the figure becomes wider."""
    widths = []
    for name in ("oracle", "gqn", "gqn_window", "gqn_episode", "pixels"):
        write_run(tmp_path, name, [5, 15, 25])
        drawn = draw_curves(the_comparison(tmp_path), "env_steps", tmp_path / "a", np.random.default_rng(0))
        with Image.open(drawn[0]) as picture:
            widths.append(picture.width)
    assert widths[0] == widths[3] < widths[4]


def test_markdown_says_what_was_not_reached_and_how_far_the_ratio_is_known(tmp_path):
    """Pixels ran 3000 steps without the level that gqn reached at 1600, so the ratio is above 1.87 (1.88 rounded)."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, 15, 25, 25], pretraining="80 000 frames, 0.1 h on two cores")
    write_run(tmp_path, "pixels", [5, 5, 5, 15])
    comparison = the_comparison(tmp_path)
    write_markdown(tmp_path / "table.md", [comparison], measure(comparison, np.random.default_rng(0)))
    text = (tmp_path / "table.md").read_text()
    (pixels,) = (line for line in text.splitlines() if line.startswith("| moving | pixels"))
    assert "| not reached | 3.00 | > 1.88 |" in pixels
    assert "Fewer than 5 seeds" in text
    assert "Pretraining of gqn, not in the steps: 80 000 frames, 0.1 h on two cores" in text
    assert "python -m gqn_rl.train_agent repr=pixels seed=0" in text


def test_csv_has_a_column_for_every_value_and_bound(tmp_path):
    """Programs read the same numbers that the Markdown table shows, with NaN and inf spelled out."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, 15, 15, 15])
    write_csv(tmp_path / "table.csv", measure(the_comparison(tmp_path), np.random.default_rng(0)))
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["final"]) == 50.0
    assert rows[1]["steps_80"] == "inf"
    assert rows[1]["final_low"] == "nan"


def test_nothing_warns_on_complete_runs(tmp_path):
    """A comparison with everything it needs is silent."""
    for seed in range(2):
        write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST], seed=seed)
        write_run(tmp_path, "gqn", [5, 15, 25, 25], seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = the_comparison(tmp_path)
        measure(comparison, np.random.default_rng(0))
        draw_curves(comparison, "env_steps", tmp_path / "curves", np.random.default_rng(0))
