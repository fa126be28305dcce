"""GQN: the Generative Query Network of Eslami, Rezende et al., Science 360:1204 (2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from gqn_rl.models.encoders import ENCODERS
from gqn_rl.models.generator import Drawing, Generator
from gqn_rl.models.ground_plan import GroundPlan, PlanReading, PlanSight
from gqn_rl.models.layers import call
from gqn_rl.models.points import PointDetail, PointEncoder, PointReading, PointSight
from gqn_rl.models.scene_model import SceneModel
from gqn_rl.views import VIEWPOINT_SIZE, Views, prepare_images

IMAGE_SIZE_MULTIPLE = 16
PLAN, POINTS = "plan", "points"
"""The encoders with a geometry of their own: r is a plan of the ground, or points in the world."""


class GQN(SceneModel):
    """Scene representation and view prediction: r = Σ_k ψ(x_k, v_k), then log p(x | v, r) ≥ ELBO.

    B counts scenes, K context views, Q query views of a scene. Pictures arrive as uint8 [B, K, H, W, 3].

    Args:
        image_size: H = W, a multiple of 16.
        viewpoint_size: entries of a viewpoint.
        encoder: "pyramid", "tower", "pool" (the paper's), "gated", "plan" or "points" (ours; see `ground_plan.py`,
            `points.py`).
        r_channels: channels of r.
        num_steps: L, steps of the generator.
        shared_cores: whether the L steps share their weights.
        hidden_channels: channels of the recurrent state.
        latent_channels: channels of each z_l.
        canvas_channels: channels of the canvas u.
        kernel_size: of the recurrent cores, odd.
        downsample: side of the patch that one cell of the recurrent state draws.
        initial_state: of the recurrent state, "zeros" (the paper) or "rays" (ours).
        fovy_deg: vertical field of view of the cameras, used by "rays" and "plan".
        ray_depths_m: nearest and farthest distance from the camera at which "rays" and "plan" look for things.
        ray_wavelengths_m: of the sines and cosines by which "rays" knows places; from the scene's size to its details.
        plan_size: squares on a side of "plan"'s r.
        plan_width_m: width of the ground that "plan" covers, centred on the world's origin.
        num_points: K of "points"; r_channels holds 4 K + 1 entries and the vector.
        detail_channels: of the maps by which "points" draw onto the picture itself (`PointDetail`); 0: they do not.
    """

    def __init__(
        self,
        image_size: int = 64,
        viewpoint_size: int = VIEWPOINT_SIZE,
        encoder: str = "tower",
        r_channels: int = 256,
        num_steps: int = 12,
        shared_cores: bool = False,
        hidden_channels: int = 128,
        latent_channels: int = 3,
        canvas_channels: int = 128,
        kernel_size: int = 5,
        downsample: int = 4,
        initial_state: str = "zeros",
        fovy_deg: float = 45.0,
        ray_depths_m: Sequence[float] = (0.8, 2.8),
        ray_wavelengths_m: Sequence[float] = (2.0, 1.0, 0.5),
        plan_size: int = 16,
        plan_width_m: float = 8.0,
        num_points: int = 32,
        detail_channels: int = 0,
    ):
        super().__init__()
        if image_size % IMAGE_SIZE_MULTIPLE or image_size % downsample or image_size < 1:
            raise ValueError(f"`image_size` must be a multiple of 16 and of `downsample`, got {image_size}.")
        if encoder not in (*ENCODERS, PLAN, POINTS):
            raise ValueError(f"`encoder` must be one of {sorted([*ENCODERS, PLAN, POINTS])}, got {encoder!r}.")
        if not isinstance(shared_cores, bool):
            raise ValueError(f"`shared_cores` must be true or false, got {shared_cores!r}.")
        has_geometry = encoder in (PLAN, POINTS)
        if (initial_state == "rays" or has_geometry) and viewpoint_size != VIEWPOINT_SIZE:
            raise ValueError(
                f"`initial_state='rays'` and encoders 'plan' and 'points' need viewpoints of {VIEWPOINT_SIZE} entries, "
                f"got {viewpoint_size}."
            )
        if initial_state == "rays" and has_geometry:
            raise ValueError(
                f"`initial_state` must be 'zeros' with `encoder='{encoder}'`, which looks along rays itself."
            )
        if detail_channels and encoder != POINTS:
            raise ValueError(
                f"`detail_channels` must be 0 with `encoder={encoder!r}`, which has no points, got {detail_channels}."
            )
        if kernel_size % 2 == 0 or num_steps < 1:
            raise ValueError(f"`kernel_size` must be odd and `num_steps` ≥ 1, got {kernel_size} and {num_steps}.")
        self.config: dict[str, Any] = {
            "image_size": image_size,
            "viewpoint_size": viewpoint_size,
            "encoder": encoder,
            "r_channels": r_channels,
            "num_steps": num_steps,
            "shared_cores": shared_cores,
            "hidden_channels": hidden_channels,
            "latent_channels": latent_channels,
            "canvas_channels": canvas_channels,
            "kernel_size": kernel_size,
            "downsample": downsample,
            "initial_state": initial_state,
            "fovy_deg": fovy_deg,
            "ray_depths_m": list(ray_depths_m),
            "ray_wavelengths_m": list(ray_wavelengths_m),
            "plan_size": plan_size,
            "plan_width_m": plan_width_m,
            "num_points": num_points,
            "detail_channels": detail_channels,
        }
        self.image_size = image_size
        depths_m = (ray_depths_m[0], ray_depths_m[1])
        self.encoder: nn.Module
        self.sight: PlanSight | PointSight | None = None
        self.detail: PointDetail | None = None
        if encoder == PLAN:
            self.reading = PlanReading(plan_width_m)
            self.encoder = GroundPlan(image_size, viewpoint_size, r_channels, fovy_deg, plan_size, plan_width_m)
            map_size = image_size // downsample
            self.sight = PlanSight(r_channels, map_size, hidden_channels, fovy_deg, plan_width_m, depths_m)
        elif encoder == POINTS:
            self.reading = PointReading(num_points)
            self.encoder = PointEncoder(image_size, r_channels, num_points, fovy_deg, depths_m)
            map_size = image_size // downsample
            self.sight = PointSight(r_channels, num_points, map_size, hidden_channels, fovy_deg, depths_m)
            if detail_channels:
                self.detail = PointDetail(r_channels, num_points, image_size, detail_channels, fovy_deg, depths_m)
        else:
            self.encoder = ENCODERS[encoder](image_size, viewpoint_size, r_channels)
        self.representation_shape = cast(tuple[int, ...], self.encoder.shape)
        self.generator = Generator(
            image_size,
            self.representation_shape if self.sight is None else self.sight.shape,
            viewpoint_size,
            num_steps,
            shared_cores,
            hidden_channels,
            latent_channels,
            canvas_channels,
            kernel_size,
            downsample,
            initial_state,
            fovy_deg,
            depths_m,
            ray_wavelengths_m,
        )

    def encode_views(self, views: Views) -> Tensor:
        """Returns ψ(x_k, v_k) for views of shape [B, K, ...]: [B, K, *representation_shape]."""
        batch, num_views = views.images.shape[:2]
        pictures, viewpoints = pictures_of(views), views.viewpoints.flatten(0, 1)
        if self.generator.recompute_steps > 0:
            pieces = zip(pictures.split(batch), viewpoints.split(batch), strict=True)
            encoded = torch.cat([call(self.encoder, *piece, forget=True) for piece in pieces])
        else:
            encoded = self.encoder(pictures, viewpoints)
        return encoded.unflatten(0, (batch, num_views))

    def encode(self, views: Views) -> Tensor:
        """Returns r, the sum of ψ over the K views, float32 [B, *representation_shape]."""
        return self.encode_views(views).float().sum(dim=1)

    def seen_from(self, r: Tensor, viewpoints: Tensor) -> Tensor:
        """Returns what the generator is told of r [B, ...] for viewpoints [B Q, V]: r, or a plan as each sees it."""
        return r if self.sight is None else self.sight(r, viewpoints)

    def infer(self, r: Tensor, query: Views, noise: Tensor | None = None) -> Drawing:
        """Draws the query views [B, Q, ...] with latents from the posterior; see `Generator.infer`."""
        viewpoints = query.viewpoints.flatten(0, 1)
        drawing = self.generator.infer(self.seen_from(r, viewpoints), viewpoints, pictures_of(query), noise)
        return self._with_detail(drawing, r, viewpoints)

    def generate(self, r: Tensor, viewpoints: Tensor, sample: bool = True, noise: Tensor | None = None) -> Drawing:
        """Draws viewpoints [B, Q, V] with latents from the prior; see `Generator.generate`."""
        viewpoints = viewpoints.flatten(0, 1)
        drawing = self.generator.generate(self.seen_from(r, viewpoints), viewpoints, sample, noise)
        return self._with_detail(drawing, r, viewpoints)

    def _with_detail(self, drawing: Drawing, r: Tensor, viewpoints: Tensor) -> Drawing:
        return drawing if self.detail is None else drawing._replace(mean=drawing.mean + self.detail(r, viewpoints))

    def loss(
        self,
        context: Views,
        query: Views,
        *,
        sigma: float,
        latents: bool = True,
        kl_weight: float = 1.0,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the negative ELBO in nats per query picture, and its terms.

        Args:
            context: views [B, K, ...] that r is made of.
            query: views [B, Q, ...] to predict.
            sigma: standard deviation of the pixels' normal distribution, pixels in [0, 1].
            latents: False leaves the posterior out: z at the prior's mean, no KL (a warm-up for r).
            kl_weight: weight of the KL; 1 is the ELBO.
            noise: standard normal [L, B Q, *latent_shape] of the posterior, drawn when not given.

        Returns:
            The scalar to minimise, and "nll", "kl" (nats per picture) and "mse" (per pixel channel) without gradient.
        """
        r = self.encode(context)
        drawing = self.infer(r, query, noise) if latents else self.generate(r, query.viewpoints, sample=False)
        return negative_elbo(drawing.mean, pictures_of(query), drawing.kl.mean(), sigma, kl_weight)

    def predict(self, context: Views, query_viewpoints: Tensor, sample: bool = True) -> Tensor:
        """Predicts pictures at query viewpoints [B, Q, V] from the prior: float32 [B, Q, 3, H, W], about [0, 1]."""
        drawing = self.generate(self.encode(context), query_viewpoints, sample)
        return drawing.mean.unflatten(0, query_viewpoints.shape[:2])

    def reconstruct(self, context: Views, query: Views) -> Tensor:
        """Redraws the query views with latents from the posterior: float32 [B, Q, 3, H, W]."""
        return self.infer(self.encode(context), query).mean.unflatten(0, query.images.shape[:2])


