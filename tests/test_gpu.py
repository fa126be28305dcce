"""What only a machine with a CUDA device can prove; skipped elsewhere, and run by `benchmarks/gpu.sh` there."""

import copy

import numpy as np
import pytest
import torch

from gqn_rl.devices import uses_bf16
from gqn_rl.pretrain.hardware import Workers, join_workers
from gqn_rl.pretrain.loop import train
from gqn_rl.pretrain.objectives.elbo import negative_elbo
from gqn_rl.runtimes.onnx_file import random_views
from gqn_rl.scene_encoder import SceneEncoder
from gqn_rl.views import Views, upload
from tests.flat_settings import build_model
from tests.golden import MODELS
from tests.tiny_pretraining import SIZES, make_data, tiny_model, tiny_settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SCENE_MODELS = [name for name in MODELS if not name.startswith("map_decoder")]


@pytest.mark.parametrize("name", SCENE_MODELS)
def test_encoders_compute_on_the_gpu_what_they_compute_on_the_cpu(name):
    """Features differ by 1e-3 at most (TF32 is off by default), and a pickled copy starts on the CPU again."""
    torch.manual_seed(0)
    model = build_model(**MODELS[name])
    there = SceneEncoder(copy.deepcopy(model), {}, device="cuda")
    here = SceneEncoder(model, {})
    views = random_views(model.image_size, 9)
    np.testing.assert_allclose(there.encode_views(*views), here.encode_views(*views), atol=1e-3, rtol=1e-3)
    assert copy.deepcopy(there).device == "cpu"


def test_an_upload_is_the_array():
    """Slices with gaps too, whose source is overwritten right after."""
    array = np.random.default_rng(0).integers(0, 256, (64, 3, 64, 64, 3), np.uint8)
    expected = array[:, :2].copy()
    uploaded = upload(array[:, :2], "cuda")
    array[:] = 0
    assert uploaded.is_contiguous() and np.array_equal(uploaded.cpu().numpy(), expected)


@pytest.mark.parametrize("latents", [False, True])
@pytest.mark.parametrize("name", SCENE_MODELS)
def test_the_loss_is_that_of_the_cpu_and_every_gradient_is_finite(name, latents):
    """Without noise, to 1e-3 of it; in bfloat16 to 3e-2 where the device computes it."""
    torch.manual_seed(0)
    model = build_model(**MODELS[name])
    rng = np.random.default_rng(0)
    images, viewpoints = random_views(model.image_size, 12)
    context = Views(images[:8].reshape(4, 2, *images.shape[1:]), viewpoints[:8].reshape(4, 2, 7))
    query = Views(images[8:, None], viewpoints[8:, None])
    noise = torch.from_numpy(rng.standard_normal(_noise_shape(model, 4)).astype(np.float32))
    how = {"sigma": 1.0, "latents": latents}
    expected = negative_elbo(model, context.to_torch(), query.to_torch(), noise=noise, **how)[0].item()
    model.cuda()
    for bf16 in [False] + [True] * uses_bf16("auto", torch.device("cuda")):
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            loss, _ = negative_elbo(model, context.to_torch("cuda"), query.to_torch("cuda"), noise=noise.cuda(), **how)
        loss.backward()
        assert loss.item() == pytest.approx(expected, rel=3e-2 if bf16 else 1e-3)
        assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


def test_a_run_on_the_gpu_resumes_and_its_encoder_is_read_on_the_cpu(tmp_path):
    """Ten steps, in two parts; losses are finite, and the exported encoder encodes."""
    splits = make_data(tmp_path / "data")
    with join_workers("cuda") as workers:
        for total_steps in (5, 10):
            settings = tiny_settings(total_steps=total_steps, precision="auto")
            metrics = train(tiny_model(), *splits, run_dir=tmp_path / "run", settings=settings, workers=workers,
                            show_progress=False)  # fmt: skip
    assert np.isfinite(list(metrics.values())).all()
    assert (tmp_path / "run" / "last.safetensors").is_file()


def test_a_step_never_waits_for_the_gpu():
    """After the first steps, uploads and updates are queued without a synchronisation."""
    from gqn_rl.dataset import Batch
    from gqn_rl.pretrain.trainer import Trainer

    trainer = Trainer(tiny_model(), tiny_settings(precision="auto"), Workers(device=torch.device("cuda")))
    images, viewpoints = random_views(SIZES["image_size"], 12)
    views = Views(images.reshape(4, 3, *images.shape[1:]), viewpoints.reshape(4, 3, 7))
    batch = Batch(Views(*(part[:, :2] for part in views)), Views(*(part[:, 2:] for part in views)), None)
    for _ in range(3):
        trainer.update(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.update(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _noise_shape(model, queries):
    """The shape of the posterior's noise for so many queries."""
    density = model.density
    if not hasattr(density, "num_steps"):
        return (queries, density.code_size)
    return (density.num_steps, queries, *density.latent_shape)
