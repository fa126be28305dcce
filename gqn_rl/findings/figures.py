"""The look of the findings: sheets of pictures under headings, curves with intervals, and small animations."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from gqn_rl.runlog import write_atomic

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7F7F7F"
COLOURS = (BLUE, ORANGE, GREEN, PINK, "#56B4E9", "#E69F00")
"""Okabe and Ito's, told apart by everybody."""
GAP_PX, GROUP_GAP_PX = 2, 10
_DPI = 110
_HEADING_PX, _LABEL_PX = 20, 92
_GIF_COLOURS = 64
_WHITE = 255


class Group(NamedTuple):
    """Columns of a sheet under one heading: uint8 [rows, columns, H, W, 3]."""

    heading: str
    images: np.ndarray


def sheet(path: pathlib.Path, groups: Sequence[Group], row_labels: Sequence[str] = (), scale: int = 1) -> None:
    """Writes rows of pictures as PNG, the columns in groups under headings.

    Args:
        path: the file.
        groups: from left to right.
        row_labels: one for each row, or none.
        scale: pixels on a side that a pixel becomes.
    """
    rows, _, side = groups[0].images.shape[:3]
    tile = side * scale + GAP_PX
    widths = [group.images.shape[1] * tile - GAP_PX for group in groups]
    left, height = _LABEL_PX * bool(row_labels), rows * tile - GAP_PX
    canvas = np.full((height, left + sum(widths) + GROUP_GAP_PX * (len(groups) - 1), 3), 255, np.uint8)
    figure = Figure(figsize=(canvas.shape[1] / _DPI, (height + _HEADING_PX) / _DPI))
    panel = figure.add_axes((0, 0, 1, height / (height + _HEADING_PX)))
    x = left
    for group, width in zip(groups, widths, strict=True):
        for row, column in np.ndindex(rows, group.images.shape[1]):
            picture = group.images[row, column].repeat(scale, 0).repeat(scale, 1)
            top, start = row * tile, x + column * tile
            canvas[top : top + side * scale, start : start + side * scale] = picture
        panel.text(x + width / 2, -5, group.heading, ha="center", va="bottom", fontsize=8)
        x += width + GROUP_GAP_PX
    for row, label in enumerate(row_labels):
        panel.text(left - 6, row * tile + side * scale / 2, label, ha="right", va="center", fontsize=8)
    panel.imshow(canvas, interpolation="nearest", aspect="auto")
    panel.set_axis_off()
    save(figure, path)


def curve(
    panel: Axes, rows: Sequence[Mapping[str, Any]], name: str, colour: str, label: str | None, style: str = "-"
) -> None:
    """Draws the column `name` over the column "views" with its interval as a band."""
    views, value, low, high = (
        np.array([row[key] for row in rows], float) for key in ("views", name, f"{name}_low", f"{name}_high")
    )
    panel.plot(views, value, style, color=colour, marker="o", markersize=3.5, linewidth=1.4, label=label)
    panel.fill_between(views, low, high, color=colour, alpha=0.18, linewidth=0)


def finish(panel: Axes, xlabel: str, ylabel: str, title: str = "") -> None:
    """Labels a panel of curves and takes away what is not needed."""
    panel.set_title(title, fontsize=9)
    panel.set_xlabel(xlabel, fontsize=9)
    panel.set_ylabel(ylabel, fontsize=9)
    panel.tick_params(labelsize=8)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25, linewidth=0.6)


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as a PNG of few colours, which halves the file, whole or not at all."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, dpi=_DPI, format="png")
    picture = Image.open(drawn).convert("RGB")
    few = picture.quantize(palette=palette(np.asarray(picture)), dither=Image.Dither.NONE)
    few.save(small, "PNG", optimize=True)
    write_atomic(path, small.getvalue())


def palette(pictures: np.ndarray, num_colours: int = 256) -> Image.Image:
    """Returns colours for pictures, uint8 [..., 3]: half chosen by how often they occur, half by how they differ.

    So a small saturated thing keeps its own beside a large wall.
    """
    colours = pictures.reshape(-1, 3)
    _, first = np.unique(colours >> 2, axis=0, return_index=True)
    common = colours[:: max(1, len(colours) // len(first))]
    chosen = Image.fromarray(np.concatenate([colours[first], common])[None]).quantize(num_colours, kmeans=4)
    entries = np.array(chosen.getpalette()).reshape(-1, 3)
    entries[np.abs(entries - _WHITE).sum(axis=1).argmin()] = _WHITE  # paper stays white
    chosen.putpalette(entries.ravel().tolist())
    return chosen


def save_gif(path: pathlib.Path, frames: np.ndarray, milliseconds: int = 100) -> None:
    """Writes an endless animation of frames, uint8 [F, H, W, 3], with one palette for all of them."""
    colours = palette(frames, _GIF_COLOURS)
    pictures = [Image.fromarray(frame).quantize(palette=colours, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0, optimize=False
    )
    write_atomic(path, buffer.getvalue())
