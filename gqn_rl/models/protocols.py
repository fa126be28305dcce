"""The cut between the two halves of a scene model: what a representation hands to an image density, and back.

B counts scenes, K context views, Q query views of a scene, N = B Q; V entries of a viewpoint, C channels; s is the side
of a map.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from gqn_rl.models.layers import Gaussian
from gqn_rl.models.readout import Geometry


class Memory(NamedTuple):
    """A set that a density may attend to at every step.

    Attributes:
        keys: [B, K, D].
        values: [B, K, E].
        mask: bool [B, K], False where there is no entry.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor


class Condition(NamedTuple):
    """What a density is told of B scenes and Q queries each; both axes stay apart, for latents may belong to a scene.

    Attributes:
        viewpoints: [B, Q, V].
        constant: r as the queries see it, [B, Q or 1, C] or [B, Q or 1, C, s, s]; None where there is nothing to see.
        memory: a set to attend to, if the representation has one.
        residual: added to the mean of the pictures, [B, Q, 3, H, W].
        scene: r itself, which no viewpoint has looked at, [B, *shape]; for latents that belong to the scene.
    """

    viewpoints: Tensor
    constant: Tensor | None = None
    memory: Memory | None = None
    residual: Tensor | None = None
    scene: Tensor | None = None


class ConditionShape(NamedTuple):
    """What a density can expect of a `Condition`.

    Attributes:
        constant: (C,) or (C, s, s); None where the density knows neither r nor v.
        viewpoint_size: V; 0 where it does not know v.
        projected: whether `constant` is already r as seen from each query's viewpoint.
        scene: shape of r; None where the density knows neither r nor v.
    """

    constant: tuple[int, ...] | None
    viewpoint_size: int
    projected: bool = False
    scene: tuple[int, ...] | None = None


class Bound(NamedTuple):
    """A bound on the log-likelihood of a scene's queries: log p(x | v, r) ≥ −(nll + kl), float32 [B] each.

    Attributes:
        nll: negative log-likelihood, nats a scene; exact, with a `kl` of 0, where the density has no latents.
        kl: KL(q ‖ π) of the latents, nats a scene.
        mse: mean squared error of the mean, per pixel channel.
    """

    nll: Tensor
    kl: Tensor
    mse: Tensor


class Representation(nn.Module):
    """What r is: maps single views to ψ, ψ of several views to r, and r to what a query sees of it.

    Attributes:
        shape: of ψ and of r.
        condition_shape: of what `condition` returns.
        geometry: how r is read where the sum alone is not what it says; None where it is.
        sums: whether r is the sum of ψ, as an agent's running sum needs.
        predicts_views: whether r knows other views; if not, the model can only redraw what it was shown.
        is_ground_plan: whether r is a plan of the ground, north up, that a camera from above can be shown as it is.
    """

    shape: tuple[int, ...]
    condition_shape: ConditionShape
    geometry: Geometry | None = None
    sums: ClassVar[bool] = True
    predicts_views: ClassVar[bool] = True
    is_ground_plan: ClassVar[bool] = False

    def forward(self, images: Tensor, viewpoints: Tensor) -> Tensor:
        """Maps float images [N, 3, H, W] in [0, 1] and viewpoints [N, V] to ψ, [N, *shape]."""
        raise NotImplementedError

    def aggregate(self, psi: Tensor) -> Tensor:
        """Maps ψ of K views, [B, K, *shape], to r, float32 [B, *shape]."""
        return psi.float().sum(dim=1)

    def condition(self, r: Tensor, viewpoints: Tensor) -> Condition:
        """Returns what viewpoints [B, Q, V] see of r [B, *shape]."""
        raise NotImplementedError

    def read_from(self, density: object) -> None:
        """Learns which density it is composed with, before `shape` is asked for."""


class ImageDensity(Protocol):
    """A conditional image model p(x | v, r); pictures are float [B, Q, 3, H, W], about [0, 1]."""

    def bound(self, c: Condition, x: Tensor, *, sigma: float, noise: Tensor | None = None) -> Bound:
        """Bounds log p(x | v, r); `sigma` is the pixels' deviation, for likelihoods that have one."""
        ...

    def sample(self, c: Condition, *, noise: Tensor | None = None) -> Tensor:
        """Draws pictures (of their mean given the latents, without pixel noise): float32 [B, Q, 3, H, W]."""
        ...

    def mean(self, c: Condition) -> Tensor:
        """Returns the picture with every latent at its prior's mean: float32 [B, Q, 3, H, W]."""
        ...


class LatentDensity(ImageDensity, Protocol):
    """One with latents: what surprise, information gain and reconstruction ask for."""

    def kl(self, c: Condition, x: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Returns KL(q ‖ π) in nats, float32 [B, Q].

        A density whose latents belong to the whole scene returns [B, 1], of all queries together, and has
        `latents_of_scene`.
        """
        ...

    def reconstruct(self, c: Condition, x: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Redraws the pictures with latents from the posterior: float32 [B, Q, 3, H, W]."""
        ...


@runtime_checkable
class ReadsRepresentation(Protocol):
    """A density that uses the representation's ψ itself, for a posterior that sees queries as r sees the context."""

    def read_from(self, representation: Representation) -> None:
        """Learns which representation it is composed with; refuses one that it cannot use with a ValueError."""
        ...


class PictureCode(LatentDensity, Protocol):
    """One whose latents belong to a single picture and know nothing else: an auto-encoder, whose code can be an r."""

    code_size: int

    def posterior(self, x: Tensor) -> Gaussian:
        """Returns q(z | x) of pictures [N, 3, H, W], mean and log_std float32 [N, code_size]."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Returns the mean of p(x | z) for codes [N, code_size]: float32 [N, 3, H, W]."""
        ...
