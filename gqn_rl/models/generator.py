"""The generation and inference network: L convolutional LSTM steps that draw a query view onto a canvas.

Legend (the paper's letters): r scene representation, v query viewpoint, x query picture, z_l latents of step l, h^g
and c^g hidden and cell state of the generation core, h^e and c^e those of the inference core, u canvas. N counts query
views, s is the side of the hidden maps.

Order inside a step, after the supplement: prior from h^g before z_l enters; the inference core advances; posterior from
its new h^e; z_l is drawn; the generation core advances; the canvas grows by Δ(h^g).
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn_rl.models.layers import ConstantMapConv, ConvLSTM, GaussianHead, fit_map, gaussian_kl


class Drawing(NamedTuple):
    """What one pass of the generator yields.

    Attributes:
        mean: mean of the picture's distribution, float32 [N, 3, H, W], about [0, 1].
        kl: Σ_l KL(q_l ‖ π_l) in nats, float32 [N]; zeros where no posterior was used.
    """

    mean: Tensor
    kl: Tensor


class Conditioning(nn.Module):
    """The share of a core's gate pre-activations that r and v have; the same at every step of a shared core.

    Args:
        r_shape: (C,) for a vector, (C, h, w) for a map.
        viewpoint_size: entries of v.
        gates: channels returned.
        kernel_size: of the core.
        map_size: s.
    """

    def __init__(self, r_shape: tuple[int, ...], viewpoint_size: int, gates: int, kernel_size: int, map_size: int):
        super().__init__()
        self.map_size = map_size
        self.from_viewpoint = ConstantMapConv(viewpoint_size, gates, kernel_size, map_size)
        self.from_r: nn.Module = (
            ConstantMapConv(r_shape[0], gates, kernel_size, map_size)
            if len(r_shape) == 1
            else nn.Conv2d(r_shape[0], gates, kernel_size, padding=kernel_size // 2, bias=False)
        )

    def forward(self, r: Tensor, v: Tensor) -> Tensor:
        """Maps r [B, ...] and v [B Q, V] to [B Q, gates, s, s]; r's share is computed once for all Q queries."""
        r = r if r.ndim == 2 else fit_map(r, self.map_size)
        share_of_r = self.from_r(r)
        return share_of_r.repeat_interleave(len(v) // len(r), dim=0) + self.from_viewpoint(v)


class Canvas(nn.Module):
    """The canvas u = Δ(Σ_l h^g_l) and what is read from it, without ever painting it.

    Δ, η_g and the canvas's way back into the inference core are linear and the same at every step, so each reading is
    one 1×1 convolution of Σ_l h^g_l with a product of their weights. A d×d/d transposed convolution counts as a 1×1
    convolution onto patches.

    Args:
        hidden: channels of h^g.
        channels: channels of u.
        downsample: d, side of a patch in pixels.
    """

    def __init__(self, hidden: int, channels: int, downsample: int):
        super().__init__()
        self.downsample = downsample
        bound = hidden**-0.5
        self.delta = nn.Parameter(torch.empty(channels, downsample**2, hidden).uniform_(-bound, bound))
        self.eta = nn.Conv2d(channels, 3, 1)

    def render(self, drawn: Tensor) -> Tensor:
        """Returns η_g(u), the mean of the picture's distribution, float32 [N, 3, H, W]; Σ h^g is [N, hidden, s, s]."""
        weight = torch.einsum("xc,cph->xph", self.eta.weight[:, :, 0, 0], self.delta).flatten(0, 1)
        assert self.eta.bias is not None
        bias = self.eta.bias.repeat_interleave(self.downsample**2)
        patches = F.conv2d(drawn, weight[:, :, None, None], bias)
        return F.pixel_shuffle(patches, self.downsample).float()

    def read(self, drawn: Tensor, reader: Tensor) -> Tensor:
        """Returns the canvas seen by a d×d/d convolution with weight `reader` [out, channels, d²]: [N, out, s, s]."""
        weight = torch.einsum("ocp,cph->oh", reader, self.delta)
        return F.conv2d(drawn, weight[:, :, None, None])


class GenerationCore(nn.Module):
    """One step of the prior and the generation network."""

    def __init__(
        self, r_shape: tuple[int, ...], viewpoint_size: int, map_size: int, hidden: int, latent: int, kernel_size: int
    ):
        super().__init__()
        self.condition = Conditioning(r_shape, viewpoint_size, 4 * hidden, kernel_size, map_size)
        self.latent_to_gates = nn.Conv2d(latent, 4 * hidden, kernel_size, padding=kernel_size // 2, bias=False)
        self.lstm = ConvLSTM(hidden, kernel_size)
        self.prior = GaussianHead(hidden, latent, kernel_size)

    def forward(self, condition: Tensor, z: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Advances h^g and c^g with z_l."""
        return self.lstm(condition + self.latent_to_gates(z.to(condition.dtype)), hidden, cell)


class InferenceCore(nn.Module):
    """One step of the inference network and the posterior."""

    def __init__(
        self,
        r_shape: tuple[int, ...],
        viewpoint_size: int,
        map_size: int,
        hidden: int,
        latent: int,
        kernel_size: int,
        canvas: int,
        downsample: int,
    ):
        super().__init__()
        pad = kernel_size // 2
        self.condition = Conditioning(r_shape, viewpoint_size, 4 * hidden, kernel_size, map_size)
        self.image_to_map = nn.Conv2d(3, hidden, downsample, stride=downsample)
        self.image_to_gates = nn.Conv2d(hidden, 4 * hidden, kernel_size, padding=pad, bias=False)
        bound = (canvas * downsample**2) ** -0.5
        self.canvas_to_map = nn.Parameter(torch.empty(hidden, canvas, downsample**2).uniform_(-bound, bound))
        self.state_to_gates = nn.Conv2d(2 * hidden, 4 * hidden, kernel_size, padding=pad, bias=False)
        self.lstm = ConvLSTM(hidden, kernel_size)
        self.posterior = GaussianHead(hidden, latent, kernel_size)

    def observe(self, r: Tensor, v: Tensor, x: Tensor) -> Tensor:
        """Returns the gates' share of everything that does not change with l: (x, v, r)."""
        return self.condition(r, v) + self.image_to_gates(self.image_to_map(x))

    def forward(
        self, observed: Tensor, h_g: Tensor, seen_canvas: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Advances h^e and c^e with h^g and the canvas as `canvas_to_map` sees it, [N, hidden, s, s]."""
        state = torch.cat([h_g, seen_canvas.to(h_g.dtype)], dim=1)
        return self.lstm(observed + self.state_to_gates(state), hidden, cell)


class RayState(nn.Module):
    """Gives the generation core a first hidden map: every cell asks r what lies along its line of sight (ours).

    Points along a cell's ray, with sines and cosines of their coordinates, become features that a linear map of r
    multiplies: whether something at a place that r knows is on a ray is such a product. A learnt map of the cells lets
    r speak of the picture's own frame too, in which things are learnt first.

    Args:
        r_channels: channels of r (averaged over its map, if it is one).
        hidden: channels of h^g.
        map_size: s.
        fovy_deg: the camera's vertical field of view.
        depths_m: distances from the camera of the nearest and the farthest point.
        features: width of the ray's features.
    """

    right: Tensor
    up: Tensor
    depths: Tensor
    NUM_POINTS = 8
    WAVELENGTHS_M = (2.0, 1.0, 0.5)

    def __init__(
        self,
        r_channels: int,
        hidden: int,
        map_size: int,
        fovy_deg: float,
        depths_m: tuple[float, float],
        features: int = 128,
    ):
        super().__init__()
        self.ray = nn.Conv2d(3 * self.NUM_POINTS * (1 + 2 * len(self.WAVELENGTHS_M)), features, 1)
        self.cells = nn.Parameter(torch.randn(features, map_size, map_size))
        self.scale, self.shift = nn.Linear(r_channels, features), nn.Linear(r_channels, features)
        self.mix = nn.Sequential(
            *(nn.GroupNorm(8, 2 * features), nn.Conv2d(2 * features, features, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(features, hidden, 3, padding=1), nn.Tanh()),
        )
        half = math.tan(math.radians(fovy_deg) / 2)
        centres = ((torch.arange(map_size) + 0.5) / map_size * 2 - 1) * half
        self.register_buffer("right", centres[None, :].repeat(map_size, 1), persistent=False)
        self.register_buffer("up", -centres[:, None].repeat(1, map_size), persistent=False)
        self.register_buffer("depths", torch.linspace(*depths_m, self.NUM_POINTS), persistent=False)

    def points(self, v: Tensor) -> Tensor:
        """Returns points along every cell's ray in the world frame, metres: [N, num_points, 3, s, s]."""
        position, (sin_yaw, cos_yaw, sin_pitch, cos_pitch) = v[:, :3], v[:, 3:7].unbind(1)
        forward = torch.stack([cos_pitch * cos_yaw, cos_pitch * sin_yaw, sin_pitch], dim=1)
        right = torch.stack([sin_yaw, -cos_yaw, torch.zeros_like(sin_yaw)], dim=1)
        up = torch.linalg.cross(right, forward)
        forward, right, up = (axis[:, :, None, None] for axis in (forward, right, up))
        direction = F.normalize(forward + right * self.right + up * self.up, dim=1)
        return position[:, None, :, None, None] + direction[:, None] * self.depths[:, None, None, None]

    def forward(self, r: Tensor, v: Tensor) -> Tensor:
        """Maps r [B, ...] and v [B Q, 7] to h^g_0 [B Q, hidden, s, s]."""
        r = r if r.ndim == 2 else r.mean(dim=(-2, -1))
        r = r.repeat_interleave(len(v) // len(r), dim=0)
        points = self.points(v).flatten(1, 2)
        waves = [wave(points * (2 * math.pi / m)) for m in self.WAVELENGTHS_M for wave in (torch.sin, torch.cos)]
        seen = self.ray(torch.cat([points, *waves], dim=1).contiguous(memory_format=torch.channels_last)) + self.cells
        scaled = seen * self.scale(r)[:, :, None, None]
        shifted = torch.relu(seen + self.shift(r)[:, :, None, None])
        return self.mix(torch.cat([scaled, shifted], dim=1).contiguous(memory_format=torch.channels_last))


class Generator(nn.Module):
    """The conditional image model p(x | v, r) with its posterior.

    Args:
        image_size: H and W of the pictures.
        r_shape: shape of r, (C,) or (C, h, w).
        viewpoint_size: entries of v.
        num_steps: L.
        shared_cores: whether all steps share one core's weights.
        hidden_channels: channels of h and c.
        latent_channels: channels of z_l.
        canvas_channels: channels of u.
        kernel_size: of the cores and heads.
        downsample: d, so that s = H / d.
        initial_state: h^g_0: "zeros" (the paper) or "rays" (ours, see `RayState`).
        fovy_deg: the camera's vertical field of view, used by "rays".
        ray_depths_m: nearest and farthest distance that "rays" looks at.
    """

    def __init__(
        self,
        image_size: int,
        r_shape: tuple[int, ...],
        viewpoint_size: int,
        num_steps: int,
        shared_cores: bool,
        hidden_channels: int,
        latent_channels: int,
        canvas_channels: int,
        kernel_size: int,
        downsample: int,
        initial_state: str,
        fovy_deg: float,
        ray_depths_m: tuple[float, float],
    ):
        super().__init__()
        map_size = image_size // downsample
        self.num_steps = num_steps
        self.hidden_shape = (hidden_channels, map_size, map_size)
        self.latent_shape = (latent_channels, map_size, map_size)
        core = (r_shape, viewpoint_size, map_size, hidden_channels, latent_channels, kernel_size)
        copies = 1 if shared_cores else num_steps
        self.generation = nn.ModuleList(GenerationCore(*core) for _ in range(copies))
        self.inference = nn.ModuleList(InferenceCore(*core, canvas_channels, downsample) for _ in range(copies))
        self.canvas = Canvas(hidden_channels, canvas_channels, downsample)
        if initial_state not in ("zeros", "rays"):
            raise ValueError(f"`initial_state` must be 'zeros' or 'rays', got {initial_state!r}.")
        self.initial_state = (
            RayState(r_shape[0], hidden_channels, map_size, fovy_deg, ray_depths_m) if initial_state == "rays" else None
        )

    def infer(self, r: Tensor, v: Tensor, x: Tensor, noise: Tensor | None = None) -> Drawing:
        """Draws with latents from the posterior q(z | x, v, r) and measures how far it is from the prior.

        Args:
            r: scene representations [B, ...].
            v: query viewpoints [B Q, V], the Q of one scene together.
            x: query pictures, float [B Q, 3, H, W] in [0, 1].
            noise: standard normal [L, B Q, *latent_shape], drawn when not given.
        """
        generation = self._conditions(r, v)
        inference = [self._inference_core(i).observe(r, v, x) for i in range(len(self.inference))]
        h_g, c_g = self._start(r, v)
        h_e, c_e, drawn = torch.zeros_like(c_g), torch.zeros_like(c_g), torch.zeros_like(c_g)
        kl = torch.zeros(len(v), device=v.device)
        for step in range(self.num_steps):
            core, eye = self._generation_core(step), self._inference_core(step)
            prior = core.prior(h_g)
            seen = self.canvas.read(drawn, eye.canvas_to_map)
            h_e, c_e = eye(inference[step % len(inference)], h_g, seen, h_e, c_e)
            posterior = eye.posterior(h_e)
            z = posterior.sample(None if noise is None else noise[step])
            kl = kl + gaussian_kl(posterior, prior)
            h_g, c_g = core(generation[step % len(generation)], z, h_g, c_g)
            drawn = drawn + h_g
        return Drawing(self.canvas.render(drawn), kl)

    def generate(self, r: Tensor, v: Tensor, sample: bool = True, noise: Tensor | None = None) -> Drawing:
        """Draws with latents from the prior π(z | v, r): samples, or its means where `sample` is false."""
        generation = self._conditions(r, v)
        h_g, c_g = self._start(r, v)
        drawn = torch.zeros_like(c_g)
        for step in range(self.num_steps):
            core = self._generation_core(step)
            prior = core.prior(h_g)
            z = prior.sample(None if noise is None else noise[step]) if sample else prior.mean
            h_g, c_g = core(generation[step % len(generation)], z, h_g, c_g)
            drawn = drawn + h_g
        return Drawing(self.canvas.render(drawn), torch.zeros(len(v), device=v.device))

    def _conditions(self, r: Tensor, v: Tensor) -> list[Tensor]:
        return [self._generation_core(i).condition(r, v) for i in range(len(self.generation))]

    def _generation_core(self, step: int) -> GenerationCore:
        return cast(GenerationCore, self.generation[step % len(self.generation)])

    def _inference_core(self, step: int) -> InferenceCore:
        return cast(InferenceCore, self.inference[step % len(self.inference)])

    def _start(self, r: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Returns h^g_0 and c^g_0 for N = B Q queries."""
        zeros = r.new_zeros((len(v), *self.hidden_shape)).contiguous(memory_format=torch.channels_last)
        h_g = zeros if self.initial_state is None else self.initial_state(r, v)
        return h_g.contiguous(memory_format=torch.channels_last), zeros
