"""Bayesian surprise: how far a view moves the latents from what r foretold, falling as more of the scene was seen."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from gqn_rl.analyses import figures
from gqn_rl.analyses.common import (
    Subject,
    check_positive,
    context_and_query,
    need_views,
    seed_torch,
    some_scenes,
    view_counts,
)
from gqn_rl.analyses.passes import device_of, encode, portions
from gqn_rl.models import SceneModel
from gqn_rl.progress import tqdm
from gqn_rl.statistics import mean_over_scenes
from gqn_rl.uncertainty import bayesian_surprise
from gqn_rl.views import Views
from gqn_rl.writers.figures import write_small_figure
from gqn_rl.writers.tables import write_rows


@dataclasses.dataclass(frozen=True)
class SurpriseSettings:
    """Settings of the finding.

    Attributes:
        num_scenes: held-out scenes.
        num_queries: last views of each scene, at which the model is surprised.
        max_views: seen before, at most; None for as many as the data have.
        num_samples: posterior samples that are averaged over.
    """

    num_scenes: int = 200
    num_queries: int = 1
    max_views: int | None = None
    num_samples: int = 4

    def __post_init__(self) -> None:
        check_positive(self, "surprise")


def surprise(subject: Subject, out: pathlib.Path, rng: np.random.Generator, settings: SurpriseSettings) -> str:
    """Measures Bayesian surprise after no, 1, 2, 4 … views; writes the table and its curve."""
    seed_torch(rng)
    counts, nats = measure(need_views(subject.model, "surprise"), subject, settings)
    rows = rows_of(counts, nats, rng)
    write_rows(out / "surprise.csv", rows)
    draw_curve(out / "surprise.png", rows)
    lines = [
        f"{row['views']:>3} views: {row['surprise_nats']:.4g} nats "
        f"[{row['surprise_nats_low']:.4g}, {row['surprise_nats_high']:.4g}], "
        + (f"falls in {row['falls']:.0%} of scenes" if row["views"] else "nothing seen before")
        for row in rows
    ]
    return "\n".join([f"Bayesian surprise of a held-out view, {rows[0]['scenes']} scenes:", *lines])


def measure(model: SceneModel, subject: Subject, settings: SurpriseSettings) -> tuple[list[int], np.ndarray]:
    """Returns the numbers of views and each scene's mean surprise after them, nats, float64 [C, N]."""
    dataset, device = subject.dataset, device_of(model)
    scenes, nats = some_scenes(dataset, settings.num_scenes), []
    counts = [0, *view_counts(dataset, settings.num_queries, settings.max_views)]
    for count in tqdm(counts, desc="surprise", disable=not subject.progress):
        context, query = context_and_query(dataset, scenes, max(count, 1), settings.num_queries)
        r = encode(model, context) * (count > 0)
        parts = [
            bayesian_surprise(
                model,
                r[part].to(device),
                Views(query.images[part], query.viewpoints[part]).to_torch(device),
                settings.num_samples,
            )
            for part in portions(len(scenes), settings.num_queries)
        ]
        nats.append(torch.cat(parts).mean(1).double().cpu().numpy())
    return counts, np.array(nats)


def rows_of(counts: list[int], nats: np.ndarray, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Returns a row per number of views; `falls` is the share of scenes less surprised than in the row before."""
    rows: list[dict[str, Any]] = []
    for index, count in enumerate(counts):
        falls = float((nats[index] < nats[index - 1]).mean()) if index else np.nan
        mean = mean_over_scenes(nats[index], rng).columns("surprise_nats")
        rows.append({"views": count, "scenes": nats.shape[1]} | mean | {"falls": falls})
    return rows


def draw_curve(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Draws surprise over the number of views, with and without the blank start."""
    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    whole, seen = figure.subplots(1, 2)
    for panel, part, title in ((whole, rows, "from nothing"), (seen, rows[1:], "from the first view on")):
        figures.curve(panel, part, "surprise_nats", figures.BLUE, None)
        figures.finish(panel, "views seen before", "Bayesian surprise (nats)", title)
        panel.set_ylim(bottom=0)
    write_small_figure(path, figure)
