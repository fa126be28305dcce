"""The density "global_latent": what the context leaves open is decided once for a scene, not once for each picture.

Consistent GQN, or JUMP (Kumar et al. 2018): latents z_1 … z_L of a scene, with a prior π(z_l | z_<l, r) that knows no
viewpoint and a posterior of the context and of all queries together; given the latents, a query is drawn without
noise. So pictures from several sides are of one scene, and what is drawn from one side does not depend on which others
are asked for. With one step and `shared_network` it is a neural process (Garnelo et al. 2018): prior and posterior are
one network, of the context and of context and queries.

Legend: r scene representation, v query viewpoint, x query picture, z_l latents of step l, h^p and c^p hidden and cell
state of the prior, h^e and c^e of the posterior. B counts scenes, Q queries of each. Both parts of the posterior's
knowledge come from the representation's own ψ, as in the paper: r of the context, and Σ ψ(x, v) over the queries.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from gqn_rl.models.config import SceneFacts
from gqn_rl.models.densities.rendering import Renderer, RendererSizes
from gqn_rl.models.layers import Gaussian, gaussian_kl
from gqn_rl.models.likelihood import gaussian_bound
from gqn_rl.models.protocols import Bound, Condition, ConditionShape, Representation
from gqn_rl.models.registry import register_density

_POOLED_SIDE = 4
"""Maps are averaged to this many cells a side before they become a vector."""


@dataclasses.dataclass(frozen=True)
class GlobalLatentConfig:
    """Settings of the density "global_latent".

    Attributes:
        num_steps: L, steps of the scene's latents.
        latent_size: entries of each z_l.
        hidden_size: of the recurrent states of prior and posterior, and of the code that pictures are drawn from.
        shared_network: whether prior and posterior are one network (a neural process); needs `num_steps` 1.
        render_steps: steps in which a picture is drawn.
        hidden_channels, canvas_channels, kernel_size, downsample: of drawing, as for the density "draw".
        initial_state: first map of drawing: "rays" (every cell asks what lies along its line of sight) or "cells"
            (learnt, for viewpoints that no rays can be cast from).
    """

    kind: str = "global_latent"
    num_steps: int = 4
    latent_size: int = 32
    hidden_size: int = 256
    shared_network: bool = False
    render_steps: int = 3
    hidden_channels: int = 64
    canvas_channels: int = 16
    kernel_size: int = 3
    downsample: int = 8
    initial_state: str = "rays"

    def __post_init__(self) -> None:
        if min(self.num_steps, self.latent_size, self.hidden_size, self.render_steps) < 1:
            raise ValueError("`num_steps`, `latent_size`, `hidden_size` and `render_steps` must be at least 1.")
        if self.shared_network and self.num_steps != 1:
            raise ValueError(
                f"`num_steps` must be 1 where prior and posterior are one network (`shared_network`), got "
                f"{self.num_steps}."
            )


class SceneLatents(NamedTuple):
    """What one pass over the latents yields: the scene's code, [B, hidden_size], and Σ_l KL in nats, float32 [B]."""

    code: Tensor
    kl: Tensor


