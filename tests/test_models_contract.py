"""What every scene model answers, whatever it is made of: each representation with each density, all of it tiny."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from gqn_rl.checkpoint import load_model, save_model
from gqn_rl.models import DENSITIES, REPRESENTATIONS
from gqn_rl.models.readout import Readout
from gqn_rl.pretrain.objectives.elbo import negative_elbo
from gqn_rl.representation import num_entries
from gqn_rl.scene_encoder import SceneEncoder
from tests.helpers.models import IMAGE_SIZE, random_views, tiny_member

BATCH, CONTEXT = 3, 2
REFUSED = {
    ("code", "global_latent"): "r",
    **{(name, "vae"): "code" for name in ("plan", "pyramid", "tower", "pool", "gated", "points")},
}
"""Pairs that do not go together, with a word of the sentence that says so."""
PAIRS = list(itertools.product(sorted(REPRESENTATIONS), sorted(DENSITIES)))


@pytest.fixture(params=[pair for pair in PAIRS if pair not in REFUSED], ids="-".join)
def model(request):
    """A new one for each test, since an encoder lays out the weights that it is given as it needs them."""
    return tiny_member(*request.param)


@pytest.fixture(scope="module")
def views():
    context, query = random_views(BATCH, CONTEXT), random_views(BATCH, 1, seed=1)
    return context, query


@pytest.mark.parametrize("pair", sorted(REFUSED), ids="-".join)
def test_pairs_that_do_not_go_together_are_refused(pair):
    """In a sentence, when the model is built."""
    with pytest.raises(ValueError, match=REFUSED[pair]):
        tiny_member(*pair)


def test_bounds_are_one_number_a_scene(model, views):
    """Finite; the KL is at least 0."""
    bound = model.bound(*views, sigma=0.7)
    for value in bound:
        assert value.shape == (BATCH,) and value.isfinite().all()
    assert (bound.kl >= -1e-4).all()


def test_samples_are_pictures_of_the_queries(model, views):
    """And so is the mean, which no seed moves."""
    context, query = views
    if not model.predicts_views:
        context = query  # it redraws what it was shown
    sample, mean, again = (model.predict(context, query.viewpoints, sample=s) for s in (True, False, False))
    assert sample.shape == mean.shape == (BATCH, 1, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert sample.isfinite().all() and torch.equal(mean, again)


def test_a_saved_model_answers_the_same(model, views, tmp_path):
    """Every bit of r and of a picture, and its settings."""
    context, query = views
    context = context if model.predicts_views else query
    save_model(tmp_path / "model.safetensors", model, {"step": 0})
    loaded, _ = load_model(tmp_path / "model.safetensors")
    assert loaded.config == model.config
    with torch.inference_mode():
        model.eval()
        assert torch.equal(loaded.encode(context), model.encode(context))
        pictures = [one.predict(context, query.viewpoints, sample=False) for one in (loaded, model)]
    assert torch.equal(*pictures)


def test_features_are_read_in_every_frame_that_it_knows(model, views):
    """One row a scene, finite, as many as the encoder says; sums of views are read as r is where r is a sum."""
    context, _ = views
    readout = Readout(model.geometry)
    with torch.inference_mode():
        r = model.eval().encode(context)
        for frame in readout.frames:
            features = readout(r, context.viewpoints[:, 0], frame)
            assert len(features) == BATCH and features.isfinite().all()
    encoder = SceneEncoder(model, {})
    psi = encoder.encode_views(*(np.concatenate(part.numpy()) for part in context))
    assert psi.shape == (BATCH * CONTEXT, *model.representation_shape)
    assert num_entries(encoder) == readout(r, context.viewpoints[:, 0]).flatten(1).shape[1]


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair not in REFUSED], ids="-".join)
def test_one_step_of_the_optimiser_lowers_the_objective(pair, views):
    """Of the same batch with the same noise; every gradient is finite."""
    model = tiny_member(*pair).train()
    context, query = views
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-7)
    losses = []
    for _ in range(2):
        torch.manual_seed(5)
        loss, _ = negative_elbo(model, context, query, sigma=0.7)
        losses.append(loss.sum().item())
        optimizer.zero_grad()
        loss.sum().backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert gradients and all(gradient.isfinite().all() for gradient in gradients)
        optimizer.step()
    assert losses[1] < losses[0]
