"""How unsure a GQN is of a scene: Bayesian surprise of a view, and the information that a view would be worth.

Both are sums over the L steps of KL(q ‖ π) in nats: how far what is seen moves the latents away from what r foretold
(Eslami, Rezende et al. 2018: "predicted information gain").
"""

from __future__ import annotations

import torch
from torch import Tensor

from gqn_rl.models import GQN
from gqn_rl.views import Views, prepare_images


@torch.inference_mode()
def bayesian_surprise(model: GQN, r: Tensor, query: Views, num_samples: int = 1) -> Tensor:
    """Returns Σ_l KL(q ‖ π) of pictures that were really seen, in nats, float32 [B, Q].

    Args:
        model: the network.
        r: representations of what was seen before, [B, *representation_shape]; zeros for nothing.
        query: the new views, pictures uint8 [B, Q, H, W, 3].
        num_samples: posterior samples that are averaged over.
    """
    viewpoints, pictures = query.viewpoints.flatten(0, 1), prepare_images(query.images.flatten(0, 1))
    seen = model.seen_from(r, viewpoints)
    drawings = [model.generator.infer(seen, viewpoints, pictures) for _ in range(num_samples)]
    return torch.stack([drawing.kl for drawing in drawings]).mean(0).unflatten(0, query.images.shape[:2])


@torch.inference_mode()
def predicted_information_gain(model: GQN, r: Tensor, viewpoints: Tensor, num_samples: int = 8) -> Tensor:
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
    flat = viewpoints.flatten(0, 1)
    seen = model.seen_from(r, flat)
    total = torch.zeros(len(flat), device=r.device)
    for _ in range(num_samples):
        imagined = model.generator.generate(seen, flat).mean
        total += model.generator.infer(seen, flat, imagined).kl
    return (total / num_samples).unflatten(0, viewpoints.shape[:2])
