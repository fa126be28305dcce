"""The density with one latent a scene: consistency of what is sampled, what prior and posterior know, closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions, nn

from gqn_rl.checkpoint import load_model, save_model
from gqn_rl.models import SceneFacts, SceneModelConfig, build_model
from gqn_rl.pretrain.objectives.elbo import negative_elbo
from gqn_rl.uncertainty import bayesian_surprise, predicted_information_gain
from gqn_rl.views import Views, prepare_images

SIZES = {
    "kind": "global_latent", "num_steps": 2, "latent_size": 3, "hidden_size": 12, "render_steps": 2,
    "hidden_channels": 8, "canvas_channels": 4, "downsample": 4,
}  # fmt: skip
NEURAL_PROCESS = SIZES | {"num_steps": 1, "shared_network": True}
POINTS = {"kind": "points", "r_channels": 18, "num_points": 3, "channels": 8, "downsample": 4}
PLAN = {"kind": "plan", "r_channels": 4, "plan_size": 8, "channels": 8, "downsample": 4}
REPRESENTATIONS = {
    name: {"kind": name, "r_channels": 8} for name in ("gated", "pool", "pyramid", "tower")
} | {"points": POINTS, "plan": PLAN}  # fmt: skip


def member(density=SIZES, representation=REPRESENTATIONS["gated"], **facts):
    torch.manual_seed(0)
    config = SceneModelConfig.from_json(
        {"representation": representation, "density": density, "scene": {"image_size": 16}}
    )
    scene = SceneFacts(16, 7, 50.0, (0.8, 3.0), (2.0, 1.0))
    return build_model(SceneModelConfig(scene, config.representation, config.density))


def views(batch, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, count, 16, 16, 3), dtype=torch.uint8, generator=generator)
    angles = torch.rand(batch, count, 2, generator=generator) * 2 - 1
    place = torch.randn(batch, count, 3, generator=generator)
    return Views(images, torch.cat([place, angles[..., :1].sin(), angles[..., :1].cos(), angles[..., 1:].sin(),
                                    angles[..., 1:].cos()], dim=-1))  # fmt: skip


def noise_for(model, batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(model.density.num_steps, batch, model.config.density.latent_size, generator=generator)


@pytest.mark.parametrize("density", [SIZES, NEURAL_PROCESS, SIZES | {"initial_state": "cells"}])
@pytest.mark.parametrize("representation", sorted(REPRESENTATIONS))
def test_marginal_consistency(density, representation):
    """With the same z noise, what is sampled at v₁ is the same to 1e-5 whether or not v₂ and v₃ are asked as well."""
    model = member(density, REPRESENTATIONS[representation])
    context, query = views(3, 2), views(3, 3, seed=1)
    noise = noise_for(model, 3)
    with torch.inference_mode():
        r = model.encode(context)
        together = model.draw(r, query.viewpoints, noise=noise)
        for which in ([0], [2], [2, 0]):
            torch.testing.assert_close(
                model.draw(r, query.viewpoints[:, which], noise=noise), together[:, which], atol=1e-5, rtol=0
            )
        other = model.draw(r, query.viewpoints, noise=noise_for(model, 3, seed=1))
    assert not torch.allclose(other, together, atol=1e-4), "the latents must matter"


def test_a_density_with_latents_of_each_picture_is_not_consistent():
    """The same check fails for GQN with independent noise: its two samples of one viewpoint differ."""
    sizes = {"kind": "draw", "num_steps": 2, "hidden_channels": 8, "canvas_channels": 4, "kernel_size": 3}
    model, context = member(sizes), views(2, 1)
    query = views(2, 1, seed=1)
    same_twice = query.viewpoints.repeat(1, 2, 1)
    drawn = model.draw(model.encode(context), same_twice)
    assert not torch.allclose(drawn[:, 0], drawn[:, 1])
    consistent = member().draw(member().encode(context), same_twice)
    assert torch.allclose(consistent[:, 0], consistent[:, 1], atol=1e-6)


def test_the_prior_knows_no_viewpoint_and_the_posterior_every_query():
    """Codes from the prior stay whatever is asked; the KL moves with the picture and viewpoint of each query."""
    model, context, query = member(), views(2, 2), views(2, 3, seed=1)
    r, x, noise = model.encode(context), prepare_images(query.images), noise_for(model, 2)
    c = model.condition(r, query.viewpoints)
    elsewhere = model.condition(r, query.viewpoints.flip(0) + 1)
    assert torch.equal(model.density.generate(c, noise=noise), model.density.generate(elsewhere, noise=noise))
    kl = model.density.kl(c, x, noise=noise)
    assert kl.shape == (2, 1)
    for number in range(3):
        changed = x.clone()
        changed[:, number] = 1 - changed[:, number]
        assert not torch.isclose(model.density.kl(c, changed, noise=noise), kl).any()
        moved = query.viewpoints.clone()
        moved[:, number, 0] += 1
        assert not torch.isclose(model.density.kl(model.condition(r, moved), x, noise=noise), kl).any()
    assert not torch.isclose(model.density.kl(c._replace(scene=r + 1), x, noise=noise), kl).any(), "and the context"


@pytest.mark.parametrize("density", [SIZES, NEURAL_PROCESS])
def test_order_of_queries_and_other_scenes_do_not_matter(density):
    """Bounds are the same for queries in another order, and a scene's do not change with the other scenes."""
    model, context, query, noise = member(density), views(2, 2), views(2, 3, seed=1), noise_for(member(density), 2)
    turned = Views(*(part[:, [2, 0, 1]] for part in query))
    one, two = (model.bound(context, q, sigma=0.7, noise=noise) for q in (query, turned))
    torch.testing.assert_close(one.kl, two.kl, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.nll, two.nll)
    other = Views(*(torch.cat([part[:1], part[1:].flip(1)]) for part in context))
    assert torch.equal(model.bound(other, query, sigma=0.7, noise=noise).nll[0], one.nll[0])


