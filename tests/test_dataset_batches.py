"""Batches: which scenes and views they hold, and that (seed, step) alone decides."""

import threading

import numpy as np
import pytest
import torch

from gqn_rl.dataset import MultiViewDataset, draw_batch, generate, prefetch
from tests.fake_scene import FakeScene

VIEWS = 6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A training split of 12 scenes with 6 views each, in three shards."""
    root = tmp_path_factory.mktemp("batches")
    settings = {"num_scenes": 12, "held_out_scenes": 1, "views_per_scene": VIEWS, "seed": 0, "num_workers": 1}
    generate(root, FakeScene, scene_name="fake", scenes_per_shard=5, progress=False, **settings)
    return MultiViewDataset(root)


def draw(dataset, seed=0, step=0, **changes):
    """Draws a batch of 8 scenes with 3 context views and 2 queries."""
    settings = {"batch_size": 8, "num_context": 3, "max_context": 3, "num_queries": 2}
    return draw_batch(dataset, seed, step, **(settings | changes))


def places(dataset, batch, views):
    """Finds each view in the data by its viewpoint, returning its (scene, view) numbers, int [B, K, 2]."""
    matches = (dataset.viewpoints[:, :, None, None] == views.viewpoints).all(-1)  # [N, V, B, K]
    assert (matches.sum((0, 1)) == 1).all()
    scene, view = np.divmod(matches.reshape(-1, *matches.shape[2:]).argmax(0), VIEWS)
    return np.stack([scene, view], -1)


def assert_equal(batch, other):
    """Compares two batches bit by bit."""
    for one, two in zip(
        [*batch.context, *batch.query, batch.state], [*other.context, *other.query, other.state], strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_shapes_and_types(dataset):
    """A batch holds uint8 pictures, float32 viewpoints and float32 states of the sizes asked for."""
    batch = draw(dataset)
    assert batch.context.images.shape == (8, 3, 8, 8, 3) and batch.context.images.dtype == np.uint8
    assert batch.query.images.shape == (8, 2, 8, 8, 3) and batch.query.viewpoints.shape == (8, 2, 7)
    assert batch.state.shape == (8, 2) and batch.state.dtype == np.float32
    context, query = batch.context.to_torch(), batch.query.to_torch()
    assert context.images.dtype == torch.uint8 and query.viewpoints.dtype == torch.float32


def test_every_view_and_state_belongs_to_its_scene(dataset):
    """Context, queries and state of one row come from one scene, each picture with its own viewpoint."""
    batch = draw(dataset)
    context, query = places(dataset, batch, batch.context), places(dataset, batch, batch.query)
    scenes = context[:, 0, 0]
    assert (context[..., 0] == scenes[:, None]).all() and (query[..., 0] == scenes[:, None]).all()
    np.testing.assert_array_equal(batch.state, dataset.states[scenes])
    np.testing.assert_array_equal(batch.context.images, dataset.views(scenes, context[..., 1]).images)
    np.testing.assert_array_equal(batch.query.images, dataset.views(scenes, query[..., 1]).images)


def test_a_batch_is_a_pure_function_of_seed_and_step(dataset):
    """The same (seed, step) gives the same batch whatever was drawn before; another of either gives another batch."""
    first = draw(dataset, seed=1, step=5)
    for step in (9, 0, 7):
        draw(dataset, seed=1, step=step)
    assert_equal(draw(dataset, seed=1, step=5), first)
    for other in (draw(dataset, seed=1, step=6), draw(dataset, seed=2, step=5)):
        assert not np.array_equal(other.context.viewpoints, first.context.viewpoints)


def test_slices_of_the_ranks_make_up_the_whole_batch(dataset):
    """Joining the ranks' batches gives the batch of one process, with the same M and with queries from the context."""
    for step in range(5):
        settings = {"step": step, "num_context": None, "max_context": 4, "query_from_context": 0.5}
        whole = draw(dataset, **settings)
        parts = [draw(dataset, rank=rank, world_size=4, **settings) for rank in range(4)]
        for kind in ("context", "query"):
            for i in range(2):
                joined = np.concatenate([getattr(part, kind)[i] for part in parts])
                np.testing.assert_array_equal(joined, getattr(whole, kind)[i])
        np.testing.assert_array_equal(np.concatenate([part.state for part in parts]), whole.state)