class GlobalLatent(nn.Module):
    """The conditional image model p(x_1 … x_Q | v_1 … v_Q, r) whose latents belong to the scene.

    Attributes:
        latents_of_scene: tells whoever asks for one query's surprise to ask for each query on its own.

    Args:
        config: its settings.
        condition: what it is conditioned on.
        scene: facts about pictures and cameras.
    """

    latents_of_scene: ClassVar[bool] = True

    def __init__(self, config: GlobalLatentConfig, condition: ConditionShape, scene: SceneFacts):
        super().__init__()
        if condition.constant is None or condition.scene is None:
            raise ValueError(
                "`density` 'global_latent' needs a `representation` that knows other views, such as 'gated' or "
                "'points', got 'code', which knows one picture."
            )
        self.config, self.num_steps = config, config.num_steps
        hidden, latent = config.hidden_size, config.latent_size
        self.features = _features(condition.scene, hidden)
        self.prior_head = nn.Linear(hidden, 2 * latent)
        self.generation = VectorLSTM(hidden + latent, hidden)
        if not config.shared_network:
            self.query_features = _features(condition.scene, hidden)
            self.inference = VectorLSTM(3 * hidden, hidden)
            self.posterior_head = nn.Linear(hidden, 2 * latent)
        sizes = RendererSizes(
            *(condition, hidden, config.render_steps, config.hidden_channels, config.canvas_channels),
            *(config.kernel_size, config.downsample, config.initial_state),
        )
        self.renderer = Renderer(sizes, scene)

    def read_from(self, representation: Representation) -> None:
        """Learns whose ψ tells the posterior of queries; its weights stay its own.

        Raises:
            ValueError: r is not the sum of ψ.
        """
        if not representation.sums:
            raise ValueError(
                "`density` 'global_latent' adds ψ of queries to r and needs a `representation` whose r is a sum of ψ: "
                f"choose 'gated', 'points', 'pool' or 'tower', not {type(representation).__name__}."
            )
        self._source = (representation,)  # in a tuple: no module of this one, or its weights would be saved twice

    def bound(self, c: Condition, x: Tensor, *, sigma: float, noise: Tensor | None = None) -> Bound:
        """Returns the ELBO's terms, with one set of latents for all queries; `noise` is [L, B, latent_size]."""
        latents = self.infer(c, x, noise)
        return gaussian_bound(self.renderer(c, latents.code), x, latents.kl[:, None], sigma)

    def sample(self, c: Condition, *, noise: Tensor | None = None) -> Tensor:
        """Draws one scene from the prior π(z | r), and its pictures: float32 [B, Q, 3, H, W]."""
        return self.renderer(c, self.generate(c, noise=noise))

    def mean(self, c: Condition) -> Tensor:
        """Draws pictures with every latent at its prior's mean."""
        return self.renderer(c, self.generate(c, sample=False))

    def kl(self, c: Condition, x: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Returns Σ_l KL(q_l ‖ π_l) of all queries of a scene together, in nats, float32 [B, 1]."""
        return self.infer(c, x, noise).kl[:, None]

    def reconstruct(self, c: Condition, x: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Redraws pictures with latents from the posterior of them all."""
        return self.renderer(c, self.infer(c, x, noise).code)

    def generate(self, c: Condition, sample: bool = True, noise: Tensor | None = None) -> Tensor:
        """Returns codes [B, hidden_size] of scenes drawn from the prior, or of its means where `sample` is false."""
        f = self.features(_scene(c))
        h, cell = torch.tanh(f), torch.zeros_like(f)
        for step in range(self.num_steps):
            prior = _gaussian(self.prior_head(h))
            z = prior.sample(None if noise is None else noise[step]) if sample else prior.mean
            h, cell = self.generation(torch.cat([f, z.to(f.dtype)], dim=1), h, cell)
        return h

    def infer(self, c: Condition, x: Tensor, noise: Tensor | None = None) -> SceneLatents:
        """Draws latents from the posterior of all queries x [B, Q, 3, H, W] and measures how far it is from the prior.

        The order inside a step is GQN's: prior, inference core, posterior, latents, generation core.
        """
        f, queries = self.features(_scene(c)), self._queries(c, x)
        told = self.features(_scene(c) + queries) if self.config.shared_network else self.query_features(queries)
        h, cell = torch.tanh(f), torch.zeros_like(f)
        h_e, c_e = torch.zeros_like(f), torch.zeros_like(f)
        kl = torch.zeros(len(f), device=f.device)
        for step in range(self.num_steps):
            prior = _gaussian(self.prior_head(h))
            if self.config.shared_network:
                posterior = _gaussian(self.prior_head(torch.tanh(told)))
            else:
                h_e, c_e = self.inference(torch.cat([f, told, h], dim=1), h_e, c_e)
                posterior = _gaussian(self.posterior_head(h_e))
            z = posterior.sample(None if noise is None else noise[step])
            kl = kl + gaussian_kl(posterior, prior)
            h, cell = self.generation(torch.cat([f, z.to(f.dtype)], dim=1), h, cell)
        return SceneLatents(h, kl)

    def _queries(self, c: Condition, x: Tensor) -> Tensor:
        """Returns Σ ψ(x, v) over a scene's queries, [B, *shape]."""
        (representation,) = self._source
        psi = representation(x.flatten(0, 1), c.viewpoints.flatten(0, 1))
        return representation.aggregate(psi.unflatten(0, x.shape[:2]))


class VectorLSTM(nn.Module):
    """A long short-term memory over vectors; one linear map, which autocast knows."""

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.gates = nn.Linear(inputs + hidden, 4 * hidden)

    def forward(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Advances one step: inputs [B, inputs], hidden and cell [B, hidden]."""
        forget, admit, emit, candidate = self.gates(torch.cat([inputs, hidden], dim=1)).chunk(4, dim=1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(admit) * torch.tanh(candidate)
        return torch.sigmoid(emit) * torch.tanh(cell), cell


def _features(shape: tuple[int, ...], size: int) -> nn.Module:
    """Returns a network from r [B, *shape] to vectors [B, size]; maps are averaged to a few cells first."""
    if len(shape) == 1:
        return nn.Sequential(nn.Linear(shape[0], size), nn.ReLU(), nn.Linear(size, size))
    inputs = shape[0] * _POOLED_SIDE**2
    pool = (nn.AdaptiveAvgPool2d(_POOLED_SIDE), nn.Flatten())
    return nn.Sequential(*pool, nn.Linear(inputs, size), nn.ReLU(), nn.Linear(size, size))


def _gaussian(parameters: Tensor) -> Gaussian:
    """Returns the distributions that rows of means and logarithms of deviations stand for, in float32."""
    return Gaussian(*parameters.float().chunk(2, dim=1))


def _scene(c: Condition) -> Tensor:
    """Returns r itself, which no viewpoint has looked at: all that the prior may know."""
    return cast(Tensor, c.scene)


register_density(GlobalLatent, GlobalLatentConfig())
