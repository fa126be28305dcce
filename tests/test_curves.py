"""Learning curves: runs read from disk, scores, steps and their ratios, and what the table says."""

import csv
import json
import os
import pathlib
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import gqn_rl
from gqn_rl.curves import compare, draw_curves, load_runs, measure, write_csv, write_markdown
from gqn_rl.curves.looks import OTHER_COLOURS, looks_of
from gqn_rl.curves.runs import Look
from gqn_rl.plot import published_looks
from tests.tiny_runs import BEST, HEADER, RANDOM, TRANSFER_HEADER, rows_of, the_comparison, write_run, write_transfer

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
        (HEADER + "\n1000,3.0,7.5,0.1,0.2,0.5,1;2,1;2\n2000,6.", "row 2, must have 8 cells, has 2: cut off"),
        ("step,loss\n1,2\n", "must have one column `env_steps`, has 'step,loss'"),
        (HEADER + "\n1000,3.0,nan,0.1,0.2,0.5,1;2,1;2\n", "row 1: `mean_return` must be a finite number, got 'nan'"),
        ("\x00\ud800".encode("utf-8", "surrogatepass"), "not a table"),
        (HEADER + "\n2000,3,7,0,0,0,1;2,\n1000,4,7,0,0,0,1;2,\n", "must go forward"),
    ],
)
def test_a_damaged_eval_csv_is_refused_by_name(tmp_path, content, why):
    """Empty, cut off, foreign, not finite, or out of order: the sentence names the file."""
    folder = write_run(tmp_path, "gqn", [5, 10])
    (folder / "eval.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"gqn_moving_ppo_seed0/eval.csv`.*{why}"):
        load_runs(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", "null", "3", '"x"', "[" * 5000, "", '{"env": "jaco"}'])
def test_a_damaged_run_json_is_refused_by_name(tmp_path, content):
    """Broken JSON, another type, or missing entries: the sentence names the file."""
    folder = write_run(tmp_path, "gqn", [5, 10])
    (folder / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"gqn_moving_ppo_seed0/run\.json`"):
        load_runs(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"random_return": float("nan")}, "`random_return` must be a finite number, got nan"),
        ({"random_return": "2"}, "`random_return` must be a finite number, got '2'"),
        ({"seed": 1.5}, "`seed` must be an integer, got 1.5"),
        ({"env": "../../up/x"}, "`env` must be a name that stays within a folder, got '../../up/x'"),
        ({"env": "./elsewhere/pwn"}, "`env` must be a name that stays within a folder, got './elsewhere/pwn'"),
        ({"env": "/root/x"}, "`env` must be a name that stays"),
        ({"agent": "a/../../b"}, "`agent` must be a name that stays"),
        ({"action_repeat": 0}, "`action_repeat` must be an integer in"),
    ],
)
def test_entries_of_run_json_that_cannot_be_are_refused_by_name(tmp_path, change, said):
    """NaN would make every score of a table NaN, and a name becomes a part of a figure's path."""
    folder = write_run(tmp_path, "gqn", [5, 10])
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | change))
    with pytest.raises(ValueError, match=rf"gqn_moving_ppo_seed0/run\.json`: {said}"):
        load_runs(tmp_path)


