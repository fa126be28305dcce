"""SceneModel: a representation and an image density, composed; the only way in which the two halves meet."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from gqn_rl.models.config import SceneModelConfig
from gqn_rl.models.layers import call, pictures_of
from gqn_rl.models.protocols import (
    Bound,
    Condition,
    ImageDensity,
    LatentDensity,
    ReadsRepresentation,
    Representation,
)
from gqn_rl.models.readout import Geometry
from gqn_rl.models.registry import DENSITIES, REPRESENTATIONS
from gqn_rl.models.representations.code import Code
from gqn_rl.views import Views, prepare_images


class SceneModel(nn.Module):
    """A network that encodes views into r and predicts other views of the same scene from it.

    B counts scenes, K context views, Q query views of a scene. Pictures arrive as uint8 [B, K, H, W, 3].

    Attributes:
        config: what makes this model anew.
        representation: what r is, and how a query sees it.
        density: p(x | v, r).
        image_size: H = W.
        representation_shape: shape of one view's ψ and of r.
        recompute_steps: 0, or after how many steps of the density activations are forgotten (those of the encoder after
            each view too), to be computed again in the backward pass.
    """

    representation: Representation
    density: ImageDensity

    def __init__(self, config: SceneModelConfig):
        super().__init__()
        self.config, self.image_size, scene = config, config.scene.image_size, config.scene
        self.representation = REPRESENTATIONS[config.representation.kind].build(config.representation, scene)
        condition_shape = self.representation.condition_shape
        if condition_shape.constant is not None:
            condition_shape = condition_shape._replace(scene=tuple(self.representation.shape))
        self.density = DENSITIES[config.density.kind].build(config.density, condition_shape, scene)
        self.representation.read_from(self.density)
        if isinstance(self.density, ReadsRepresentation):
            self.density.read_from(self.representation)
        self.representation_shape = tuple(self.representation.shape)

    @property
    def geometry(self) -> Geometry | None:
        """How to read r, where the sum over views alone is not what it says; None where it is."""
        return self.representation.geometry

    @property
    def predicts_views(self) -> bool:
        """Whether `predict` can tell what another viewpoint sees; if not, the ELBO judges the model."""
        return self.representation.predicts_views

    @property
    def latent_density(self) -> LatentDensity | None:
        """The density, if it has latents that a picture moves; None otherwise."""
        return cast(LatentDensity, self.density) if hasattr(self.density, "kl") else None

    @property
    def recompute_steps(self) -> int:
        """See the class."""
        return getattr(self.density, "recompute_steps", 0)

    @recompute_steps.setter
    def recompute_steps(self, steps: int) -> None:
        if not hasattr(self.density, "recompute_steps"):
            raise ValueError(
                f"`recompute_steps` must be 0 for density '{self.config.density.kind}', which has no steps."
            )
        self.density.recompute_steps = steps

    def encode_views(self, views: Views) -> Tensor:
        """Returns ψ of every view, [B, K, *representation_shape]."""
        batch, num_views = views.images.shape[:2]
        pictures, viewpoints = pictures_of(views), views.viewpoints.flatten(0, 1)
        if self.recompute_steps > 0:
            pieces = zip(pictures.split(batch), viewpoints.split(batch), strict=True)
            encoded = torch.cat([call(self.representation, *piece, forget=True) for piece in pieces])
        else:
            encoded = self.representation(pictures, viewpoints)
        return encoded.unflatten(0, (batch, num_views))

    def encode(self, views: Views) -> Tensor:
        """Returns r of the K views, float32 [B, *representation_shape]."""
        return self.representation.aggregate(self.encode_views(views))

    def condition(self, r: Tensor, viewpoints: Tensor) -> Condition:
        """Returns what viewpoints [B, Q, V] see of r [B, *representation_shape]."""
        return self.representation.condition(r, viewpoints)._replace(scene=r)

    def bound(self, context: Views, query: Views, *, sigma: float, noise: Tensor | None = None) -> Bound:
        """Bounds log p(query pictures | query viewpoints, context), nats a scene.

        Args:
            context: views [B, K, ...] that r is made of.
            query: views [B, Q, ...] to predict.
            sigma: standard deviation of the pixels, for likelihoods that have one; pixels in [0, 1].
            noise: standard normal of the posterior's latents, drawn when not given.
        """
        c = self.condition(self._context(context), query.viewpoints)
        return self.density.bound(c, prepare_images(query.images), sigma=sigma, noise=noise)

    def mean(self, context: Views, query: Views) -> Tensor:
        """Draws the query pictures without noise, float32 [B, Q, 3, H, W]: what a warm-up without latents trains.

        From r with latents at their prior's mean; an auto-encoder redraws the queries from their posterior's mean.
        """
        if not self.predicts_views:
            return cast(Code, self.representation).redraw_mean(prepare_images(query.images))
        return self.density.mean(self.condition(self.encode(context), query.viewpoints))

    def draw(self, r: Tensor, viewpoints: Tensor, sample: bool = True, noise: Tensor | None = None) -> Tensor:
        """Draws viewpoints [B, Q, V] out of r, samples or the prior's mean: float32 [B, Q, 3, H, W]."""
        c = self.condition(r, viewpoints)
        return self.density.sample(c, noise=noise) if sample else self.density.mean(c)

    def predict(self, context: Views, query_viewpoints: Tensor, sample: bool = True) -> Tensor:
        """Predicts pictures at query viewpoints [B, Q, V]: float32 [B, Q, 3, H, W] in about [0, 1].

        A model that knows no other views redraws those of the context.
        """
        if not self.predicts_views:
            pictures = prepare_images(context.images)
            return cast(Code, self.representation).redraw(pictures, query_viewpoints.shape[1], sample)
        return self.draw(self.encode(context), query_viewpoints, sample)

    def reconstruct(self, context: Views, query: Views) -> Tensor:
        """Redraws the query views with latents from the posterior: float32 [B, Q, 3, H, W]; predicts without one."""
        if self.latent_density is None:
            return self.predict(context, query.viewpoints, sample=False)
        c = self.condition(self._context(context), query.viewpoints)
        return self.latent_density.reconstruct(c, prepare_images(query.images))

    def _context(self, context: Views) -> Tensor:
        """Returns r of the context, if the density knows anything of r; an empty one spares the encoding."""
        if self.representation.condition_shape.constant is None:
            return torch.zeros(len(context.images), *self.representation_shape, device=context.images.device)
        return self.encode(context)