def pictures_of(views: Views) -> Tensor:
    """Returns the pictures of views [B, Q, ...] as float [B Q, 3, H, W] in [0, 1]."""
    return prepare_images(views.images.flatten(0, 1)).contiguous(memory_format=torch.channels_last)


def negative_elbo(
    mean: Tensor, pictures: Tensor, kl: Tensor, sigma: float, kl_weight: float = 1.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns the negative ELBO in nats per picture, and its terms "nll", "kl" and "mse" without gradient.

    Args:
        mean: of the pixels' normal distribution, float32 [N, 3, H, W].
        pictures: what was to be drawn, of the same shape.
        kl: mean KL of the latents in nats per picture, a scalar.
        sigma: standard deviation of the pixels, in [0, 1] like them.
        kl_weight: weight of the KL; 1 is the ELBO.
    """
    squared_error = (mean - pictures.float()).square().flatten(1)  # [N, 3 H W]
    mse = squared_error.mean()
    nll = gaussian_nll(mse, squared_error.shape[1], sigma)
    return nll + kl_weight * kl, {"nll": nll.detach(), "kl": kl.detach(), "mse": mse.detach()}


def gaussian_nll(mse: Tensor, num_values: int, sigma: float) -> Tensor:
    """Returns −log N(x | mean, σ²) in nats for `num_values` values whose mean squared error is `mse`."""
    return num_values * (mse / (2 * sigma**2) + nll_floor_per_value(sigma))


def nll_floor_per_value(sigma: float) -> float:
    """Returns the negative log-likelihood in nats of a perfectly predicted value: log σ + ½ log 2π."""
    log_sigma = math.log2(sigma) * math.log(2)  # torch.compile keeps log2 symbolic, log would compile every σ anew
    return log_sigma + 0.5 * math.log(2 * math.pi)
