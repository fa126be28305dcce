"""How cost grows: training samples/s over pixels, context views K and steps L, and Jaco frames/s over pixels.

    MUJOCO_GL=egl python -m benchmarks.scaling [threads=1] [batch=4] [rounds=3] [out=results/benchmarks]
                                               [figure=docs/images/scaling.png] [plot_only=]

The model is the paper's with shared cores (tower, L = 12, 64 pixels, K = 5) in the machine's best precision, one of
these varied at a time; all values of one take turns in rounds, as in training.py. Cost is CPU time, medians over
rounds. It should lie on a straight line over K, L and the number of pixels, whose start is what none of them costs.
Prints the table, writes `scaling.csv` and the figure; `plot_only=1` draws the CSV again.
"""

from __future__ import annotations

import csv
import functools
import pathlib
import statistics
import sys
from typing import Any

import numpy as np

from benchmarks import rendering
from benchmarks.training import Build, machine, ours, settings_of, take_turns, write
from gqn_rl.envs.jaco.scene import JacoScene

PIXELS, CONTEXTS, STEPS = (32, 64, 128), (1, 2, 4, 8, 16), (4, 8, 12, 16)
AXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "pixels": ("image_size", PIXELS),
    "context views K": ("num_context", CONTEXTS),
    "steps L": ("num_steps", STEPS),
}
TRAINING, RENDERING = "training samples", "Jaco frames"


def training_rows(batch: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Measures training along every axis."""
    rows = []
    for axis, (argument, values) in AXES.items():
        builds: dict[str, Build] = {
            str(n): functools.partial(ours, precision="auto", shared_cores=True, **{argument: n}) for n in values
        }
        for value, found in take_turns(builds, batch, threads, rounds).items():
            rows.append(row(TRAINING, axis, int(value), batch / found.wall_s, 1e3 * found.cpu_s / batch))
    return rows


def rendering_rows(rounds: int) -> list[dict[str, Any]]:
    """Measures frames of the Jaco room, simple meshes, at every size."""
    rng, scene = np.random.default_rng(1), JacoScene()
    poses = [scene.sample_pose(rng) for _ in range(rendering.NUM_POSES)]
    draws = {size: rendering.ours("simple", size) for size in PIXELS}
    for draw in draws.values():
        draw(poses[0])  # the first frame compiles shaders
    found: dict[int, list[tuple[float, float]]] = {size: [] for size in draws}
    for _ in range(rounds):
        for size, draw in draws.items():
            found[size].append(rendering.measure(draw, poses))
    return [
        row(
            RENDERING,
            "pixels",
            size,
            statistics.median(speed for speed, _ in samples),
            statistics.median(1e3 * cpu for _, cpu in samples),
        )
        for size, samples in found.items()
    ]


def row(what: str, axis: str, value: int, per_s: float, cpu_ms: float) -> dict[str, Any]:
    """Returns a row of the table."""
    return {"what": what, "axis": axis, "value": value, "per_s": round(per_s, 3), "cpu_ms_each": round(cpu_ms, 4)}


def plot(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Draws CPU time against each axis, with the line that it should follow."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    panels = [(TRAINING, axis) for axis in AXES] + [(RENDERING, "pixels")]
    figure, axes = plt.subplots(1, len(panels), figsize=(14, 3.4), layout="constrained")
    for ax, (what, axis) in zip(axes, panels, strict=True):
        mine = [r for r in rows if (r["what"], r["axis"]) == (what, axis)]
        x, y = (np.array([float(r[name]) for r in mine]) for name in ("value", "cpu_ms_each"))
        work = x**2 if axis == "pixels" else x
        slope, offset = np.polyfit(work, y, 1, w=1 / y)
        ends = np.array([0, work.max()])
        ax.plot(ends, offset + slope * ends, color="0.7", label=f"{offset:.3g} + {slope:.2g} n")
        ax.plot(work, y, "o", color="C0")
        if axis == "pixels":
            ax.set_xticks(work, [f"{n:.0f}²" for n in x])
        ax.set(ylim=(0, None), xlim=(0, None))
        ax.set(xlabel=f"n = {axis if axis != 'pixels' else 'pixels of a picture'}", title=what)
        ax.legend(frameon=False)
    axes[0].set_ylabel("CPU time for each [ms]")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Prints, writes and draws."""
    args = settings_of(
        sys.argv[1:],
        threads=1,
        batch=4,
        rounds=3,
        out="results/benchmarks",
        figure="docs/images/scaling.png",
        plot_only="",
    )
    path = pathlib.Path(args["out"]) / "scaling.csv"
    if not args["plot_only"]:
        threads, batch, rounds = args["threads"], args["batch"], args["rounds"]
        command = f"python -m benchmarks.scaling threads={threads} batch={batch} rounds={rounds}"
        rows = rendering_rows(rounds) + training_rows(batch, threads, rounds)
        write(path, rows, f"{command}; {machine()}")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for r in rows:
        print(f"{r['what']:18}{r['axis']:18}{r['value']:>5}{r['per_s']:>12} /s{r['cpu_ms_each']:>12} CPU ms each")
    plot(rows, pathlib.Path(args["figure"]))


if __name__ == "__main__":
    main()
