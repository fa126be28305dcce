"""One optimiser step, and everything that it changes: weights, Adam's moments, the step number."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gqn_rl.dataset import Batch, MultiViewDataset, draw_batch
from gqn_rl.devices import uses_bf16
from gqn_rl.models import SceneModel
from gqn_rl.picture_metrics import nll_floor
from gqn_rl.pretrain import schedules
from gqn_rl.pretrain.hardware import Workers
from gqn_rl.pretrain.objectives import Elbo, Objective, Phase, Terms
from gqn_rl.pretrain.resume_checks import load_optimizer, load_sums, load_weights
from gqn_rl.pretrain.settings import TrainSettings
from gqn_rl.views import Views

FORMAT = 2
"""Of resume files: 1 had weights by other names."""
_SUMMED = ("loss", "excess_nll", "kl", "mse", "gradient_norm")
"""What is summed on the device between two logged rows, so that no step waits for the device."""


class Trainer:
    """A model in training.

    Attributes:
        model: the scene model itself, without wrappers.
        step: how many updates were made.
        best: lowest score of an evaluation so far.
    """

    def __init__(
        self, model: SceneModel, settings: TrainSettings, workers: Workers, objective: Objective | None = None
    ):
        self.settings, self.workers, self.device = settings, workers, workers.device
        self.model = model.to(self.device)
        if settings.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if settings.recompute_steps:
            model.recompute_steps = settings.recompute_steps
        self.step = 0
        self.best = math.inf
        self._bf16 = uses_bf16(settings.precision, self.device)
        self._floor_values = 3 * model.image_size**2
        self._objective = objective or Elbo()
        self._optimizers = {
            name: torch.optim.Adam(weights, lr=settings.lr, fused=True)
            for name, weights in self._objective.parameters(model).items()
        }
        self._loss = _wrap(_Loss(self.model, self._objective), settings, workers)
        self._reset_sums()

    def draw(self, dataset: MultiViewDataset, step: int) -> Batch:
        """Draws this process's slice of the batch of `step`."""
        stage = schedules.curriculum(self.settings, step)
        return draw_batch(
            dataset,
            self.settings.seed,
            step,
            batch_size=self.settings.batch_size,
            num_context=stage.num_context,
            max_context=self.settings.max_context,
            num_queries=self.settings.num_queries,
            query_from_context=stage.query_from_context,
            rank=self.workers.rank,
            world_size=self.workers.world_size,
        )

    def update(self, batch: Batch) -> None:
        """Makes one step of Adam on `batch` in every phase; its noise depends on seed, step and rank alone."""
        settings, step = self.settings, self.step
        latents = schedules.curriculum(settings, step).latents
        torch.manual_seed(schedules.noise_seed(settings.seed, step, self.workers.rank))
        context, query = self._to_device(batch.context), self._to_device(batch.query)
        for phase in self._objective.phases(step, latents):
            self._make(phase, context, query)
        self._num_summed += 1
        self.step += 1

    def _make(self, phase: Phase, context: Views, query: Views) -> None:
        """Makes one phase of a step: loss, gradient, step of its optimiser."""
        optimizer, sigma = self._optimizers[phase.optimiser], schedules.pixel_sigma(self.settings, self.step)
        for group in optimizer.param_groups:
            group["lr"] = schedules.learning_rate(self.settings, self.step)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            loss, terms = self._loss(context, query, sigma, phase)
        loss.backward()
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        norm = nn.utils.clip_grad_norm_(weights, self.settings.grad_clip_norm or math.inf)
        optimizer.step()
        excess = terms["nll"] - nll_floor(self._floor_values, sigma)
        self._sums += torch.stack([loss.detach(), excess, terms["kl"], terms["mse"], norm]).double()

    def _to_device(self, views: Views) -> Views:
        """Moves views; contiguous, because a compiled objective is compiled anew for other strides."""
        return Views(*(tensor.contiguous() for tensor in views.to_torch(self.device)))

    def is_finite(self) -> bool:
        """Tells whether loss and gradient were finite in every step since the last row."""
        return bool(self._sums.isfinite().all())

    def take_row(self) -> dict[str, float]:
        """Returns the means since the last row, over all processes, and starts the next row."""
        settings, last = self.settings, self.step - 1
        means = (self.workers.mean(self._sums) / max(self._num_summed, 1)).tolist()
        row = {f"train/{name}": value for name, value in zip(_SUMMED, means, strict=True)}
        row |= {
            "train/lr": schedules.learning_rate(settings, last),
            "train/sigma": schedules.pixel_sigma(settings, last),
        }
        self._reset_sums()
        return row

    def state(self) -> dict[str, Any]:
        """Returns everything that `restore` needs, as tensors and plain values."""
        return {
            "format": FORMAT,
            "model": self.model.state_dict(),
            "model_settings": self.model.config.to_json(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            "step": self.step,
            "best": self.best,
            "sums": self._sums,
            "num_summed": self._num_summed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state; the model must have the same sizes.

        Raises:
            ValueError: it has others, or the state is of another version's format.
        """
        if state.get("format") != FORMAT:
            raise ValueError(
                f"The resume file of step {state['step']} is of format {state.get('format', 1)}, which this version "
                f"cannot go on from (it writes format {FORMAT}); finish the run with the version that began it, or "
                "choose another `run_dir`."
            )
        now = self.model.config.to_json()
        if state["model_settings"] != now:
            raise ValueError(
                f"`model` differs from the run's ({state['model_settings']}, got {now}); choose another `run_dir`."
            )
        load_weights(self.model, state)
        for name, optimizer in self._optimizers.items():
            load_optimizer(optimizer, state.get("optimizers", {}).get(name), state)
        self.step, self.best = state["step"], state["best"]
        self._num_summed = state["num_summed"]
        self._sums.copy_(load_sums(state, self._sums))

    def _reset_sums(self) -> None:
        self._sums = torch.zeros(len(_SUMMED), dtype=torch.float64, device=self.device)
        self._num_summed = 0


class _Loss(nn.Module):
    """The loss as a forward pass, so that DistributedDataParallel and torch.compile see it."""

    def __init__(self, model: SceneModel, objective: Objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, context: Views, query: Views, sigma: float, phase: Phase) -> tuple[torch.Tensor, Terms]:
        return self.objective.loss(self.model, context, query, phase=phase, sigma=sigma)


def _wrap(objective: nn.Module, settings: TrainSettings, workers: Workers) -> nn.Module:
    """Compiles the objective and averages its gradients over processes, as asked."""
    if workers.world_size > 1:
        # Without latents the posterior's weights get no gradient.
        objective = DistributedDataParallel(objective, find_unused_parameters=settings.warmup_steps > 0)
    if settings.compile:
        objective.compile()
    return objective
