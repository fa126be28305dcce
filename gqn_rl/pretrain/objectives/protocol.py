"""What the loop asks of an objective: which weights go to which optimiser, and the phases of a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from gqn_rl.models import SceneModel
from gqn_rl.views import Views

Terms = Mapping[str, Tensor]
"""Terms of a loss without gradient: "nll", "kl" (nats per query picture) and "mse" (per pixel channel)."""


class Phase(NamedTuple):
    """One backward pass of a training step.

    Attributes:
        optimiser: name of the one that steps after it.
        latents: whether latents take part; without them z stays at the prior's mean.
    """

    optimiser: str
    latents: bool = True


class Objective(Protocol):
    """What training minimises. A step makes each of its phases in order; an adversary is a phase of its own."""

    def parameters(self, model: SceneModel) -> Mapping[str, Iterable[nn.Parameter]]:
        """Returns the weights of each optimiser by its name."""
        ...

    def phases(self, step: int, latents: bool) -> Sequence[Phase]:
        """Returns the phases of a step; `latents` is the curriculum's word."""
        ...

    def loss(
        self, model: SceneModel, context: Views, query: Views, *, phase: Phase, sigma: float
    ) -> tuple[Tensor, Terms]:
        """Returns the scalar that a phase minimises, nats per query picture, and its terms."""
        ...
