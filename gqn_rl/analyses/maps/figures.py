"""The figures: drawn maps beside true ones, accuracy over views, and mazes coloured by what a look would tell."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gqn_rl.analyses.maps.evaluation import draw_maps, view_counts
from gqn_rl.analyses.maps.mazes import EncodedMazes
from gqn_rl.models.map_decoder import MapDecoder
from gqn_rl.writers.figures import write_figure

SHEET_MAZES, SHEET_SAMPLES = 8, 2
WALL_COLOUR, PLACE_COLOUR = "0.15", "#D55E00"
COLOURS = {"gain": "#0072B2", "random": "#000000", "frontier": "#009E73", "farthest": "#CC79A7"}
LABELS = {"wall_iou": "IoU of walls", "free_iou": "IoU of free cells", "accuracy": "cells right", "psnr": "PSNR (dB)"}
_SIDE_IN = 1.7
_NOISE_SEED = 0


class Outlook(NamedTuple):
    """A maze and what looks at it promise, as views accumulate.

    Attributes:
        top_view: uint8 [H, W, 3].
        walls: bool [n, n].
        viewpoints: all views in the order taken, float32 [K, 7].
        gains: for each number of views, nats, float64 [S, S] with NaN where nobody can stand.
    """

    top_view: np.ndarray
    walls: np.ndarray
    viewpoints: np.ndarray
    gains: Mapping[int, np.ndarray]


def draw_sheet(path: pathlib.Path, decoder: MapDecoder, mazes: EncodedMazes) -> None:
    """Draws one row per maze: the true map, the map after more and more views, and samples after the fewest and most.

    The maps are those at the prior's mean; samples draw the latents.
    """
    first, counts = slice(SHEET_MAZES), view_counts(mazes)
    columns = [("true", mazes.maps[first])]
    was_training = decoder.training
    decoder.eval()
    with torch.random.fork_rng():
        torch.manual_seed(_NOISE_SEED)
        for count in counts:
            columns.append((_views(count), draw_maps(decoder, mazes.representation(count, first))))
        for count in sorted({counts[0], counts[-1]}):
            r = mazes.representation(count, first)
            columns += [(f"sample, {_views(count)}", draw_maps(decoder, r, True)) for _ in range(SHEET_SAMPLES)]
    decoder.train(was_training)
    size, gap = mazes.maps.shape[1], 2
    framed = [np.pad(maps, ((0, 0), (gap, gap), (gap, gap), (0, 0)), constant_values=255) for _, maps in columns]
    sheet = np.concatenate([np.concatenate(list(maps)) for maps in framed], axis=1)
    height, width = np.array(sheet.shape[:2]) / (size + 2 * gap) * _SIDE_IN
    figure = Figure(figsize=(width, height + 0.4))
    panel = figure.add_axes((0, 0, 1, height / (height + 0.4)))
    panel.imshow(sheet, interpolation="nearest", aspect="auto")
    panel.set_axis_off()
    for column, (title, _) in enumerate(columns):
        panel.text((column + 0.5) * (size + 2 * gap), -gap, title, ha="center", va="bottom", fontsize=9)
    write_figure(path, figure)


def draw_accuracy(path: pathlib.Path, rows: Sequence[Mapping[str, Any]], guesses: Mapping[str, float]) -> None:
    """Draws each measure over the number of views, its interval as a band, the best constant guess as a dotted line.

    Args:
        path: the file to write.
        rows: with "views" and, for each of `LABELS`, its value, `…_low` and `…_high`.
        guesses: what the best constant guess gets, by measure.
    """
    figure = Figure(figsize=(3.2 * len(LABELS), 3.2), layout="constrained")
    for panel, (name, label) in zip(figure.subplots(1, len(LABELS)), LABELS.items(), strict=True):
        _line(panel, rows, name, "#0072B2", "drawn from r")
        if name in guesses:
            panel.axhline(guesses[name], color="0.5", linestyle=":", label="best constant guess")
        panel.set(xlabel="views of the maze", ylabel=label)
        panel.legend(fontsize=7, frameon=False)
    write_figure(path, figure)


def draw_outlooks(path: pathlib.Path, outlooks: Sequence[Outlook]) -> None:
    """Draws one row per maze: from above, then coloured by predicted information gain after more and more views.

    The places and directions of the views taken are arrows. A row has one scale of colours.
    """
    counts = list(outlooks[0].gains)
    size = 1.5 * _SIDE_IN
    figure = Figure(figsize=(size * (1 + len(counts)) + 0.8, size * len(outlooks)), layout="constrained")
    panels = figure.subplots(len(outlooks), 1 + len(counts), squeeze=False)
    for line, outlook in zip(panels, outlooks, strict=True):
        half = len(outlook.walls) / 2
        line[0].imshow(outlook.top_view, extent=[-half - 0.5, half + 0.5] * 2)
        greatest = max(float(np.nanmax(gains)) for gains in outlook.gains.values())
        for panel, count in zip(line[1:], counts, strict=True):
            inner = [-half, half] * 2
            panel.imshow(np.where(outlook.walls, 0.15, 1.0), cmap="gray", vmin=0, vmax=1, extent=inner)
            image = panel.imshow(outlook.gains[count], extent=inner, vmin=0, vmax=greatest, cmap="viridis")
            _arrows(panel, outlook.viewpoints[:count])
            panel.set_facecolor(WALL_COLOUR)
        for panel in line:
            panel.set(xticks=[], yticks=[], xlim=(-half - 0.5, half + 0.5), ylim=(-half - 0.5, half + 0.5))
        figure.colorbar(image, ax=line[1:].tolist(), label="nats", fraction=0.03, pad=0.01)
    panels[0, 0].set_title("from above", fontsize=9)
    for panel, count in zip(panels[0, 1:], counts, strict=True):
        panel.set_title(f"after {_views(count)}", fontsize=9)
    figure.suptitle("Predicted information gain of a look, over places", fontsize=10)
    write_figure(path, figure)


def draw_checks(
    path: pathlib.Path, gains: np.ndarray, errors: np.ndarray, fall: Sequence[Mapping[str, Any]], choice: Sequence[Any]
) -> None:
    """Draws the three checks side by side: gain against error, gain over views, map accuracy by choice of views.

    Args:
        path: the file to write.
        gains: predicted information gains of looks, nats, any shape.
        errors: squared errors of the same looks.
        fall: rows of `information.decline`.
        choice: rows of `choosing.compare`.
    """
    figure = Figure(figsize=(12.5, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.scatter(gains.ravel(), errors.ravel(), s=3, alpha=0.25, linewidths=0, color="#0072B2", rasterized=True)
    left.set(xlabel="predicted information gain (nats)", ylabel="squared error of the prediction")
    _line(middle, fall, "gain_nats", "#0072B2", None)
    middle.set(xlabel="views of the maze", ylabel="predicted information gain (nats)")
    for name in dict.fromkeys(row["strategy"] for row in choice):
        _line(right, [row for row in choice if row["strategy"] == name], "wall_iou", COLOURS.get(name, "0.5"), name)
    right.set(xlabel="views taken", ylabel="IoU of walls of the map")
    right.legend(fontsize=8, frameon=False, title="next view by", title_fontsize=8)
    write_figure(path, figure)


def _line(panel: Axes, rows: Sequence[Mapping[str, Any]], name: str, colour: str, label: str | None) -> None:
    views, value, low, high = (
        np.array([row[key] for row in rows], float) for key in ("views", name, f"{name}_low", f"{name}_high")
    )
    panel.plot(views, value, color=colour, marker="o", markersize=3, label=label)
    panel.fill_between(views, low, high, color=colour, alpha=0.18, linewidth=0)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.spines[["top", "right"]].set_visible(False)


def _arrows(panel: Axes, viewpoints: np.ndarray) -> None:
    """Draws where views were taken and in which direction."""
    x, y, _, sin_yaw, cos_yaw = viewpoints[:, :5].T
    panel.quiver(x, y, cos_yaw, sin_yaw, color=PLACE_COLOUR, scale=12, width=0.014, pivot="tail", zorder=3)
    panel.scatter(x, y, s=8, color=PLACE_COLOUR, zorder=3)


def _views(count: int) -> str:
    return f"{count} view" + "s" * (count > 1)
