"""What every analysis works with: a frozen scene model, held-out scenes, and network passes of bounded size."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gqn_rl.dataset import MultiViewDataset
from gqn_rl.models import SceneModel
from gqn_rl.representation import load_encoder, random_encoder
from gqn_rl.scene_encoder import SceneEncoder, check_field_of_view
from gqn_rl.views import Views

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
        check_data_camera(one, str(path), dataset)
    config = loaded[0].metadata["model"]
    labels = [model_label(one.module.model) for one in loaded]
    labels = [label if label not in labels[:i] else f"{label} {i + 1}" for i, label in enumerate(labels)]
    models = {label: one.module.model for label, one in zip(labels, loaded, strict=True)}
    models[UNTRAINED] = random_encoder(config, seed).to(device).module.model
    return Subject(models.pop(labels[0]), dataset, labels[0], models)


def check_data_camera(encoder: SceneEncoder, name: str, dataset: MultiViewDataset) -> None:
    """Refuses an encoder that was trained on pictures of another field of view than a data set's."""
    check_field_of_view(
        encoder, dataset.manifest.get("scene_facts", {}).get("fovy_deg"), name=name,
        whose=f"the pictures of `data.root` {dataset.root}", instead="data with env.scene.fovy_deg=",
    )  # fmt: skip


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


def seed_torch(rng: np.random.Generator) -> None:
    """Seeds torch's noise from `rng`, so that a finding is a pure function of its arguments."""
    torch.manual_seed(int(rng.integers(2**31)))


def check_positive(settings: Any, what: str, but: Collection[str] = ()) -> None:
    """Refuses counts below 1 in a dataclass of settings, by the name that the command line has for them.

    Args:
        settings: the dataclass.
        what: the finding that they are of.
        but: names of those that are not checked here.
    """
    for name, value in dataclasses.asdict(settings).items():
        if name in but:
            continue
        if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
            raise ValueError(f"`{what}.{name}` must be positive, got {value}.")
