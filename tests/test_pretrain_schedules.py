"""Schedules and settings: values at the joints, by hand."""

import dataclasses
import itertools

import pytest

from gqn_rl.pretrain.schedules import Curriculum, curriculum, learning_rate, noise_seed, pixel_sigma
from gqn_rl.pretrain.settings import TrainSettings

PAPER = TrainSettings()


@pytest.mark.parametrize(("step", "expected"), [(0, 5e-4), (800_000, 2.75e-4), (1_600_000, 5e-5), (1_999_999, 5e-5)])
def test_learning_rate_of_the_paper(step, expected):
    """5e-4 to 5e-5 linearly over 1.6 million steps, then constant."""
    assert learning_rate(PAPER, step) == pytest.approx(expected)


@pytest.mark.parametrize(("step", "expected"), [(0, 2.0), (100_000, 1.35), (200_000, 0.7), (1_000_000, 0.7)])
def test_sigma_of_the_paper(step, expected):
    """2.0 to 0.7 linearly over 200 000 steps, then constant."""
    assert pixel_sigma(PAPER, step) == pytest.approx(expected)


def test_sigma_never_jumps():
    """Between two steps sigma moves by no more than the slope of its line."""
    settings = TrainSettings(sigma_steps=50)
    values = [pixel_sigma(settings, step) for step in range(100)]
    assert max(abs(b - a) for a, b in itertools.pairwise(values)) <= 1.3 / 50 + 1e-12


def test_warm_up_of_the_learning_rate():
    """The ramp starts above 0, since a first step of 0 would be wasted, and ends at the line."""
    settings = TrainSettings(lr=1.0, lr_end=1.0, lr_warmup_steps=4)
    assert [learning_rate(settings, step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_paper_has_no_curriculum():
    """By default the first step already draws latents, any number of views, and never a query from the context."""
    assert curriculum(PAPER, 0) == Curriculum(latents=True, num_context=None, query_from_context=0.0)


def test_curriculum():
    """Until the warm-up ends: one view, no latents, a share of queries from the context; after it the paper's task."""
    settings = TrainSettings(warmup_steps=10, query_from_context=0.5)
    assert curriculum(settings, 0) == curriculum(settings, 9) == Curriculum(False, 1, 0.5)
    assert curriculum(settings, 10) == Curriculum(True, None, 0.0)
    assert curriculum(TrainSettings(warmup_steps=1, warmup_context=None), 0) == Curriculum(False, None, 0.0)


def test_noise_seeds_differ():
    """Seed, step and rank each change the noise."""
    seeds = {noise_seed(seed, step, rank) for seed in range(5) for step in range(20) for rank in range(3)}
    assert len(seeds) == 5 * 20 * 3


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("total_steps", 0, "at least 1"),
        ("sigma", 0.0, "above 0"),
        ("query_from_context", 1.5, r"in \[0, 1\]"),
        ("precision", "fp16", "auto, bf16, float32"),
        ("warmup_steps", -1, "at least 0"),
    ],
)
def test_impossible_settings_are_refused(name, value, expected):
    """The sentence names the setting, what is possible, and what was given."""
    with pytest.raises(ValueError, match=f"`{name}` must be .*{expected}.*, got {value}"):
        dataclasses.replace(PAPER, **{name: value})
