"""Neural processes on functions of a known Gaussian process, judged by the exact one, and on digits that are half seen.

python examples/neural_processes.py what=gp out=runs/neural_processes steps=20000
python examples/neural_processes.py what=digits out=runs/neural_processes_digits steps=6000

Trains CNP, NP and ANP one after the other, each for so many steps of 16 sets; the same command goes on with what was
interrupted. Writes neural_processes.csv and neural_processes.png into `out`.
"""

from __future__ import annotations

import csv
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from gqn_rl.models.neural_process import KINDS, NeuralProcess, PointSet, build_neural_process

LENGTH, NOISE_STD, REACH = 0.5, 0.2, 2.0
"""Of the Gaussian process: length scale, deviation of the noise, and x from −REACH to REACH; its variance is 1."""
BATCH, MOST_CONTEXT, TARGETS = 16, 30, 30
CONTEXT_SIZES = {"gp": (1, 2, 5, 10, 20, 30), "digits": (4, 8, 16, 32)}
JUDGED, SIDE = 64, 8
SAVE_EVERY = 500

Draw = Callable[[np.random.Generator, int, int, int], tuple[PointSet, PointSet]]


def draw_functions(rng: np.random.Generator, batch: int, context: int, targets: int) -> tuple[PointSet, PointSet]:
    """Draws functions of the Gaussian process at random places: some values, and others to be predicted."""
    x = rng.uniform(-REACH, REACH, (batch, context + targets, 1))
    covariance = np.exp(-0.5 * (x - x.transpose(0, 2, 1)) ** 2 / LENGTH**2) + NOISE_STD**2 * np.eye(x.shape[1])
    y = np.linalg.cholesky(covariance) @ rng.standard_normal(x.shape)
    return _split(x, y, context)


def draw_digits(
    rng: np.random.Generator, batch: int, context: int, targets: int, held_out: bool = False
) -> tuple[PointSet, PointSet]:
    """Draws handwritten digits: some pixels at random places, and others to be predicted; x in [−1, 1]², ink in y."""
    images = load_digits().images / 16.0
    images = images[len(images) // 5 * 4 :] if held_out else images[: len(images) // 5 * 4]
    chosen = images[rng.integers(len(images), size=batch)].reshape(batch, -1, 1)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, SIDE)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    order = rng.permuted(np.tile(np.arange(SIDE**2), (batch, 1)), axis=1)[:, : context + targets, None]
    x = np.take_along_axis(np.broadcast_to(grid, (batch, *grid.shape)), order, axis=1)
    return _split(x, np.take_along_axis(chosen, order, axis=1), context)


def _split(x: np.ndarray, y: np.ndarray, context: int) -> tuple[PointSet, PointSet]:
    x_all, y_all = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y, dtype=torch.float32)
    return PointSet(x_all[:, :context], y_all[:, :context]), PointSet(x_all[:, context:], y_all[:, context:])


def exact_log_likelihood(context: PointSet, target: PointSet) -> np.ndarray:
    """Returns the exact Gaussian process's log p(target | context) in nats a point, each target on its own, [B]."""
    return np.array([_exact_one(*(part[number].numpy() for part in (*context, *target))) for number in range(JUDGED)])


