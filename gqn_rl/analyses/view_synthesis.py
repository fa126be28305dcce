"""View synthesis: a held-out view predicted from 1, 2, 4 … others, several samples of each, and how near they come."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from gqn_rl import picture_metrics as metrics
from gqn_rl.analyses import figures
from gqn_rl.analyses.common import Subject, check_positive, context_and_query, seed_torch, some_scenes, view_counts
from gqn_rl.analyses.passes import errors, picture_columns, predict
from gqn_rl.progress import tqdm
from gqn_rl.views import restore_images
from gqn_rl.writers.figures import write_small_figure
from gqn_rl.writers.sheets import Group, write_sheet
from gqn_rl.writers.tables import write_rows

SHOWN_CONTEXT = 4
"""Context views in the figure, at most."""


@dataclasses.dataclass(frozen=True)
class ViewSynthesisSettings:
    """Settings of the finding.

    Attributes:
        num_scenes: held-out scenes.
        num_queries: last views of each scene, which are predicted.
        max_views: context views, at most; None for as many as the data have.
        num_samples: pictures drawn from the prior for each; errors are means over them.
        figure_scenes: rows of the figure.
        figure_samples: samples for each number of views in the figure.
        sigma: pixel deviation of the likelihood, 0.7 in every report of pretraining.
    """

    num_scenes: int = 200
    num_queries: int = 1
    max_views: int | None = None
    num_samples: int = 4
    figure_scenes: int = 6
    figure_samples: int = 2
    sigma: float = metrics.FIXED_SIGMA

    def __post_init__(self) -> None:
        check_positive(self, "view_synthesis")


def view_synthesis(
    subject: Subject, out: pathlib.Path, rng: np.random.Generator, settings: ViewSynthesisSettings
) -> str:
    """Predicts views from more and more others; writes the table, its curves and a sheet."""
    seed_torch(rng)
    rows = measure(subject, rng, settings)
    write_rows(out / "view_synthesis.csv", rows)
    draw_curves(out / "view_synthesis_curves.png", rows)
    draw_sheet(out / "view_synthesis.png", subject, settings)
    lines = [
        f"{row['views']:>3} views: PSNR {row['psnr']:.2f} dB [{row['psnr_low']:.2f}, {row['psnr_high']:.2f}], "
        f"excess NLL {row['excess_nll']:.2f} nats [{row['excess_nll_low']:.2f}, {row['excess_nll_high']:.2f}]"
        for row in rows
    ]
    return "\n".join([f"Views predicted from the prior, {rows[0]['scenes']} held-out scenes:", *lines])


def measure(subject: Subject, rng: np.random.Generator, settings: ViewSynthesisSettings) -> list[dict[str, Any]]:
    """Returns a row for each number of views: PSNR and excess NLL of samples and (`mean_…`) of the prior's mean."""
    dataset, rows = subject.dataset, []
    scenes = some_scenes(dataset, settings.num_scenes)
    counts = view_counts(dataset, settings.num_queries, settings.max_views)
    for count in tqdm(counts, desc="view synthesis", disable=not subject.progress):
        context, query = context_and_query(dataset, scenes, count, settings.num_queries)
        drawn = [
            errors(predict(subject.model, context, query.viewpoints, sample=True), query.images)
            for _ in range(settings.num_samples)
        ]
        mean = errors(predict(subject.model, context, query.viewpoints), query.images)
        size = query.images[0, 0].size
        of_mean = picture_columns(mean, size, rng, settings.sigma)
        rows.append(
            {"views": count, "scenes": len(scenes)}
            | picture_columns(torch.stack(drawn, dim=-1), size, rng, settings.sigma)
            | {f"mean_{name}": value for name, value in of_mean.items()}
        )
    return rows


def draw_curves(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Draws both measures over the number of views."""
    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    for panel, (name, label) in zip(
        figure.subplots(1, 2), {"psnr": "PSNR (dB)", "excess_nll": "excess NLL (nats)"}.items(), strict=True
    ):
        figures.curve(panel, rows, name, figures.BLUE, "samples")
        figures.curve(panel, rows, f"mean_{name}", figures.ORANGE, "prior's mean", "--")
        figures.finish(panel, "context views", label)
        panel.legend(fontsize=8, frameon=False)
    write_small_figure(path, figure)


def draw_sheet(path: pathlib.Path, subject: Subject, settings: ViewSynthesisSettings) -> None:
    """Draws a row per scene: what was seen, the truth, then samples from more and more views."""
    dataset, num_samples = subject.dataset, settings.figure_samples
    scenes = some_scenes(dataset, settings.figure_scenes)
    counts = view_counts(dataset, settings.num_queries, settings.max_views)
    seen, query = context_and_query(dataset, scenes, min(SHOWN_CONTEXT, counts[-1]))
    heading = "given views" if counts[-1] <= SHOWN_CONTEXT else f"the first {SHOWN_CONTEXT} given views"
    groups = [Group(heading, seen.images), Group("truth", query.images)]
    for count in counts:
        context, _ = context_and_query(dataset, scenes, count)
        samples = [predict(subject.model, context, query.viewpoints, sample=True) for _ in range(num_samples)]
        images = restore_images(torch.cat(samples, dim=1)).numpy()
        groups.append(Group(f"samples, {count} view{'s' * (count > 1)}", images))
    write_sheet(path, groups)