def test_queries_are_never_context_views_and_views_are_distinct(dataset):
    """Context and query views of a scene are all different views, in every scene of many batches."""
    for step in range(50):
        batch = draw(dataset, step=step, num_context=4)
        chosen = np.concatenate([places(dataset, batch, views)[..., 1] for views in (batch.context, batch.query)], 1)
        assert (np.sort(chosen, axis=1) == np.arange(VIEWS)).all()


def test_query_from_context_is_the_share_of_scenes_whose_query_was_seen(dataset):
    """At 1 every query is a context view, at 0 none, and at 0.5 about half, the contexts staying what they were."""
    never, always = draw(dataset), draw(dataset, query_from_context=1.0)
    np.testing.assert_array_equal(never.context.images, always.context.images)

    def share_seen(probability, num_steps):
        batches = [draw(dataset, step=step, query_from_context=probability) for step in range(num_steps)]
        hits = [
            (batch.query.viewpoints[:, :, None] == batch.context.viewpoints[:, None]).all(-1).any(-1)
            for batch in batches
        ]
        return np.mean(hits)

    assert share_seen(0.0, 20) == 0 and share_seen(1.0, 20) == 1
    assert abs(share_seen(0.5, 100) - 0.5) < 0.1  # 800 scenes: five standard deviations


def test_context_size_is_uniform_up_to_the_largest(dataset):
    """With num_context None, every M from 1 to max_context occurs about equally often."""
    sizes = [
        draw(dataset, step=step, num_context=None, max_context=4, batch_size=1).context.images.shape[1]
        for step in range(400)
    ]
    counts = np.bincount(sizes, minlength=5)
    assert counts[0] == 0 and (counts[1:] > 60).all() and counts.sum() == 400


def test_every_scene_and_view_is_drawn(dataset):
    """No scene and no view is left out, the last ones included."""
    seen = set()
    for step in range(100):
        batch = draw(dataset, step=step, batch_size=12)
        seen |= set(map(tuple, places(dataset, batch, batch.query).reshape(-1, 2)))
    assert len(seen) == 12 * VIEWS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_context": 5}, r"5 \+ `num_queries` 2 must not exceed the 6 views"),
        ({"num_context": None, "max_context": 6}, r"6 \+ `num_queries` 2 must not exceed the 6 views"),
        ({"num_context": 0}, "`num_context`, `max_context` and `num_queries` must be at least 1"),
        ({"num_queries": 0}, "`num_context`, `max_context` and `num_queries` must be at least 1"),
        ({"batch_size": 0}, "`batch_size` must be a positive multiple of `world_size` 1, got 0"),
        ({"world_size": 3}, "`batch_size` must be a positive multiple of `world_size` 3, got 8"),
        ({"rank": 2, "world_size": 2}, r"`rank` must be in \[0, 2\), got 2"),
        ({"query_from_context": 1.5}, r"`query_from_context` must be a probability in \[0, 1\], got 1.5"),
    ],
)
def test_impossible_batches_are_refused(dataset, change, message):
    """What cannot be drawn is refused by name."""
    with pytest.raises(ValueError, match=message):
        draw(dataset, **change)


def test_prefetch_yields_what_drawing_yields(dataset):
    """Prefetched batches are those of the steps, in order."""
    drawn = list(prefetch(lambda step: draw(dataset, step=step), range(3, 9), depth=2))
    assert [step for step, _ in drawn] == [3, 4, 5, 6, 7, 8]
    for step, batch in drawn:
        assert_equal(batch, draw(dataset, step=step))


def test_prefetch_keeps_at_most_depth_ahead():
    """No more than `depth` batches are drawn beyond those that were taken."""
    drawn = []
    batches = prefetch(drawn.append, range(100), depth=3)
    for taken in range(1, 10):
        next(batches)
        assert len(drawn) <= taken + 3
    batches.close()


def test_prefetch_raises_an_error_at_its_step():
    """An error in the thread is raised where its batch would have come, after all earlier batches."""
    batches = prefetch(lambda step: 1 // (2 - step), range(5))
    assert [next(batches)[0] for _ in range(2)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(batches)


def test_closing_prefetch_ends_its_thread():
    """A loop that stops early leaves no thread behind."""
    before = set(threading.enumerate())
    batches = prefetch(lambda step: step, range(1000))
    next(batches)
    assert set(threading.enumerate()) > before
    batches.close()
    assert set(threading.enumerate()) == before