@pytest.mark.parametrize("name", ["run.json", "eval.csv", "transfer.csv"])
def test_a_fifo_in_a_run_folder_is_refused_at_once(tmp_path, name):
    """A FIFO, which would block its reader for ever, is named."""
    folder = write_run(tmp_path, "gqn", [5, 10])
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(ValueError, match=rf"{name}` must be a file, but is a FIFO"):
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
        ("", "holds no evaluation"),
        (TRANSFER_HEADER + "\n", "holds no evaluation"),
        (
            TRANSFER_HEADER + "\n3000,heldout,7.5,0.1,0.2,0.5,1;2,1;2\n3000,mov",
            "row 2, must have 8 cells, has 2: cut off",
        ),
        (TRANSFER_HEADER + "\n3000,heldout,nan,0.1,0.2,0.5,1;2,1;2\n", "`mean_return` must be a finite number"),
        (
            TRANSFER_HEADER + "\n3000,heldout,high,0.1,0.2,0.5,1;2,1;2\n",
            "`mean_return` must be .* got 'high'",
        ),
        ("step,loss\n1,2\n", "must have one column `env_steps`, has 'step,loss'"),
    ],
)
def test_a_damaged_transfer_csv_is_refused_by_name(tmp_path, content, why):
    """Empty, cut off, not finite, not a number, or foreign: the sentence names the file."""
    folder = write_run(tmp_path, "gqn", [5, 6, 7, 8])
    (folder / "transfer.csv").write_text(content)
    with pytest.raises(ValueError, match=rf"gqn_moving_ppo_seed0/transfer.csv`.*{why}"):
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
    """Return 15 (score 50) takes gqn 2000 steps and pixels 3000; only gqn reaches 21 (score 80), at 2600."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, 5, 15, 25])
    write_run(tmp_path, "pixels", [5, 5, 5, 15])
    rows = rows_of(tmp_path)
    assert rows["gqn"].steps_50.value == pytest.approx(2000)
    assert rows["gqn"].steps_80.value == pytest.approx(2600)
    assert rows["pixels"].ratio_50.value == pytest.approx(1.5)
    assert np.isinf(rows["pixels"].steps_80.value)
    assert np.isinf(rows["pixels"].ratio_80.value)


def test_ratio_interval_holds_the_ratio_and_widens_with_the_seeds_spread(tmp_path):
    """Five seeds that need 1000 to 5000 steps against five that need 8000: the ratio lies between 1.6 and 8."""
    climbs = (
        RANDOM + 10 * np.arange(17) / np.arange(1, 6)[:, None]
    )  # seed k climbs to 15, score 50, in k thousand steps
    for seed, climb in enumerate(climbs):
        write_run(tmp_path, "gqn", climb, seed=seed)
        write_run(tmp_path, "pixels", RANDOM + 1.25 * np.arange(17), seed=seed)
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    ratio = rows_of(tmp_path)["pixels"].ratio_50
    middle = 3 / (1 / 2 + 1 / 3 + 1 / 4)  # thousand steps that the mean of the three seeds in the middle needs
    assert ratio.value == pytest.approx(8 / middle)
    assert 1.6 <= ratio.low < ratio.value < ratio.high <= 8


def test_no_interval_depends_on_what_else_is_compared(tmp_path):
    """Five seeds of r keep their row, to the last digit, when another camera comes in before theirs."""
    for seed in range(5):
        write_run(tmp_path, "gqn", [RANDOM, 10 + 3 * seed, 20 + seed, BEST - 2 * seed], seed=seed)
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    alone = rows_of(tmp_path)["gqn"]
    for seed in range(2):
        write_run(tmp_path, "pixels", [RANDOM, 6 + seed, 7, 8], seed=seed, camera="fixed")
    assert rows_of(tmp_path)["gqn"].final == alone.final
    assert alone.final.low < alone.final.value < alone.final.high


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
    """Pixels need twice the steps of gqn_episode to 50 %, gqn 1.5 times; without it gqn is the ruler."""
    write_run(tmp_path / "a", "oracle", [RANDOM, BEST, BEST, BEST, BEST])
    write_run(tmp_path / "a", "gqn", [5, 5, 5, 15, 15])
    write_run(tmp_path / "a", "pixels", [5, 5, 5, 5, 15])
    write_run(tmp_path / "b", "gqn_episode", [5, 5, 15, 15, 15])
    rows = rows_of(tmp_path)
    assert (rows["gqn"].ratio_50.value, rows["pixels"].ratio_50.value) == (pytest.approx(1.5), pytest.approx(2))
    comparison = the_comparison(tmp_path)
    write_markdown(tmp_path / "table.md", [comparison], list(rows.values()))
    assert "ratio to gqn_episode, 50 %" in (tmp_path / "table.md").read_text()
    assert rows_of(tmp_path / "a")["pixels"].ratio_50.value == pytest.approx(4 / 3)


@pytest.fixture(name="fixed_level")
def fixed_level_fixture(tmp_path):
    """Oracle 25, random 5: pixels end at 15, score 50, so the level is score 40, return 13, which takes them 2800."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST, BEST, BEST])
    write_run(tmp_path, "pixels", [5, 5, 5, 15, 15, 15])
    return tmp_path


