"""The figures: learning curves with one panel for each camera, over environment steps or wall-clock hours."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from gqn_rl.curves.comparison import NUM_FINAL_EVALUATIONS, Axis, Comparison
from gqn_rl.curves.looks import Look, looks_of
from gqn_rl.curves.runs import Run
from gqn_rl.statistics import FEW_SEEDS, bootstrap, iqm, percentile_interval
from gqn_rl.writers.figures import write_figure

BACKGROUND_LINES = {"-": (0, (1, 1.2)), "--": (0, (1, 2.5)), "-.": (0, (1, 4.5)), ":": (0, (1, 7))}
"""Line styles of those curves in the background: dots, closer or further apart."""
AXIS_LABELS: dict[Axis, str] = {
    "env_steps": "environment steps",
    "pictures": "pictures, those of pretraining included",
    "actions": "actions, those of pretraining included",
    "hours": "wall-clock hours",
    "processor_hours": "processor hours",
}
PANEL_SIZE_IN = (3.9, 3.4)
LEGEND_WIDTH_IN = 2.3


def draw_curves(
    comparison: Comparison, axis: Axis, path: Path, seed: int, looks: Mapping[str, Look] | None = None
) -> list[Path]:
    """Draws one figure, its legend beside the panels, and writes it as `path`.png and `path`.svg.

    Args:
        comparison: the runs to draw, panel by panel.
        axis: what to draw them over, `"env_steps"` or `"hours"`.
        path: where to write, without ending.
        seed: of every bootstrap.
        looks: how curves are drawn whose runs do not say it, by the name of their representation.

    Returns:
        The two files.
    """
    cameras = comparison.cameras
    width, height = PANEL_SIZE_IN[0] * len(cameras) + LEGEND_WIDTH_IN, PANEL_SIZE_IN[1] + 0.7
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, len(cameras), sharey=True, squeeze=False)[0]
    for panel, camera in zip(panels, cameras, strict=True):
        _draw_panel(panel, comparison, camera, axis, seed, looks or {})
    panels[0].set_ylabel("mean episode return" if comparison.oracle_return is None else "score (random 0, oracle 100)")
    figure.suptitle(f"{comparison.env}, {comparison.agent}", fontsize=11)
    draw_legend(figure, panels)
    figure.supxlabel(textwrap.fill(_caption(comparison, axis), width=int(width * 16)), fontsize=7, x=0.01, ha="left")
    return [_save(figure, path.with_name(f"{path.name}.{ending}")) for ending in ("png", "svg")]


def draw_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Draws one legend for all panels to their right, where it hides no curve; each label stands in it once."""
    named = [zip(*panel.get_legend_handles_labels(), strict=True) for panel in panels]
    by_label = {label: handle for entries in named for handle, label in entries}
    figure.legend(
        list(by_label.values()), list(by_label), loc="outside right center", fontsize=8, frameon=False, handlelength=3.2
    )


def _draw_panel(
    panel: Axes, comparison: Comparison, camera: str, axis: Axis, seed: int, known: Mapping[str, Look]
) -> None:
    cells, background = comparison.cells(camera), comparison.background_cells(camera)
    looks = looks_of({name: cells.get(name) or background[name] for name in {**cells, **background}}, known)
    for name, runs in cells.items():
        style = {"color": looks[name].colour, "linestyle": looks[name].line}
        _draw_cell(panel, comparison, runs, axis, style, looks[name].label, seed)
    for name, runs in background.items():
        dots = {"color": looks[name].colour, "linestyle": BACKGROUND_LINES[looks[name].line]}
        _draw_background(panel, comparison, runs, axis, dots, looks[name].label)
    references = (0.0, 100.0) if comparison.oracle_return is not None else (comparison.random_return,)
    for reference in references:
        panel.axhline(reference, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    panel.set_title(f"{camera} camera", fontsize=10)
    panel.set_xlabel(AXIS_LABELS[axis])
    if axis in ("env_steps", "pictures", "actions"):
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.spines[["top", "right"]].set_visible(False)


def _draw_cell(
    panel: Axes, comparison: Comparison, runs: list[Run], axis: Axis, look: dict, label: str, seed: int
) -> None:
    """Draws single seeds thin, their interquartile mean thick, and its bootstrap interval as a band."""
    grid, scores = comparison.curves(runs, axis)
    seeds = f"{label}, {len(runs)} seed{'s' if len(runs) > 1 else ''}"
    for run in runs:
        panel.plot(getattr(run, axis), comparison.score(run.returns), **look, linewidth=0.6, alpha=0.4)
    if len(grid) == 0:  # seeds that share no hour have no common curve
        panel.plot([], [], **look, label=seeds)
        return
    marker = "o" if len(grid) == 1 else None
    panel.plot(grid, iqm(scores), **look, linewidth=1.8, marker=marker, markersize=3, label=seeds)
    samples = bootstrap(iqm, [scores], seed)
    if samples is not None:
        panel.fill_between(grid, *percentile_interval(samples), color=look["color"], alpha=0.18, linewidth=0)


def _draw_background(panel: Axes, comparison: Comparison, runs: list[Run], axis: Axis, look: dict, label: str) -> None:
    """Draws each run dotted and pale below the curves, all under one name."""
    look = look | {"linewidth": 0.9, "alpha": 0.6, "zorder": 1}
    for run in runs:
        panel.plot(getattr(run, axis), comparison.score(run.returns), **look)
    panel.plot([], [], **look, label=f"{label}, behind")


def _caption(comparison: Comparison, axis: Axis) -> str:
    fewest = min(len(runs) for camera in comparison.cameras for runs in comparison.cells(camera).values())
    episodes = " or ".join(map(str, sorted({run.num_episodes for run in comparison.runs})))
    text = f"Thick: interquartile mean over seeds; band: 95 % bootstrap interval, of {FEW_SEEDS} seeds or more; "
    text += "thin: single seeds."
    text += f" {episodes} episodes an evaluation."
    if comparison.oracle_return is not None:
        text += f" Oracle: mean of its last {NUM_FINAL_EVALUATIONS} evaluations, return {comparison.oracle_return:.1f}"
        text += " (of the runs behind)." if comparison.oracle_is_background else "."
    if fewest < FEW_SEEDS:
        text += f" As few as {fewest} seed{'s' if fewest > 1 else ''} a curve: differences may be chance."
    if comparison.background:
        text += " Dotted: runs behind, which no curve and no table counts."
    if axis == "hours" or any(run.pretraining for run in comparison.runs):
        text += " Pretraining of a representation is not included."
    return text


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_figure(path, figure, dpi=160)
    return path
