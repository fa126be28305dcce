"""The evidence lower bound, with a warm-up without latents; the exact likelihood where a density has one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from gqn_rl.models import SceneModel
from gqn_rl.models.likelihood import gaussian_bound
from gqn_rl.pretrain.objectives.protocol import Phase, Terms
from gqn_rl.views import Views, prepare_images

MODEL = "model"
"""Name of the one optimiser."""


@dataclasses.dataclass(frozen=True)
class ElboConfig:
    """Settings of the objective.

    Attributes:
        kl_weight: weight of the KL; 1 is the bound.
    """

    kind: str = "elbo"
    kl_weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.kl_weight >= 0:
            raise ValueError(f"`objective.kl_weight` must be at least 0, got {self.kl_weight}.")


class Elbo:
    """Minimises −(log-likelihood bound) of the query pictures, in nats per picture."""

    def __init__(self, config: ElboConfig | None = None):
        self.config = config or ElboConfig()

    def parameters(self, model: SceneModel) -> Mapping[str, Iterable[nn.Parameter]]:
        """One optimiser has all weights."""
        return {MODEL: model.parameters()}

    def phases(self, step: int, latents: bool) -> Sequence[Phase]:
        """A step is one phase."""
        return (Phase(MODEL, latents),)

    def loss(
        self, model: SceneModel, context: Views, query: Views, *, phase: Phase, sigma: float
    ) -> tuple[Tensor, Terms]:
        """Returns the negative bound and its terms; see `negative_elbo`."""
        return negative_elbo(model, context, query, sigma=sigma, latents=phase.latents, kl_weight=self.config.kl_weight)


def negative_elbo(
    model: SceneModel,
    context: Views,
    query: Views,
    *,
    sigma: float,
    latents: bool = True,
    kl_weight: float = 1.0,
    noise: Tensor | None = None,
) -> tuple[Tensor, Terms]:
    """Returns the negative ELBO in nats per query picture, and its terms.

    Args:
        model: the scene model.
        context: views [B, K, ...] that r is made of.
        query: views [B, Q, ...] to predict.
        sigma: standard deviation of the pixels' normal distribution, pixels in [0, 1].
        latents: False leaves the posterior out: pictures are drawn without noise, no KL (a warm-up for r).
        kl_weight: weight of the KL; 1 is the ELBO.
        noise: standard normal of the posterior, drawn when not given.

    Returns:
        The scalar to minimise, and "nll", "kl" (nats per picture) and "mse" (per pixel channel) without gradient.
    """
    if latents:
        bound = model.bound(context, query, sigma=sigma, noise=noise)
    else:
        pictures = prepare_images(query.images)
        none = torch.zeros(pictures.shape[:2], device=pictures.device)
        bound = gaussian_bound(model.mean(context, query), pictures, none, sigma)
    nll, kl = (term.mean() / query.images.shape[1] for term in (bound.nll, bound.kl))
    terms = {"nll": nll.detach(), "kl": kl.detach(), "mse": bound.mse.mean().detach()}
    return nll + kl_weight * kl, terms
