"""Neural processes over sets of points (x, y): a distribution over functions, given some of their values.

Three members (Garnelo et al. 2018a, "Conditional neural processes"; 2018b, "Neural processes"; Kim et al. 2019,
"Attentive neural processes"): CNP sees the mean of what is known of every context point; NP has a latent z of the whole
function beside it, whose prior q(z | context) and posterior q(z | context and targets) are one network on two sets; ANP
lets every target attend to the context points too, so that it passes through them.

Legend: B functions, N context points, M target points, S samples of z, D entries of what is known of a set.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, distributions, nn

from gqn_rl.models.layers import Gaussian, gaussian_kl


class PointSet(NamedTuple):
    """Values of functions at points: x [B, N, x_size] and y [B, N, y_size]; N may be 0."""

    x: Tensor
    y: Tensor

    def joined(self, other: PointSet) -> PointSet:
        """Returns this set and another one as one set."""
        return PointSet(torch.cat([self.x, other.x], dim=1), torch.cat([self.y, other.y], dim=1))


@dataclasses.dataclass(frozen=True)
class NeuralProcessConfig:
    """Settings of a neural process; `build_neural_process` has those of the papers.

    Attributes:
        x_size: entries of x.
        y_size: entries of y.
        hidden: D, and the width of every layer.
        layers: hidden layers of every network.
        latent: whether there is a latent z of the whole function.
        attention: whether targets attend to the context points; otherwise they see their mean.
        heads: of the attention.
        smallest_std: of predictions.
    """

    x_size: int = 1
    y_size: int = 1
    hidden: int = 96
    layers: int = 2
    latent: bool = False
    attention: bool = False
    heads: int = 8
    smallest_std: float = 0.01

    def __post_init__(self) -> None:
        if min(self.x_size, self.y_size, self.hidden, self.layers, self.heads) < 1 or self.hidden % self.heads:
            raise ValueError(
                "`x_size`, `y_size`, `layers` and `heads` must be at least 1 and `hidden` a multiple of `heads`, got "
                f"{self}."
            )


KINDS: dict[str, dict[str, bool]] = {
    "cnp": {"latent": False, "attention": False},
    "np": {"latent": True, "attention": False},
    "anp": {"latent": True, "attention": True},
}
"""What tells the papers' members apart."""


