"""Neural processes: sets without order, one network on two sets, certainty that grows, and a bound that is one."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
import torch
from torch import distributions, nn

from gqn_rl.models.layers import gaussian_kl
from gqn_rl.models.neural_process import KINDS, PointSet, build_neural_process
from tests.commands import ROOT

SIZES = {"hidden": 16, "layers": 1, "heads": 4}


@pytest.fixture(name="example", scope="module")
def example_fixture():
    """The example that trains and judges, as a module."""
    spec = importlib.util.spec_from_file_location("neural_processes", ROOT / "examples/neural_processes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model(kind, **changes):
    torch.manual_seed(0)
    return build_neural_process(kind, **(SIZES | changes))


def points(batch, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, count, 1, generator=generator) * 4 - 2
    return PointSet(x, torch.sin(3 * x) + 0.1 * torch.randn(x.shape, generator=generator))


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_points_and_other_functions_do_not_matter(kind):
    """Predictions are the same for context points in another order, and whatever the batch's other functions are."""
    process, context, target = model(kind), points(3, 7), points(3, 5, seed=1)
    z = torch.zeros(3, 16) if KINDS[kind]["latent"] else None
    mean = process.predict(context, target.x, z).mean
    order = torch.randperm(7)
    turned = PointSet(*(part[:, order] for part in context))
    torch.testing.assert_close(process.predict(turned, target.x, z).mean, mean)
    other = PointSet(*(torch.cat([part[:1], part[1:] + 1]) for part in context))
    torch.testing.assert_close(process.predict(other, target.x, z).mean[0], mean[0])
    if KINDS[kind]["latent"]:
        torch.testing.assert_close(process.distribution(turned).mean, process.distribution(context).mean)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_of_one_target_does_not_depend_on_the_others(kind):
    """With the same z, targets asked about together or alone have the same distribution: marginal consistency."""
    process, context, target = model(kind), points(2, 4), points(2, 6, seed=1)
    z = torch.randn(2, 16) if KINDS[kind]["latent"] else None
    together = process.predict(context, target.x, z)
    alone = process.predict(context, target.x[:, 3:4], z)
    torch.testing.assert_close(alone.mean, together.mean[:, 3:4])
    torch.testing.assert_close(alone.stddev, together.stddev[:, 3:4])


@pytest.mark.parametrize("kind", ["np", "anp"])
def test_prior_and_posterior_are_one_network_on_two_sets(kind):
    """The KL of targets that the context holds already is 0, of others it is not; it is in the loss by the point."""
    process, context, target = model(kind), points(3, 6), points(3, 4, seed=1)
    doubled = context.joined(context)
    kl = gaussian_kl(process.distribution(doubled), process.distribution(context))
    torch.testing.assert_close(kl, torch.zeros(3), atol=1e-5, rtol=0)
    posterior, prior = process.distribution(context.joined(target)), process.distribution(context)
    kl = gaussian_kl(posterior, prior)
    assert (kl > 1e-6).all()
    torch.manual_seed(1)
    loss = process.loss(context, target)
    torch.manual_seed(1)
    likelihood = process.predict(context, target.x, posterior.sample()).log_prob(target.y).mean()
    torch.testing.assert_close(loss, kl.mean() / 4 - likelihood)


