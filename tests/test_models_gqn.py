"""GQN against closed forms, and every mistake that public implementations are known for."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import distributions, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gqn_rl.models import SceneFacts
from gqn_rl.models import build_model as build_nested
from gqn_rl.models.densities.states import RayState
from gqn_rl.models.likelihood import gaussian_nll
from gqn_rl.models.representations.plain import NETWORKS, Pyramid, Tower
from gqn_rl.pretrain.objectives.elbo import negative_elbo
from gqn_rl.views import CameraPose, Views
from tests.flat_settings import generate, infer
from tests.helpers.models import tiny_gqn

SMALL = {
    "image_size": 32,
    "r_channels": 16,
    "num_steps": 3,
    "hidden_channels": 16,
    "latent_channels": 3,
    "canvas_channels": 8,
}


def small_model(**changes):
    return tiny_gqn(**(SMALL | changes))


def random_views(batch: int, num_views: int, image_size: int = 32, viewpoint_size: int = 7, seed: int = 0) -> Views:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, num_views, image_size, image_size, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Views(images, torch.randn(batch, num_views, viewpoint_size, generator=generator))


def noise_for(model, num_queries: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(model.density.num_steps, num_queries, *model.density.latent_shape, generator=generator)


def make_heads_constant(model, posterior: tuple[float, float], prior: tuple[float, float]) -> None:
    """Makes every posterior and prior of `model` the same normal (mean, log_std) whatever it sees."""
    for cores, head, (mean, log_std) in (
        (model.density.inference, "posterior", posterior),
        (model.density.generation, "prior", prior),
    ):
        for core in cores:
            conv = getattr(core, head).conv
            nn.init.zeros_(conv.weight)
            latent = model.density.latent_shape[0]
            conv.bias.data = torch.tensor([mean] * latent + [log_std] * latent)


def test_loss_in_closed_form():
    """A canvas that stays grey and constant heads: NLL and KL are sums that one can write down, in nats per picture."""
    model = small_model()
    nn.init.zeros_(model.density.canvas.eta.weight)
    nn.init.constant_(model.density.canvas.eta.bias, 0.5)
    make_heads_constant(model, posterior=(1.0, math.log(0.5)), prior=(0.0, 0.0))
    context, query = random_views(2, 2), random_views(2, 1, seed=1)
    loss, terms = negative_elbo(model, context, query, sigma=0.7)

    pixels = query.images.float() / 255
    log_likelihood = distributions.Normal(0.5, 0.7).log_prob(pixels).sum() / 2
    num_latents = 3 * math.prod(model.density.latent_shape)
    kl = num_latents * (math.log(1 / 0.5) + (0.25 + 1.0) / 2 - 0.5)
    torch.testing.assert_close(terms["nll"], -log_likelihood, rtol=1e-5, atol=0)
    assert terms["kl"].item() == pytest.approx(kl, rel=1e-5)
    assert loss.item() == pytest.approx(-log_likelihood.item() + kl, rel=1e-5)


def plain_loss(model, context: Views, query: Views, noise: torch.Tensor, sigma: float = 0.7) -> torch.Tensor:
    """Returns the negative ELBO as the paper writes it: every input mapped, repeated and convolved anew at a step."""
    steps, side, d = model.density.num_steps, model.density.latent_shape[1], model.config.density.downsample
    r = sum(
        model.representation(pixels(context)[:, k], context.viewpoints[:, k]) for k in range(context.images.shape[1])
    )
    x, v = pixels(query)[:, 0], query.viewpoints[:, 0, :, None, None].expand(-1, -1, side, side)
    r = r if r.ndim == 4 else r[:, :, None, None].expand(-1, -1, side, side)
    canvas = model.density.canvas
    delta = canvas.delta.permute(2, 0, 1).unflatten(2, (d, d))  # [hidden, channels, d, d]
    h_g, c_g, h_e, c_e = torch.zeros(4, len(x), *model.density.hidden_shape)
    u, kl = torch.zeros(len(x), model.config.density.canvas_channels, *x.shape[2:]), torch.zeros(())
    for step in range(steps):
        core, eye = (cores[step % len(cores)] for cores in (model.density.generation, model.density.inference))
        prior, pad = core.prior.conv(h_g).chunk(2, dim=1), core.lstm.hidden_to_gates.padding
        seen = nn.functional.conv2d(u, eye.canvas_to_map.unflatten(2, (d, d)), stride=d)
        inputs = torch.cat([r, v, eye.image_to_map(x), h_g, seen, h_e], dim=1)
        weights = [eye.condition.from_r, eye.condition.from_viewpoint, eye.image_to_gates, eye.state_to_gates, eye.lstm]
        h_e, c_e = lstm(inputs, weights, c_e, pad)
        posterior = eye.posterior.conv(h_e).chunk(2, dim=1)
        q, p = (distributions.Normal(mean, log_std.exp()) for mean, log_std in (posterior, prior))
        z = q.mean + q.stddev * noise[step]
        kl = kl + distributions.kl_divergence(q, p).sum() / len(x)
        weights = [core.condition.from_r, core.condition.from_viewpoint, core.latent_to_gates, core.lstm]
        h_g, c_g = lstm(torch.cat([r, v, z, h_g], dim=1), weights, c_g, pad)
        u = u + nn.functional.conv_transpose2d(h_g, delta, stride=d)
    return kl - distributions.Normal(canvas.eta(u), sigma).log_prob(x).sum() / len(x)


def lstm(inputs: torch.Tensor, layers: list, cell: torch.Tensor, pad: tuple) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns h and c after one step on all inputs side by side, with the weights of `layers` side by side."""
    layers = [getattr(layer, "hidden_to_gates", getattr(layer, "conv", layer)) for layer in layers]
    weight = torch.cat([layer.weight for layer in layers], dim=1)
    gates = nn.functional.conv2d(inputs, weight, layers[-1].bias, padding=pad)
    forget, admit, emit, candidate = gates.chunk(4, dim=1)
    cell = forget.sigmoid() * cell + admit.sigmoid() * candidate.tanh()
    return emit.sigmoid() * cell.tanh(), cell


