"""VAE: its ELBO against torch.distributions, and its way from pictures to an agent."""

import csv
import json
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hydra import compose, initialize_config_module
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from torch import distributions, nn

from gqn_rl import load_encoder, train_agent
from gqn_rl import scene_evaluation as evaluation
from gqn_rl.agents import run_folder as files
from gqn_rl.checkpoint import load_model, save_model
from gqn_rl.envs.cameras import Fixed
from gqn_rl.groups import register_groups
from gqn_rl.models import build_model as build_nested
from gqn_rl.models.representations.plain import Gated
from gqn_rl.pretrain import __main__ as pretrain
from gqn_rl.pretrain.loop import train
from gqn_rl.pretrain.objectives.elbo import negative_elbo
from gqn_rl.pretrain.settings import TrainSettings
from gqn_rl.representation import random_encoder
from gqn_rl.scene_encoder import SceneEncoder
from gqn_rl.views import Views
from gqn_rl.wrappers import make_env
from tests.flat_settings import build_model, flat_config
from tests.tiny_pretraining import IMAGE_SIZE, make_data, tiny_model, tiny_settings

SMALL = {"name": "vae", "image_size": IMAGE_SIZE, "code_size": 6, "features": 16}


def small_model(**changes):
    """Builds a VAE of some hundred thousand weights."""
    torch.manual_seed(0)
    return build_model(**(SMALL | changes))


def random_views(batch, num_views, image_size=IMAGE_SIZE, seed=0):
    """Makes pictures of noise from anywhere."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, num_views, image_size, image_size, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Views(images, torch.randn(batch, num_views, 7, generator=generator))


def pictures(views):
    """Returns the pictures of views one after the other, float [N, 3, H, W]."""
    return views.images.flatten(0, 1).movedim(-1, 1) / 255


def make_posterior_constant(model, mean, log_std):
    """Makes every posterior the same normal, whatever the picture."""
    nn.init.zeros_(model.density.head[-1].weight)
    half = model.config.density.code_size
    model.density.head[-1].bias.data = torch.tensor([mean] * half + [log_std] * half)


def give(monkeypatch, main, *words):
    """Gives a command in this process."""
    monkeypatch.setattr("sys.argv", ["command", *words])
    main()


def test_loss_in_closed_form():
    """A decoder that draws grey and a constant posterior: NLL and KL can be written down, in nats per picture."""
    model, query = small_model(), random_views(2, 3)
    nn.init.zeros_(model.density.decoder[-1].weight)
    nn.init.zeros_(model.density.decoder[-1].bias)
    make_posterior_constant(model, mean=1.0, log_std=math.log(0.5))
    loss, terms = negative_elbo(model, random_views(2, 1, seed=1), query, sigma=0.7)
    nll = -distributions.Normal(0.5, 0.7).log_prob(pictures(query)).sum().item() / 6
    kl = 6 * (math.log(1 / 0.5) + (0.25 + 1.0) / 2 - 0.5)
    assert terms["nll"].item() == pytest.approx(nll, rel=1e-5)
    assert terms["kl"].item() == pytest.approx(kl, rel=1e-5)
    assert loss.item() == pytest.approx(nll + kl, rel=1e-5)


def test_loss_is_the_elbo_that_torch_distributions_compute():
    """For given noise: −log N(x | decode(z), σ²) + KL(q ‖ N(0, 1)), averaged over pictures; KL with its weight."""
    model, query = small_model(), random_views(2, 3)
    noise = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    q = distributions.Normal(
        model.density.posterior(pictures(query)).mean, model.density.posterior(pictures(query)).log_std.exp()
    )
    likelihood = distributions.Normal(model.density.decode(q.mean + q.stddev * noise), 1.3)
    nll = -likelihood.log_prob(pictures(query)).sum() / 6
    kl = distributions.kl_divergence(q, distributions.Normal(0.0, 1.0)).sum() / 6
    loss, terms = negative_elbo(model, random_views(2, 1, seed=1), query, sigma=1.3, noise=noise)
    weighted, _ = negative_elbo(model, random_views(2, 1, seed=1), query, sigma=1.3, noise=noise, kl_weight=3.0)
    torch.testing.assert_close(terms["kl"], kl.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss, nll + kl, rtol=1e-5, atol=0)
    torch.testing.assert_close(weighted, nll + 3 * kl, rtol=1e-5, atol=0)
    torch.testing.assert_close(terms["mse"], (likelihood.mean - pictures(query)).square().mean().detach())


def test_without_latents_it_is_an_auto_encoder():
    """The code is the posterior's mean, without noise, and no KL is paid."""
    model, query = small_model(), random_views(2, 2)
    _, terms = negative_elbo(model, query, query, sigma=0.7, latents=False)
    drawn = model.density.decode(model.density.posterior(pictures(query)).mean)
    torch.testing.assert_close(terms["mse"], (drawn - pictures(query)).square().mean().detach())
    assert terms["kl"].item() == 0.0


