"""The look of the analyses: colours, and curves with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7F7F7F"
COLOURS = (BLUE, ORANGE, GREEN, PINK, "#56B4E9", "#E69F00")
"""Okabe and Ito's, told apart by everybody."""


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
