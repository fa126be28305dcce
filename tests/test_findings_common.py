"""What the findings share: errors in closed form, passes of bounded size, and clear refusals."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gqn_rl.analyses import passes
from gqn_rl.analyses.common import UNTRAINED, check_data_camera, load_subject, need_views, view_counts, views_of
from gqn_rl.analyses.passes import draw, encode, errors, picture_columns, predict
from gqn_rl.checkpoint import save_model
from gqn_rl.models.likelihood import gaussian_nll
from gqn_rl.picture_metrics import nll_floor
from gqn_rl.representation import load_encoder
from gqn_rl.views import prepare_images
from tests.tiny_findings import rng, tiny_subject
from tests.tiny_pretraining import make_data, tiny_model


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    _, heldout = make_data(tmp_path_factory.mktemp("data"))
    return tiny_subject(heldout)


def test_a_perfect_prediction_has_no_excess(subject):
    """Its error and its excess NLL are 0."""
    images = subject.dataset.views(np.arange(4), np.zeros((4, 2), int)).images
    mse = errors(prepare_images(torch.as_tensor(images)), images)
    columns = picture_columns(mse, images[0, 0].size, rng())
    assert mse.shape == (4, 2) and mse.abs().max() == 0
    assert columns["excess_nll"] == columns["excess_nll_high"] == 0 and columns["psnr"] > 100


def test_excess_is_the_likelihood_above_its_floor():
    """For an error of 0.02 it is the NLL of 48 values less that of none, and PSNR is 10 log10(1 / 0.02)."""
    columns = picture_columns(torch.full((3, 2), 0.02), 48, rng(), sigma=0.5)
    expected = float(gaussian_nll(torch.tensor(0.02), 48, 0.5)) - nll_floor(48, 0.5)
    assert math.isclose(columns["excess_nll"], expected, rel_tol=1e-4)
    assert math.isclose(columns["psnr"], 10 * math.log10(50), rel_tol=1e-6)


def test_portions_change_nothing(subject, monkeypatch):
    """R and pictures are the same whether scenes go through the network together or one by one."""
    views = views_of(subject.dataset, np.arange(5), np.arange(3))
    together = encode(subject.model, views), predict(subject.model, views, views.viewpoints)
    monkeypatch.setattr(passes, "AT_ONCE", 1)
    alone = encode(subject.model, views), predict(subject.model, views, views.viewpoints)
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("label", ["GQN", "VAE"])
def test_predictions_are_the_models_own(subject, label):
    """`predict` is `SceneModel.predict`, for a model that shares r between queries and for one that has its own way."""
    model, views = subject.all_models[label], views_of(subject.dataset, np.arange(3), np.arange(2))
    with torch.inference_mode():
        expected = model.predict(views.to_torch(), torch.as_tensor(views.viewpoints), sample=False)
    torch.testing.assert_close(predict(model, views, views.viewpoints), expected, rtol=1e-4, atol=1e-5)


def test_pictures_are_drawn_from_any_r(subject):
    """Also from one that no scene has."""
    viewpoints = views_of(subject.dataset, np.arange(2), np.arange(3)).viewpoints
    assert draw(subject.model, torch.zeros(2, *subject.model.representation_shape), viewpoints).shape == (
        2,
        3,
        3,
        16,
        16,
    )


def test_view_counts_leave_the_queries(subject):
    """Of five views: 1, 2, 4 beside one query, 1, 2 beside two or where no more are wanted; none beside five."""
    assert view_counts(subject.dataset, 1) == [1, 2, 4]
    assert view_counts(subject.dataset, 2) == view_counts(subject.dataset, 1, max_views=3) == [1, 2]
    with pytest.raises(ValueError, match="`num_queries` must leave a view of the 5"):
        view_counts(subject.dataset, 5)


def test_a_model_that_cannot_draw_from_r_is_refused(subject):
    """By the name of the finding."""
    with pytest.raises(ValueError, match="`what=algebra` draws pictures out of r: `encoder` must be a GQN, got VAE"):
        need_views(subject.rivals["VAE"], "algebra")


def test_subjects_have_rivals_and_pictures_of_their_size(tmp_path):
    """The untrained network is always there; two GQNs have two labels; another picture size is refused."""
    make_data(tmp_path / "data")
    save_model(tmp_path / "a.safetensors", tiny_model(), {"step": 1})
    save_model(tmp_path / "b.safetensors", tiny_model(1), {"step": 1})
    save_model(tmp_path / "large.safetensors", tiny_model(image_size=32), {"step": 1})
    loaded = load_subject(tmp_path / "a.safetensors", tmp_path / "data", rivals=[tmp_path / "b.safetensors"])
    assert list(loaded.all_models) == ["GQN", "GQN 2", UNTRAINED]
    with pytest.raises(ValueError, match=r"needs pictures of 32 pixels, those of `data.root` .* have 16"):
        load_subject(tmp_path / "large.safetensors", tmp_path / "data")


def test_an_encoder_of_another_field_of_view_than_the_data_is_refused():
    """Both numbers are named; where either is not known, nothing is refused."""
    narrow = SimpleNamespace(root="data", manifest={"scene_facts": {"fovy_deg": 30.0}})
    jaco = load_encoder("jaco", runtime="torch")
    assert jaco.fovy_deg == 45.0
    with pytest.raises(ValueError, match=r"`encoder` jaco was trained on .* of 45°, but the pictures .* have 30°; "):
        check_data_camera(jaco, "jaco", narrow)
    check_data_camera(jaco, "jaco", SimpleNamespace(root="data", manifest={"scene_facts": {"fovy_deg": 45.0}}))
    check_data_camera(jaco, "jaco", SimpleNamespace(root="data", manifest={}))
