"""Network passes of bounded size, NumPy or tensors on the CPU in and out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gqn_rl import picture_metrics as metrics
from gqn_rl.models import SceneModel
from gqn_rl.statistics import mean_over_scenes
from gqn_rl.views import Views, prepare_images

AT_ONCE = 256
"""Pictures that go through a network at once."""


def device_of(model: torch.nn.Module) -> torch.device:
    """Returns where a model computes."""
    return next(model.parameters()).device


def portions(count: int, pictures_each: int) -> Iterator[slice]:
    """Yields slices of `count` scenes with at most `AT_ONCE` pictures in each, but at least one scene.

    >>> [part.stop for part in portions(5, 100)]
    [2, 4, 6]
    """
    step = max(1, AT_ONCE // max(1, pictures_each))
    for first in range(0, count, step):
        yield slice(first, first + step)


@torch.inference_mode()
def encode(model: SceneModel, views: Views) -> Tensor:
    """Returns r of NumPy views [N, K, ...], float32 [N, *representation_shape] on the CPU."""
    N, K = views.images.shape[:2]
    device = device_of(model)
    parts = [
        model.encode(Views(views.images[part], views.viewpoints[part]).to_torch(device)).cpu()
        for part in portions(N, K)
    ]
    return torch.cat(parts)


@torch.inference_mode()
def draw(model: SceneModel, r: Tensor, viewpoints: np.ndarray, sample: bool = False) -> Tensor:
    """Draws pictures out of r [N, ...] at viewpoints [N, Q, 7]: float32 [N, Q, 3, H, W] on the CPU."""
    (N, Q), device = viewpoints.shape[:2], device_of(model)
    parts = []
    for part in portions(N, Q):
        looks = torch.as_tensor(viewpoints[part]).to(device)
        parts.append(model.draw(r[part].to(device), looks, sample).float().cpu())
    return torch.cat(parts)


@torch.inference_mode()
def predict(model: SceneModel, context: Views, viewpoints: np.ndarray, sample: bool = False) -> Tensor:
    """Predicts viewpoints [N, Q, 7] from NumPy views [N, K, ...]: float32 [N, Q, 3, H, W] on the CPU."""
    if model.predicts_views:
        return draw(model, encode(model, context), viewpoints, sample)  # many queries share an r
    device, parts = device_of(model), []
    for part in portions(len(viewpoints), context.images.shape[1] + viewpoints.shape[1]):
        seen = Views(context.images[part], context.viewpoints[part]).to_torch(device)
        parts.append(model.predict(seen, torch.as_tensor(viewpoints[part]).to(device), sample).float().cpu())
    return torch.cat(parts)


def errors(prediction: Tensor, images: np.ndarray) -> Tensor:
    """Returns the mean squared error of each picture, [N, Q, 3, H, W] against uint8 [N, Q, H, W, 3] → [N, Q]."""
    return metrics.mean_squared_error(prediction, prepare_images(torch.as_tensor(images)))


def picture_columns(
    mse: Tensor, num_values: int, rng: np.random.Generator, sigma: float = metrics.FIXED_SIGMA
) -> dict[str, float]:
    """Returns PSNR in dB and excess NLL in nats as columns, means over scenes with intervals, for errors [N, ...].

    Excess NLL is −log N(x | prediction, σ²) of a picture above that of a perfect prediction, which is 0.
    """
    psnr = metrics.psnr(mse).flatten(1).mean(1).double().numpy()
    excess = metrics.excess_nll(mse, num_values, sigma).flatten(1).mean(1).double().numpy()
    return mean_over_scenes(psnr, rng).columns("psnr") | mean_over_scenes(excess, rng).columns("excess_nll")
