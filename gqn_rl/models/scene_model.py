"""SceneModel: what every scene model answers, so that training, evaluation and encoders never ask which one it is."""

from __future__ import annotations

import abc
from typing import Any, Protocol

from torch import Tensor, nn

from gqn_rl.views import Views


class Reading(Protocol):
    """What r says: turns sums over views into what an agent or a probe is told; small and picklable.

    Attributes:
        frames: reference frames that it knows, "world" and "camera"; the first is the usual one.
        standardised: whether each entry, in the usual frame, is to be shifted and scaled by its statistics over views.
        num_places: entries, the first of a vector, that say where things are; 0 where it does not tell them apart.
    """

    @property
    def frames(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def standardised(self) -> bool: ...  # noqa: D102
    @property
    def num_places(self) -> int: ...  # noqa: D102

    def __call__(self, r: Tensor, viewpoints: Tensor | None, frame: str) -> Tensor:
        """Maps r [N, *representation_shape] and viewpoints [N, 7] (frame "camera") to what is said, of r's shape."""
        ...


class SceneModel(nn.Module, abc.ABC):
    """A network that encodes views into r and predicts other views of the same scene from it.

    B counts scenes, K context views, Q query views of a scene. Pictures arrive as uint8 [B, K, H, W, 3].

    Attributes:
        config: JSON-ready sizes; with its registered name, what `build_model` takes.
        image_size: H = W.
        representation_shape: shape of one view's ψ and of r.
        reading: how to read r, where the sum over views alone is not what it says; None where it is.
        predicts_views: whether `predict` can tell what another viewpoint sees; if not, the ELBO judges the model.
    """

    config: dict[str, Any]
    image_size: int
    representation_shape: tuple[int, ...]
    reading: Reading | None = None
    predicts_views: bool = True

    @abc.abstractmethod
    def encode_views(self, views: Views) -> Tensor:
        """Returns ψ of every view, [B, K, *representation_shape]."""

    @abc.abstractmethod
    def encode(self, views: Views) -> Tensor:
        """Returns r, the sum of ψ over the K views, float32 [B, *representation_shape]."""

    @abc.abstractmethod
    def loss(
        self, context: Views, query: Views, *, sigma: float, latents: bool = True, kl_weight: float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the scalar to minimise, nats per query picture, and its terms: at least "nll", "kl" and "mse"."""

    @abc.abstractmethod
    def predict(self, context: Views, query_viewpoints: Tensor, sample: bool = True) -> Tensor:
        """Predicts pictures from the prior, float32 [B, Q, 3, H, W] in about [0, 1]."""

    @abc.abstractmethod
    def reconstruct(self, context: Views, query: Views) -> Tensor:
        """Redraws the query views from the posterior, float32 [B, Q, 3, H, W] in about [0, 1]."""
