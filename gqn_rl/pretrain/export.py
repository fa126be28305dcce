"""Encoder files: what a pretraining run hands to everybody else."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import torch

from gqn_rl.checkpoint import save_model
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.models import SceneModel
from gqn_rl.pretrain.telling import TellingDirections
from gqn_rl.representation import view_statistics
from gqn_rl.scene_evaluation import encode_scenes

VIEWS = "views"
"""The objective of a scene model that predicts views; files say others."""
STATISTICS_SCENES, STATISTICS_VIEWS = 2000, 4
"""Training scenes, and their first views, that give each entry's mean and deviation and the telling directions."""

_SUMMARY = ("scene", "seed", "num_scenes", "views_per_scene", "image_size", "state_names", "experience")


def export_encoder(
    paths: list[pathlib.Path],
    model: SceneModel,
    train: MultiViewDataset,
    *,
    step: int,
    metrics: dict[str, float],
    earlier: Sequence[dict[str, Any]] = (),
    objective: str = VIEWS,
    device: torch.device | str = "cpu",
) -> None:
    """Writes the model with the statistics of what a view says of training scenes, and what is known about both.

    Args:
        paths: files to write.
        model: the trained model.
        train: its training scenes.
        step: steps that it was trained for.
        metrics: what came out.
        earlier: trainings that are in the weights, see `origin.begin_from`.
        objective: what ψ was trained on: "views" (predicting them), "autoencoder" or "supervised".
        device: that encodes.
    """
    num_scenes = min(STATISTICS_SCENES, train.num_scenes)
    num_views = min(STATISTICS_VIEWS, train.views_per_scene)
    telling = TellingDirections(train.state_names, train.states[:num_scenes])
    statistics = view_statistics(encode_scenes(model, train, num_scenes, num_views, device), model.geometry, telling)
    metadata = {"step": step, "metrics": metrics, "dataset": dataset_summary(train.manifest), **statistics}
    if earlier:
        metadata["earlier"] = list(earlier)
    if objective != VIEWS:
        metadata["objective"] = objective
    for path in paths:
        save_model(path, model, metadata)


def dataset_summary(manifest: dict[str, Any]) -> dict[str, Any]:
    """Returns the part of a data set's manifest that a user of the encoder needs: its scene, cameras and renderer."""
    return {key: manifest[key] for key in _SUMMARY if key in manifest} | manifest.get("scene_facts", {})
