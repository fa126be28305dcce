"""Composition: r of a scene put together from parts that were seen apart, and what each part is worth for one view.

For every query, the other views of its scene are put in order of their distance from it. "near" are the k nearest,
"far" the k farthest: they see different parts of the scene. r(near) + r(far) is to do better than either.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from gqn_rl import picture_metrics as metrics
from gqn_rl.analyses import figures
from gqn_rl.analyses.common import Subject, check_positive, need_views, seed_torch, some_scenes, views_of
from gqn_rl.analyses.passes import draw, encode, errors, picture_columns
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.models import SceneModel
from gqn_rl.progress import tqdm
from gqn_rl.statistics import mean_over_scenes
from gqn_rl.views import Views, restore_images
from gqn_rl.writers.figures import write_small_figure
from gqn_rl.writers.sheets import Group, write_sheet
from gqn_rl.writers.tables import write_rows

NEAR, FAR, BOTH = "near", "far", "near + far"


@dataclasses.dataclass(frozen=True)
class CompositionSettings:
    """Settings of the finding.

    Attributes:
        num_scenes: held-out scenes.
        max_views: in both parts together, at most; None for as many as the data have.
        figure_scenes: rows of the figure.
    """

    num_scenes: int = 200
    max_views: int | None = None
    figure_scenes: int = 5

    def __post_init__(self) -> None:
        check_positive(self, "composition")


def composition(subject: Subject, out: pathlib.Path, rng: np.random.Generator, settings: CompositionSettings) -> str:
    """Predicts views from near ones, far ones and the sum of both; writes the table, its curves and a sheet."""
    model, dataset = need_views(subject.model, "composition"), subject.dataset
    seed_torch(rng)
    scenes, sizes = some_scenes(dataset, settings.num_scenes), part_sizes(dataset, settings.max_views)
    rows: list[dict[str, Any]] = []
    for size in tqdm(sizes, desc="composition", disable=not subject.progress):
        seen, query = parts(dataset, scenes, size)
        r, mismatch = compose(model, seen)
        mse = {name: errors(draw(model, r[name], query.viewpoints), query.images) for name in (NEAR, FAR, BOTH)}
        for name, error in mse.items():
            row = {"part": name, "each": size, "views": size * (1 + (name == BOTH)), "scenes": len(scenes)}
            gain = (metrics.psnr(error) - metrics.psnr(mse[NEAR])).mean(dim=1).double().numpy()
            row |= picture_columns(error, query.images[0, 0].size, rng)
            row |= mean_over_scenes(gain, rng).columns("psnr_over_near")
            rows.append(row | {"mismatch": mismatch})
    write_rows(out / "composition.csv", rows)
    draw_curves(out / "composition_curves.png", rows)
    draw_sheet(out / "composition.png", model, dataset, settings.figure_scenes)
    lines = [
        f"{row['views']:>3} views, {row['part']:>10}: PSNR {row['psnr']:.2f} dB "
        f"[{row['psnr_low']:.2f}, {row['psnr_high']:.2f}], excess NLL {row['excess_nll']:.2f} nats"
        + (
            f", over near alone {row['psnr_over_near']:+.3f} dB "
            f"[{row['psnr_over_near_low']:+.3f}, {row['psnr_over_near_high']:+.3f}]"
        )
        * (row["part"] != NEAR)
        for row in rows
    ]
    worst = max(row["mismatch"] for row in rows)
    lines.append(f"r(near) + r(far) differs from r(near and far) by at most {worst:.1g} of its size.")
    return "\n".join([f"A held-out view predicted from parts, {len(scenes)} scenes:", *lines])


def part_sizes(dataset: MultiViewDataset, max_views: int | None = None) -> list[int]:
    """Returns 1, 2, 4 … views in each part, as many as two parts and the query have.

    Raises:
        ValueError: there are no two parts.
    """
    most = dataset.views_per_scene - 1
    most = (most if max_views is None else min(most, max_views)) // 2
    if most < 1:
        raise ValueError(
            f"`what=composition` needs a query and 2 views to compose, `{dataset.root}` or `max_views` has fewer."
        )
    return [2**power for power in range(most.bit_length())]


def parts(dataset: MultiViewDataset, scenes: np.ndarray, size: int) -> tuple[dict[str, Views], Views]:
    """Returns near and far views of scenes, [N, size, ...] each, and the query, their last view [N, 1, ...]."""
    last = dataset.views_per_scene - 1
    order = np.array([nearest_first(dataset.viewpoints[scene]) for scene in scenes])
    near, far = views_of(dataset, scenes, order[:, :size]), views_of(dataset, scenes, order[:, last - size :])
    return {NEAR: near, FAR: far}, views_of(dataset, scenes, np.array([last]))


def nearest_first(viewpoints: np.ndarray) -> np.ndarray:
    """Returns the numbers of all views but the last, [K, 7] → int [K - 1], in order of distance from the last.

    Distance is that of places plus that of lines of sight, each in units of its mean over the views.
    """
    yaw, pitch = viewpoints[:, 3:5], viewpoints[:, 5:7]
    forward = np.column_stack([pitch[:, 1] * yaw[:, 1], pitch[:, 1] * yaw[:, 0], pitch[:, 0]])
    distance = np.zeros(len(viewpoints) - 1)
    for vectors in (viewpoints[:, :3], forward):
        apart = np.linalg.norm(vectors[:-1] - vectors[-1], axis=1)
        distance += apart / max(float(apart.mean()), 1e-9)
    return distance.argsort(kind="stable")


def compose(model: SceneModel, seen: dict[str, Views]) -> tuple[dict[str, Tensor], float]:
    """Returns r of both parts and their sum, and how far the sum is from r of all views at once, relative to it."""
    near, far = seen[NEAR], seen[FAR]
    r = {NEAR: encode(model, near), FAR: encode(model, far)}
    r[BOTH] = r[NEAR] + r[FAR]
    together = Views(*(np.concatenate(pair, axis=1) for pair in zip(near, far, strict=True)))
    whole = encode(model, together)
    return r, float((r[BOTH] - whole).norm() / whole.norm().clamp_min(1e-12))


def draw_curves(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Draws PSNR and excess NLL over the number of views, for each part and for both."""
    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    colours = {NEAR: figures.GREEN, FAR: figures.ORANGE, BOTH: figures.BLUE}
    for panel, (name, label) in zip(
        figure.subplots(1, 2), {"psnr": "PSNR (dB)", "excess_nll": "excess NLL (nats)"}.items(), strict=True
    ):
        for part, colour in colours.items():
            figures.curve(panel, [row for row in rows if row["part"] == part], name, colour, f"r({part})")
        figures.finish(panel, "views that r is the sum of", label)
        panel.legend(fontsize=8, frameon=False)
    write_small_figure(path, figure)


def draw_sheet(path: pathlib.Path, model: SceneModel, dataset: MultiViewDataset, num_scenes: int) -> None:
    """Draws a row per scene: the near and far views, what each lets the model draw, their sum, and the truth."""
    size = part_sizes(dataset)[min(1, len(part_sizes(dataset)) - 1)]
    seen, query = parts(dataset, some_scenes(dataset, num_scenes), size)
    r, _ = compose(model, seen)
    groups = [Group(f"{name} views", seen[name].images) for name in (NEAR, FAR)]
    for name in (NEAR, FAR, BOTH):
        drawn = restore_images(draw(model, r[name], query.viewpoints)).numpy()
        groups.append(Group(f"r({name})", drawn))
    write_sheet(path, [*groups, Group("truth", query.images)])
