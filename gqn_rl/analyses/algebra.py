"""Scene algebra: r(A) - r(B) + r(C) is to be r of a scene D that was never seen, measured over many such triples.

A triple varies two factors, for instance shape and colour, and keeps all others. Of three values of each,
(x, y, z), the nine scenes of a grid are made: A has (x, x), B has (y, x), C has (y, y), so A - B + C is D, (x, y).
All scenes are seen from cameras of their own, so nothing but the scenes can cancel.

The picture drawn out of r(A) - r(B) + r(C) is compared with the true pictures of all nine from the same viewpoints; it
is right when D's is the nearest (mean squared error). The same is asked of r itself, against r of the nine from other
views. Chance is 1/9.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from gqn_rl import picture_metrics as metrics
from gqn_rl.analyses import figures
from gqn_rl.analyses.common import Subject, check_positive, need_views, seed_torch
from gqn_rl.analyses.factors import Factors, Values, make_factors
from gqn_rl.analyses.passes import draw, encode
from gqn_rl.models import SceneModel
from gqn_rl.progress import tqdm
from gqn_rl.statistics import mean_over_scenes
from gqn_rl.views import Views, prepare_images, restore_images
from gqn_rl.writers.figures import write_small_figure
from gqn_rl.writers.sheets import Group, write_sheet
from gqn_rl.writers.tables import write_rows

GRID = tuple((first, second) for first in range(3) for second in range(3))
"""The nine scenes: which of three values each factor has."""
A, B, C, D = (GRID.index(place) for place in ((0, 0), (1, 0), (1, 1), (0, 1)))
CHANCE = 1 / len(GRID)
FACTOR_CHANCE = 1 / 3
METHODS = {"A - B + C": {A: 1, B: -1, C: 1}, "A": {A: 1}, "C": {C: 1}, "D": {D: 1}}
"""What a picture is drawn from, as weights of r: the algebra, two of its terms, and r of D itself, the ceiling."""
ALL = "all"
_MOST_TRIES = 1000
_TRIPLES_AT_ONCE = 8


@dataclasses.dataclass(frozen=True)
class AlgebraSettings:
    """Settings of the finding.

    Attributes:
        num_triples: how many, spread evenly over the pairs of factors.
        num_views: views that r of each scene is made of.
        num_queries: viewpoints from which pictures are compared.
        figure_triples: rows of the figure.
    """

    num_triples: int = 300
    num_views: int = 4
    num_queries: int = 3
    figure_triples: int = 8

    def __post_init__(self) -> None:
        check_positive(self, "algebra")


class Grid(NamedTuple):
    """The nine scenes of a triple.

    Attributes:
        pair: the two factors that vary.
        seen: views that r is made of, [9, K, ...].
        again: other views of the same scenes, [9, K, ...].
        query: all scenes from the same viewpoints, [9, Q, ...].
    """

    pair: tuple[str, str]
    seen: Views
    again: Views
    query: Views


class Judged(NamedTuple):
    """What came of one method, for T triples.

    Attributes:
        picture: the scene whose pictures are nearest to those drawn, int [T].
        r: the scene whose r is nearest, int [T].
        mse: error of the drawn pictures against D's, float64 [T].
    """

    picture: np.ndarray
    r: np.ndarray
    mse: np.ndarray


class Shown(NamedTuple):
    """A row of the sheet.

    Attributes:
        pair: the factors that vary.
        truth: the nine scenes from one viewpoint, uint8 [9, H, W, 3].
        drawn: what each method draws for it, uint8 [H, W, 3].
    """

    pair: tuple[str, str]
    truth: np.ndarray
    drawn: dict[str, np.ndarray]


def algebra(subject: Subject, out: pathlib.Path, rng: np.random.Generator, settings: AlgebraSettings) -> str:
    """Measures scene algebra on scenes like those of the data; writes the table, its bars and a sheet."""
    model, factors = need_views(subject.model, "algebra"), make_factors(subject.dataset.manifest)
    seed_torch(rng)
    pairs: list[tuple[str, str]] = []
    judged: list[dict[str, Judged]] = []
    shown: list[Shown] = []
    with contextlib.closing(factors.scene):
        for first in tqdm(range(0, settings.num_triples, _TRIPLES_AT_ONCE), "algebra", disable=not subject.progress):
            numbers = range(first, min(first + _TRIPLES_AT_ONCE, settings.num_triples))
            grids = [
                draw_grid(factors, factors.pairs[i % len(factors.pairs)], rng, settings.num_views, settings.num_queries)
                for i in numbers
            ]
            pairs += [grid.pair for grid in grids]
            judged.append(judge(model, grids))
            shown += [show(model, grid) for grid in grids[: settings.figure_triples - len(shown)]]
    results = {
        method: Judged(*(np.concatenate(part) for part in zip(*(one[method] for one in judged), strict=True)))
        for method in METHODS
    }
    rows = rows_of(pairs, results, rng)
    write_rows(out / "algebra.csv", rows)
    draw_bars(out / "algebra_accuracy.png", rows)
    draw_sheet(out / "algebra.png", shown)
    return summary(rows)


def draw_grid(
    factors: Factors, pair: tuple[str, str], rng: np.random.Generator, num_views: int, num_queries: int
) -> Grid:
    """Draws three values of both factors and looks at the nine scenes they make.

    Raises:
        ValueError: nine different scenes are not to be had.
    """
    worlds = draw_worlds(factors, pair, rng)
    seen: list[Views] = []
    again: list[Views] = []
    for world in worlds:
        factors.show(world)
        for views in (seen, again):
            views.append(_look(factors, [factors.scene.sample_pose(rng) for _ in range(num_views)]))
    query = _telling_views(factors, worlds, rng, num_queries)
    return Grid(pair, *(Views(*map(np.stack, zip(*views, strict=True))) for views in (seen, again, query)))


def draw_worlds(factors: Factors, pair: tuple[str, str], rng: np.random.Generator) -> list[Values]:
    """Returns the values of nine scenes in the order of `GRID`, all different in their true state."""
    first, second = pair
    for _ in range(_MOST_TRIES):
        drawn = [factors.draw(rng) for _ in range(3)]
        worlds: list[Values] = [{**drawn[0], first: drawn[i][first], second: drawn[j][second]} for i, j in GRID]
        states = set()
        for world in worlds:
            factors.show(world)
            states.add(factors.scene.state().tobytes())
        if len(states) == len(GRID):
            return worlds
    raise ValueError(f"`{first}` and `{second}` do not have three values each that make nine different scenes.")


def judge(model: SceneModel, grids: Sequence[Grid]) -> dict[str, Judged]:
    """Draws out of every method's r and finds the nearest of the nine scenes, in pictures and in r."""
    T, N = len(grids), len(GRID)
    r_seen, r_again = (_encode_all(model, [getattr(grid, name) for grid in grids]) for name in ("seen", "again"))
    looks = np.stack([grid.query.viewpoints[D] for grid in grids])  # [T, Q, 7], the same for all nine
    truth = prepare_images(torch.as_tensor(np.stack([grid.query.images for grid in grids])))  # [T, 9, Q, 3, H, W]
    scale = r_again.flatten(2).flatten(0, 1).std(dim=0).clamp_min(1e-6 * r_again.std().clamp_min(1e-12))
    results = {}
    for name, weights in METHODS.items():
        r = combine(r_seen, weights)
        mse = metrics.mean_squared_error(draw(model, r, looks)[:, None], truth).mean(dim=2)  # [T, 9]
        apart = ((r[:, None] - r_again).reshape(T, N, -1) / scale).square().mean(dim=2)
        results[name] = Judged(mse.argmin(dim=1).numpy(), apart.argmin(dim=1).numpy(), mse[:, D].double().numpy())
    return results