def build_neural_process(kind: str, **settings: Any) -> NeuralProcess:
    """Returns one of `KINDS`; settings are those of `NeuralProcessConfig`.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}, got {kind!r}.")
    return NeuralProcess(NeuralProcessConfig(**KINDS[kind], **settings))


class NeuralProcess(nn.Module):
    """p(y | x, context), independent over targets given z."""

    def __init__(self, config: NeuralProcessConfig):
        super().__init__()
        self.config, width = config, config.hidden
        both = config.x_size + config.y_size
        self.points = _network(both, width, width, config.layers)
        self.attention = CrossAttention(config) if config.attention else None
        if config.latent:
            self.latent_points = _network(both, width, width, config.layers)
            self.latent_head = _network(width, width, 2 * width, 1)
        self.decoder = _network(config.x_size + width * (1 + config.latent), width, 2 * config.y_size, config.layers)

    def distribution(self, points: PointSet) -> Gaussian:
        """Returns q(z | points), [B, D]: the prior of a context, the posterior of context and targets together.

        Raises:
            ValueError: this one has no latent.
        """
        if not self.config.latent:
            raise ValueError("A conditional neural process (`latent=False`) has no latent.")
        known = _mean(self.latent_points(torch.cat(points, dim=-1)))
        mean, log_std = self.latent_head(known).float().chunk(2, dim=-1)
        return Gaussian(mean, log_std.clamp(-6, 2))

    def predict(self, context: PointSet, x: Tensor, z: Tensor | None = None) -> distributions.Normal:
        """Returns the distribution of y at targets.

        Args:
            context: known points, [B, N, ...].
            x: where to predict, [B, M, x_size].
            z: latents [B, D]; drawn from the prior where there are latents and none are given.
        """
        known = self.points(torch.cat(context, dim=-1))  # [B, N, D]
        if self.attention is None:
            seen = _mean(known)[:, None].expand(-1, x.shape[1], -1)
        else:
            seen = self.attention(x, context.x, known)
        if self.config.latent:
            z = self.distribution(context).sample() if z is None else z
            seen = torch.cat([seen, z[:, None].expand(-1, x.shape[1], -1)], dim=-1)
        mean, spread = self.decoder(torch.cat([x, seen], dim=-1)).chunk(2, dim=-1)
        least = self.config.smallest_std
        return distributions.Normal(mean, least + (1 - least) * F.softplus(spread))

    def loss(self, context: PointSet, target: PointSet) -> Tensor:
        """Returns −log p(target y | context), at most, in nats a point: the bound's negative, a scalar."""
        if not self.config.latent:
            return -self.predict(context, target.x).log_prob(target.y).sum(-1).mean()
        prior, posterior = self.distribution(context), self.distribution(context.joined(target))
        predicted = self.predict(context, target.x, posterior.sample())
        kl = gaussian_kl(posterior, prior).mean() / target.x.shape[1]
        return kl - predicted.log_prob(target.y).sum(-1).mean()

    @torch.inference_mode()
    def log_likelihood(self, context: PointSet, target: PointSet, num_samples: int = 32) -> Tensor:
        """Returns log p(target y | context) in nats a point, [B].

        With latents it is the mean over samples of the prior, inside the logarithm: a lower bound in expectation.
        """
        if not self.config.latent:
            return self.predict(context, target.x).log_prob(target.y).sum(-1).mean(-1)
        prior = self.distribution(context)
        logs = [
            self.predict(context, target.x, prior.sample()).log_prob(target.y).sum((-1, -2)) for _ in range(num_samples)
        ]
        return (torch.logsumexp(torch.stack(logs), dim=0) - math.log(num_samples)) / target.x.shape[1]

    @torch.inference_mode()
    def moments(self, context: PointSet, x: Tensor, num_samples: int = 32) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation of y at targets over latents too, [B, M, y_size] each."""
        count = num_samples if self.config.latent else 1
        found = [self.predict(context, x) for _ in range(count)]
        means, stds = torch.stack([p.mean for p in found]), torch.stack([p.stddev for p in found])
        return means.mean(0), (means.var(0, correction=0) + stds.square().mean(0)).sqrt()


class CrossAttention(nn.Module):
    """What targets see of the context points: a mean weighted by how alike their x are, in a few learnt ways."""

    def __init__(self, config: NeuralProcessConfig):
        super().__init__()
        width, self.heads = config.hidden, config.heads
        self.places = _network(config.x_size, width, width, config.layers)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context_x: Tensor, known: Tensor) -> Tensor:
        """Maps targets [B, M, x_size] and context [B, N, x_size], [B, N, D] to [B, M, D]; zeros where N is 0."""
        if context_x.shape[1] == 0:
            return known.new_zeros(*x.shape[:2], known.shape[-1])
        query, key, value = (self._split(part) for part in (self.places(x), self.places(context_x), self.value(known)))
        seen = F.scaled_dot_product_attention(query, key, value)  # [B, heads, M, D / heads]
        return self.out(seen.transpose(1, 2).flatten(2))

    def _split(self, part: Tensor) -> Tensor:
        return part.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _network(inputs: int, hidden: int, outputs: int, layers: int) -> nn.Sequential:
    sizes = [inputs, *([hidden] * layers)]
    hidden_layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden_layers, nn.Linear(hidden, outputs))


def _mean(known: Tensor) -> Tensor:
    """Returns the mean over points, [B, N, D] to [B, D]; zeros where there are none."""
    return known.sum(dim=1) / max(known.shape[1], 1)
