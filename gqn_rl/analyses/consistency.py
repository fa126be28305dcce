"""Consistency: whether a face that was not seen shows the same digit in samples from two sides.

One picture of a digit cube shows three of its faces. A model is asked for another face from two sides at once, and a
classifier, trained on true pictures, says which digit stands in each sample. Latents that belong to a picture answer
twice independently; those that belong to the scene once. What a classifier says of pictures without a digit may agree
as well, so agreement is compared with that of samples of different scenes, which is chance.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
import torch

from gqn_rl import picture_metrics as metrics
from gqn_rl.analyses.common import Subject, check_positive, need_views, seed_torch
from gqn_rl.analyses.cube_questions import DigitReader, Questions, ask, cube_of
from gqn_rl.analyses.passes import device_of, draw, encode, portions
from gqn_rl.models import SceneModel
from gqn_rl.models.likelihood import nll_floor_per_value
from gqn_rl.progress import tqdm
from gqn_rl.statistics import mean_over_scenes
from gqn_rl.views import Views, restore_images
from gqn_rl.writers.sheets import Group, write_sheet
from gqn_rl.writers.tables import write_rows

ALL_CORNERS = 4


@dataclasses.dataclass(frozen=True)
class ConsistencySettings:
    """Settings of the finding.

    Attributes:
        num_scenes: cubes that are asked about; they are drawn anew, none is of the data set.
        num_training: cubes whose true pictures the classifier is trained on.
        figure_scenes: rows of the figure.
        figure_samples: samples of each model in the figure.
        sigma: pixel deviation of the likelihood.
    """

    num_scenes: int = 400
    num_training: int = 800
    figure_scenes: int = 6
    figure_samples: int = 2
    sigma: float = metrics.FIXED_SIGMA

    def __post_init__(self) -> None:
        check_positive(self, "consistency")


def consistency(subject: Subject, out: pathlib.Path, rng: np.random.Generator, settings: ConsistencySettings) -> str:
    """Asks every model about unseen faces; writes the table and a sheet of samples."""
    for model in subject.all_models.values():
        need_views(model, "consistency")
    seed_torch(rng)
    scene = cube_of(subject.dataset.manifest)
    reader = DigitReader.trained(scene, rng, settings.num_training)
    questions = ask(scene, rng, settings.num_scenes)
    truth = {"classifier_accuracy": float((reader.read(questions, questions.query.images) == questions.digits).mean())}
    models = tqdm(subject.all_models.items(), desc="consistency", disable=not subject.progress)
    rows = [{"model": label, **row_of(model, questions, reader, rng, settings), **truth} for label, model in models]
    write_rows(out / "consistency.csv", rows)
    draw_sheet(out / "consistency.png", subject, questions, settings)
    return "\n".join([f"An unseen face from two sides, {len(questions.digits)} cubes:", *(_line(row) for row in rows)])


def row_of(
    model: SceneModel,
    questions: Questions,
    reader: DigitReader,
    rng: np.random.Generator,
    settings: ConsistencySettings,
) -> dict[str, Any]:
    """Returns a model's row: agreement, what chance gives, pictures of seen faces read rightly, and bounds."""
    r = encode(model, questions.context)
    unseen = restore_images(draw(model, r, questions.query.viewpoints, sample=True)).numpy()
    known = restore_images(draw(model, r, questions.known.viewpoints, sample=True)).numpy()
    first, second = reader.read(questions, unseen).T
    same, chance = first == second, chance_agreement(first, second)
    right = reader.read_known(questions, known) == questions.known_digits
    share = mean_over_scenes(same.astype(float), rng)
    return {
        "scenes": len(same),
        **share.columns("same_digit"),
        "chance": chance,
        "above_chance": (share.value - chance) / (1 - chance) if chance < 1 else float("nan"),
        **mean_over_scenes(right.astype(float), rng).columns("seen_face_right"),
        **bounds(model, questions, settings.sigma),
    }


def chance_agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Returns how often readings of samples agree whose scenes differ, over all pairs of different scenes.

    >>> chance_agreement(np.array([1, 2]), np.array([1, 2])), chance_agreement(np.array([8, 8]), np.array([8, 8]))
    (0.0, 1.0)
    """
    agree = first[:, None] == second[None, :]
    return float((agree.sum() - np.trace(agree)) / (agree.size - len(first)))


@torch.inference_mode()
def bounds(model: SceneModel, questions: Questions, sigma: float) -> dict[str, float]:
    """Returns −log p of 1, 2 and 4 pictures of a cube at once, at most, above that of perfect ones, nats a picture."""
    device, found = device_of(model), {}
    for count in (1, 2, ALL_CORNERS):
        parts = []
        for part in portions(len(questions.digits), 1 + count):
            context = Views(questions.context.images[part], questions.context.viewpoints[part]).to_torch(device)
            query = Views(questions.corners.images[part, :count], questions.corners.viewpoints[part, :count])
            bound = model.bound(context, query.to_torch(device), sigma=sigma)
            parts.append((bound.nll + bound.kl).float().cpu())
        floor = questions.corners.images[0, :count].size * nll_floor_per_value(sigma)
        found[f"nats_a_picture_{count}"] = float(torch.cat(parts).double().mean() - floor) / count
    return found


def draw_sheet(
    path: pathlib.Path, subject: Subject, questions: Questions, settings: ConsistencySettings, scale: int = 2
) -> None:
    """Draws a row per cube: the given view, the truth from two sides, and samples of every model from both."""
    shown = questions.first(settings.figure_scenes)
    groups = [Group("given", shown.context.images), Group("truth", shown.query.images)]
    for label, model in subject.all_models.items():
        r = encode(model, shown.context)
        samples = [draw(model, r, shown.query.viewpoints, sample=True) for _ in range(settings.figure_samples)]
        groups += [
            Group(f"{label}, sample {number + 1}", restore_images(sample).numpy())
            for number, sample in enumerate(samples)
        ]
    write_sheet(path, groups, scale=scale)


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['model']:>10}: same digit {row['same_digit']:.0%} [{row['same_digit_low']:.0%}, "
        f"{row['same_digit_high']:.0%}], chance {row['chance']:.0%}; a seen face from its other side is read rightly "
        f"in {row['seen_face_right']:.0%} (true pictures {row['classifier_accuracy']:.0%})"
    )
