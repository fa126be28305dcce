"""MapDecoder: draws a scene from above out of r, without r ever learning to be drawn from above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gqn_rl.models.generator import Generator
from gqn_rl.models.gqn import negative_elbo
from gqn_rl.models.ground_plan import PlanFromAbove
from gqn_rl.views import prepare_images


class MapDecoder(nn.Module):
    """A second generator for one viewpoint, high above the scene, that no picture of pretraining was taken from.

    No gradient reaches r: the map is read out of what other views left in it (Eslami, Rezende et al. 2018, mazes).

    Args:
        representation_shape: shape of r.
        viewpoint: where the map is seen from, 7 numbers.
        fovy_deg: vertical field of view of the map's camera.
        ray_depths_m: nearest and farthest distance from that camera at which things stand.
        ray_wavelengths_m: of the sines and cosines by which places are known.
        image_size: H = W of the map.
        num_steps, hidden_channels, latent_channels, canvas_channels, kernel_size, downsample: as in `GQN`; the steps
            share their weights.
        r_is_plan: whether r is a plan of the ground that this camera sees (`ground_plan.py`).
    """

    viewpoint: Tensor

    def __init__(
        self,
        representation_shape: Sequence[int],
        viewpoint: Sequence[float],
        fovy_deg: float,
        ray_depths_m: Sequence[float],
        ray_wavelengths_m: Sequence[float],
        image_size: int = 64,
        num_steps: int = 4,
        hidden_channels: int = 64,
        latent_channels: int = 4,
        canvas_channels: int = 16,
        kernel_size: int = 3,
        downsample: int = 8,
        r_is_plan: bool = False,
    ):
        super().__init__()
        self.config: dict[str, Any] = {
            "representation_shape": list(representation_shape),
            "viewpoint": list(viewpoint),
            "fovy_deg": fovy_deg,
            "ray_depths_m": list(ray_depths_m),
            "ray_wavelengths_m": list(ray_wavelengths_m),
            "image_size": image_size,
            "num_steps": num_steps,
            "hidden_channels": hidden_channels,
            "latent_channels": latent_channels,
            "canvas_channels": canvas_channels,
            "kernel_size": kernel_size,
            "downsample": downsample,
            "r_is_plan": r_is_plan,
        }
        self.image_size, self.representation_shape = image_size, tuple(representation_shape)
        self.register_buffer("viewpoint", torch.tensor(list(viewpoint), dtype=torch.float32), persistent=False)
        self.plan: PlanFromAbove | None = None
        if r_is_plan:
            r_channels, plan_size, _ = self.representation_shape
            self.plan = PlanFromAbove(r_channels, plan_size, image_size // downsample, hidden_channels)
        self.generator = Generator(
            image_size,
            self.representation_shape if self.plan is None else self.plan.shape,
            len(viewpoint),
            num_steps,
            True,
            hidden_channels,
            latent_channels,
            canvas_channels,
            kernel_size,
            downsample,
            "zeros" if r_is_plan else "rays",
            fovy_deg,
            (ray_depths_m[0], ray_depths_m[1]),
            ray_wavelengths_m,
        )

    def loss(self, r: Tensor, maps: Tensor, *, sigma: float, latents: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the negative ELBO in nats per map, and its terms "nll", "kl" and "mse" without gradient.

        Args:
            r: representations [B, *representation_shape].
            maps: uint8 [B, H, W, 3].
            sigma: standard deviation of the pixels' normal distribution, pixels in [0, 1].
            latents: False leaves the posterior out: z at the prior's mean, no KL.
        """
        pictures, viewpoints, generator = prepare_images(maps), self.viewpoint.expand(len(r), -1), self.generator
        seen = self._seen(r.detach())
        drawing = (
            generator.infer(seen, viewpoints, pictures)
            if latents
            else generator.generate(seen, viewpoints, sample=False)
        )
        return negative_elbo(drawing.mean, pictures, drawing.kl.mean(), sigma)

    def draw(self, r: Tensor, sample: bool = False) -> Tensor:
        """Draws maps from the prior, from its mean or from samples of it: float32 [B, 3, H, W], about [0, 1]."""
        return self.generator.generate(self._seen(r), self.viewpoint.expand(len(r), -1), sample).mean

    def _seen(self, r: Tensor) -> Tensor:
        return r if self.plan is None else self.plan(r)
