"""Finding a camera by generation: exact where the model is, by Bayes' rule, whatever latents belong to."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn

import gqn_rl
from gqn_rl.localisation import LocalisationSettings, localise, log_likelihoods
from gqn_rl.models import SceneFacts, SceneModelConfig, build_model
from gqn_rl.models.likelihood import gaussian_nll
from gqn_rl.models.protocols import Condition
from gqn_rl.poses import CameraPose
from gqn_rl.views import Views, restore_images

SIZE = 16


class Lighthouse(nn.Module):
    """A model that knows its scene: pictures are waves whose phases are the camera's place and directions."""

    image_size, predicts_views = SIZE, True

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.density = types.SimpleNamespace(mean=self.mean)

    def encode(self, views):
        return torch.zeros(1, 1)

    def condition(self, r, viewpoints):
        return Condition(viewpoints)

    def mean(self, c):
        rows = torch.linspace(0, 2 * math.pi, SIZE)
        x, y, sin, cos = (c.viewpoints[..., index, None, None] for index in (0, 1, 3, 4))
        red = torch.sin(rows[:, None] / 2 + x).expand(*c.viewpoints.shape[:2], SIZE, SIZE)
        green = torch.sin(rows[None] / 2 + y).expand_as(red)
        blue = sin * torch.sin(rows)[:, None] + cos * torch.cos(rows)[None]
        return torch.stack([red, green, blue / 2], dim=2) / 2 + 0.5


def cameras(count, seed=0):
    """Cameras of a square metre or two, at one height, level."""
    rng = np.random.default_rng(seed)
    poses = [CameraPose((*rng.uniform(-1, 1, 2), 0.5), rng.uniform(-np.pi, np.pi), 0.0) for _ in range(count)]
    return np.stack([pose.viewpoint for pose in poses])


def picture_at(model, viewpoint):
    drawn = model.mean(Condition(torch.as_tensor(viewpoint)[None, None]))
    return restore_images(drawn)[0, 0].numpy()


NO_VIEWS = Views(np.zeros((1, SIZE, SIZE, 3), np.uint8), np.zeros((1, 7), np.float32))


def test_the_camera_is_found_between_the_candidates():
    """40 candidates are tenths of metres and degrees away; refined, the answer is within 2 cm and 2°."""
    model, found = Lighthouse(), []
    settings = LocalisationSettings(sigma=0.05, rounds=8, proposals=40, elites=8)
    for seed in range(5):
        true = CameraPose.from_viewpoint(cameras(1, seed=100 + seed)[0])
        here = localise(model, NO_VIEWS, picture_at(model, true.viewpoint), cameras(40, seed), settings)
        turn = (here.pose.yaw_rad - true.yaw_rad + np.pi) % (2 * np.pi) - np.pi
        found.append((np.linalg.norm(np.subtract(here.pose.position_w, true.position_w)), abs(np.rad2deg(turn))))
        assert here.pose.position_w[2] == pytest.approx(0.5) and here.pose.pitch_rad == pytest.approx(0)
    assert np.median(found, axis=0)[0] < 0.02 and np.median(found, axis=0)[1] < 2


def test_probabilities_are_bayes_rule_over_the_candidates():
    """By hand: softmax of −n · mse / (2 σ²) of each candidate's picture; without refinement the best candidate wins."""
    model, some = Lighthouse(), cameras(6)
    picture = picture_at(model, cameras(1, seed=9)[0])
    found = localise(model, NO_VIEWS, picture, some, LocalisationSettings(sigma=0.3, rounds=0))
    errors = [((model.mean(Condition(torch.as_tensor(v)[None, None]))[0, 0].permute(1, 2, 0).numpy()
                - picture / 255) ** 2).mean() for v in some]  # fmt: skip
    expected = softmax(-np.array(errors) * picture.size / (2 * 0.3**2))
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(found.pose.viewpoint, some[expected.argmax()], atol=1e-6)
    nll = gaussian_nll(torch.tensor(errors), picture.size, 0.3).numpy()
    np.testing.assert_allclose(found.log_likelihoods, -nll, rtol=1e-5)


DENSITIES = {
    "draw": {"kind": "draw", "num_steps": 2, "shared_cores": True, "hidden_channels": 8, "canvas_channels": 4,
             "kernel_size": 3},
    "global_latent": {"kind": "global_latent", "hidden_size": 8, "hidden_channels": 8, "canvas_channels": 4},
}  # fmt: skip


@pytest.mark.parametrize("num_samples", [0, 2])
@pytest.mark.parametrize("density", sorted(DENSITIES))
def test_each_candidate_is_asked_on_its_own(density, num_samples):
    """Whatever latents belong to, a candidate's likelihood does not depend on which others are asked about."""
    torch.manual_seed(0)
    config = SceneModelConfig.from_json(
        {"representation": {"kind": "gated", "r_channels": 8}, "density": DENSITIES[density],
         "scene": {"image_size": SIZE}}
    )  # fmt: skip
    model = build_model(
        SceneModelConfig(SceneFacts(SIZE, 7, 50.0, (0.8, 3.0), (2.0, 1.0)), config.representation, config.density)
    )
    for head in [module for name, module in model.named_modules() if "posterior" in name and hasattr(module, "bias")]:
        head.bias.data[len(head.bias) // 2 :] = -20.0  # hardly any noise
    some, settings = cameras(5), LocalisationSettings(num_samples=num_samples)
    picture = np.random.default_rng(0).integers(256, size=(SIZE, SIZE, 3)).astype(np.uint8)
    r = model.encode(Views(torch.as_tensor(picture)[None, None], torch.as_tensor(some[:1])[None]))
    together = log_likelihoods(model, r, picture, some, settings)
    assert together.shape == (5,) and np.isfinite(together).all()
    for index in (0, 3):
        alone = log_likelihoods(model, r, picture, some[index : index + 1], settings)
        np.testing.assert_allclose(alone[0], together[index], rtol=2e-4)


def test_it_is_a_name_of_the_package_and_refuses_what_it_cannot_do():
    """`gqn_rl.localise`; wrong shapes, settings and models have one sentence each."""
    assert gqn_rl.localise is localise
    picture, model = np.zeros((SIZE, SIZE, 3), np.uint8), Lighthouse()
    with pytest.raises(ValueError, match=r"`picture` must be uint8 \(16, 16, 3\)"):
        localise(model, NO_VIEWS, picture[:8], cameras(3))
    with pytest.raises(ValueError, match="`cameras` must be at least 2 viewpoints"):
        localise(model, NO_VIEWS, picture, cameras(1))
    with pytest.raises(ValueError, match="`sigma` must be above 0, got 0"):
        LocalisationSettings(sigma=0)
    vae = build_model({"scene": {"image_size": SIZE}, "representation": {"kind": "code"}, "density": {"kind": "vae"}})
    with pytest.raises(ValueError, match="`model` must predict other views; a code with density 'vae' only redraws"):
        localise(vae, NO_VIEWS, picture, cameras(3))