def test_steps_to_a_share_of_what_pixels_end_with_worked_by_hand(fixed_level):
    """Return 13 takes gqn 1400 steps, of which pixels need twice as many; vae never gets there."""
    write_run(fixed_level, "gqn", [5, 5, 25, 25, 25, 25])
    write_run(fixed_level, "vae", [5, 6, 6, 6, 6, 6])
    rows = rows_of(fixed_level)
    assert rows["pixels"].steps_of_pixels.value == pytest.approx(2800)
    assert np.isnan(rows["pixels"].gain_on_pixels.value)
    assert rows["gqn"].steps_of_pixels.value == pytest.approx(1400)
    assert rows["gqn"].gain_on_pixels.value == pytest.approx(2.0)
    assert np.isinf(rows["vae"].steps_of_pixels.value)
    assert rows["vae"].gain_on_pixels.value == 0


def test_every_resample_of_pixels_has_its_own_level(tmp_path):
    """The gqn agents climb 4 per 1000 steps; pixels ending at 15 to 25 set them 2000 to 4000 steps high."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    for seed, end in enumerate([15, 17.5, 20, 22.5, 25]):
        write_run(tmp_path, "gqn", [5, 9, 13, 17, 21, 25], seed=seed)
        write_run(tmp_path, "pixels", [5, 5, 5, end, end, end], seed=seed)
    steps = rows_of(tmp_path)["gqn"].steps_of_pixels
    assert steps.value == pytest.approx(3000)
    assert 2000 <= steps.low < 3000 < steps.high <= 4000


@pytest.mark.parametrize(("first", "end", "score"), [(5, 5.8, "4.0"), (12, 11, "30.0")])
def test_pixels_that_did_not_learn_set_no_level(tmp_path, first, end, score):
    """Pixels end at a score of 4, or no higher than untrained ones: 80 % of that would be reached by chance."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, 15, 25, 25])
    write_run(tmp_path, "pixels", [first, end, end, end])
    comparison = the_comparison(tmp_path)
    rows = measure(comparison, 0)
    assert all(np.isnan([row.steps_of_pixels.value, row.gain_on_pixels.value]).all() for row in rows)
    write_markdown(tmp_path / "table.md", [comparison], rows)
    said = f"Pixels end at {score} under the moving camera, not 5 above where they begin"
    assert said in (tmp_path / "table.md").read_text()


def test_the_table_compares_with_pixels_only_where_they_were_run(fixed_level):
    """Not reached in 5000 steps: a gain below 2800 / 5000; "–" under a camera without pixels; else no such column."""
    write_run(fixed_level, "vae", [5, 6, 6, 6, 6, 6])
    write_run(fixed_level, "gqn", [5, 15, 25, 25, 25, 25], camera="fixed")
    comparison = the_comparison(fixed_level)
    write_markdown(fixed_level / "table.md", [comparison], measure(comparison, 0))
    lines = (fixed_level / "table.md").read_text().splitlines()
    assert lines[2].endswith("| steps to 80 % of pixels | pixels' steps / these |")
    (vae,) = (line for line in lines if line.startswith("| moving | vae"))
    assert vae.endswith("| not reached | < 0.56 |")
    (gqn,) = (line for line in lines if line.startswith("| fixed | gqn"))
    assert gqn.endswith("| – | – |")
    alone = the_comparison(fixed_level / "gqn_fixed_ppo_seed0", background=fixed_level)
    write_markdown(fixed_level / "alone.md", [alone], measure(alone, 0))
    assert "of pixels" not in (fixed_level / "alone.md").read_text()


# ------------------------------------------------------------------------------------------------ figures and table


def test_figures_are_written_and_the_same_runs_give_the_same_svg(tmp_path):
    """PNG and SVG appear, for a single seed, for two, and for seeds that share no hour."""
    for seed, seconds_per_step in enumerate([0.01, 100.0]):
        write_run(tmp_path, "gqn", [5, 15, 25], seed=seed, steps=[500, 1000, 1500], seconds_per_step=seconds_per_step)
    write_run(tmp_path, "oracle", [5, BEST, BEST], camera="fixed")
    write_run(tmp_path, "mine", [5, 6, 7], camera="fixed")
    comparison = the_comparison(tmp_path)
    for axis in ("env_steps", "hours"):
        drawn = [draw_curves(comparison, axis, tmp_path / name, 0) for name in ("a", "b")]
        assert [path.name for path in drawn[0]] == ["a.png", "a.svg"]
        assert drawn[0][1].read_bytes() == drawn[1][1].read_bytes()


