"""Maps of localisation: how probable each place of a camera is, seen from above, beside the true one."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gqn_rl.analyses import figures
from gqn_rl.poses import CameraPose
from gqn_rl.writers.figures import write_small_figure

_ARROW_M = 0.5


class Mapped(NamedTuple):
    """One scene.

    Attributes:
        picture: whose camera is looked for, uint8 [H, W, 3].
        true: its camera.
        context: viewpoints of the other views, float32 [K, 7].
        found: by number of views that were given, the first ones, probabilities of the candidates [G] and the answer.
    """

    picture: np.ndarray
    true: CameraPose
    context: np.ndarray
    found: dict[int, tuple[np.ndarray, CameraPose]]


def draw_maps(path: pathlib.Path, cameras: np.ndarray, scenes: Sequence[Mapped]) -> None:
    """Draws a row per scene: the picture, then a map for each number of views, in which areas are probabilities.

    Orange is the true camera, black the answer, green triangles are the given views, grey dots all candidates.
    """
    columns = 1 + len(scenes[0].found)
    figure = Figure(figsize=(2.1 * columns, 2.1 * len(scenes)), layout="constrained")
    for row, (scene, panels) in enumerate(
        zip(scenes, figure.subplots(len(scenes), columns, squeeze=False), strict=True)
    ):
        panels[0].imshow(scene.picture)
        panels[0].set_axis_off()
        for panel, (count, (probabilities, pose)) in zip(panels[1:], scene.found.items(), strict=True):
            panel.scatter(*cameras[:, :2].T, s=4, color="0.85")
            panel.scatter(*cameras[:, :2].T, s=260 * probabilities, color=figures.BLUE, alpha=0.7, linewidths=0)
            panel.plot(*scene.context[:count, :2].T, "^", ms=4, color=figures.GREEN)
            _arrow(panel, scene.true, figures.ORANGE)
            _arrow(panel, pose, "black")
            panel.set_aspect("equal")
            panel.tick_params(labelsize=6)
            panel.set_title(f"{count} view{'s' * (count > 1)}" if row == 0 else "", fontsize=9)
        panels[0].set_title("picture" if row == 0 else "", fontsize=9)
    write_small_figure(path, figure)


def _arrow(panel: Axes, pose: CameraPose, colour: str) -> None:
    x, y, _ = pose.position_w
    ahead = x + _ARROW_M * np.cos(pose.yaw_rad), y + _ARROW_M * np.sin(pose.yaw_rad)
    panel.annotate("", ahead, (x, y), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.4})
    panel.plot([x], [y], "x", color=colour, ms=5)