def test_gradient_reaches_every_weight():
    """After one backward pass every gradient is finite and none is zero."""
    model = small_model()
    negative_elbo(model, random_views(2, 1), random_views(2, 2, seed=1), sigma=0.7)[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_neither_viewpoints_nor_context_reach_the_code_or_the_loss():
    """Other viewpoints leave codes and pictures bit-identical, another context leaves the loss so."""
    model, views = small_model(), random_views(2, 2)
    elsewhere = Views(views.images, views.viewpoints + 1)
    assert torch.equal(model.encode_views(views), model.encode_views(elsewhere))
    drawn = [model.predict(views, v.viewpoints, sample=False) for v in (views, elsewhere)]
    assert torch.equal(*drawn)
    noise = torch.zeros(4, 6)
    losses = [negative_elbo(model, random_views(2, k, seed=k), views, sigma=0.7, noise=noise)[0] for k in (1, 3)]
    assert torch.equal(*losses)


def test_r_is_the_sum_of_codes_and_scenes_do_not_mix():
    """R of three views is the sum of their codes; changing scene 1 leaves scene 0's code bit-identical."""
    model, views = small_model(), random_views(2, 3)
    codes = model.encode_views(views)
    assert codes.shape == (2, 3, 6)
    torch.testing.assert_close(codes.flatten(0, 1), model.density.posterior(pictures(views)).mean)
    torch.testing.assert_close(model.encode(views), codes.sum(dim=1))
    views.images[1] = 255 - views.images[1]
    changed = model.encode_views(views)
    assert torch.equal(changed[0], codes[0]) and not torch.equal(changed[1], codes[1])


def test_predictions_redraw_the_context():
    """At the mean: the picture of the views' mean code, for every query. Samples: any of the views, each by itself."""
    model, context = small_model(), random_views(1, 2)
    nn.init.zeros_(model.density.head[-1].weight[6:])
    model.density.head[-1].bias.data[6:] = -30.0  # no noise: samples can be told apart
    codes = model.encode_views(context)[0]
    mean = model.predict(context, torch.zeros(1, 3, 7), sample=False)
    torch.testing.assert_close(mean, model.density.decode(codes.mean(0, keepdim=True)).expand(1, 3, -1, -1, -1))
    samples = model.predict(context, torch.zeros(1, 32, 7))[0]
    redrawn = model.density.decode(codes)
    is_view = torch.stack([(samples - picture).abs().amax((1, 2, 3)) < 1e-5 for picture in redrawn])
    assert is_view.sum(0).tolist() == [1] * 32 and is_view.any(1).all()
    torch.testing.assert_close(model.reconstruct(random_views(1, 1, seed=5), context)[0], redrawn)


@pytest.mark.parametrize("size", [16, 48, 64])
def test_every_size_trains_predicts_and_reconstructs(size):
    """Any multiple of 16 works, with pictures of the size that went in."""
    model, context, query = small_model(image_size=size), random_views(1, 2, size), random_views(1, 3, size, seed=1)
    assert negative_elbo(model, context, query, sigma=1.0)[0].isfinite()
    for drawn in (model.predict(context, query.viewpoints), model.reconstruct(context, query)):
        assert drawn.shape == (1, 3, 3, size, size) and drawn.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"image_size": 40}, "`image_size` must be a multiple of 16"), ({"code_size": 0}, "`code_size` and `features`")],
)
def test_impossible_sizes_are_refused(changes, message):
    """A wrong size is named with what was expected and given."""
    with pytest.raises(ValueError, match=message):
        small_model(**changes)


def test_preset_is_of_gqn_smalls_size_and_fits_every_scene():
    """As wide a code and as many samples; encoders alike within a tenth. Settings of cameras are left to the GQN."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        register_groups()
        gqn = compose("pretrain", ["recipe=gqn_small"])
        for env in ("jaco", "maze"):
            vae = compose("pretrain", [f"env={env}", "recipe=vae"])
            width = gqn.model.representation.r_channels
            assert vae.model.density == {"kind": "vae", "code_size": width, "features": 512}
    samples = [TrainSettings(**cfg.train) for cfg in (gqn, vae)]
    assert len({s.total_steps * s.batch_size * s.num_queries for s in samples}) == 1
    assert [(s.sigma, s.sigma_end, s.sigma_steps) for s in samples] == [(2.0, 0.7, 6000)] * 2
    density = build_nested({**vae.model, "scene": {"image_size": 64}}).density
    sizes = [sum(p.numel() for part in parts for p in part.parameters())
             for parts in ((density.trunk, density.head), (Gated(64, 7),))]  # fmt: skip
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_best_encoder_is_the_one_with_the_best_elbo():
    """A VAE that redraws well is far from other views: its ELBO decides, a GQN's predictions do."""
    values = {"eval/excess_nll": 100.0, "eval/reconstruction_excess_nll": 5.0, "eval/kl": 20.0}
    assert evaluation.score(small_model(), values) == 25.0
    assert evaluation.score(tiny_model(), values) == 100.0