def _exact_one(context_x: np.ndarray, context_y: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    mean, std = exact_process().fit(context_x, context_y[:, 0]).predict(x, return_std=True)
    return float((-0.5 * ((y[:, 0] - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)).mean())


def exact_process() -> GaussianProcessRegressor:
    """Returns scikit-learn's Gaussian process with the kernel that functions are drawn from."""
    return GaussianProcessRegressor(RBF(LENGTH) + WhiteKernel(NOISE_STD**2), optimizer=None)


def train(kind: str, draw: Draw, steps: int, out: pathlib.Path, x_size: int) -> tuple[NeuralProcess, float]:
    """Trains one of `KINDS`, going on where it was; returns it and the CPU seconds of its steps."""
    torch.manual_seed(0)
    model, path = build_neural_process(kind, x_size=x_size), out / f"{kind}.pt"
    optimizer, done, seconds = torch.optim.Adam(model.parameters(), lr=1e-3), 0, 0.0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done, seconds = state["step"], state["seconds"]
    began = time.process_time()
    for step in range(done, steps):
        rng = np.random.default_rng([0, step])
        context, target = draw(rng, BATCH, int(rng.integers(1, MOST_CONTEXT + 1)), TARGETS)
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, 0.02 + 1.5 * (1 - step / steps))
        optimizer.zero_grad(set_to_none=True)
        loss = model.loss(context, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            spent = seconds + time.process_time() - began
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save(state | {"seconds": spent}, path)
            print(
                f"{kind}: step {step + 1} of {steps}, {spent:.0f} s of CPU, {loss.item():.3f} nats a point", flush=True
            )
    return model.eval(), seconds + time.process_time() - began


def judge(models: dict[str, tuple[NeuralProcess, float]], what: str, draw: Draw, steps: int) -> list[dict[str, Any]]:
    """Returns a row for each model and number of context points, with the exact process's where there is one."""
    rows = []
    for size in CONTEXT_SIZES[what]:
        context, target = draw(np.random.default_rng([1, size]), JUDGED, size, TARGETS)
        exact = float(exact_log_likelihood(context, target).mean()) if what == "gp" else float("nan")
        for kind, (model, seconds) in models.items():
            torch.manual_seed(0)
            found = float(model.log_likelihood(context, target).mean())
            mean, std = model.moments(context, target.x)
            rows.append(
                {"what": what, "model": kind, "context": size, "log_likelihood": round(found, 4),
                 "exact": round(exact, 4), "gap": round(exact - found, 4), "std": round(float(std.mean()), 4),
                 "rmse": round(float((mean - target.y).square().mean().sqrt()), 4), "steps": steps,
                 "cpu_s": round(seconds), "weights": sum(weight.numel() for weight in model.parameters())}
            )  # fmt: skip
    return rows


def draw_bands(path: pathlib.Path, models: dict[str, tuple[NeuralProcess, float]]) -> None:
    """Draws what each model and the exact process say of one function, mean and two deviations, from few and many."""
    panels = Figure(figsize=(9.6, 5.4), layout="constrained")
    rows = panels.subplots(3, len(models), sharex=True, sharey=True)
    x = np.linspace(-REACH, REACH, 161)[:, None]
    for row, size in zip(rows, (2, 6, 20), strict=True):
        context, _ = draw_functions(np.random.default_rng([2, size]), 1, size, 1)
        known = context.x[0].numpy(), context.y[0, :, 0].numpy()
        exact = exact_process().fit(*known).predict(x, return_std=True)
        for panel, (kind, (model, _)) in zip(row, models.items(), strict=True):
            torch.manual_seed(0)
            mean, std = model.moments(context, torch.as_tensor(x, dtype=torch.float32)[None])
            panel.fill_between(x[:, 0], exact[0] - 2 * exact[1], exact[0] + 2 * exact[1], color="0.85", lw=0)
            panel.plot(x[:, 0], exact[0], color="0.45", lw=1, label="exact Gaussian process")
            low, high = ((mean + sign * 2 * std)[0, :, 0].numpy() for sign in (-1, 1))
            panel.fill_between(x[:, 0], low, high, color="#0072B2", alpha=0.25, lw=0)
            panel.plot(x[:, 0], mean[0, :, 0].numpy(), color="#0072B2", lw=1.2, label=kind.upper())
            panel.plot(*known, "k.", ms=5)
            panel.set_title(f"{kind.upper()}, {size} context points", fontsize=9)
            panel.tick_params(labelsize=8)
    rows[0][0].legend(fontsize=7, frameon=False)
    panels.savefig(path, dpi=100)


def draw_completions(path: pathlib.Path, models: dict[str, tuple[NeuralProcess, float]]) -> None:
    """Draws held-out digits, the pixels that are given, and each model's mean of all pixels."""
    panels = Figure(figsize=(9.6, 4.2), layout="constrained")
    titles = ["truth", "given", *(f"{kind.upper()}, mean" for kind in models)]
    grid = panels.subplots(4, 2 * len(titles))
    for index, size in enumerate((8, 16)):
        given, rest = draw_digits(np.random.default_rng(3), 4, size, SIDE**2 - size, held_out=True)
        everything = given.joined(rest)
        pictures = [_picture(everything), _picture(given)]
        for model, _ in models.values():
            torch.manual_seed(0)
            pictures.append(_picture(PointSet(everything.x, model.moments(given, everything.x)[0])))
        for column, (title, picture) in enumerate(zip(titles, pictures, strict=True)):
            for row in range(4):
                panel = grid[row][index * len(titles) + column]
                panel.imshow(np.ma.masked_invalid(picture[row]), cmap="gray_r", vmin=0, vmax=1)
                panel.set_facecolor("#cfe0f2")
                panel.set_xticks([])
                panel.set_yticks([])
            grid[0][index * len(titles) + column].set_title(f"{title}\n{size} pixels" if column else title, fontsize=7)
    panels.savefig(path, dpi=100)


def _picture(points: PointSet) -> np.ndarray:
    """Returns pictures of pixels at their places, NaN where there is none, [B, 8, 8]."""
    picture = np.full((len(points.x), SIDE, SIDE), np.nan)
    places = ((points.x.numpy() + 1) / 2 * (SIDE - 1)).round().astype(int)
    for number in range(len(picture)):
        picture[number, places[number, :, 0], places[number, :, 1]] = points.y[number, :, 0].numpy()
    return picture


def main() -> None:
    """Trains what is not trained, judges all, writes the table and the figure."""
    torch.set_num_threads(1)
    options = {"what": "gp", "out": "runs/neural_processes", "steps": "20000"}
    options |= dict(word.split("=", 1) for word in sys.argv[1:])
    what, out, steps = options["what"], pathlib.Path(options["out"]), int(options["steps"])
    if what not in CONTEXT_SIZES:
        raise SystemExit(f"`what` must be one of {', '.join(CONTEXT_SIZES)}, got {what!r}.")
    out.mkdir(parents=True, exist_ok=True)
    draw: Draw = draw_functions if what == "gp" else draw_digits
    judged: Draw = draw_functions if what == "gp" else lambda *sizes: draw_digits(*sizes, held_out=True)
    models = {kind: train(kind, draw, steps, out, 1 if what == "gp" else 2) for kind in KINDS}
    rows = judge(models, what, judged, steps)
    for row in rows:
        print(row)
    with (out / "neural_processes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (draw_bands if what == "gp" else draw_completions)(out / "neural_processes.png", models)


if __name__ == "__main__":
    main()
