"""Intervals over encoders, agents and episodes together, pretraining on the axes, and what each part adds."""

from __future__ import annotations

import numpy as np
import pytest

from gqn_rl.curves import compare, load_runs, measure
from gqn_rl.curves.attribution import attribute, write_attribution
from gqn_rl.curves.measures import agents_to_repay
from gqn_rl.statistics import Sample, beside, estimate, iqm
from tests.tiny_runs import BEST, RANDOM, write_run


def interval(values, encoders):
    found = estimate(iqm, [Sample(values, encoders)], seed=0)
    return found.high - found.low


def test_agents_of_one_encoder_hang_together():
    """Three encoders that differ give a wide interval though their nine agents agree with each other."""
    rng = np.random.default_rng(0)
    encoder = np.repeat([0.0, 10.0, 20.0], 3)[:, None]
    values = encoder + rng.normal(0, 0.1, (9, 40))
    together, alone = tuple("aaabbbccc"), tuple("abcdefghi")
    assert interval(values, together) > 1.2 * interval(values, alone) > 5
    assert interval(values - encoder, together) < 0.3


def test_a_single_encoder_leaves_agents_and_episodes():
    """Five agents of one encoder are resampled as five agents are; equal agents are still judged by chance episodes."""
    agents = np.repeat([[0.0], [5.0], [10.0], [15.0], [20.0]], 40, axis=1)
    assert interval(agents, ("",) * 5) > 5
    episodes = np.repeat(np.random.default_rng(0).normal(0, 1, (1, 25)), 5, axis=0)
    assert interval(episodes, ("",) * 5) == pytest.approx(2 * 1.96 / 5, rel=0.3)


def test_strata_share_their_episodes():
    """Two cells that are equal in every episode differ by nothing in every resample."""
    values = np.random.default_rng(0).normal(0, 1, (1, 30)).repeat(5, axis=0)
    one, other = Sample(values, ("",) * 5), Sample(values + 3, ("",) * 5)
    found = estimate(lambda a, b: float(iqm(b) - iqm(a)), [one, other], seed=0)
    assert found == pytest.approx((3, 3, 3))


def test_fewer_than_five_agents_have_no_interval_whatever_their_episodes():
    """Four agents and a thousand episodes are points."""
    found = estimate(iqm, [Sample(np.zeros((4, 1000)), tuple("abcd"))], seed=0)
    assert found.value == 0 and np.isnan(found.low)


def test_columns_side_by_side_keep_runs_and_episodes():
    """[n, 2, E] beside [n, 1, E] is [n, 3, E]; with an array, or other episodes, the means are."""
    left, right = Sample(np.ones((3, 2, 4)), tuple("abc")), Sample(np.zeros((3, 1, 4)), tuple("abc"))
    joined = beside(left, right)
    assert isinstance(joined, Sample) and joined.values.shape == (3, 3, 4)
    assert np.array_equal(beside(left, np.zeros((3, 1))), [[1, 1, 0]] * 3)
    assert np.array_equal(beside(left, Sample(np.zeros((3, 1, 9)), tuple("abc"))), [[1, 1, 0]] * 3)


def runs_with_pretraining(root, counts):
    write_run(root, "oracle", [RANDOM, BEST, BEST, BEST, BEST])
    write_run(root, "pixels", [RANDOM, 8.0, 11.0, 15.0, 15.0, 15.0])
    return write_run(root, "gqn", [RANDOM, 13.0, 20.0, 20.0, 20.0], experience=counts, pretraining="some")


def test_pretraining_is_on_the_axes_of_pictures_and_actions(tmp_path):
    """The representation begins at what it cost, pixels at 0; what nobody counted is not a number."""
    runs_with_pretraining(tmp_path, {"pictures": 5000, "actions": None})
    runs = {run.repr: run for run in load_runs(tmp_path)}
    assert runs["gqn"].pictures.tolist() == [5000, 6000, 7000, 8000, 9000] and np.isnan(runs["gqn"].actions).all()
    assert runs["pixels"].pictures.tolist() == runs["pixels"].env_steps.tolist()
    assert np.isnan(runs["pixels"].processor_hours).all()


