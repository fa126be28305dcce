"""ψ trained on the true state instead of pictures: the ceiling of what an encoder of this architecture can tell.

One view in, positions out: a linear layer on what one view's ψ says is fitted to chosen entries of the true state,
together with ψ. What remains in centimetres is the picture's or the architecture's share of r's error.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from typing import Any

import numpy as np
import torch
from torch import nn

from gqn_rl.dataset import MultiViewDataset, draw_batch, prefetch
from gqn_rl.interrupts import StopRequest
from gqn_rl.models import SceneModel
from gqn_rl.models.readout import Readout
from gqn_rl.pretrain import resume
from gqn_rl.pretrain.export import export_encoder
from gqn_rl.pretrain.resume_checks import STEP, check_state, load_optimizer, load_weights
from gqn_rl.pretrain.schedules import linear
from gqn_rl.representation import BEST_FILE, LAST_FILE
from gqn_rl.runlog import RunLog
from gqn_rl.views import VIEWPOINT_SIZE, Views

OBJECTIVE = "supervised"
JUDGED_SCENES = 1000
_WEIGHTS = "network"
_POSITION = re.compile(r"(.+)_[xyz]")
_SMALLEST_STD = 1e-6


@dataclasses.dataclass(frozen=True)
class SupervisedSettings:
    """Settings of the training.

    Attributes:
        entries: beginnings of the names of state entries that are to be told.
        total_steps, batch_size: steps of Adam, views in each.
        lr: at first; it falls linearly to a fiftieth.
        seed: of weights and batches.
        eval_every, checkpoint_every: steps between two of each.
    """

    entries: tuple[str, ...] = ("hand_", "target_")
    total_steps: int = 28_000
    batch_size: int = 64
    lr: float = 1e-3
    seed: int = 0
    eval_every: int = 2000
    checkpoint_every: int = 500


class Regression(nn.Module):
    """ψ of a scene model, and a linear layer from what one view says to standardised entries of the state."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: SceneModel, mean: np.ndarray, std: np.ndarray):
        super().__init__()
        self.model = model
        nothing = torch.zeros(1, *model.representation_shape), torch.zeros(1, VIEWPOINT_SIZE)
        self.head = nn.Linear(self._said(*nothing).shape[1], len(mean))
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("std", torch.from_numpy(std))

    def forward(self, views: Views) -> torch.Tensor:
        """Maps views [B, 1, ...] to standardised entries, [B, S]."""
        psi = self.model.encode_views(views).float().flatten(0, 1)
        return self.head(self._said(psi, views.viewpoints.flatten(0, 1)))

    def _said(self, psi: torch.Tensor, viewpoints: torch.Tensor) -> torch.Tensor:
        return Readout(self.model.geometry)(psi, viewpoints).flatten(1)


def train_supervised(
    model: SceneModel,
    dataset: MultiViewDataset,
    heldout: MultiViewDataset,
    *,
    run_dir: str | pathlib.Path,
    settings: SupervisedSettings,
) -> dict[str, float]:
    """Trains until `settings.total_steps`, going on from the newest resume file in `run_dir`; writes the encoder.

    Returns:
        The last judgement: R² of each thing, and of positions the median error in centimetres ("cm/hand").

    Raises:
        ValueError: no entry of the state begins so.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after a resume file was written.
    """
    run_dir = pathlib.Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    chosen = _chosen_entries(dataset.state_names, settings.entries)
    truth = dataset.states[:, chosen]
    network = Regression(model, truth.mean(axis=0), np.maximum(truth.std(axis=0), _SMALLEST_STD))
    optimizer = torch.optim.Adam(network.parameters(), settings.lr)
    first, metrics = _restore(run_dir, network, optimizer), dict[str, float]()

    def draw(step: int) -> Any:
        sizes = {"batch_size": settings.batch_size, "num_context": 1, "max_context": 1}
        return draw_batch(dataset, settings.seed, step, **sizes)

    with RunLog(run_dir, start_step=first, tensorboard=False) as log, StopRequest() as stop:
        for step, batch in prefetch(draw, range(first, settings.total_steps)):
            for group in optimizer.param_groups:
                group["lr"] = linear(step, settings.lr, settings.lr / 50, settings.total_steps)
            mse = _update(network, optimizer, batch.context, batch.state[:, chosen])
            done, last = step + 1, step + 1 == settings.total_steps
            if last or done % settings.eval_every == 0:
                metrics = judge(network, heldout, chosen)
                log.log(done, {"train/mse": mse, **metrics})
                export_encoder(
                    [run_dir / LAST_FILE, run_dir / BEST_FILE], model, dataset, step=done, metrics=metrics,
                    objective=OBJECTIVE,
                )  # fmt: skip
            if last or done % settings.checkpoint_every == 0 or stop.signal_name is not None:
                state = {"step": done, _WEIGHTS: network.state_dict(), "optimizer": optimizer.state_dict()}
                resume.save_state(run_dir, state, keep=2)
            if stop.signal_name is not None:
                raise KeyboardInterrupt(stop.signal_name)
    return metrics


