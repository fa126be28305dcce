"""Evaluation: on fixed views, from the prior, without side effects; reports and encoder files that follow from it."""

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

from gqn_rl import scene_evaluation as evaluation
from gqn_rl.checkpoint import load_model
from gqn_rl.models.protocols import Bound
from gqn_rl.pretrain.export import export_encoder
from gqn_rl.pretrain.hardware import Workers
from gqn_rl.pretrain.pictures import NUM_SAMPLES
from gqn_rl.pretrain.report import Report
from gqn_rl.views import prepare_images
from gqn_rl.writers.sheets import GAP_PX, NARROWEST_PX, TITLE_PX
from tests.tiny_pretraining import IMAGE_SIZE, make_data, tiny_model, tiny_settings


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Training and held-out scenes."""
    return make_data(tmp_path_factory.mktemp("evaluation") / "data")


class Oracle:
    """Knows the true pictures: predicts them from the prior, off by 0.1 when asked to reconstruct."""

    def __init__(self, heldout):
        self.heldout = heldout

    def predict(self, context, query_viewpoints, sample=True):
        matches = (self.heldout.viewpoints[:, -1] == query_viewpoints.numpy()).all(-1)  # [B, N]
        views = self.heldout.views(matches.argmax(1), np.full((len(context.images), 1), 4))
        return prepare_images(torch.from_numpy(views.images))

    def reconstruct(self, context, query):
        return prepare_images(query.images) + 0.1

    def bound(self, context, query, *, sigma):
        nothing = torch.zeros(len(context.images))
        return Bound(nothing, nothing + context.images.shape[1], nothing)


def test_measures_of_a_perfect_prediction(splits):
    """The truth from the prior has no error, no excess and SSIM 1; reconstructions and KL are reported on their own."""
    values = evaluation.evaluate_pictures(Oracle(splits[1]), splits[1], num_scenes=8)
    for size in (1, 2, 4):
        assert values[f"eval/mse_{size}view"] == 0 == values[f"eval/excess_nll_{size}view"]
        assert values[f"eval/ssim_{size}view"] == pytest.approx(1, abs=1e-5)
        assert values[f"eval/reconstruction_mse_{size}view"] == pytest.approx(0.01, rel=1e-4)
        assert values[f"eval/reconstruction_psnr_{size}view"] == pytest.approx(20, rel=1e-4)
        assert values[f"eval/reconstruction_excess_nll_{size}view"] == pytest.approx(0.01 * 768 / 0.98, rel=1e-4)
        assert values[f"eval/kl_{size}view"] == size
    assert values["eval/kl"] == pytest.approx(7 / 3)


def test_same_weights_same_figures_and_no_side_effects(splits):
    """Sampled predictions are judged with the same noise every time, and the process's own stream does not move."""
    model = tiny_model().eval()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = evaluation.evaluate_pictures(model, splits[1], 8)
    assert torch.equal(torch.rand(3), expected)
    torch.rand(11)
    assert evaluation.evaluate_pictures(model, splits[1], 8) == first


def test_query_is_no_context_view(splits):
    """The query is the last view of its scene, the context are the first ones, for any number of them."""
    scenes = np.arange(3)
    for size in evaluation.context_sizes(splits[1]):
        context, query = evaluation.fixed_views(splits[1], scenes, size)
        np.testing.assert_array_equal(context.viewpoints, splits[1].viewpoints[:3, :size])
        np.testing.assert_array_equal(query.viewpoints, splits[1].viewpoints[:3, -1:])
    assert evaluation.context_sizes(splits[1]) == [1, 2, 4]


class StateCode(torch.nn.Module):
    """Its ψ is the scene's true state, looked up by viewpoint, plus noise that only more views average out."""

    geometry = None

    def __init__(self, *datasets):
        super().__init__()
        self.known = {v.tobytes(): d.states[n] for d in datasets for n, views in enumerate(d.viewpoints) for v in views}

    def encode_views(self, views):
        states = [[self.known[v.tobytes()] for v in scene] for scene in views.viewpoints.numpy()]
        noise = torch.sin(1e4 * views.viewpoints[..., :2])  # [B, K, 2], a fixed function of the view
        return torch.tensor(np.array(states)) + 0.5 * noise


