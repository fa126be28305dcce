"""Any representation times any density: members that are configs, and one that only this test knows."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys

import numpy as np
import pytest
import torch
from torch import distributions, nn

from gqn_rl.checkpoint import load_model
from gqn_rl.dataset import generate
from gqn_rl.envs.cameras import Fixed
from gqn_rl.models import DENSITIES, REPRESENTATIONS, SceneFacts, SceneModelConfig, build_model, register_density
from gqn_rl.models.likelihood import gaussian_bound
from gqn_rl.models.readout import Readout
from gqn_rl.pretrain.__main__ import main as command
from gqn_rl.pretrain.loop import train
from gqn_rl.pretrain.objectives.elbo import negative_elbo
from gqn_rl.representation import load_encoder
from gqn_rl.uncertainty import bayesian_surprise, predicted_information_gain
from gqn_rl.views import Views, prepare_images
from gqn_rl.wrappers import make_env
from tests import golden
from tests.fake_scene import FakeScene
from tests.tiny_pretraining import make_data, tiny_settings

SCENE = SceneFacts(16, 7, 45.0, (0.8, 3.0), (2.0, 1.0))
SMALL = {"num_steps": 2, "shared_cores": True, "hidden_channels": 8, "latent_channels": 2, "canvas_channels": 4,
         "kernel_size": 3, "downsample": 4}  # fmt: skip
CVAE = {
    "standard": SMALL | {"num_steps": 1, "prior": "standard"},
    "learned": SMALL | {"num_steps": 1, "initial_state": "condition"},
}
POINTS = {"kind": "points", "r_channels": 18, "num_points": 3, "channels": 8, "downsample": 4}


def member(representation, density, seed=0):
    """Builds a small member of the family."""
    torch.manual_seed(seed)
    config = SceneModelConfig.from_json(
        {"representation": representation, "density": density, "scene": {"image_size": 16}}
    )
    return build_model(dataclasses.replace(config, scene=SCENE))


def views():
    """Context and query of four scenes, one view each."""
    both = golden.arithmetic_views(16)
    return tuple(Views(*(part[:, k : k + 1] for part in both)) for k in (0, 1))


def constant(head: nn.Conv2d, mean: float, log_std: float) -> None:
    """Makes a Gaussian head the same whatever it sees."""
    nn.init.zeros_(head.weight)
    half = len(head.bias) // 2
    head.bias.data = torch.tensor([mean] * half + [log_std] * half)


def test_kl_of_the_m2_form_in_closed_form():
    """CVAE of Kingma et al. (2014): one step, KL(N(m, s²) ‖ N(0, 1)) = ½ (m² + s² − 1) − log s for each latent."""
    model, (context, query) = member({"kind": "gated", "r_channels": 8}, {"kind": "draw", **CVAE["standard"]}), views()
    constant(model.density.inference[0].posterior.conv, 0.7, math.log(0.4))
    bound = model.bound(context, query, sigma=0.7)
    each = 0.5 * (0.7**2 + 0.4**2 - 1) - math.log(0.4)
    torch.testing.assert_close(bound.kl, torch.full((4,), 2 * 16 * each), rtol=1e-5, atol=0)


def test_kl_of_sohns_form_in_closed_form():
    """CVAE of Sohn et al. (2015): KL(q ‖ π) of two normals for each latent, with the prior's mean and deviation."""
    model, (context, query) = member({"kind": "gated", "r_channels": 8}, {"kind": "draw", **CVAE["learned"]}), views()
    constant(model.density.inference[0].posterior.conv, 0.7, math.log(0.4))
    constant(model.density.generation[0].prior.conv, -0.2, math.log(1.5))
    bound = model.bound(context, query, sigma=0.7)
    each = distributions.kl_divergence(distributions.Normal(0.7, 0.4), distributions.Normal(-0.2, 1.5)).item()
    torch.testing.assert_close(bound.kl, torch.full((4,), 2 * 16 * each), rtol=1e-5, atol=0)