@pytest.mark.parametrize("cameras", [("moving",), ("fixed", "moving")])
def test_the_legend_hides_no_curve_and_names_each_representation_once(tmp_path, monkeypatch, cameras):
    """Its box lies to the right of every panel, with five representations in one panel or in two."""
    names = ("oracle", "gqn", "gqn_window", "gqn_episode", "pixels")
    for camera in cameras:
        for name in names:
            write_run(tmp_path, name, [5, 15, 25], camera=camera)
    figures = []
    monkeypatch.setattr("gqn_rl.curves.figures._save", lambda figure, path: figures.append(figure))
    draw_curves(the_comparison(tmp_path), "env_steps", tmp_path / "a", 0)
    figure = figures[0]
    FigureCanvasAgg(figure).draw()
    legend = figure.legends[0]
    assert all(legend.get_window_extent().x0 > panel.get_window_extent().x1 for panel in figure.axes)
    assert len(figure.axes) == len(cameras)
    assert len(legend.get_texts()) == len(names)


def the_line(text, start):
    """Returns the only line of a table that begins so."""
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return line


def markdown_of(root):
    """Returns the table of the only comparison in a folder of runs."""
    comparison = the_comparison(root)
    write_markdown(root / "table.md", [comparison], measure(comparison, 0))
    return (root / "table.md").read_text()


def test_markdown_says_what_was_not_reached_and_how_far_the_ratio_is_known(tmp_path):
    """Pixels ran 4000 steps without the level that gqn reached at 2600, so the ratio is above 1.53 (1.538)."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, 5, 15, 25, 25], pretraining="80 000 frames, 0.1 h on two cores")
    write_run(tmp_path, "pixels", [5, 5, 5, 15, 15])
    text = markdown_of(tmp_path)
    assert "| not reached | 1.50 | > 1.53 |" in the_line(text, "| moving | pixels")
    assert "Fewer than 5 seeds" in text
    assert "Pretraining of gqn, not in the steps: 80 000 frames, 0.1 h on two cores" in text
    assert "python -m gqn_rl.train_agent repr=pixels seed=0" in text


def test_markdown_bounds_the_ratio_to_a_reference_that_did_not_get_there(tmp_path):
    """The oracle has 80 % after 1800 steps, gqn not in 7000: the ratio is below 0.26 (0.257). 50 %: 1500 and 3000."""
    write_run(tmp_path, "oracle", [RANDOM, RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, 5, 5, 15, 15, 15, 15, 15])
    assert the_line(markdown_of(tmp_path), "| moving | ora").endswith("| 0.50 | < 0.26 |")


def test_a_crossing_before_the_first_evaluation_is_an_upper_bound_of_the_steps(tmp_path):
    """Score 50 lies between the untrained agent and 1000 steps, where nothing was measured: not 500, but at most 1000.

    Pixels need 3000 steps: at least three times as many as gqn, and not six times. The oracle, as early, has no ratio.
    """
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, BEST, BEST, BEST])
    write_run(tmp_path, "pixels", [5, 5, 5, 15])
    rows, text = rows_of(tmp_path), markdown_of(tmp_path)
    assert rows["gqn"].first_evaluation == rows["gqn"].steps_50.value == 1000
    assert rows["pixels"].ratio_50.value == 3
    assert np.isnan(rows["oracle"].ratio_50.value)
    assert the_line(text, "| moving | gqn").split(" | ")[8:10] == ["≤ 1,000", "≤ 1,000"]
    assert the_line(text, "| moving | pixels").split(" | ")[10] == "≥ 3.00"
    assert "nothing was measured" in text


def test_a_row_before_its_first_evaluation_bounds_the_ratio_from_above(tmp_path):
    """The oracle is at 50 % within 1000 steps, gqn after 3000: the ratio is at most 0.34, rounded to the safe side."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, 5, 5, 15])
    assert the_line(markdown_of(tmp_path), "| moving | ora").split(" | ")[10] == "≤ 0.34"


def test_the_first_evaluation_is_the_latest_of_the_seeds(tmp_path):
    """One seed was first evaluated after 200 steps, the other after 1000: before 1000 their mean was not measured."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, BEST, BEST], steps=[0, 200, 2000], seed=0)
    write_run(tmp_path, "gqn", [5, BEST, BEST], steps=[0, 1000, 2000], seed=1)
    assert rows_of(tmp_path)["gqn"].steps_50.value == 1000


def test_an_agent_that_starts_above_the_level_needs_no_steps(tmp_path):
    """The evaluation before training is a measurement: 0 steps are exact, and no bound."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [16, 20, 20, 20])
    assert rows_of(tmp_path)["gqn"].steps_50.value == 0
    assert the_line(markdown_of(tmp_path), "| moving | gqn").split(" | ")[8] == "0"


