"""What is measured on held-out scenes: pictures from the prior, likelihoods at a fixed σ, and what r knows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from gqn_rl import picture_metrics as metrics
from gqn_rl import probes
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.models import SceneModel
from gqn_rl.models.readout import Readout
from gqn_rl.scene_encoder import read
from gqn_rl.views import Views, prepare_images

CONTEXT_SIZES = (1, 2, 4)
"""Numbers of context views that everything is reported for, where the data have enough views."""
EXCESS_NLL, KL, MSE, PSNR, SSIM, BITS = "excess_nll", "kl", "mse", "psnr", "ssim", "bits_per_dim"
"""Names of the measures of one split; `eval/mse_4view` has 4 context views, `eval/mse` is the mean over all."""
BEST = f"eval/{EXCESS_NLL}"
"""What decides which encoder is the best (`score`): lower is better."""

_NOISE_SEED = 0
_CHUNK = 32


def context_sizes(dataset: MultiViewDataset) -> list[int]:
    """Returns the numbers of context views that leave a view to be predicted."""
    return [size for size in CONTEXT_SIZES if size < dataset.views_per_scene]


def fixed_views(dataset: MultiViewDataset, scenes: np.ndarray, num_context: int) -> tuple[Views, Views]:
    """Returns the context (a scene's first views, [N, K, ...]) and the query (its last view, [N, 1, ...])."""
    context = np.tile(np.arange(num_context), (len(scenes), 1))
    query = np.full((len(scenes), 1), dataset.views_per_scene - 1)
    return dataset.views(scenes, context), dataset.views(scenes, query)


def evaluate_pictures(
    model: SceneModel, heldout: MultiViewDataset, num_scenes: int, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """Judges predicted and reconstructed pictures of the first held-out scenes, by number of context views.

    Predictions draw the latents from the prior, as a user gets them; `prior_mean_mse` puts them at the prior's mean.
    Reconstructions draw them from the posterior, which has seen the picture. Likelihoods are at `metrics.FIXED_SIGMA`.

    Returns:
        `eval/<measure>_<k>view` and `eval/<measure>`, the mean over k.
    """
    values: dict[str, float] = {}
    sizes = context_sizes(heldout)
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(_NOISE_SEED)
        for size in sizes:
            chunks = [
                _judge(model, *(views.to_torch(device) for views in fixed_views(heldout, scenes, size)))
                for scenes in _chunks(min(num_scenes, heldout.num_scenes))
            ]
            for name in chunks[0]:
                values[f"eval/{name}_{size}view"] = float(torch.cat([chunk[name] for chunk in chunks]).mean())
    names = dict.fromkeys(key.rsplit("_", 1)[0] for key in values)
    return {name: float(np.mean([values[f"{name}_{size}view"] for size in sizes])) for name in names} | values


def score(model: SceneModel, values: dict[str, float]) -> float:
    """Returns what decides which encoder is the best, lower is better: how well other views are predicted.

    A model that cannot predict them is judged by its negative ELBO of held-out pictures, over the likelihood's floor:
    the sharper it draws a view, the farther that is from another one.
    """
    if model.predicts_views:
        return values[BEST]
    return values[f"eval/reconstruction_{EXCESS_NLL}"] + values[f"eval/{KL}"]


def evaluate_representation(
    model: SceneModel,
    train: MultiViewDataset,
    heldout: MultiViewDataset,
    num_scenes: int,
    device: torch.device | str = "cpu",
) -> tuple[dict[str, float], dict[str, float]]:
    """Measures how r varies and, where the data have a true state, what a linear probe reads out of r.

    Args:
        model: the scene model.
        train: scenes that probes are fitted on.
        heldout: scenes that judge them, a quarter as many.
        num_scenes: how many training scenes to use.
        device: where the model is.

    Returns:
        A summary (`r/…` and `probe/<thing>_R2_<k>view`), and `<entry>_<k>view` for every entry of the state.
    """
    sizes, readout = context_sizes(train), Readout(model.geometry)
    num_train, num_heldout = min(num_scenes, train.num_scenes), min(-(-num_scenes // 4), heldout.num_scenes)
    psi_train, psi_heldout = (
        encode_scenes(model, dataset, count, max(sizes), device, pool=True)
        for dataset, count in ((train, num_train), (heldout, num_heldout))
    )
    summary = {f"r/{name}": value for name, value in probes.spread(psi_heldout).items()}
    entries: dict[str, float] = {}
    for size in sizes if train.state_names else ():
        r2 = probes.probe_r2(
            read(readout, psi_train[:, :size].sum(axis=1)),
            train.states[:num_train],
            read(readout, psi_heldout[:, :size].sum(axis=1)),
            heldout.states[:num_heldout],
        )
        groups = probes.group_means(train.state_names, r2)
        summary |= {f"probe/{group}_R2_{size}view": value for group, value in groups.items()}
        entries |= {f"{name}_{size}view": float(value) for name, value in zip(train.state_names, r2, strict=True)}
    return summary, entries


def encode_scenes(
    model: SceneModel,
    dataset: MultiViewDataset,
    num_scenes: int,
    num_views: int,
    device: torch.device | str = "cpu",
    pool: bool = False,
) -> np.ndarray:
    """Encodes the first views of the first scenes: float32 [N, K, *representation_shape], or [N, K, D] pooled.

    Pooling (`probes.features`) is linear: the sum of pooled ψ is the pooled r.
    """
    encoded: np.ndarray | None = None
    with torch.inference_mode():
        for scenes in _chunks(num_scenes):
            views = dataset.views(scenes, np.tile(np.arange(num_views), (len(scenes), 1)))
            psi = model.encode_views(views.to_torch(device)).float().cpu().numpy()
            if pool:
                psi = probes.features(psi.reshape(-1, *psi.shape[2:])).reshape(*psi.shape[:2], -1)
            if encoded is None:  # all of them at once: at the paper's size they are gigabytes, held once
                encoded = np.empty((num_scenes, *psi.shape[1:]), np.float32)
            encoded[scenes] = psi
    assert encoded is not None
    return encoded


def _judge(model: SceneModel, context: Views, query: Views) -> dict[str, torch.Tensor]:
    """Returns every measure of one chunk, [N] each."""
    truth = prepare_images(query.images)[:, 0]  # [N, 3, H, W]
    predicted = model.predict(context, query.viewpoints)[:, 0].float()
    prior_mean = model.predict(context, query.viewpoints, sample=False)[:, 0].float()
    kl = model.bound(context, query, sigma=metrics.FIXED_SIGMA).kl.float().cpu()
    reconstruction = model.reconstruct(context, query)[:, 0].float()
    return {
        **_compare(predicted, truth),
        KL: kl,
        f"prior_mean_{MSE}": metrics.mean_squared_error(prior_mean, truth).cpu(),
        **{f"reconstruction_{name}": value for name, value in _compare(reconstruction, truth).items()},
    }


def _compare(prediction: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
    num_values = truth[0].numel()
    mse = metrics.mean_squared_error(prediction, truth)
    excess = metrics.excess_nll(mse, num_values)
    similarity = metrics.ssim(prediction.clamp(0, 1), truth)
    values = {EXCESS_NLL: excess, MSE: mse, PSNR: metrics.psnr(mse), SSIM: similarity}
    values[BITS] = metrics.bits_per_dim(excess, num_values)
    return {name: value.cpu() for name, value in values.items()}


def _chunks(count: int) -> Iterator[np.ndarray]:
    for first in range(0, count, _CHUNK):
        yield np.arange(first, min(first + _CHUNK, count))