@pytest.mark.parametrize("form", sorted(CVAE))
def test_which_cvae_prior_knows_viewpoint_and_scene(form):
    """Sohn's prior moves with v and with r before any latent; the M2 form's never does. Both posteriors see x."""
    model, (context, query) = member({"kind": "gated", "r_channels": 8}, {"kind": "draw", **CVAE[form]}), views()
    r, density, x = model.encode(context), model.density, prepare_images(query.images)

    def prior(r, v):
        c = model.condition(r, v)
        seen = (c.constant.flatten(0, 1), c.viewpoints.flatten(0, 1))
        start = torch.zeros(4, *density.hidden_shape) if density.initial_state is None else density.initial_state(*seen)
        return density.generation[0].prior(start).mean

    here = prior(r, query.viewpoints)
    assert torch.equal(prior(r, query.viewpoints + 1), here) is (form == "standard")
    assert torch.equal(prior(r + 1, query.viewpoints), here) is (form == "standard")
    c, noise = model.condition(r, query.viewpoints), torch.zeros(1, 4, *density.latent_shape)
    assert not torch.allclose(density.kl(c, x, noise=noise), density.kl(c, 1 - x, noise=noise))


def test_draw_knows_a_picture_and_nothing_else():
    """DRAW: N(0, 1) at every step, KL in closed form; neither viewpoints nor context reach it; its code is an r."""
    model, (context, query) = member({"kind": "code"}, {"kind": "draw", **SMALL, "prior": "standard"}), views()
    constant(model.density.inference[0].posterior.conv, 0.3, 0.0)
    bound = model.bound(context, query, sigma=0.7)
    torch.testing.assert_close(bound.kl, torch.full((4,), 2 * 2 * 16 * 0.3**2 / 2), rtol=1e-5, atol=0)
    model = member({"kind": "code"}, {"kind": "draw", **SMALL, "prior": "standard"})
    elsewhere, noise = Views(query.images, query.viewpoints + 1), torch.zeros(2, 4, *model.density.latent_shape)
    bounds = [model.bound(c, q, sigma=0.7, noise=noise) for c, q in ((context, query), (query, elsewhere))]
    assert torch.equal(bounds[0].kl, bounds[1].kl) and torch.equal(bounds[0].nll, bounds[1].nll)
    code = model.encode_views(query)
    assert code.shape == (4, 1, model.density.code_size) and model.representation_shape == (2 * 2 * 16,)
    redrawn = model.density.decode(code[:, 0])
    torch.testing.assert_close(model.mean(context, query)[:, 0], redrawn)
    torch.testing.assert_close(model.predict(query, query.viewpoints, sample=False)[:, 0], redrawn)


@pytest.mark.parametrize("representation", sorted(set(REPRESENTATIONS) - {"code"}))
@pytest.mark.parametrize("density", [*CVAE, "gqn"])
def test_every_pair_learns_from_every_weight(representation, density):
    """The bound is finite, a gradient reaches all that one step can use, and pictures have the right shape."""
    chosen = {
        "points": POINTS,
        "plan": {"kind": "plan", "r_channels": 4, "plan_size": 8, "channels": 8, "downsample": 4},
    }
    sizes = SMALL if density == "gqn" else CVAE[density]
    model = member(chosen.get(representation, {"kind": representation, "r_channels": 8}), {"kind": "draw", **sizes})
    context, query = views()
    loss, terms = negative_elbo(model, context, query, sigma=1.0)
    loss.backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    first_step = {"canvas_to_map", "hidden_to_gates.weight", "state_to_gates.weight"}  # read the zeros before step one
    assert density == "gqn" or all(any(name.endswith(end) for end in first_step) for name in idle)
    assert density != "gqn" or idle == []
    assert torch.stack(list(terms.values())).isfinite().all() and model.predict(context, query.viewpoints).shape == (
        4, 1, 3, 16, 16
    )  # fmt: skip


