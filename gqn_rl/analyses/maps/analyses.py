"""The analyses of a pretrained maze GQN and its map decoder: each writes tables and figures and says what came out."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np

from gqn_rl.analyses.common import Subject
from gqn_rl.analyses.maps import choosing, figures
from gqn_rl.analyses.maps.evaluation import MapJudge, accuracy_by_views
from gqn_rl.analyses.maps.geometry import pose_grid
from gqn_rl.analyses.maps.information import correlations, decline, gain_over_maze, gains_and_errors
from gqn_rl.analyses.maps.mazes import EncodedMazes
from gqn_rl.models.map_decoder import MapDecoder
from gqn_rl.progress import tqdm
from gqn_rl.statistics import mean_over_scenes
from gqn_rl.writers.tables import write_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class MazeSubject(Subject):
    """A maze GQN with its map decoder.

    Attributes:
        decoder: the map decoder of the model's r.
        judge: reads walls out of maps.
        mazes: held-out mazes, encoded.
        is_new: whether no training maze has the layout of a held-out one, bool [N]; small mazes often repeat.
        fovy_deg: field of view of their pictures.
    """

    decoder: MapDecoder
    judge: MapJudge
    mazes: EncodedMazes
    is_new: np.ndarray
    fovy_deg: float


@dataclasses.dataclass(frozen=True)
class UncertaintySettings:
    """Settings of the uncertainty analysis.

    Attributes:
        view_counts: numbers of views after which gain is measured and drawn.
        num_queries: last views of each maze, never given to the model, at which gain and error are compared.
        num_samples: imagined pictures per look.
        choice_views: views that each strategy takes of a maze.
        figure_mazes: mazes in the figure.
        places_per_cell: places per metre in the figure, along each axis.
        num_headings: directions at each place.
        headings: "mean" or "max", how they become one number.
    """

    view_counts: tuple[int, ...] = (1, 2, 4, 8, 16)
    num_queries: int = 4
    num_samples: int = 8
    choice_views: int = 10
    figure_mazes: int = 3
    places_per_cell: int = 2
    num_headings: int = 8
    headings: str = "mean"

    def __post_init__(self) -> None:
        numbers = dataclasses.asdict(self).items()
        for name, value in numbers:
            if isinstance(value, int) and value < 1:
                raise ValueError(f"`uncertainty.{name}` must be at least 1, got {value}.")
        if not self.view_counts or list(self.view_counts) != sorted(set(self.view_counts)) or self.view_counts[0] < 1:
            raise ValueError(f"`uncertainty.view_counts` must rise from at least 1, got {list(self.view_counts)}.")


def map_accuracy(subject: MazeSubject, out: pathlib.Path, rng: np.random.Generator) -> str:
    """Measures drawn maps against true ones, by number of views."""
    rows: list[dict[str, Any]] = []
    for count, measures in accuracy_by_views(subject.decoder, subject.mazes, subject.judge):
        columns = [mean_over_scenes(values, rng).columns(name) for name, values in measures.items()]
        columns.append(mean_over_scenes(measures["wall_iou"][subject.is_new], rng).columns("wall_iou_new"))
        counted = {"views": count, "mazes": len(subject.mazes.psi), "new_mazes": int(subject.is_new.sum())}
        rows.append(counted | {k: v for part in columns for k, v in part.items()})
    guesses = subject.judge.judge_guesses(subject.mazes.walls)
    of_new = subject.judge.judge_guesses(subject.mazes.walls[subject.is_new]) if subject.is_new.any() else {}
    truth = subject.judge.judge(subject.mazes.maps, subject.mazes)
    rows_of_bounds = [
        {"reference": "best constant guess"} | guesses,
        {"reference": "best constant guess for new layouts"} | (of_new or dict.fromkeys(guesses, float("nan"))),
        {"reference": "true map"} | {name: float(truth[name].mean()) for name in guesses},
    ]
    write_rows(out / "map_accuracy.csv", rows)
    write_rows(out / "map_bounds.csv", rows_of_bounds)
    figures.draw_accuracy(out / "map_accuracy.png", rows, guesses)
    figures.draw_sheet(out / "map_sheet.png", subject.decoder, subject.mazes)
    lines = [
        f"{row['views']:>3} views: wall IoU {row['wall_iou']:.3f}, {row['wall_iou_new']:.3f} where no training maze "
        f"has the layout ({row['new_mazes']} mazes), PSNR {row['psnr']:.2f} dB"
        for row in rows
    ]
    return "\n".join([*lines, f"best constant guess: wall IoU {guesses['wall_iou']:.3f}"])


def uncertainty(
    subject: MazeSubject,
    out: pathlib.Path,
    rng: np.random.Generator,
    settings: UncertaintySettings,
) -> str:
    """Draws predicted information gain over mazes and checks that it means something."""
    _check_views(settings, subject.mazes.num_views)
    mazes, last = subject.mazes, subject.mazes.num_views - settings.num_queries
    draw_gain_over_mazes(subject, out / "gain_over_mazes.png", settings)

    scenes = np.arange(len(mazes.psi))
    queries = subject.dataset.views(scenes, np.tile(np.arange(last, mazes.num_views), (len(scenes), 1)))
    measured = gains_and_errors(
        subject.model, mazes.psi[:, :last], queries, settings.view_counts, settings.num_samples, subject.progress
    )
    correlated, fall = correlations(measured, rng), decline(measured, rng)

    strategies: dict[str, choosing.Strategy] = {
        "gain": choosing.by_gain(subject.model, settings.num_samples),
        "random": choosing.at_random(rng),
        "frontier": choosing.frontier(subject.fovy_deg),
        "farthest": choosing.farthest,
    }
    scores = {}
    for name, strategy in strategies.items():
        order = choosing.choose_views(
            strategy, mazes, settings.choice_views, f"views by {name}" if subject.progress else None
        )
        scores[name] = choosing.score_views(order, subject.decoder, subject.judge, mazes)
    choice = choosing.compare(scores, "gain", rng)

    for name, rows in (("correlation", correlated), ("decline", fall), ("next_view", choice)):
        write_rows(out / f"{name}.csv", rows)
    figures.draw_checks(out / "checks.png", measured.gains, measured.errors, fall, choice)
    return _summary(correlated, fall, choice)


def draw_gain_over_mazes(subject: MazeSubject, path: pathlib.Path, settings: UncertaintySettings) -> None:
    """Draws the first mazes coloured by what a look from each place would tell, after more and more views."""
    mazes, outlooks = subject.mazes, []
    for index in tqdm(range(min(settings.figure_mazes, len(mazes.psi))), desc="figure", disable=not subject.progress):
        grid = pose_grid(mazes.walls[index], settings.places_per_cell, settings.num_headings)
        gains = {}
        for count in settings.view_counts:
            r = mazes.psi[index, :count].sum(dim=0)
            gains[count] = gain_over_maze(subject.model, r, grid, settings.num_samples, settings.headings)
        outlooks.append(figures.Outlook(mazes.maps[index], mazes.walls[index], mazes.viewpoints[index], gains))
    figures.draw_outlooks(path, outlooks)


def _check_views(settings: UncertaintySettings, num_views: int) -> None:
    needed = max(settings.view_counts) + settings.num_queries
    if needed > num_views:
        raise ValueError(
            f"`uncertainty.view_counts` up to {max(settings.view_counts)} and `uncertainty.num_queries` "
            f"{settings.num_queries} need {needed} views of a maze, the data have {num_views}."
        )
    if settings.choice_views > num_views:
        raise ValueError(f"`uncertainty.choice_views` must be at most {num_views}, the views of a maze in the data.")


def _summary(correlated: list[dict[str, Any]], fall: list[dict[str, Any]], choice: list[dict[str, Any]]) -> str:
    lines = ["Predicted information gain and squared error of the same looks, rank correlation within mazes:"]
    lines += [
        f"  after {row['views']:>3} views: {row['spearman_within']:.3f} "
        f"[{row['spearman_within_low']:.3f}, {row['spearman_within_high']:.3f}], pooled {row['spearman_pooled']:.3f}"
        for row in correlated
    ]
    lines.append("Mean predicted information gain, nats:")
    lines += [f"  after {row['views']:>3} views: {row['gain_nats']:.4g}" for row in fall]
    last = max(row["views"] for row in choice)
    lines.append(f"Wall IoU after {last} views, and what choosing by gain adds to it:")
    lines += [
        f"  {row['strategy']:>9}: {row['wall_iou']:.3f}, {row['gain_over']:+.4f} "
        f"[{row['gain_over_low']:+.4f}, {row['gain_over_high']:+.4f}]"
        for row in choice
        if row["views"] == last
    ]
    return "\n".join(lines)