def test_checkpoint_holds_the_whole_model(tmp_path):
    """Saved and loaded, codes and loss are bit-identical."""
    model, query, noise = small_model().eval(), random_views(2, 2), torch.randn(4, 6)
    save_model(tmp_path / "vae.safetensors", model, {"step": 3})
    loaded, metadata = load_model(tmp_path / "vae.safetensors")
    assert metadata["kind"] == "scene model" and metadata["model"] == model.config.to_json()
    assert torch.equal(loaded.encode_views(query), model.encode_views(query))
    assert torch.equal(*(negative_elbo(m, query, query, sigma=0.7, noise=noise)[0] for m in (loaded, model)))


def test_pretraining_evaluates_probes_resumes_and_exports_it(tmp_path):
    """Everything that a GQN's run logs, and an encoder whose code is standardised over training scenes."""
    splits = make_data(tmp_path / "data")
    settings = tiny_settings(eval_every=5, warmup_steps=0)
    run = {"run_dir": tmp_path / "run", "show_progress": False}
    train(small_model(), *splits, **run, settings=settings)
    metrics = train(small_model(), *splits, **run, settings=tiny_settings(total_steps=12, warmup_steps=0))
    assert {"eval/kl", "eval/psnr_4view", "eval/reconstruction_psnr", "probe/disc_R2_4view", "r/std"} <= set(metrics)
    assert np.isfinite(list(metrics.values())).all()
    with open(tmp_path / "run/progress.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/excess_nll"]]
    assert [int(row["step"]) for row in rows] == [2, 4, 6, 8, 10, 12]
    assert all(float(row["train/kl"]) > 0 for row in rows)
    views = splits[0].views(np.arange(48), np.tile(np.arange(4), (48, 1)))
    encoder = load_encoder(tmp_path / "run/last.safetensors")
    code = encoder.encode_views(*(np.concatenate(part) for part in views))
    assert encoder.metadata["step"] == 12 and code.shape == (4 * 48, 6)
    np.testing.assert_allclose(code.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(code.std(0), 1, rtol=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_agents_see_the_code_of_the_present_picture_and_the_viewpoint():
    """Both checkers accept the chain; the observation is the encoder's code of the camera's picture."""
    encoder = SceneEncoder(small_model(), {"model": flat_config(**SMALL)})
    env = make_env("Reacher-v5", "vae", Fixed((0.35, 0.0, 0.45), (0.0, 0.0, 0.0)), encoder, keep=["image"])
    check_env(env, skip_render_check=True)
    check_env_sb3(env)
    env.reset(seed=0)
    seen = env.step(np.ones(2, np.float32))[0]
    code = encoder.encode_views(seen["image"][None], seen["viewpoint"][None])[0]
    np.testing.assert_allclose(seen["representation"], code, atol=1e-6)
    assert isinstance(env.observation_space, gym.spaces.Dict) and set(seen) == {"image", "representation", "viewpoint"}


def test_untrained_twin_has_the_same_network():
    """The network of a VAE's file, drawn anew, is a VAE: repr=random_encoder works with it."""
    views = random_views(4, 1)
    encoder = random_encoder(SMALL, 1, Views(views.images.numpy(), views.viewpoints.numpy()))
    assert encoder.module.model.config.density.kind == "vae" and encoder.representation_shape == (6,)


@pytest.mark.slow
def test_commands_go_from_nothing_to_an_agent(tmp_path, monkeypatch, capsys):
    """Model=vae pretrains, repr=vae trains on its code and goes on; no encoder, or one of a GQN, is refused."""
    monkeypatch.chdir(tmp_path)
    data = ["data.num_scenes=4", "data.held_out_scenes=4", "data.views_per_scene=5", "data.num_workers=1"]
    give(monkeypatch, pretrain.main, "recipe=vae_debug", *data, "train.total_steps=2", "threads=1")
    words = [
        *("repr=vae", "camera=fixed", "eval_every=32", "eval_episodes=2", "agent.num_envs=2", "gif=false"),
        *("agent.settings.n_steps=16", "agent.settings.batch_size=16", "agent.settings.n_epochs=1"),
    ]  # fmt: skip
    for total in (32, 64):
        words_now = [*words, f"total_steps={total}", "encoder=runs/pretrain/jaco_vae_debug_seed0"]
        give(monkeypatch, train_agent.main, *words_now)
    folder = tmp_path / "runs/agents/jaco/vae_fixed_ppo_seed0"
    with open(folder / files.EVAL_FILE, newline="") as file:
        assert [row["env_steps"] for row in csv.DictReader(file)] == ["0", "32", "64"]
    assert json.loads((folder / files.RUN_FILE).read_text())["repr"] == "vae"
    for word, message in (("seed=1", "`encoder` must name a VAE"), ("encoder=jaco", "`encoder` jaco is a gqn")):
        with pytest.raises(SystemExit):
            give(monkeypatch, train_agent.main, "repr=vae", word, "run_dir=refused")
        assert message in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()
