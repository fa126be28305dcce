"""What every analysis works with: a frozen scene model, held-out scenes, and network passes of bounded size."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gqn_rl import picture_metrics as metrics
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.models import SceneModel
from gqn_rl.representation import load_encoder, random_encoder
from gqn_rl.statistics import mean_over_scenes
from gqn_rl.views import Views, prepare_images

AT_ONCE = 256
"""Pictures that go through a network at once."""
UNTRAINED = "untrained"
"""Label of the same network with random weights."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is looked into.

    Attributes:
        model: the frozen scene model, in evaluation mode.
        dataset: held-out scenes.
        label: what figures call the model.
        rivals: models that are compared with it, by label.
        progress: show progress bars.
    """

    model: SceneModel
    dataset: MultiViewDataset
    label: str = "GQN"
    rivals: Mapping[str, SceneModel] = dataclasses.field(default_factory=dict)
    progress: bool = True

    @property
    def all_models(self) -> dict[str, SceneModel]:
        """The model and its rivals by label."""
        return {self.label: self.model, **self.rivals}


def load_subject(
    encoder: str | pathlib.Path,
    root: str | pathlib.Path,
    *,
    rivals: Sequence[str | pathlib.Path] = (),
    device: str = "cpu",
    seed: int = 0,
) -> Subject:
    """Loads a model, its rivals and the held-out scenes of a data set.

    Args:
        encoder: file, pretraining folder or shipped name.
        root: folder of the data set.
        rivals: further encoders; the untrained network always is one.
        device: where to compute.
        seed: of the untrained network's weights.

    Raises:
        ValueError: no such encoder or data, or pictures of another size than a model's.
    """
    dataset = MultiViewDataset(root, "heldout")
    loaded = [load_encoder(path, device=device, standardise=False) for path in (encoder, *rivals)]
    for path, one in zip((encoder, *rivals), loaded, strict=True):
        if one.image_size != dataset.image_size:
            raise ValueError(
                f"`encoder` {path} needs pictures of {one.image_size} pixels, those of `data.root` {root} have "
                f"{dataset.image_size}; choose data of that size."
            )
    config = loaded[0].metadata["model"]
    labels = [model_label(one.module.model) for one in loaded]
    labels = [label if label not in labels[:i] else f"{label} {i + 1}" for i, label in enumerate(labels)]
    models = {label: one.module.model for label, one in zip(labels, loaded, strict=True)}
    models[UNTRAINED] = random_encoder(config, seed).to(device).module.model
    return Subject(models.pop(labels[0]), dataset, labels[0], models)


def need_views(model: SceneModel, what: str) -> SceneModel:
    """Returns the model if pictures of other views can be drawn from any r of it.

    Raises:
        ValueError: it only redraws what it was shown.
    """
    if not model.predicts_views:
        raise ValueError(f"`what={what}` draws pictures out of r: `encoder` must be a GQN, got {model_label(model)}.")
    return model


def model_label(model: SceneModel) -> str:
    """Returns what figures call a model: GQN or consistent GQN where r knows other views, else its density's name."""
    if not model.predicts_views:
        return model.config.density.kind.upper()
    return "CGQN" if getattr(model.density, "latents_of_scene", False) else "GQN"


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


def views_of(dataset: MultiViewDataset, scenes: np.ndarray, which: np.ndarray) -> Views:
    """Returns the views numbered `which`, int [Q] or [N, Q], of some scenes: [N, Q, ...]."""
    return dataset.views(scenes, np.broadcast_to(which, (len(scenes), np.shape(which)[-1])))


def some_scenes(dataset: MultiViewDataset, most: int) -> np.ndarray:
    """Returns the numbers of the first held-out scenes, int [N], N at most `most`."""
    return np.arange(min(most, dataset.num_scenes))


def view_counts(dataset: MultiViewDataset, num_queries: int, max_views: int | None = None) -> list[int]:
    """Returns 1, 2, 4 … context views, at most `max_views` and as many as leave `num_queries` to be predicted.

    Raises:
        ValueError: not even one does.
    """
    most = dataset.views_per_scene - num_queries
    if most < 1:
        raise ValueError(
            f"`num_queries` must leave a view of the {dataset.views_per_scene} of each scene in `{dataset.root}`, "
            f"got {num_queries}."
        )
    most = most if max_views is None else min(most, max_views)
    return [2**power for power in range(most.bit_length())]


def context_and_query(
    dataset: MultiViewDataset, scenes: np.ndarray, num_context: int, num_queries: int = 1
) -> tuple[Views, Views]:
    """Returns the first views of scenes and their last ones, as pretraining's evaluation has them."""
    K = dataset.views_per_scene
    return views_of(dataset, scenes, np.arange(num_context)), views_of(dataset, scenes, np.arange(K - num_queries, K))


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


def seed_torch(rng: np.random.Generator) -> None:
    """Seeds torch's noise from `rng`, so that a finding is a pure function of its arguments."""
    torch.manual_seed(int(rng.integers(2**31)))


def check_positive(settings: Any, what: str) -> None:
    """Refuses counts below 1 in a dataclass of settings, by the name that the command line has for them."""
    for name, value in dataclasses.asdict(settings).items():
        if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
            raise ValueError(f"`{what}.{name}` must be positive, got {value}.")