def test_the_likelihood_is_averaged_inside_the_logarithm():
    """By hand: a decoder whose mean is z gives log of the mean of products of densities, for the same latents."""
    process, context, target = model("np"), points(2, 3), points(2, 4, seed=1)
    torch.manual_seed(3)
    found = process.log_likelihood(context, target, num_samples=5)
    torch.manual_seed(3)
    prior = process.distribution(context)
    products = [process.predict(context, target.x, prior.sample()).log_prob(target.y).sum((1, 2)).exp()
                for _ in range(5)]  # fmt: skip
    torch.testing.assert_close(found, torch.stack(products).mean(0).log() / 4)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_known_is_a_context_too(kind):
    """Without context points predictions are finite, and so is the loss; a gradient reaches every weight with them."""
    process, nothing, target = model(kind), PointSet(torch.zeros(2, 0, 1), torch.zeros(2, 0, 1)), points(2, 4)
    assert process.loss(nothing, target).isfinite() and process.log_likelihood(nothing, target).isfinite().all()
    process.loss(points(2, 3), target).backward()
    assert [name for name, weight in process.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_attention_is_a_weighted_mean_of_one_functions_own_context():
    """With keys that are the places and sharp weights, a target at a context point sees that point's value alone."""
    process = model("anp", heads=1)
    attention = process.attention
    attention.places = nn.Sequential(nn.Linear(1, 16, bias=False))
    with torch.no_grad():
        attention.places[0].weight.copy_(torch.linspace(-40, 40, 16)[:, None])
    x = torch.tensor([[[-1.0], [0.3], [1.5]], [[1.0], [1.0], [1.0]]])
    known = torch.randn(2, 3, 16)
    seen = attention(x[:1, 2:], x[:1], known[:1])
    torch.testing.assert_close(seen, attention.out(attention.value(known[:1, 2:])), atol=1e-4, rtol=1e-4)
    flat = attention(x[1:], x[1:], known[1:])  # equal places: equal weights
    expected = attention.out(attention.value(known[1:]).mean(1, keepdim=True)).expand(-1, 3, -1)
    torch.testing.assert_close(flat, expected, atol=1e-5, rtol=1e-4)


def test_impossible_settings_are_refused():
    """By name."""
    with pytest.raises(ValueError, match="`kind` must be one of cnp, np, anp, got 'gp'"):
        build_neural_process("gp")
    with pytest.raises(ValueError, match="`hidden` a multiple of `heads`"):
        build_neural_process("anp", hidden=10, heads=4)
    with pytest.raises(ValueError, match="has no latent"):
        model("cnp").distribution(points(1, 2))


def test_functions_are_those_of_the_process_that_judges_them(example):
    """Their covariance is the kernel's, and scikit-learn's process gives the likelihood of the kernel's own formula."""
    context, target = example.draw_functions(np.random.default_rng(0), 60000, 2, 1)
    x, y = torch.cat([context.x, target.x], 1)[..., 0], torch.cat([context.y, target.y], 1)[..., 0]
    near = (x[:, 0] - x[:, 1]).abs() < 0.1
    assert y.var().item() == pytest.approx(1 + example.NOISE_STD**2, rel=0.05)
    assert (y[near, 0] * y[near, 1]).mean().item() == pytest.approx(1.0, abs=0.1)
    found = example._exact_one(*(part[0].numpy() for part in (*context, *target)))
    xs, ys = np.r_[context.x[0, :, 0], target.x[0, :, 0]], np.r_[context.y[0, :, 0], target.y[0, :, 0]]
    kernel = np.exp(-0.5 * (xs[:, None] - xs) ** 2 / example.LENGTH**2) + example.NOISE_STD**2 * np.eye(3)
    weights = np.linalg.solve(kernel[:2, :2], kernel[:2, 2])
    std = math.sqrt(kernel[2, 2] - weights @ kernel[:2, 2])
    expected = distributions.Normal(float(weights @ ys[:2]), std).log_prob(torch.tensor(ys[2])).item()
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow  # trains for some seconds
def test_a_short_training_learns_from_context(example, tmp_path):
    """After 1 500 steps an attentive one is likelier and surer with 20 points than with 1, and below the exact one."""
    process, _ = example.train("anp", example.draw_functions, 1500, tmp_path, 1)
    again, _ = example.train("anp", example.draw_functions, 1500, tmp_path, 1)
    torch.testing.assert_close(list(again.parameters()), list(process.parameters()))
    rows = {row["context"]: row for row in example.judge({"anp": (process, 0.0)}, "gp", example.draw_functions, 1500)}
    assert rows[20]["log_likelihood"] > rows[1]["log_likelihood"] + 0.3
    assert rows[20]["std"] < 0.8 * rows[1]["std"]
    assert all(row["gap"] > 0 for row in rows.values())