def test_pairs_that_do_not_fit_are_refused():
    """A density that knows no viewpoint has no use for an r of other views, and a code needs a density that has one."""
    with pytest.raises(ValueError, match="`density` 'vae' knows neither r nor the viewpoint"):
        member({"kind": "tower", "r_channels": 8}, {"kind": "vae"})
    with pytest.raises(ValueError, match="`initial_state` must be 'zeros' with this representation, which looks along"):
        member(POINTS, {"kind": "draw", **SMALL, "initial_state": "rays"})
    with pytest.raises(ValueError, match="must know the cameras, which the data do not tell"):
        build_model({"scene": {"image_size": 16}, "representation": POINTS, "density": {"kind": "draw", **SMALL}})


def test_gain_imagines_the_pictures_that_the_model_draws():
    """With points that draw details, imagined pictures have them: gain is the surprise of the model's own samples."""
    model, (context, query) = member(POINTS | {"detail_channels": 4}, {"kind": "draw", **SMALL}), views()
    nn.init.normal_(model.representation.detail.paint[0].weight)
    nn.init.constant_(model.representation.detail.paint[0].bias, 0.3)
    with torch.inference_mode():
        r = model.encode(context)
        torch.manual_seed(5)
        gain = predicted_information_gain(model, r, query.viewpoints, 1)
        torch.manual_seed(5)
        imagined = model.draw(r, query.viewpoints)
        surprise = model.density.kl(model.condition(r, query.viewpoints), imagined)
        plain = model.density.generate(model.condition(r, query.viewpoints)._replace(residual=None)).mean
    assert torch.equal(gain, surprise)
    assert (imagined.flatten(0, 1) - plain).abs().mean() > 0.1, "the test needs details that can be seen"


@pytest.mark.parametrize("representation", sorted(set(REPRESENTATIONS) - {"code"}))
def test_nothing_seen_has_a_prior(representation):
    """For r = 0 every representation gives finite features, and pictures and gain that are finite too."""
    chosen = {"points": POINTS, "plan": {"kind": "plan", "r_channels": 4, "plan_size": 8, "channels": 8}}
    model = member(chosen.get(representation, {"kind": representation, "r_channels": 8}), {"kind": "draw", **SMALL})
    (_, query), nothing = views(), torch.zeros(4, *model.representation_shape)
    with torch.inference_mode():
        features = Readout(model.geometry)(nothing, query.viewpoints[:, 0])
        assert features.isfinite().all() and model.draw(nothing, query.viewpoints).isfinite().all()
        assert predicted_information_gain(model, nothing, query.viewpoints, 1).isfinite().all()


def test_surprise_is_refused_where_r_foretells_nothing():
    """An auto-encoder's latents are not foretold by r."""
    model, (_, query) = member({"kind": "code"}, {"kind": "vae", "code_size": 4, "features": 8}), views()
    with pytest.raises(ValueError, match="Surprise is of latents that r foretells: a code with density 'vae' has none"):
        bayesian_surprise(model, torch.zeros(4, 4), query)


@dataclasses.dataclass(frozen=True)
class FlatConfig:
    kind: str = "flat"
    width: int = 8


class Flat(nn.Module):
    """The mean colour of a view, as a linear map of r: a density in ten lines."""

    def __init__(self, config, condition, scene):
        super().__init__()
        self.size, self.linear = scene.image_size, nn.Linear(condition.constant[0], 3)

    def mean(self, c):
        seen = c.constant.reshape(*c.constant.shape[:3], -1).mean(-1)  # vectors, or maps by their mean
        colour = self.linear(seen).expand(-1, c.viewpoints.shape[1], -1).float()
        return colour[..., None, None].expand(-1, -1, -1, self.size, self.size)

    def sample(self, c, *, noise=None):
        return self.mean(c)

    def bound(self, c, x, *, sigma, noise=None):
        return gaussian_bound(self.mean(c), x, torch.zeros(x.shape[:2], device=x.device), sigma)


