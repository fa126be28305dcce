"""t-SNE of codes of single views, and a score that says whether scenes or cameras group in them.

Each point is one view of one scene. A code that knows the scene puts the views of a scene together; one that only
redraws the picture puts together what was seen from the same side.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from gqn_rl.analyses import figures
from gqn_rl.analyses.common import Subject, check_positive, some_scenes, views_of
from gqn_rl.probes import features
from gqn_rl.progress import tqdm
from gqn_rl.scene_evaluation import encode_scenes
from gqn_rl.statistics import mean_over_scenes
from gqn_rl.writers.figures import write_small_figure
from gqn_rl.writers.tables import write_rows

PIXELS = "pixels"
"""Label of the pictures themselves as a code, averaged down to `PIXELS_SIDE`."""
PIXELS_SIDE = 16
OTHER_SCENES = "0.82"
"""Grey of the scenes that have no colour of their own in the figure."""
LINE_NAMES = {"code": "in the code", "tsne": "in the t-SNE"}


@dataclasses.dataclass(frozen=True)
class TsneSettings:
    """Settings of the finding.

    Attributes:
        num_scenes: held-out scenes that the score is of.
        num_views: views of each; fewer where the data have fewer.
        figure_scenes: of these, the scenes that are embedded and drawn.
        neighbours: k, the nearest other points that are looked at.
        yaw_bins: sectors into which the cameras' directions are put.
        perplexity: of t-SNE, about the number of neighbours that matter to a point.
    """

    num_scenes: int = 100
    num_views: int = 10
    figure_scenes: int = 20
    neighbours: int = 5
    yaw_bins: int = 8
    perplexity: float = 20.0

    def __post_init__(self) -> None:
        check_positive(self, "tsne")


def tsne(subject: Subject, out: pathlib.Path, rng: np.random.Generator, settings: TsneSettings) -> str:
    """Embeds and scores the codes of all models and the pixels; writes the table and the figure."""
    dataset = subject.dataset
    scenes = some_scenes(dataset, settings.num_scenes)
    views = min(settings.num_views, dataset.views_per_scene)
    if len(scenes) < 2 or views < 2:
        raise ValueError(f"`what=tsne` needs two scenes of two views, `{dataset.root}` has {len(scenes)} of {views}.")
    bins = yaw_bins(dataset.viewpoints[scenes, :views], settings.yaw_bins)
    shown, seed = min(settings.figure_scenes, len(scenes)), int(rng.integers(2**31))
    rows, drawn = [], {}
    for label, code in tqdm(codes(subject, scenes, views).items(), desc="t-SNE", disable=not subject.progress):
        drawn[label] = embed(code[:shown], settings.perplexity, seed)
        for space, points, sectors in (("code", code, bins), ("tsne", drawn[label], bins[:shown])):
            rows.append({"code": label, "space": space} | score(points, sectors, settings.neighbours, rng))
    write_rows(out / "tsne.csv", rows)
    draw_figure(out / "tsne.png", drawn, dataset.viewpoints[:shown, :views], rows, subject)
    lines = [
        f"{row['code']:>10}, {LINE_NAMES[row['space']]:>12}: same scene {row['scene_share']:.3f} "
        f"[{row['scene_share_low']:.3f}, {row['scene_share_high']:.3f}] (chance {row['scene_chance']:.3f}), "
        f"same side {row['camera_share']:.3f} (chance {row['camera_chance']:.3f}), "
        f"silhouette {row['scene_silhouette']:+.3f} by scene, {row['camera_silhouette']:+.3f} by camera"
        for row in rows
    ]
    return "\n".join([f"Of a view's {settings.neighbours} nearest, how many show the same scene or side:", *lines])


def codes(subject: Subject, scenes: np.ndarray, num_views: int) -> dict[str, np.ndarray]:
    """Returns a code of every view by label, each entry of deviation 1 over all views: float64 [N, K, D]."""
    found = {}
    for label, model in subject.all_models.items():
        device = next(model.parameters()).device
        found[label] = encode_scenes(model, subject.dataset, len(scenes), num_views, device, pool=True)
    pictures = views_of(subject.dataset, scenes, np.arange(num_views)).images / 255.0
    N, K, H, W, channels = pictures.shape
    block = max(1, H // PIXELS_SIDE)
    cut = pictures[:, :, : H // block * block, : W // block * block]
    small = cut.reshape(N, K, H // block, block, W // block, block, channels).mean(axis=(3, 5))
    found[PIXELS] = features(small.reshape(N * K, -1)).reshape(N, K, -1)
    return {label: scaled(code) for label, code in found.items()}


def scaled(code: np.ndarray) -> np.ndarray:
    """Gives every entry of codes [N, K, D] mean 0 and deviation 1; one that never varies becomes 0."""
    flat = code.reshape(-1, code.shape[-1]).astype(np.float64)
    std = flat.std(axis=0)
    alive = std > 1e-6 * max(float(std.max()), 1e-30)
    return ((code - flat.mean(axis=0)) * np.where(alive, 1 / np.where(alive, std, 1.0), 0.0)).astype(np.float64)


def embed(code: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Returns the t-SNE embedding of codes [N, K, D], float64 [N, K, 2]."""
    flat = code.reshape(-1, code.shape[-1])
    perplexity = min(perplexity, (len(flat) - 1) / 3)
    embedded = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(flat)
    return embedded.reshape(*code.shape[:2], 2).astype(np.float64)