def test_the_interval_of_a_ratio_stands_beside_its_bound(tmp_path):
    """One of five untrained seeds climbs: in some resamples it gets there, so "< 1" alone would say too much."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    for seed, end in enumerate([5, 5, 5, 5, 25]):
        write_run(tmp_path, "random_encoder", [5, 5, end, end, end, end], seed=seed)
        write_run(tmp_path, "pixels", [5, 5, 5, 5, 15, 15, 15], seed=seed)
    gain = the_line(markdown_of(tmp_path), "| moving | random_encoder").split(" | ")[-1]
    assert gain.startswith("< 0.76 [0.00, ")
    assert float(gain.removesuffix("] |").split()[-1]) > 1


def test_fewer_than_five_seeds_have_no_interval(tmp_path):
    """Five seeds that differ have one; of four the mean is shown, without an interval that would be too narrow."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    for seed in range(5):
        write_run(tmp_path, "gqn", [5, 6, 7 + seed, 8 + seed], seed=seed)
    for seed in range(4):
        write_run(tmp_path, "vae", [5, 6, 7 + seed, 8 + seed], seed=seed)
    rows = rows_of(tmp_path)
    assert rows["gqn"].final.low < rows["gqn"].final.value < rows["gqn"].final.high
    assert np.isnan([rows["vae"].final.low, rows["vae"].final.high]).all()


def test_csv_has_a_column_for_every_value_and_bound(tmp_path):
    """Programs read the same numbers that the Markdown table shows, with NaN and inf spelled out."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path, "gqn", [5, 15, 15, 15])
    write_csv(tmp_path / "table.csv", measure(the_comparison(tmp_path), 0))
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
        measure(comparison, 0)
        draw_curves(comparison, "env_steps", tmp_path / "curves", 0)


def test_every_representation_that_can_be_trained_has_a_colour_and_a_label():
    """Each file under configs/repr is drawn under a name for readers, and no two look alike."""
    names = {path.stem for path in (pathlib.Path(gqn_rl.__file__).parent / "configs/repr").glob("*.yaml")}
    looks = published_looks()
    assert set(looks) == names
    assert len({(look.colour, look.line) for look in looks.values()}) == len(looks)
    assert len({look.label for look in looks.values()}) == len(looks)


def test_a_run_says_itself_how_it_is_drawn_and_names_otherwise(tmp_path):
    """First its `run.json`, then the config of that name, dash-dotted with a memory; else a free colour."""
    known = {"pixels": Look("raw pixels", "#D55E00", "-")}
    for name in ("pixels", "sound", "mine", "theirs"):
        write_run(tmp_path / name, name, [5, 15])
    write_run(tmp_path / "lstm", "pixels", [5, 15], agent="ppo_lstm")
    (own,) = tmp_path.glob("mine/**/run.json")
    own.write_text(
        json.dumps({**json.loads(own.read_text()), "curve": {"label": "My r", "colour": "#123456", "line": ":"}})
    )
    with pytest.warns(UserWarning, match="no oracle run"):
        cells = the_comparison(tmp_path).cells("moving")
    assert looks_of(cells, known) == {
        "pixels": known["pixels"],
        "pixels_lstm": Look("raw pixels, LSTM", "#D55E00", "-."),
        "mine": Look("My r", "#123456", ":"),
        "sound": Look("sound", OTHER_COLOURS[0], "-"),
        "theirs": Look("theirs", OTHER_COLOURS[1], "-"),
    }


@pytest.mark.parametrize(("colour", "line"), [("blue", "-"), ("#000000", "x")])
def test_a_run_with_a_colour_or_a_line_that_is_none_is_refused(tmp_path, colour, line):
    """The sentence names the file and what it must hold."""
    file = write_run(tmp_path, "mine", [5, 15]) / "run.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "curve": {"label": "r", "colour": colour, "line": line}})
    )
    with pytest.raises(ValueError, match=r"run\.json.*(colour of the form #rrggbb|line style)"):
        load_runs(tmp_path)
