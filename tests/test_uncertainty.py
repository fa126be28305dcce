"""Bayesian surprise and predicted information gain against closed forms and the loss."""

import math

import pytest
import torch
from torch import nn

from gqn_rl.pretrain.objectives.elbo import negative_elbo
from gqn_rl.uncertainty import bayesian_surprise, predicted_information_gain
from gqn_rl.views import Views
from tests.helpers.models import tiny_gqn


@pytest.fixture
def model():
    return tiny_gqn(hidden_channels=8, downsample=4).eval()


def views(batch, num_views, seed=0):
    source = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, num_views, 16, 16, 3), dtype=torch.uint8, generator=source)
    return Views(images, torch.randn(batch, num_views, 7, generator=source))


def set_means(cores, head, mean):
    """Makes a head answer with the same normal, of this mean and standard deviation 1, whatever it sees."""
    for core in cores:
        conv = getattr(core, head).conv
        nn.init.zeros_(conv.weight)
        conv.bias.data = torch.tensor([mean] * 2 + [0.0] * 2)


def test_surprise_and_gain_in_closed_form(model):
    """Posterior N(0.3, 1) and prior N(0, 1) differ by 0.3² / 2 nats in each of L · 2 · 4 · 4 latents."""
    set_means(model.density.inference, "posterior", 0.3)
    set_means(model.density.generation, "prior", 0.0)
    expected = torch.full((3, 2), 2 * 2 * 16 * 0.3**2 / 2)
    r, query = model.encode(views(3, 1)), views(3, 2, seed=1)
    torch.testing.assert_close(bayesian_surprise(model, r, query), expected)
    torch.testing.assert_close(predicted_information_gain(model, r, query.viewpoints, num_samples=3), expected)


def test_a_posterior_that_follows_the_prior_is_never_surprised(model):
    """Where both heads say the same there is nothing to learn, whatever the picture."""
    for cores, head in ((model.density.inference, "posterior"), (model.density.generation, "prior")):
        set_means(cores, head, 0.1)
    assert bayesian_surprise(model, model.encode(views(2, 1)), views(2, 3)).abs().max() < 1e-6


def test_surprise_is_the_kl_of_the_loss(model):
    """Averaged over queries it is the KL that training reports for the same noise."""
    context, query = views(2, 1), views(2, 3, seed=1)
    torch.manual_seed(5)
    _, terms = negative_elbo(model, context, query, sigma=0.7)
    torch.manual_seed(5)
    surprise = bayesian_surprise(model, model.encode(context), query)
    assert surprise.shape == (2, 3)
    assert math.isclose(surprise.mean().item(), terms["kl"].item(), rel_tol=1e-5)


def test_scenes_do_not_mix(model):
    """The surprise of a scene does not depend on which other scenes are asked about beside it (posterior means)."""
    for core in model.density.inference:
        core.posterior.conv.bias.data[2:] = -20.0  # z is its mean
    r, query = model.encode(views(3, 1)), views(3, 2, seed=1)
    together = bayesian_surprise(model, r, query)
    alone = bayesian_surprise(model, r[1:2], Views(query.images[1:2], query.viewpoints[1:2]))
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-4)


def test_no_samples_are_refused(model):
    """An average over nothing has no value."""
    with pytest.raises(ValueError, match="`num_samples` must be at least 1, got 0"):
        predicted_information_gain(model, torch.zeros(1, *model.representation_shape), torch.zeros(1, 1, 7), 0)
