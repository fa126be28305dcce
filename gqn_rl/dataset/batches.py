"""Batches: scenes with some views as context and others to be predicted, a pure function of (seed, step)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np

from gqn_rl.dataset.multiview import MultiViewDataset
from gqn_rl.dataset.shards import SPLITS
from gqn_rl.views import Views

T = TypeVar("T")
BATCH_STREAM = len(SPLITS)
"""Second entry of a batch's random seed; the splits' scenes use the numbers below it."""


class Batch(NamedTuple):
    """B scenes, each with M context views, Q query views and its true state, as NumPy arrays.

    Attributes:
        context: Views [B, M, ...].
        query: Views [B, Q, ...].
        state: float32 [B, S].
    """

    context: Views
    query: Views
    state: Any


def draw_batch(
    dataset: MultiViewDataset,
    seed: int,
    step: int,
    *,
    batch_size: int,
    num_context: int | None,
    max_context: int,
    num_queries: int = 1,
    query_from_context: float = 0.0,
    rank: int = 0,
    world_size: int = 1,
) -> Batch:
    """Draws the batch of one step: the whole batch is drawn by every rank, which then reads only its own slice.

    Args:
        dataset: where the views come from.
        seed: with `step`, decides the batch entirely.
        step: training step.
        batch_size: scenes in the whole batch, over all ranks.
        num_context: context views M of every scene; None draws M uniformly from 1..max_context, once for the batch.
        max_context: the largest M; ignored when `num_context` is given.
        num_queries: query views Q of every scene.
        query_from_context: probability, per query, that it is one of the context views (a warm-up; else it never is).
        rank: this process, in [0, world_size).
        world_size: number of processes that share the batch.
    """
    largest_context = max_context if num_context is None else num_context
    _check_batch(dataset, batch_size, largest_context, num_queries, query_from_context, rank, world_size)
    rng = np.random.default_rng([seed, BATCH_STREAM, step])
    b, k = batch_size, dataset.views_per_scene
    m = int(rng.integers(1, max_context + 1)) if num_context is None else num_context
    scenes = rng.integers(dataset.num_scenes, size=b)
    view_order = rng.permuted(np.tile(np.arange(k), (b, 1)), axis=1)  # [B, K]
    seen = rng.random((b, num_queries)) < query_from_context
    places_in_context = rng.integers(m, size=(b, num_queries))

    context = view_order[:, :m]
    unseen_views = view_order[:, m : m + num_queries]
    query = np.where(seen, np.take_along_axis(context, places_in_context, axis=1), unseen_views)

    share = batch_size // world_size
    mine = slice(rank * share, (rank + 1) * share)
    views = dataset.views(scenes[mine], np.concatenate([context, query], axis=1)[mine])
    return Batch(
        context=Views(views.images[:, :m], views.viewpoints[:, :m]),
        query=Views(views.images[:, m:], views.viewpoints[:, m:]),
        state=dataset.states[scenes[mine]],
    )


def prefetch(draw: Callable[[int], T], steps: Iterable[int], depth: int = 4) -> Iterator[tuple[int, T]]:
    """Yields (step, draw(step)) in order while one background thread keeps the next `depth` steps coming.

    An exception in `draw` is raised here, at its step. Closing the iterator, or leaving it, stops the thread.

    >>> list(prefetch(lambda step: step**2, range(3)))
    [(0, 0), (1, 1), (2, 4)]
    """
    steps = iter(steps)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as thread:
        pending = deque((step, thread.submit(draw, step)) for step in islice(steps, depth))
        try:
            while pending:
                step, batch = pending.popleft()
                result = batch.result()
                pending.extend((later, thread.submit(draw, later)) for later in islice(steps, 1))
                yield step, result
        finally:
            thread.shutdown(cancel_futures=True)


def _check_batch(
    dataset: MultiViewDataset,
    batch_size: int,
    num_context: int,
    num_queries: int,
    query_from_context: float,
    rank: int,
    world_size: int,
) -> None:
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(f"`batch_size` must be a positive multiple of `world_size` {world_size}, got {batch_size}.")
    if not 0 <= rank < world_size:
        raise ValueError(f"`rank` must be in [0, {world_size}), got {rank}.")
    if num_context < 1 or num_queries < 1:
        raise ValueError(
            "`num_context`, `max_context` and `num_queries` must be at least 1, "
            f"got {num_context} context views and {num_queries} queries."
        )
    if num_context + num_queries > dataset.views_per_scene:
        raise ValueError(
            f"`max_context` (or `num_context`) {num_context} + `num_queries` {num_queries} must not exceed "
            f"the {dataset.views_per_scene} views per scene of `{dataset.root}`; use fewer or make more views."
        )
    if not 0.0 <= query_from_context <= 1.0:
        raise ValueError(f"`query_from_context` must be a probability in [0, 1], got {query_from_context}.")