def test_kl_in_closed_form_is_paid_once_for_all_queries():
    """Constant heads: L · D · KL(N(m, s²) ‖ N(p, t²)), whether one query is asked or three."""
    model, context = member(), views(2, 2)
    for head, mean, std in ((model.density.posterior_head, 0.7, 0.4), (model.density.prior_head, -0.2, 1.5)):
        nn.init.zeros_(head.weight)
        head.bias.data = torch.tensor([mean] * 3 + [math.log(std)] * 3)
    each = distributions.kl_divergence(distributions.Normal(0.7, 0.4), distributions.Normal(-0.2, 1.5)).item()
    for count in (1, 3):
        bound = model.bound(context, views(2, count, seed=1), sigma=0.7)
        torch.testing.assert_close(bound.kl, torch.full((2,), 2 * 3 * each), rtol=1e-5, atol=0)


def test_a_neural_process_has_one_network_on_two_sets():
    """The posterior is the prior of context and queries together: told the queries beforehand, it has a KL of 0."""
    model, context, query = member(NEURAL_PROCESS), views(2, 2), views(2, 2, seed=1)
    both = Views(*(torch.cat(parts, dim=1) for parts in zip(context, query, strict=True)))
    c = model.condition(model.encode(context), query.viewpoints)
    everything = model.condition(model.encode(both), query.viewpoints)
    density, noise = model.density, noise_for(model, 2)
    x = prepare_images(query.images)
    torch.testing.assert_close(density.infer(c, x, noise).code, _code_with(density, c, everything, noise))
    assert not hasattr(density, "posterior_head") and not hasattr(density, "inference")
    with pytest.raises(ValueError, match="`num_steps` must be 1 where prior and posterior are one network"):
        member(NEURAL_PROCESS | {"num_steps": 2})


def _code_with(density, c, everything, noise):
    """Returns the code of latents drawn from the prior of `everything`, drawn out of the scene of `c`."""
    f = density.features(c.scene)
    mean, log_std = density.prior_head(torch.tanh(density.features(everything.scene))).chunk(2, dim=1)
    z = mean + log_std.exp() * noise[0]
    return density.generation(torch.cat([f, z], dim=1), torch.tanh(f), torch.zeros_like(f))[0]


@pytest.mark.parametrize("density", [SIZES, NEURAL_PROCESS, SIZES | {"initial_state": "cells"}])
@pytest.mark.parametrize("representation", sorted(REPRESENTATIONS))
def test_every_pair_learns_from_every_weight(density, representation):
    """The negative bound is finite and a gradient reaches every parameter; without latents it trains too."""
    model = member(density, REPRESENTATIONS[representation])
    context, query = views(2, 2), views(2, 2, seed=1)
    loss, _ = negative_elbo(model, context, query, sigma=1.0)
    loss.backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert loss.isfinite() and idle == []
    assert negative_elbo(model, context, query, sigma=1.0, latents=False)[1]["kl"] == 0
    assert model.reconstruct(context, query).shape == (2, 2, 3, 16, 16)


def test_posterior_weights_are_the_representations_own(tmp_path):
    """They are saved once, and a model that is loaded gives the same bound."""
    model, context, query, noise = member(), views(2, 2), views(2, 2, seed=1), noise_for(member(), 2)
    assert not [name for name in model.state_dict() if name.startswith("density.") and "trunk" in name]
    save_model(tmp_path / "model.safetensors", model, {"step": 1})
    loaded, _ = load_model(tmp_path / "model.safetensors")
    first, second = (m.bound(context, query, sigma=0.7, noise=noise) for m in (model.eval(), loaded.eval()))
    torch.testing.assert_close(first.kl, second.kl)


def test_gain_and_surprise_are_of_each_look_alone():
    """Asked about several looks at once, each has what it has when it is asked about alone."""
    model, context, query = member(), views(2, 2), views(2, 3, seed=1)
    r = model.encode(context)

    def alone(number):
        return Views(*(part[:, number : number + 1] for part in query))

    for head in (model.density.posterior_head, model.density.prior_head):
        head.bias.data[3:] = -20.0  # hardly any noise
    surprise = bayesian_surprise(model, r, query)
    assert surprise.shape == predicted_information_gain(model, r, query.viewpoints, 2).shape == (2, 3)
    for number in range(3):
        torch.testing.assert_close(surprise[:, number], bayesian_surprise(model, r, alone(number))[:, 0], rtol=1e-3,
                                   atol=1e-3)  # fmt: skip


def test_pairs_that_do_not_fit_are_refused():
    """An auto-encoder's code knows no other views."""
    with pytest.raises(ValueError, match="`density` 'global_latent' needs a `representation` that knows other views"):
        member(SIZES, {"kind": "code"})
