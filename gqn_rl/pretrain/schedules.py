"""What changes during pretraining, as pure functions of the step: learning rate, pixel deviation, curriculum, seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gqn_rl.pretrain.settings import TrainSettings


class Curriculum(NamedTuple):
    """What one step trains on.

    Attributes:
        latents: False while z stays at the prior's mean, without KL.
        num_context: number of context views; None draws it from 1..max_context.
        query_from_context: share of queries that are context views themselves.
    """

    latents: bool
    num_context: int | None
    query_from_context: float


def linear(step: int, start: float, end: float, num_steps: int) -> float:
    """Returns the value at `step` of the line from `start` (step 0) to `end` (`num_steps` and after).

    >>> [linear(step, 2.0, 1.0, 10) for step in (0, 5, 10, 99)]
    [2.0, 1.5, 1.0, 1.0]
    """
    share = min(step / num_steps, 1.0) if num_steps > 0 else 1.0
    return start + (end - start) * share


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Returns Adam's learning rate: a line, times a short ramp at the start that is never 0."""
    ramp = min((step + 1) / settings.lr_warmup_steps, 1.0) if settings.lr_warmup_steps else 1.0
    return ramp * linear(step, settings.lr, settings.lr_end, settings.lr_steps)


def pixel_sigma(settings: TrainSettings, step: int) -> float:
    """Returns the standard deviation of a pixel given the prediction, in units of [0, 1] intensity."""
    return linear(step, settings.sigma, settings.sigma_end, settings.sigma_steps)


def curriculum(settings: TrainSettings, step: int) -> Curriculum:
    """Returns what `step` trains on: few views and no latents during the warm-up, the paper's task after it."""
    if step >= settings.warmup_steps:
        return Curriculum(latents=True, num_context=None, query_from_context=0.0)
    return Curriculum(False, settings.warmup_context, settings.query_from_context)


def noise_seed(seed: int, step: int, rank: int = 0) -> int:
    """Returns the seed of a step's noise, the same whether or not the run was interrupted before."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