def pixels(views: Views) -> torch.Tensor:
    return views.images.movedim(-1, -3) / 255


def gradients(model, loss: torch.Tensor) -> list[torch.Tensor]:
    return torch.autograd.grad(loss, list(model.parameters()))


@pytest.mark.parametrize(
    ("encoder", "shared", "hidden"),
    [("tower", True, 64), ("tower", False, 64), ("tower", False, 16), ("pyramid", True, 16)],
)
def test_loss_and_gradients_are_those_of_the_plain_equations(encoder, shared, hidden):
    """Whatever is hoisted, folded or shared, loss and gradients are those of the unhoisted model, to 1e-5 and 1e-4."""
    model = small_model(encoder=encoder, shared_cores=shared, hidden_channels=hidden, kernel_size=5)
    context, query, noise = random_views(2, 3), random_views(2, 1, seed=1), noise_for(model, 2)
    loss, _ = negative_elbo(model, context, query, sigma=0.7, noise=noise)
    plain = plain_loss(model, context, query, noise)
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=0)
    for ours, theirs in zip(gradients(model, loss), gradients(model, plain), strict=True):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


class Convolutions(TorchDispatchMode):
    """Collects strides of all maps that are convolved, of more than one channel and cell."""

    def __init__(self):
        super().__init__()
        self.maps = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution.default and min(args[0].shape[1:]) > 1:
            self.maps.append((tuple(args[0].shape), args[0].stride()))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("scenes", "queries"), [(1, 1), (1, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("encoder", ["tower", "gated", "points"])
def test_channels_stay_last_in_memory_through_all_steps(encoder, scenes, queries):
    """Every convolution gets maps with channels last, of a single picture too: nothing is copied to another order."""
    model = small_model(encoder=encoder, r_channels=200, fovy_deg=50.0, ray_depths_m=[0.8, 3.0])
    model.to(memory_format=torch.channels_last)
    context, query = random_views(scenes, 2), random_views(scenes, queries, seed=1)
    with torch.no_grad(), Convolutions() as seen:
        model.bound(context, query, sigma=0.7)
        model.predict(context, query.viewpoints)
    for (_, channels, height, width), strides in seen.maps:
        vector = strides[2:] == (0, 0)  # a vector as a map, without a copy
        assert vector or strides == (channels * height * width, 1, channels * width, channels)
    assert len(seen.maps) > 6 * model.density.num_steps


@pytest.mark.parametrize(("shared", "steps"), list(itertools.product((True, False), (1, 2))))
def test_recomputing_steps_changes_neither_loss_nor_gradients(shared, steps):
    """Forgetting activations and computing them again gives the same numbers, with noise that is drawn inside too."""
    model, context, query = small_model(shared_cores=shared), random_views(2, 2), random_views(2, 2, seed=1)
    found = []
    for model.density.recompute_steps in (0, steps):
        torch.manual_seed(1)
        loss, _ = negative_elbo(model, context, query, sigma=0.7)
        found.append([loss, *gradients(model, loss)])
    for kept, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(kept, recomputed, rtol=1e-5, atol=1e-5)


def test_a_perfect_64_pixel_picture_at_sigma_0_7_costs_6909_nats():
    """The floor that the raw loss never falls below: 12 288 values of log σ + ½ log 2π."""
    assert gaussian_nll(torch.zeros(()), 64 * 64 * 3, 0.7).item() == pytest.approx(6909.1, abs=0.1)


def test_kl_is_not_the_loss_in_disguise():
    """Loss = nll + kl_weight · kl, with a KL of its own."""
    model, context, query = small_model(), random_views(2, 2), random_views(2, 1, seed=1)
    noise = noise_for(model, 2)
    loss, terms = negative_elbo(model, context, query, sigma=1.0, noise=noise)
    doubled, _ = negative_elbo(model, context, query, sigma=1.0, kl_weight=2.0, noise=noise)
    torch.testing.assert_close(doubled - loss, terms["kl"])
    torch.testing.assert_close(loss, terms["nll"] + terms["kl"])


def test_prior_and_posterior_of_a_step_come_before_its_latent():
    """With one step, KL(q ‖ π) cannot depend on the z that is drawn after both."""
    model = small_model(num_steps=1, initial_state="rays")
    r, query = model.encode(random_views(2, 2)), random_views(2, 1, seed=1)
    kls = [infer(model, r, query, noise_for(model, 2, seed)).kl for seed in (0, 1)]
    assert torch.equal(*kls)


def test_posterior_has_seen_the_picture_in_the_first_step():
    """With one step, another picture gives another KL: the posterior is read from the updated h^e."""
    model = small_model(num_steps=1)
    r, query = model.encode(random_views(2, 2)), random_views(2, 1, seed=1)
    noise = noise_for(model, 2)
    other = Views(255 - query.images, query.viewpoints)
    assert not torch.allclose(infer(model, r, query, noise).kl, infer(model, r, other, noise).kl)


def test_training_and_generation_draw_alike_when_posterior_and_prior_agree():
    """Where q = π at every step, both passes are the same function of the noise: no step of one misses in the other."""
    model = small_model()
    make_heads_constant(model, posterior=(0.2, -0.3), prior=(0.2, -0.3))
    r, query, noise = model.encode(random_views(2, 2)), random_views(2, 2, seed=1), noise_for(model, 4)
    trained = infer(model, r, query, noise)
    torch.testing.assert_close(trained.mean, generate(model, r, query.viewpoints, noise=noise))
    assert trained.kl.tolist() == [0.0] * 4


def test_the_picture_reaches_the_drawing_only_through_the_posterior():
    """With constant heads another query picture changes nothing: no leak from x past z."""
    model = small_model()
    make_heads_constant(model, posterior=(0.0, 0.0), prior=(0.0, 0.0))
    r, query, noise = model.encode(random_views(2, 2)), random_views(2, 1, seed=1), noise_for(model, 2)
    other = Views(255 - query.images, query.viewpoints)
    assert torch.equal(infer(model, r, query, noise).mean, infer(model, r, other, noise).mean)


@pytest.mark.parametrize("encoder", sorted(NETWORKS))
def test_r_is_the_sum_over_views_in_any_order(encoder):
    """R of three views is the sum of each one's, and does not depend on their order."""
    model, views = small_model(encoder=encoder), random_views(2, 3)
    r = model.encode(views)
    alone = [model.encode(Views(views.images[:, k : k + 1], views.viewpoints[:, k : k + 1])) for k in range(3)]
    torch.testing.assert_close(r, sum(alone), atol=1e-5, rtol=1e-4)
    turned = model.encode(Views(views.images.flip(1), views.viewpoints.flip(1)))
    torch.testing.assert_close(r, turned, atol=1e-5, rtol=1e-4)
    assert r.shape == (2, *model.representation_shape)


def test_viewpoints_stay_with_their_pictures():
    """Swapping the viewpoints of two views while their pictures stay gives another r."""
    model, views = small_model(encoder="gated"), random_views(1, 2)
    swapped = Views(views.images, views.viewpoints.flip(1))
    assert not torch.allclose(model.encode(views), model.encode(swapped), atol=1e-3)


@pytest.mark.parametrize("encoder", sorted(NETWORKS))
def test_scenes_of_a_batch_do_not_mix(encoder):
    """Changing scene 1 leaves scene 0's prediction and KL bit-identical."""
    model = small_model(encoder=encoder)
    noise = noise_for(model, 4)
    drawings = []
    for seed in (5, 6):
        context, query = random_views(2, 2), random_views(2, 2, seed=1)
        context.images[1] = random_views(1, 2, seed=seed).images[0]
        query.images[1] = random_views(1, 2, seed=seed).images[0]
        drawings.append(infer(model, model.encode(context), query, noise))
    assert torch.equal(drawings[0].mean[:2], drawings[1].mean[:2])
    assert torch.equal(drawings[0].kl[:2], drawings[1].kl[:2])
    assert not torch.equal(drawings[0].kl[2:], drawings[1].kl[2:])


def test_queries_of_a_scene_share_its_r():
    """Two queries at once are predicted as each of them alone."""
    model, context, query = small_model(), random_views(2, 2), random_views(2, 2, seed=1)
    together = model.predict(context, query.viewpoints, sample=False)
    alone = [model.predict(context, query.viewpoints[:, q : q + 1], sample=False) for q in range(2)]
    torch.testing.assert_close(together, torch.cat(alone, dim=1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("encoder", "shared"), list(itertools.product(sorted(NETWORKS), (True, False))))
def test_gradient_reaches_every_parameter(encoder, shared):
    """After one backward pass every gradient is finite and none is zero, but for what reads the first step's zeros."""
    model = small_model(encoder=encoder, shared_cores=shared, initial_state="rays")
    loss, _ = negative_elbo(model, random_views(2, 2), random_views(2, 2, seed=1), sigma=0.7)
    loss.backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    reads_zeros = ["density.inference.0.canvas_to_map", "density.inference.0.lstm.hidden_to_gates.weight"]
    assert idle == ([] if shared else reads_zeros)
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_shared_cores_are_one_and_unshared_are_many():
    """L steps with shared cores hold one core's weights, unshared ones L times as many."""
    counts = {shared: len(small_model(shared_cores=shared).density.generation) for shared in (True, False)}
    assert counts == {True: 1, False: 3}


@pytest.mark.parametrize("word", ["False", "false", 0, 1])
def test_shared_cores_must_be_a_boolean(word):
    """The string "False" would count as true; it is refused rather than misread."""
    with pytest.raises(ValueError, match="`shared_cores` must be true or false"):
        small_model(shared_cores=word)


@pytest.mark.parametrize(("encoder", "size"), list(itertools.product(sorted(NETWORKS), (16, 48, 64))))
def test_every_size_trains_predicts_and_reconstructs(encoder, size):
    """Any multiple of 16 works, in training and from the prior, with pictures of the size that went in."""
    model = small_model(encoder=encoder, image_size=size, downsample=8, initial_state="rays")
    context, query = random_views(1, 2, size), random_views(1, 3, size, seed=1)
    loss, _ = negative_elbo(model, context, query, sigma=1.0)
    assert loss.isfinite()
    for pictures in (model.predict(context, query.viewpoints), model.reconstruct(context, query)):
        assert pictures.shape == (1, 3, 3, size, size)
        assert pictures.dtype == torch.float32


@pytest.mark.parametrize("encoder", sorted(NETWORKS))
def test_any_viewpoint_width_works(encoder):
    """Five-entry viewpoints train and predict like seven-entry ones."""
    model = small_model(encoder=encoder, viewpoint_size=5)
    context, query = random_views(1, 2, viewpoint_size=5), random_views(1, 1, viewpoint_size=5)
    assert negative_elbo(model, context, query, sigma=1.0)[0].isfinite()
    assert model.predict(context, query.viewpoints).isfinite().all()


def test_warm_up_uses_the_prior_means_without_kl():
    """Without latents the loss is the NLL of the picture drawn from the prior's means."""
    model, context, query = small_model(), random_views(2, 1), random_views(2, 1, seed=1)
    loss, terms = negative_elbo(model, context, query, sigma=0.7, latents=False)
    drawn = model.predict(context, query.viewpoints, sample=False)
    mse = (drawn - query.images.movedim(-1, 2) / 255).square().mean()
    torch.testing.assert_close(terms["mse"], mse)
    assert terms["kl"].item() == 0.0
    torch.testing.assert_close(loss, gaussian_nll(mse, 32 * 32 * 3, 0.7))


@pytest.mark.parametrize(("network", "millions"), [(Pyramid, 2.14), (Tower, 1.96)])
def test_published_networks_have_the_reported_number_of_parameters(network, millions):
    """Pyramid 2.14 M and Tower 1.96 M parameters at 64×64 with 7-entry viewpoints."""
    assert sum(p.numel() for p in network(64, 7).parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_rays_leave_the_camera_as_the_renderer_has_them():
    """Central rays follow the line of sight, the upper left one leans left and up, and points lie at their depths."""
    state = RayState((4,), (8, 8, 8), SceneFacts(64, 7, 45.0, (0.5, 4.0), (2.0, 1.0)))
    pose = CameraPose((1.0, -2.0, 1.5), yaw_rad=0.4, pitch_rad=-0.6)
    offsets = state.points(torch.as_tensor(pose.viewpoint)[None])[0] - torch.tensor(pose.position_w)[:, None, None]
    torch.testing.assert_close(offsets.norm(dim=1)[:, 2, 5], torch.linspace(0.5, 4.0, 8))
    centre = offsets[0, :, 3:5, 3:5].mean(dim=(1, 2))
    expected = torch.as_tensor(pose.forward_w, dtype=torch.float32)
    torch.testing.assert_close(centre / centre.norm(), expected, atol=1e-5, rtol=1e-5)
    left = torch.tensor([-math.sin(0.4), math.cos(0.4), 0.0])
    assert offsets[7, :, 0, 0] @ left > 0.5
    assert offsets[7, 2, 0, 0] > offsets[7, 2, 7, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 40}, "`image_size` must be a multiple of 16"),
        ({"encoder": "resnet"}, "`model.representation.kind` must be one of"),
        ({"kernel_size": 4}, "`kernel_size` must be odd"),
        ({"num_steps": 0}, "`num_steps` ≥ 1"),
        ({"initial_state": "ones"}, "`initial_state` must be one of zeros, rays, condition"),
        ({"initial_state": "rays", "viewpoint_size": 5}, "need viewpoints of 7 entries"),
        ({"encoder": "plan", "initial_state": "rays"}, "`initial_state` must be 'zeros'"),
    ],
)
def test_impossible_sizes_are_refused(changes, message):
    """A wrong size is named with what was expected and given."""
    with pytest.raises(ValueError, match=message):
        small_model(**changes)


def test_unknown_models_and_sizes_are_refused():
    """`build_model` names the known members, and the setting that does not exist."""
    config = small_model().config.to_json()
    with pytest.raises(ValueError, match=r"`model.density.kind` must be one of .'draw', .*'vae'"):
        build_nested(config | {"density": {"kind": "nerf"}})
    with pytest.raises(ValueError, match=r"`model.density` does not take `depth`; it takes canvas_channels"):
        build_nested(config | {"density": config["density"] | {"depth": 3}})