@pytest.mark.filterwarnings("ignore")
def test_a_density_that_only_this_test_knows_goes_from_pictures_to_an_agent(tmp_path):
    """Registered, it trains, saves, loads, predicts and feeds an agent: nothing else in the package had to know."""
    register_density(Flat, FlatConfig())
    try:
        splits = make_data(tmp_path / "data")
        metrics = train(
            member({"kind": "pyramid", "r_channels": 8}, {"kind": "flat"}), *splits, run_dir=tmp_path / "run",
            settings=tiny_settings(), show_progress=False,
        )  # fmt: skip
        assert math.isfinite(metrics["eval/excess_nll"]) and metrics["eval/kl"] == 0.0
        model, facts = load_model(tmp_path / "run/last.safetensors")
        assert facts["model"]["density"] == {"kind": "flat", "width": 8}
        context, query = views()
        drawn = model.predict(context, query.viewpoints)
        assert drawn.shape == (4, 1, 3, 16, 16) and torch.equal(drawn[..., 0, 0], drawn[..., 7, 3])
        encoder = load_encoder(tmp_path / "run", runtime="torch")
        env = make_env("Reacher-v5", "gqn", Fixed((0.35, 0.0, 0.45), (0.0, 0.0, 0.0)), encoder)
        seen, _ = env.reset(seed=0)
        assert seen["representation"].ndim == 1 and np.isfinite(seen["representation"]).all()
    finally:
        del DENSITIES["flat"]


def test_a_density_that_only_this_test_knows_is_trained_by_command(tmp_path, monkeypatch, restore_threads):
    """`recipe=gqn_points model/density=flat model.density.width=4`: Hydra knows what was registered, by its types."""
    counts = {"num_scenes": 16, "held_out_scenes": 8, "views_per_scene": 6, "seed": 0, "num_workers": 1}
    scenes = functools.partial(FakeScene, 16)
    generate(tmp_path / "data", scenes, scene_name="rooms", progress=False, **counts)
    sizes = ["train.total_steps=4", "train.batch_size=4", "train.eval_scenes=4", "train.probe_scenes=8", "threads=1"]
    words = ["env=rooms", "env.scene.image_size=16", "+model.scene.fovy_deg=50", "data.root=data", "run_dir=run"]
    chosen = ["recipe=gqn_points", "model/density=flat", "model.density.width=4", *words, *sizes]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pretrain", *chosen])
    register_density(Flat, FlatConfig())
    try:
        command()
        model, facts = load_model(tmp_path / "run/last.safetensors")
        assert facts["step"] == 4 and facts["model"]["representation"]["kind"] == "points"
        assert facts["model"]["density"] == {"kind": "flat", "width": 4} and isinstance(model.density, Flat)
    finally:
        del DENSITIES["flat"]


@pytest.mark.parametrize("name", [name for name in golden.MODELS if not name.startswith("map_decoder")])
def test_all_that_is_a_tensor_moves_with_the_model(name, tmp_path):
    """A whole training step and a readout run on torch's meta device, where a tensor left on the CPU is an error."""
    path = golden.write_format_1(tmp_path / "model.safetensors", name)
    encoder = load_encoder(path, runtime="torch")
    model, readout = encoder.module.to("meta").model, encoder.readout.to("meta")
    context, query = (Views(*(part.to("meta") for part in one)) for one in views())
    for latents in (True, False):
        loss, _ = negative_elbo(model, context, query, sigma=0.7, latents=latents)
        assert loss.device.type == "meta"
    for frame in readout.frames:
        psi = encoder.module(context)
        assert readout(psi.sum(1), context.viewpoints[:, 0], frame).device.type == "meta"
    assert model.predict(context, query.viewpoints, sample=False).device.type == "meta"
