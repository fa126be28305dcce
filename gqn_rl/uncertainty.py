"""How unsure a scene model is of a scene: Bayesian surprise of a view, and the information that a view would be worth.

Both are KL(q ‖ π) in nats: how far what is seen moves the latents away from what r foretold (Eslami, Rezende et al.
2018: "predicted information gain"). Imagined pictures are means given the latents, without pixel noise, so the gain
falls a little short of the mutual information I of picture and latents: for one latent z ~ N(0, 1) and a picture a z +
noise of signal-to-noise ratio k, where I = ½ log(1 + k), it is I − ½ k / (1 + k)², at most ⅛ nat less.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gqn_rl.models import SceneModel
from gqn_rl.models.protocols import LatentDensity
from gqn_rl.views import Views, prepare_images


@torch.inference_mode()
def bayesian_surprise(model: SceneModel, r: Tensor, query: Views, num_samples: int = 1) -> Tensor:
    """Returns KL(q ‖ π) of pictures that were really seen, in nats, float32 [B, Q].

    Args:
        model: the network.
        r: representations of what was seen before, [B, *representation_shape]; zeros for nothing.
        query: the new views, pictures uint8 [B, Q, H, W, 3].
        num_samples: posterior samples that are averaged over.
    """
    density, shape = _latent(model), query.viewpoints.shape[:2]
    r, viewpoints, images = _each_alone(density, r, query.viewpoints, query.images)
    c, pictures = model.condition(r, viewpoints), prepare_images(images)
    return torch.stack([density.kl(c, pictures) for _ in range(num_samples)]).mean(0).view(shape)


@torch.inference_mode()
def predicted_information_gain(model: SceneModel, r: Tensor, viewpoints: Tensor, num_samples: int = 8) -> Tensor:
    """Returns the surprise that the model itself expects of a look from each viewpoint, in nats, float32 [B, Q].

    A picture is drawn from the prior and its Bayesian surprise measured, `num_samples` times.

    Args:
        model: the network.
        r: representations of what was seen so far, [B, *representation_shape]; zeros for nothing.
        viewpoints: where one might look from, float32 [B, Q, V].
        num_samples: imagined pictures per viewpoint.
    """
    if num_samples < 1:
        raise ValueError(f"`num_samples` must be at least 1, got {num_samples}.")
    density, shape = _latent(model), viewpoints.shape[:2]
    r, viewpoints = _each_alone(density, r, viewpoints)
    c, total = model.condition(r, viewpoints), torch.zeros(shape, device=r.device)
    for _ in range(num_samples):
        total += density.kl(c, density.sample(c)).view(shape)
    return total / num_samples


def _each_alone(density: LatentDensity, r: Tensor, *of_queries: Tensor) -> list[Tensor]:
    """Makes a scene of each query, [B Q, 1, ...], where latents belong to a scene: a look is worth what it tells alone.

    Args:
        density: the model's.
        r: [B, *shape].
        *of_queries: tensors [B, Q, ...].
    """
    if not getattr(density, "latents_of_scene", False):
        return [r, *of_queries]
    num_queries = of_queries[0].shape[1]
    return [r.repeat_interleave(num_queries, dim=0), *(part.flatten(0, 1)[:, None] for part in of_queries)]


def _latent(model: SceneModel) -> LatentDensity:
    """Returns the model's density, if surprise has a meaning for it."""
    density = model.latent_density
    if density is None or not model.predicts_views:
        raise ValueError(
            f"Surprise is of latents that r foretells: a {model.config.representation.kind} with density "
            f"'{model.config.density.kind}' has none."
        )
    return density