def _update(network: Regression, optimizer: torch.optim.Optimizer, views: Views, truth: np.ndarray) -> float:
    """Makes one step of Adam; returns the mean squared error of standardised entries before it."""
    told = network.train()(views.to_torch())
    loss = nn.functional.mse_loss(told, (torch.from_numpy(truth) - network.mean) / network.std)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def judge(network: Regression, heldout: MultiViewDataset, chosen: list[int]) -> dict[str, float]:
    """Returns R² of each thing from one view of held-out scenes, and the median error of positions, centimetres."""
    scenes = np.arange(min(JUDGED_SCENES, heldout.num_scenes))
    parts = []
    for some in np.array_split(scenes, max(len(scenes) // 100, 1)):
        views = heldout.views(some, np.zeros((len(some), 1), int)).to_torch()
        parts.append((network.eval()(views) * network.std + network.mean).numpy())
    error = np.concatenate(parts) - heldout.states[scenes][:, chosen]
    variance = heldout.states[scenes][:, chosen].var(axis=0)
    things: dict[str, list[int]] = {}
    for column, index in enumerate(chosen):
        name = heldout.state_names[index]
        match = _POSITION.fullmatch(name)
        things.setdefault(match[1] if match else name, []).append(column)
    scores = {f"R2/{thing}": _r2(error[:, columns], variance[columns]) for thing, columns in things.items()}
    places = {thing: columns for thing, columns in things.items() if len(columns) == 3}
    distances = {thing: np.linalg.norm(error[:, columns], axis=1) for thing, columns in places.items()}
    return scores | {f"cm/{thing}": float(100 * np.median(value)) for thing, value in distances.items()}


def _r2(error: np.ndarray, variance: np.ndarray) -> float:
    """Returns the mean R² over the entries that vary, NaN where none does."""
    varies = variance > _SMALLEST_STD**2
    return float((1 - (error**2).mean(axis=0)[varies] / variance[varies]).mean()) if varies.any() else float("nan")


def _chosen_entries(names: tuple[str, ...], beginnings: tuple[str, ...]) -> list[int]:
    """Returns the entries of the state whose names begin so and end in a coordinate, or are named whole."""
    chosen = [
        index
        for index, name in enumerate(names)
        if name in beginnings or (name.startswith(beginnings) and _POSITION.fullmatch(name))
    ]
    if not chosen:
        raise ValueError(f"`entries` must hold beginnings of names of positions among {', '.join(names)}.")
    return chosen


def _restore(run_dir: pathlib.Path, network: Regression, optimizer: torch.optim.Optimizer) -> int:
    """Goes back to the newest resume file; returns the steps that have been made."""
    check = functools.partial(check_state, record=STEP, weights_entry=_WEIGHTS)
    if (state := resume.load_newest(run_dir, check)) is None:
        return 0
    load_weights(network, state, _WEIGHTS)
    load_optimizer(optimizer, state.get("optimizer"), state)
    return int(state["step"])