def test_probes_read_r_and_gain_from_views(splits):
    """A ψ that holds the state under noise is read out, better from four views than from one."""
    summary, entries = evaluation.evaluate_representation(StateCode(*splits), *splits, num_scenes=48)
    assert 0.2 < summary["probe/disc_R2_1view"] < summary["probe/disc_R2_4view"] < 1
    assert summary["probe/disc_R2_4view"] == pytest.approx((entries["disc_x_4view"] + entries["disc_y_4view"]) / 2)
    assert 0.5 < summary["r/scene_share"] < 1


@pytest.mark.parametrize("encoder", ["pyramid", "tower", "pool"])
def test_every_encoder_is_evaluated_and_exported(splits, tmp_path, encoder):
    """Vectors and maps alike go through pictures, probes and the encoder file, whose statistics are those of ψ."""
    model = tiny_model(encoder=encoder).eval()
    assert np.isfinite(list(evaluation.evaluate_pictures(model, splits[1], 2).values())).all()
    summary, _ = evaluation.evaluate_representation(model, *splits, num_scenes=12)
    assert np.isfinite(list(summary.values())).all()
    export_encoder([tmp_path / "e.safetensors"], model, splits[0], step=3, metrics=summary)
    _, metadata = load_model(tmp_path / "e.safetensors")
    num_views = min(4, splits[0].views_per_scene)
    psi = evaluation.encode_scenes(model, splits[0], 48, num_views)
    np.testing.assert_allclose(metadata["r_mean"], psi.mean((0, 1)), atol=1e-5)
    assert ("r_directions" in metadata) == (psi.ndim == 3)
    assert metadata["metrics"] == summary and metadata["step"] == 3
    assert metadata["dataset"]["scene"] == "fake" and metadata["dataset"]["marker"] == "fake"


def test_report_writes_everything_and_keeps_the_best(splits, tmp_path, monkeypatch):
    """Rows, probes of every entry, sheets; `best` is the encoder with the lowest score, `last` the newest."""
    scores = iter([3.0, 2.0, 4.0])
    monkeypatch.setattr(evaluation, "evaluate_pictures", lambda *_: {evaluation.BEST: next(scores)})
    best = float("inf")
    with Report(tiny_model(), *splits, tmp_path, tiny_settings(), Workers(), start_step=0) as report:
        for step in (1, 2, 3):
            report.train_row(step, {"train/loss": 1.0 / step})
            best = report.evaluate(step, best)
    assert best == 2.0
    assert load_model(tmp_path / "best.safetensors")[1]["step"] == 2
    assert load_model(tmp_path / "last.safetensors")[1]["step"] == 3
    columns = next(csv.reader((tmp_path / "progress.csv").open()))
    assert {"step", "train/loss", evaluation.BEST, "r/std", "probe/disc_R2_1view", "probe/disc_R2_4view"} <= set(
        columns
    )
    assert "disc_y_2view" in next(csv.reader((tmp_path / "probes.csv").open()))
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    with Image.open(tmp_path / "sheets" / "step-000000003.png") as sheet:
        columns = 3 + 1 + 1 + NUM_SAMPLES + 1  # context, truth, prediction, samples, reconstruction
        width, height = columns * (IMAGE_SIZE + GAP_PX) - GAP_PX, 8 * (IMAGE_SIZE + GAP_PX) - GAP_PX
        zoom = math.ceil(columns * NARROWEST_PX / width)
        assert sheet.size == (zoom * width, zoom * height + TITLE_PX)


def test_only_the_first_process_writes(splits, tmp_path):
    """Other processes of a run leave no file."""
    with Report(tiny_model(), *splits, tmp_path, tiny_settings(), Workers(rank=1, world_size=2), 0) as report:
        report.train_row(1, {"train/loss": 1.0})
        assert report.evaluate(1, 5.0) == 5.0
    assert not list(tmp_path.iterdir())
