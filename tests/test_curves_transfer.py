"""Zero-shot transfer: scores from other cameras, what is kept of one's own, and the table that says so."""

import csv

import numpy as np
import pytest

from gqn_rl.curves import measure, measure_transfer, write_csv, write_markdown
from tests.tiny_runs import BEST, RANDOM, the_comparison, write_run, write_transfer


def test_transfer_and_what_is_kept_worked_by_hand(tmp_path):
    """Three seeds end at 15 and two at 25, scores 50 and 100, and keep 7 and 17, scores 10 and 60, from elsewhere."""
    for seed, (own, other) in enumerate([(15, 7.0), (25, 17.0), (15, 7.0), (25, 17.0), (15, 7.0)]):
        write_transfer(write_run(tmp_path, "gqn", [5, own, own, own], seed=seed), {"heldout": other})
    write_transfer(write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST]), {"heldout": BEST})
    write_run(tmp_path, "pixels", [5, 5, 5, 15])
    (row,) = measure_transfer(the_comparison(tmp_path), 0)
    assert (row.camera, row.repr, row.evaluated_from, row.seeds) == ("moving", "gqn", "heldout", 5)
    third = 1 / 3  # of the three seeds in the middle one has gone to 25
    assert row.own == pytest.approx((50 + 50 * third, 50, 100))
    assert row.other == pytest.approx((10 + 50 * third, 10, 60))
    assert row.kept == pytest.approx((80 / 200, 0.2, 0.6))  # a seed stays with itself: never 10 / 100 nor 60 / 50


def test_a_share_is_of_the_same_models_own_score(tmp_path):
    """Still learning, it ends at 25: 21 from elsewhere is 80 % of that, though 107 % of its final score, 20's."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_transfer(write_run(tmp_path, "gqn", [5, 15, 20, 25]), {"heldout": 21.0})
    (row,) = measure_transfer(the_comparison(tmp_path), 0)
    assert (row.own.value, row.kept.value) == (100.0, pytest.approx(0.8))


def test_nothing_is_kept_of_what_was_not_learnt(tmp_path):
    """An agent that has gone from score 10 to 14 has no share to keep, nor has a return without an oracle."""
    write_transfer(write_run(tmp_path, "gqn", [7, 7.8, 7.8, 7.8]), {"heldout": 5.6})
    with pytest.warns(UserWarning, match="no oracle run"):
        (row,) = measure_transfer(the_comparison(tmp_path), 0)
    assert row.other.value == pytest.approx(5.6)
    assert np.isnan(row.kept.value)
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    (row,) = measure_transfer(the_comparison(tmp_path), 0)
    assert row.other.value == pytest.approx(3.0)
    assert np.isnan(row.kept.value)


def test_the_zero_shot_table_has_a_row_for_each_agent_and_columns_for_each_camera(tmp_path):
    """Own score first; a camera that one agent was not seen from, its own among them, is "–"."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    write_transfer(write_run(tmp_path, "gqn", [5, 15, 15, 15]), {"fixed": 13.0, "moving": 15.0})
    write_transfer(write_run(tmp_path, "gqn", [5, 15, 15, 15], camera="fixed"), {"heldout": 10.0, "moving": 5.0})
    write_transfer(write_run(tmp_path, "gqn", [5, 25, 25, 25], camera="fixed", seed=1), {"moving": 20.0})
    comparison = the_comparison(tmp_path)
    transfers = measure_transfer(comparison, 0)
    write_markdown(tmp_path / "t.md", [comparison], measure(comparison, 0), transfers)
    lines = (tmp_path / "t.md").read_text().splitlines()
    start = lines.index("### Zero-shot: trained on one camera, evaluated from another") + 2
    assert [lines[start].split(" | ")[3], *lines[start].split(" | ")[4::2]] == [
        *("own camera, last score", "from fixed", "from heldout", "from moving")
    ]
    fixed = "| fixed | gqn | 1 or 2 | 75.0 | – | – | 25.0 | 50% | 37.5 | 50% |"
    assert lines[start + 2 : start + 4] == [fixed, "| moving | gqn | 1 | 50.0 | 40.0 | 80% | – | – | – | – |"]
    write_csv(tmp_path / "transfer.csv", transfers)
    with (tmp_path / "transfer.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["camera"], row["evaluated_from"], float(row["other"])) for row in rows] == [
        *(("fixed", "heldout", 25.0), ("fixed", "moving", 37.5), ("moving", "fixed", 40.0))
    ]


def test_without_transfer_there_is_no_zero_shot_table(tmp_path):
    """Runs that were never evaluated from elsewhere leave the table as it was."""
    write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST])
    comparison = the_comparison(tmp_path)
    assert measure_transfer(comparison, 0) == []
    write_markdown(tmp_path / "table.md", [comparison], measure(comparison, 0))
    assert "Zero-shot" not in (tmp_path / "table.md").read_text()
