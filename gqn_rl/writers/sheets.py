"""Sheets: rows of pictures, under headings or titles."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from gqn_rl.writers.figures import DPI, write_small_figure
from gqn_rl.writers.pictures import WHITE

GAP_PX, GROUP_GAP_PX = 2, 10
TITLE_PX, TITLE_FONT_PX = 24, 14
NARROWEST_PX = 100
"""Pictures are enlarged by a whole number until a column is as wide as its title."""
_HEADING_PX, _LABEL_PX = 20, 92


class Group(NamedTuple):
    """Columns of a sheet under one heading: uint8 [rows, columns, H, W, 3]."""

    heading: str
    images: np.ndarray


def write_sheet(path: pathlib.Path, groups: Sequence[Group], row_labels: Sequence[str] = (), scale: int = 1) -> None:
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
    figure = Figure(figsize=(canvas.shape[1] / DPI, (height + _HEADING_PX) / DPI))
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
    write_small_figure(path, figure)


def with_titles(sheet: np.ndarray, titles: Sequence[str]) -> np.ndarray:
    """Enlarges a sheet, uint8 [H, W, 3], of as many columns as there are titles, and writes a title over each."""
    zoom = -(-NARROWEST_PX * len(titles) // sheet.shape[1])
    sheet = sheet.repeat(zoom, 0).repeat(zoom, 1)
    page = Image.new("RGB", (sheet.shape[1], sheet.shape[0] + TITLE_PX), "white")
    page.paste(Image.fromarray(sheet), (0, TITLE_PX))
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(titles):
        place = ((column + 0.5) * sheet.shape[1] / len(titles), TITLE_PX / 2)
        draw.text(place, title, fill="black", anchor="mm", font_size=TITLE_FONT_PX)
    return np.asarray(page)


def tile(images: np.ndarray) -> np.ndarray:
    """Lays pictures [rows, columns, H, W, 3] side by side on white, `GAP_PX` apart."""
    rows, columns, height, width, channels = images.shape
    sheet = np.full((rows, height + GAP_PX, columns, width + GAP_PX, channels), WHITE, np.uint8)
    sheet[:, :height, :, :width] = images.transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(rows * (height + GAP_PX), columns * (width + GAP_PX), channels)
    return sheet[:-GAP_PX, :-GAP_PX]
