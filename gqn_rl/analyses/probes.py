"""Probes: what a linear regression reads out of r about the true state, by number of views, beside rivals' codes."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gqn_rl.analyses import figures
from gqn_rl.analyses.common import UNTRAINED, Subject, check_positive
from gqn_rl.analyses.passes import device_of
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.progress import tqdm
from gqn_rl.scene_evaluation import context_sizes, evaluate_representation
from gqn_rl.writers.figures import write_small_figure
from gqn_rl.writers.tables import write_rows


@dataclasses.dataclass(frozen=True)
class ProbesSettings:
    """Settings of the finding.

    Attributes:
        num_scenes: training scenes that the regressions are fitted on; a quarter as many held-out ones judge them.
    """

    num_scenes: int = 2000

    def __post_init__(self) -> None:
        check_positive(self, "probes")


def probes(subject: Subject, out: pathlib.Path, rng: np.random.Generator, settings: ProbesSettings) -> str:
    """Probes every model on the same scenes; writes the table and its bars."""
    heldout = subject.dataset
    if not heldout.state_names:
        raise ValueError(f"`what=probes` needs the true state of scenes, which the data in `{heldout.root}` have not.")
    train = MultiViewDataset(heldout.root, "train")
    rows: list[dict[str, Any]] = []
    for label, model in tqdm(subject.all_models.items(), desc="probes", disable=not subject.progress):
        summary, _ = evaluate_representation(model, train, heldout, settings.num_scenes, device_of(model))
        rows += rows_of(label, summary, context_sizes(train))
    write_rows(out / "probes.csv", rows)
    draw_bars(out / "probes.png", rows)
    lines = []
    for count in dict.fromkeys(row["views"] for row in rows):
        for label in subject.all_models:
            values = [row["r2"] for row in rows if row["views"] == count and row["code"] == label]
            lines.append(f"{count:>3} views, {label:>10}: {np.mean(values):.3f}")
    return "\n".join(["Mean R² over the things of a scene, read linearly out of r:", *lines])


def rows_of(label: str, summary: dict[str, float], sizes: list[int]) -> list[dict[str, Any]]:
    """Returns a row for each number of views and each thing, out of `probe/<thing>_R2_<k>view`."""
    rows = []
    for size in sizes:
        for name, value in summary.items():
            if name.startswith("probe/") and name.endswith(f"_R2_{size}view"):
                thing = name.removeprefix("probe/").removesuffix(f"_R2_{size}view")
                rows.append({"code": label, "views": size, "thing": thing, "r2": value})
    return rows


def draw_bars(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Draws R² of every thing: bars for the most views, a tick for one view, a colour per code."""
    things, labels = (list(dict.fromkeys(row[key] for row in rows)) for key in ("thing", "code"))
    counts = sorted({row["views"] for row in rows})
    r2 = {(row["code"], row["views"], row["thing"]): row["r2"] for row in rows}
    figure = Figure(figsize=(6.4, 0.9 + 0.09 * len(things) * (len(labels) + 1)), layout="constrained")
    panel = figure.subplots()
    height = 0.85 / len(labels)
    for index, label in enumerate(labels):
        places = np.arange(len(things)) + (index - (len(labels) - 1) / 2) * height
        colour = figures.GREY if label == UNTRAINED else figures.COLOURS[index % len(figures.COLOURS)]
        most, one = (np.clip([r2[label, count, thing] for thing in things], 0, 1) for count in (counts[-1], counts[0]))
        panel.barh(places, most, height, color=colour, label=f"{label}, {counts[-1]} views", alpha=0.9)
        panel.plot(one, places, "|", color="black", markersize=5, label="one view" if index == 0 else None)
    panel.set_yticks(np.arange(len(things)), [thing.replace("_", " ") for thing in things], fontsize=8)
    panel.set(xlim=(0, 1.01), ylim=(len(things) - 0.4, -0.6))
    panel.set_xlabel("R² on held-out scenes, negative as 0", fontsize=9)
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize=8, frameon=False, loc="outside upper center", ncols=len(labels) + 1)
    write_small_figure(path, figure)