def test_when_pretraining_is_repaid(tmp_path):
    """Pixels need more steps than r to 80 % of their end: the cost divided by what an agent saves."""
    runs_with_pretraining(tmp_path, {"pictures": 5000, "actions": 0})
    (comparison,) = compare(load_runs(tmp_path))
    row = next(row for row in measure(comparison, seed=0) if row.repr == "gqn")
    pixels = next(row for row in measure(comparison, seed=0) if row.repr == "pixels")
    saved = pixels.steps_of_pixels.value - row.steps_of_pixels.value
    assert saved > 0 and row.repaid_pictures.value == pytest.approx(5000 / saved)
    assert np.isnan(row.repaid_actions.value) and np.isnan(pixels.repaid_pictures.value)
    assert np.isnan(agents_to_repay(1.0, np.nan, 5.0)) and agents_to_repay(1.0, 5.0, 5.0) == np.inf


def test_runs_on_several_encoders_are_no_duplicates(tmp_path):
    """The same seed on another encoder is another agent; on the same one it is refused."""
    for name in "ab":
        write_run(tmp_path / name, "gqn", [RANDOM, 9.0], encoder=name)
    assert {run.encoder for run in load_runs(tmp_path)} == {"a", "b"}
    write_run(tmp_path / "c", "gqn", [RANDOM, 9.0], encoder="b")
    with pytest.raises(ValueError, match="hold the same run and seed"):
        load_runs(tmp_path)


def test_runs_of_one_name_and_two_networks_are_not_mixed(tmp_path):
    """Old runs on pixels, which name no network, do not stand in one curve with new ones."""
    write_run(tmp_path, "pixels", [RANDOM, 9.0])
    settings = {"stack": 1, "extractor": {"network": "nature", "shift": 4}}
    write_run(tmp_path, "pixels", [RANDOM, 9.0], seed=1, repr_settings=settings)
    with pytest.raises(
        ValueError, match="are both called pixels, but their agents read pictures with different networks"
    ):
        load_runs(tmp_path)
    assert {run.network != "" for run in load_runs(tmp_path, distinct=False)} == {True, False}


def test_a_nested_comparison_says_the_same_with_other_intervals(tmp_path):
    """Values agree to rounding; equal agents on episodes that differ have an interval then, before they had none."""
    for seed in range(5):
        write_run(tmp_path, "oracle", [RANDOM, BEST, BEST, BEST], seed=seed)
        folder = write_run(tmp_path, "gqn", [RANDOM, 10.0, 15.0, 15.0], seed=seed)
        text = (folder / "eval.csv").read_text().replace("15.0;15.0", "12.0;18.0")
        (folder / "eval.csv").write_text(text)
    plain, nested = (measure(compare(load_runs(tmp_path), nested=is_nested)[0], seed=0) for is_nested in (False, True))
    for one, other in zip(plain, nested, strict=True):
        assert one.final.value == pytest.approx(other.final.value) and one.steps_50.value == other.steps_50.value
    (one,), (other,) = ([row for row in rows if row.repr == "gqn"] for rows in (plain, nested))
    assert one.final.low == one.final.high and other.final.low < other.final.value < other.final.high


def test_what_each_rung_adds(tmp_path):
    """Scores of 25, 50 and 75: 25 points each, half of the way each; the table has a line for every rung."""
    write_run(tmp_path, "oracle", [BEST, BEST, BEST])
    for name, value in (("random_encoder", 10.0), ("autoencoder", 15.0), ("gqn", 20.0)):
        for seed in range(5):
            write_run(tmp_path, name, [value, value], seed=seed)
    (comparison,) = compare(load_runs(tmp_path))
    rungs = attribute(comparison, ("random_encoder", "autoencoder", "gqn_views", "gqn"), seed=0)
    assert [rung.repr for rung in rungs] == ["random_encoder", "autoencoder", "gqn"]
    assert [rung.final.value for rung in rungs] == pytest.approx([25, 50, 75])
    assert np.isnan(rungs[0].added.value) and [rung.added.value for rung in rungs[1:]] == pytest.approx([25, 25])
    assert [rung.share.value for rung in rungs[1:]] == pytest.approx([0.5, 0.5])
    write_attribution(tmp_path / "attribution.md", rungs)
    lines = (tmp_path / "attribution.md").read_text().splitlines()
    assert len(lines) == 5 and lines[-1] == "| moving | gqn | 5 | 1 | 75.0 | +25.0 | 50% |"