def combine(r: Tensor, weights: dict[int, int]) -> Tensor:
    """Returns the weighted sum of some scenes' r, [T, 9, ...] → [T, ...].

    >>> combine(torch.arange(9.0)[None], METHODS["A - B + C"]).item() == A - B + C == D
    True
    """
    return torch.stack([weight * r[:, scene] for scene, weight in weights.items()]).sum(dim=0)


def rows_of(
    pairs: Sequence[tuple[str, str]], results: dict[str, Judged], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Returns a row for every pair of factors and for all of them together, and every method.

    `picture` and `r`: the share of triples in which D was the nearest. `factor`: the share of the two factors that the
    nearest picture has right. `mse`: of the drawn pictures against D's.
    """
    names, rows = [" and ".join(pair) for pair in pairs], []
    for name in [ALL, *dict.fromkeys(names)]:
        chosen = np.array([name in (ALL, own) for own in names])
        for method, judged in results.items():
            found = np.array(GRID)[judged.picture[chosen]]
            measures = {
                "picture": judged.picture[chosen] == D,
                "r": judged.r[chosen] == D,
                "factor": (found == GRID[D]).mean(axis=1),
                "mse": judged.mse[chosen],
            }
            row: dict[str, Any] = {"factors": name, "from": method, "triples": int(chosen.sum()), "chance": CHANCE}
            for measure, values in measures.items():
                row |= mean_over_scenes(np.asarray(values, float), rng).columns(measure)
            rows.append(row)
    return rows


def summary(rows: list[dict[str, Any]]) -> str:
    """Says how often D was found, over all triples and for each pair of factors."""
    lines = [f"Scene algebra, {rows[0]['triples']} triples: D found among {len(GRID)} scenes, chance {CHANCE:.3f}"]
    lines += [
        f" from r({row['from']}): by picture {row['picture']:.3f} [{row['picture_low']:.3f}, {row['picture_high']:.3f}]"
        f", in r {row['r']:.3f} [{row['r_low']:.3f}, {row['r_high']:.3f}], factors right {row['factor']:.3f} "
        f"(chance {FACTOR_CHANCE:.3f}), MSE {row['mse']:.4f}"
        for row in rows
        if row["factors"] == ALL
    ]
    lines += [
        f"{row['factors']:>30}: by picture {row['picture']:.3f}, in r {row['r']:.3f}, factors right {row['factor']:.3f}"
        for row in rows
        if row["factors"] != ALL and row["from"] == next(iter(METHODS))
    ]
    return "\n".join(lines)


def show(model: SceneModel, grid: Grid) -> Shown:
    """Draws a triple from the first of its viewpoints."""
    r, looks = _encode_all(model, [grid.seen]), grid.query.viewpoints[D][None, :1]
    drawn = {name: draw(model, combine(r, weights), looks) for name, weights in METHODS.items()}
    pictures = {name: restore_images(picture)[0, 0].numpy() for name, picture in drawn.items()}
    return Shown(grid.pair, grid.query.images[:, 0], pictures)


def draw_sheet(path: pathlib.Path, shown: Sequence[Shown]) -> None:
    """Draws the first triples, right or wrong: A, B, C, the picture of A - B + C, the true D, the picture of D."""

    def column(heading: str, pictures: list[np.ndarray]) -> Group:
        return Group(heading, np.stack(pictures)[:, None])

    groups = [
        column(heading, [one.truth[scene] for one in shown]) for heading, scene in (("A", A), ("− B", B), ("+ C", C))
    ]
    first = next(iter(METHODS))
    groups += [
        column("drawn", [one.drawn[first] for one in shown]),
        column("true D", [one.truth[D] for one in shown]),
        column("from r(D)", [one.drawn["D"] for one in shown]),
    ]
    write_sheet(path, groups, ["\n".join(one.pair) for one in shown])


def draw_bars(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Draws how often D is found by its picture: the algebra for each pair of factors, its ceiling, and chance."""
    names = list(dict.fromkeys(row["factors"] for row in rows))
    figure = Figure(figsize=(5.6, 0.9 + 0.3 * len(names)), layout="constrained")
    panel, places = figure.subplots(), np.arange(len(names))
    for method, colour, label, shift in (
        ("A - B + C", figures.BLUE, "r(A) − r(B) + r(C)", -0.2),
        ("D", figures.GREY, "r(D), the ceiling", 0.2),
    ):
        mine = [next(row for row in rows if row["factors"] == name and row["from"] == method) for name in names]
        value, low, high = (np.array([row[key] for row in mine]) for key in ("picture", "picture_low", "picture_high"))
        reach = np.nan_to_num(np.abs(np.stack([value - low, high - value])))
        panel.barh(places + shift, value, 0.38, xerr=reach, color=colour, label=label, error_kw={"linewidth": 0.8})
    panel.axvline(CHANCE, color="black", linestyle=":", linewidth=1, label="chance")
    panel.set_yticks(places, names, fontsize=8)
    panel.invert_yaxis()
    panel.set_xlim(0, 1)
    panel.set_xlabel("share of triples in which the drawn picture is nearest to D", fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize=8, frameon=False, loc="outside upper center", ncols=3)
    write_small_figure(path, figure)


def _telling_views(factors: Factors, worlds: Sequence[Values], rng: np.random.Generator, num_views: int) -> list[Views]:
    """Returns all scenes from the same random viewpoints, such that no two of them look the same."""
    for _ in range(_MOST_TRIES):
        factors.show(worlds[D])
        poses = [factors.scene.sample_pose(rng) for _ in range(num_views)]
        views = []
        for world in worlds:
            factors.show(world)
            views.append(_look(factors, poses))
        if len({one.images.tobytes() for one in views}) == len(worlds):
            return views
    raise ValueError("`algebra.num_queries` viewpoints never tell the nine scenes of a triple apart; look from more.")


def _look(factors: Factors, poses: list[Any]) -> Views:
    """Returns the present scene from some poses, [K, ...]."""
    return Views(np.stack([factors.scene.render(pose) for pose in poses]), np.stack([pose.viewpoint for pose in poses]))


def _encode_all(model: SceneModel, views: Sequence[Views]) -> Tensor:
    """Returns r of the nine scenes of every triple, [T, 9, ...]."""
    flat = Views(*(np.concatenate(part) for part in zip(*views, strict=True)))
    return encode(model, flat).unflatten(0, (len(views), len(GRID)))
