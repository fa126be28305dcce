"""Frozen encoders: what they compute, that they never change, and that they travel between threads and processes."""

import concurrent.futures
import multiprocessing
import pickle

import numpy as np
import pytest
import torch

from gqn_rl.checkpoint import package_version, save_model
from gqn_rl.representation import load_encoder, random_encoder, view_statistics
from gqn_rl.views import Views
from tests.tiny_pretraining import IMAGE_SIZE, SIZES, tiny_model

DEAD_UNIT = 6
"""An entry of the untrained tiny encoder with seed 0 that its ReLU keeps at 0."""


def some_views(count=5, seed=0):
    """Random pictures and viewpoints."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    return Views(images, rng.normal(size=(count, 7)).astype(np.float32))


def raw_psi(views):
    """ψ of the tiny model itself."""
    with torch.no_grad():
        return tiny_model().encode_views(Views(views.images[None], views.viewpoints[None]).to_torch())[0]


@pytest.fixture
def path(tmp_path):
    """A run folder's best encoder, standardised on some views."""
    psi = raw_psi(some_views(20))[:, None].numpy()
    dataset = {"scene": "fake", "mujoco": package_version("mujoco"), "gl_renderer": "llvmpipe", "meshes": "full"}
    save_model(tmp_path / "best.safetensors", tiny_model(), {"dataset": dataset, **view_statistics(psi)})
    return tmp_path / "best.safetensors"


def test_encodes_each_view_as_the_model_does_and_standardises(path):
    """A view's representation is (ψ - mean) / std with the file's statistics, one view at a time."""
    views, reference = some_views(), raw_psi(some_views(20))
    expected = (raw_psi(views) - reference.mean(0)) / view_statistics(reference[:, None].numpy())["r_std"]
    encoder = load_encoder(path)
    r = encoder.encode_views(*views)
    assert r.shape == (5, *encoder.representation_shape) and r.dtype == np.float32
    np.testing.assert_allclose(r, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_views(views.images[2:3], views.viewpoints[2:3])[0], r[2], atol=1e-5)
    raw = load_encoder(path, standardise=False).encode_views(*views)
    np.testing.assert_allclose(raw, raw_psi(views), atol=1e-6)


def test_statistics_make_every_varying_entry_standard():
    """Over the views that gave the statistics, entries have mean 0 and deviation 1; constant ones stay 0."""
    psi = torch.randn(50, 3, 2) * 4 + 1
    psi[:, 0, 0] = 7.0
    statistics = view_statistics(psi[:, None].numpy())
    assert "r_directions" not in statistics
    standard = (psi - statistics["r_mean"]) / statistics["r_std"]
    torch.testing.assert_close(standard.mean(0), torch.zeros(3, 2), atol=1e-5, rtol=0)
    expected = torch.ones(3, 2)
    expected[0, 0] = 0
    torch.testing.assert_close(standard.std(0, correction=0), expected)


def test_frozen_weights_stay_frozen(path):
    """Encoding leaves every weight as it was, no weight asks for a gradient, and the mode is evaluation."""
    encoder = load_encoder(path)
    before = {name: value.clone() for name, value in encoder.module.state_dict().items()}
    encoder.encode_views(*some_views())
    assert all(torch.equal(value, before[name]) for name, value in encoder.module.state_dict().items())
    assert not any(weight.requires_grad for weight in encoder.module.parameters())
    assert not any(module.training for module in encoder.module.modules())


def test_module_lets_gradients_through_for_fine_tuning(path):
    """With gradients switched on, the same network can be adapted."""
    module = load_encoder(path).module.requires_grad_(True)
    views = some_views()
    module(Views(views.images[None], views.viewpoints[None]).to_torch()).square().sum().backward()
    norms = [weight.grad.norm() for weight in module.model.representation.encoder.parameters()]
    assert norms and all(norm > 0 for norm in norms)


def test_pickled_encoder_computes_the_same_in_a_spawned_process(path):
    """An encoder sent to a worker returns bit-identical representations."""
    encoder, views = load_encoder(path), some_views()
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        far = pool.submit(encoder.encode_views, *views).result()
    here = pickle.loads(pickle.dumps(encoder)).encode_views(*views)
    np.testing.assert_array_equal(here, encoder.encode_views(*views))
    np.testing.assert_allclose(far, here, atol=1e-6)


def test_threads_share_one_encoder(path):
    """Calls from several threads at once return what they return one by one, and leave gradients on elsewhere."""
    encoder = load_encoder(path)
    batches = [some_views(seed=seed) for seed in range(8)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda views: encoder.encode_views(*views), batches))
    for views, r in zip(batches, together, strict=True):
        np.testing.assert_array_equal(r, encoder.encode_views(*views))
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_wrong_pictures_are_refused(path):
    """Another picture size, floats, or missing viewpoints end in a sentence with both sizes."""
    encoder, views = load_encoder(path), some_views()
    with pytest.raises(ValueError, match=r"`images` must be uint8 \[N, 16, 16, 3\].*\[5, 8, 16, 3\]"):
        encoder.encode_views(views.images[:, :8], views.viewpoints)
    with pytest.raises(ValueError, match="got float32"):
        encoder.encode_views(views.images.astype(np.float32), views.viewpoints)
    with pytest.raises(ValueError, match=r"`viewpoints` must be \[5, 7\]"):
        encoder.encode_views(views.images, views.viewpoints[:3])


def test_found_by_run_folder_and_refused_with_choices(path):
    """A run folder stands for its best encoder; what is nowhere is refused with what there could be."""
    assert load_encoder(path.parent).metadata["dataset"]["scene"] == "fake"
    with pytest.raises(ValueError, match=r"`no-such` is no encoder: .*python -m gqn_rl.pretrain"):
        load_encoder("no-such")


def test_warns_when_pictures_are_drawn_differently(path, recwarn):
    """Another renderer or MuJoCo than that of pretraining is told, the same or an unknown one is not."""
    encoder = load_encoder(path)
    encoder.warn_if_drawn_differently(gl_renderer="llvmpipe")
    assert not recwarn.list
    with pytest.warns(UserWarning, match="`gl_renderer` is 'GeForce', .* 'llvmpipe'"):
        encoder.warn_if_drawn_differently(gl_renderer="GeForce")
    with pytest.warns(UserWarning, match="`meshes` is 'simple', .* 'full'"):
        encoder.warn_if_drawn_differently(meshes="simple")
    save_model(path, tiny_model(), {"dataset": {"mujoco": "1.0"}})
    with pytest.warns(UserWarning, match=r"`mujoco` is .* pictures of '1\.0'"):
        load_encoder(path)


def test_random_encoder_is_seeded_and_leaves_the_generator_alone():
    """The same seed gives the same untrained network, another seed another; torch's own stream is not moved."""
    views = some_views(12)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    alone = Views(views.images[:, None], views.viewpoints[:, None])
    first, same, other = (random_encoder(SIZES, seed, alone).encode_views(*views) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 0.1
    np.testing.assert_allclose(np.delete(first.std(axis=0), DEAD_UNIT), 1, atol=1e-3)