def score(code: np.ndarray, bins: np.ndarray, neighbours: int, rng: np.random.Generator) -> dict[str, Any]:
    """Says how well codes [N, K, D] group by scene, and by the sector `bins`, int [N, K], that the camera looks to.

    `scene_share` is the share of a point's k nearest others (its K - 1 at most) that show the same scene, a mean over
    scenes with an interval; with k = 1 it is the accuracy of a nearest neighbour that is asked which scene it sees.
    `camera_share` is the same of sectors. Chance is what a random order of the others gives. Silhouettes are the
    usual ones, from -1 to 1: 0 is what groups without meaning have.
    """
    N, K = code.shape[:2]
    points, scenes, sectors = code.reshape(N * K, -1), np.repeat(np.arange(N), K), bins.reshape(-1)
    nearest = nearest_others(points, min(neighbours, K - 1))
    same_scene = (scenes[nearest] == scenes[:, None]).mean(axis=1).reshape(N, K).mean(axis=1)
    same_sector = (sectors[nearest] == sectors[:, None]).mean(axis=1).reshape(N, K).mean(axis=1)
    return {
        "points": N * K,
        **mean_over_scenes(same_scene, rng).columns("scene_share"),
        "scene_chance": chance(scenes),
        **mean_over_scenes(same_sector, rng).columns("camera_share"),
        "camera_chance": chance(sectors),
        "scene_silhouette": silhouette(points, scenes),
        "camera_silhouette": silhouette(points, sectors),
    }


def nearest_others(points: np.ndarray, k: int) -> np.ndarray:
    """Returns the numbers of the k nearest other points of each, [P, D] → int [P, k]."""
    squares = np.square(points).sum(axis=1)
    distances = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    return distances.argsort(axis=1, kind="stable")[:, :k]


def chance(labels: np.ndarray) -> float:
    """Returns how often another point, drawn at random, has the label of a point drawn at random.

    >>> chance(np.array([0, 0, 1, 1]))
    0.3333333333333333
    """
    counts = np.unique(labels, return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1)))


def silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean silhouette, NaN where all labels are the same or all different."""
    return float(silhouette_score(points, labels)) if 1 < len(np.unique(labels)) < len(labels) else float("nan")


def yaw_bins(viewpoints: np.ndarray, num_bins: int) -> np.ndarray:
    """Returns the sector that each viewpoint [..., 7] looks to, int [...] in [0, num_bins)."""
    turn = np.arctan2(viewpoints[..., 3], viewpoints[..., 4]) / (2 * np.pi) % 1.0
    return np.minimum((turn * num_bins).astype(int), num_bins - 1)


def draw_figure(
    path: pathlib.Path,
    embedded: dict[str, np.ndarray],
    viewpoints: np.ndarray,
    rows: list[dict[str, Any]],
    subject: Subject,
) -> None:
    """Draws each code twice, coloured by scene and by the direction of the camera, with its scores as titles.

    As many scenes have a colour of their own as there are colours that everybody can tell apart; the others are grey.
    """
    figure = Figure(figsize=(2.7 * len(embedded), 5.6), layout="constrained")
    panels = figure.subplots(2, len(embedded), squeeze=False)
    by_code = {row["code"]: row for row in rows if row["space"] == "code"}
    yaws = np.rad2deg(np.arctan2(viewpoints[..., 3], viewpoints[..., 4]))
    num_views, num_coloured = viewpoints.shape[1], min(len(viewpoints), len(figures.COLOURS))
    for (upper, lower), (label, points) in zip(panels.T, embedded.items(), strict=True):
        x, y = points.reshape(-1, 2).T
        row = by_code[label]
        upper.scatter(x, y, color=OTHER_SCENES, s=7, linewidths=0)
        for scene in range(num_coloured):
            own = slice(scene * num_views, (scene + 1) * num_views)
            upper.scatter(x[own], y[own], color=figures.COLOURS[scene], s=20, linewidths=0)
        last = lower.scatter(x, y, c=yaws.ravel(), s=9, cmap="twilight", vmin=-180, vmax=180, linewidths=0)
        upper.set_title(f"{label}\nsame scene {row['scene_share']:.2f} (chance {row['scene_chance']:.2f})", fontsize=9)
        lower.set_title(f"same side {row['camera_share']:.2f} (chance {row['camera_chance']:.2f})", fontsize=9)
        for panel in (upper, lower):
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_color("0.8")
    panels[0, 0].set_ylabel(f"views of {num_coloured} scenes in colour", fontsize=9)
    panels[1, 0].set_ylabel("all views, by camera", fontsize=9)
    bar = figure.colorbar(last, ax=panels[1].tolist(), ticks=[-180, -90, 0, 90, 180], fraction=0.03, pad=0.01)
    bar.set_label("camera's yaw (degrees)", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    write_small_figure(path, figure)
