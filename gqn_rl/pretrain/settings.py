"""Every setting of a pretraining run, with its unit; the defaults are the paper's."""

from __future__ import annotations

import dataclasses

PRECISIONS = ("auto", "bf16", "float32")


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """Settings of the loop; steps count optimiser steps from 0.

    Attributes:
        total_steps: the run ends after this many.
        seed: of data order and noise.
        batch_size: scenes a step, over all processes.
        max_context: after the warm-up the number of context views is uniform in 1..max_context.
        num_queries: query views per scene; they share one r.
        lr, lr_end, lr_steps: Adam's learning rate goes linearly from `lr` to `lr_end` over `lr_steps` …
        lr_warmup_steps: … times a ramp from 0 to 1 over these first steps.
        sigma, sigma_end, sigma_steps: the pixels' standard deviation, likewise linear. Both lines end at steps of their
            own, not at `total_steps`: a run that is continued with more steps goes on with `lr_end` and `sigma_end`.
        grad_clip_norm: largest norm of the gradient; None leaves it alone.
        warmup_steps: curriculum: steps with z at the prior's mean and no KL. 0 in the paper.
        warmup_context: curriculum: context views of these steps; None draws their number as later.
        query_from_context: curriculum: share of queries during the warm-up that are the context view itself.
        precision: "bf16" (autocast), "float32", or "auto" (bf16 where the hardware computes it).
        channels_last: memory order of the convolutions.
        compile: use torch.compile.
        recompute_steps: 0, or after how many steps of a GQN's generator activations are forgotten, to be computed again
            in the backward pass: less memory, a third more arithmetic, the same gradients.
        log_every, eval_every, checkpoint_every: steps between two of each; 0 never, but for the last step.
        keep_checkpoints: how many of the newest resume files stay.
        eval_scenes: held-out scenes that pictures are judged on.
        probe_scenes: training scenes that linear probes are fitted on; a quarter as many held-out scenes judge them.
    """

    total_steps: int = 2_000_000
    seed: int = 0
    batch_size: int = 36
    max_context: int = 7
    num_queries: int = 1
    lr: float = 5e-4
    lr_end: float = 5e-5
    lr_steps: int = 1_600_000
    lr_warmup_steps: int = 0
    sigma: float = 2.0
    sigma_end: float = 0.7
    sigma_steps: int = 200_000
    grad_clip_norm: float | None = None
    warmup_steps: int = 0
    warmup_context: int | None = 1
    query_from_context: float = 0.0
    precision: str = "auto"
    channels_last: bool = True
    compile: bool = False
    recompute_steps: int = 0
    log_every: int = 50
    eval_every: int = 5000
    checkpoint_every: int = 1000
    keep_checkpoints: int = 3
    eval_scenes: int = 256
    probe_scenes: int = 2000

    @property
    def objective(self) -> str:
        """What ψ learns from: "autoencoder" where every query of every step is a context view, else "views"."""
        redraws = self.query_from_context == 1.0 and self.warmup_steps >= self.total_steps
        return "autoencoder" if redraws else "views"

    def __post_init__(self) -> None:
        for name in (
            "total_steps",
            "batch_size",
            "max_context",
            "num_queries",
            "keep_checkpoints",
            "eval_scenes",
            "probe_scenes",
        ):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in (
            "log_every",
            "eval_every",
            "checkpoint_every",
            "recompute_steps",
            "warmup_steps",
            "lr_warmup_steps",
        ):
            _require(getattr(self, name) >= 0, name, "at least 0", getattr(self, name))
        for name in ("lr", "sigma", "sigma_end"):
            _require(getattr(self, name) > 0, name, "above 0", getattr(self, name))
        if self.warmup_context is not None:
            _require(self.warmup_context >= 1, "warmup_context", "null or at least 1", self.warmup_context)
        _require(0 <= self.query_from_context <= 1, "query_from_context", "in [0, 1]", self.query_from_context)
        _require(self.precision in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}", self.precision)


def _require(holds: bool, name: str, expected: str, given: object) -> None:
    if not holds:
        raise ValueError(f"`{name}` must be {expected}, got {given}.")
