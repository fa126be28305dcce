"""Runs behind the curves: drawn, counted nowhere, and an oracle where there is no other."""

import warnings

import pytest
from matplotlib.figure import Figure

from gqn_rl.curves import draw_curves, measure, write_markdown
from gqn_rl.curves.figures import _draw_panel
from gqn_rl.plot import published_looks
from tests.tiny_runs import BEST, RANDOM, the_comparison, write_run


def test_runs_behind_are_counted_nowhere(tmp_path):
    """With a better oracle, a luckier random agent and other pixels behind, every row stays what it was."""
    write_run(tmp_path / "mine", "oracle", [RANDOM, BEST, BEST, BEST])
    write_run(tmp_path / "mine", "gqn", [5, 15, 25, 25])
    write_run(tmp_path / "theirs", "oracle", [RANDOM, 100, 100, 100], random_return=50.0)
    write_run(tmp_path / "theirs", "pixels", [5, 25, 25])
    alone, before = the_comparison(tmp_path / "mine"), the_comparison(tmp_path / "mine", tmp_path / "theirs")
    assert list(before.background_cells("moving")) == ["oracle", "pixels"]
    assert (before.random_return, before.oracle_return) == (RANDOM, BEST)
    assert str(measure(before, 0)) == str(measure(alone, 0))


def test_the_oracle_behind_scales_the_score_where_there_is_no_other(tmp_path):
    """One trained agent and published curves: 15 is score 50, the table says whose oracle that is, nothing warns."""
    write_run(tmp_path / "mine", "gqn", [5, 15, 15, 15])
    write_run(tmp_path / "theirs", "oracle", [RANDOM, BEST, BEST, BEST], camera="fixed", random_return=50.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = the_comparison(tmp_path / "mine", tmp_path / "theirs")
    assert list(comparison.background_cells("moving")) == ["oracle"]
    (row,) = measure(comparison, 0)
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
    assert [run.folder.parent.name for run in comparison.background] == ["b", "c"]


def test_an_empty_place_behind_is_refused_by_its_name(tmp_path):
    """The sentence names the setting that is wrong."""
    write_run(tmp_path, "gqn", [5, 15])
    with pytest.raises(ValueError, match=r"`background` must hold folders .* found none in .*nowhere"):
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
    _draw_panel(panel, comparison, "moving", "env_steps", 0, published_looks())
    dotted = [line for line in panel.lines if line.get_zorder() == 1 and len(line.get_xdata())]
    assert [line.get_ydata()[1] for line in dotted] == [6, 7, 8]
    assert {line.get_color() for line in dotted} == {published_looks()["gqn"].colour}
    names = panel.get_legend_handles_labels()[1]
    assert names == ["GQN representation, 1 seed", "GQN representation, behind"]
    (_, svg) = draw_curves(comparison, "env_steps", tmp_path / "curves", 0)
    assert "Dotted: runs behind" in svg.read_text()
