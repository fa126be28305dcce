"""The generation and inference network: L convolutional LSTM steps that draw a query view onto a canvas.

Legend (the paper's letters): r scene representation, v query viewpoint, x query picture, z_l latents of step l, h^g
and c^g hidden and cell state of the generation core, h^e and c^e those of the inference core, u canvas. N counts query
views, s is the side of the hidden maps.

Order inside a step, after the supplement: prior from h^g before z_l enters; the inference core advances; posterior from
its new h^e; z_l is drawn; the generation core advances; the canvas grows by Δ(h^g).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from gqn_rl.models.cores import Canvas, GenerationCore, InferenceCore
from gqn_rl.models.layers import call, gaussian_kl
from gqn_rl.models.rays import RayState


class Drawing(NamedTuple):
    """What one pass of the generator yields.

    Attributes:
        mean: mean of the picture's distribution, float32 [N, 3, H, W], about [0, 1].
        kl: Σ_l KL(q_l ‖ π_l) in nats, float32 [N]; zeros where no posterior was used.
    """

    mean: Tensor
    kl: Tensor


class Inferring(NamedTuple):
    """What one step of `Generator.infer` hands to the next; maps are [N, hidden, s, s].

    Attributes:
        h_g, c_g, h_e, c_e: hidden and cell maps of the two cores.
        drawn: Σ h^g so far.
        kl: Σ KL so far in nats, float32 [N].
    """

    h_g: Tensor
    c_g: Tensor
    h_e: Tensor
    c_e: Tensor
    drawn: Tensor
    kl: Tensor


class Generator(nn.Module):
    """The conditional image model p(x | v, r) with its posterior.

    Attributes:
        recompute_steps: 0, or after how many steps `infer` forgets what it computed (and the GQN's encoder too), to
            compute it again in the backward pass: less memory for a third more arithmetic, the same gradients.

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
        ray_wavelengths_m: of the sines and cosines by which "rays" knows places.
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
        ray_wavelengths_m: Sequence[float],
    ):
        super().__init__()
        self.recompute_steps = 0
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
        rays = (hidden_channels, map_size, fovy_deg, ray_depths_m, ray_wavelengths_m)
        self.initial_state = RayState(r_shape[0], *rays) if initial_state == "rays" else None

    def infer(self, r: Tensor, v: Tensor, x: Tensor, noise: Tensor | None = None) -> Drawing:
        """Draws with latents from the posterior q(z | x, v, r) and measures how far it is from the prior.

        Args:
            r: scene representations [B, ...].
            v: query viewpoints [B Q, V], the Q of one scene together.
            x: query pictures, float [B Q, 3, H, W] in [0, 1].
            noise: standard normal [L, B Q, *latent_shape], drawn when not given.
        """
        h_g, c_g = self._start(r, v)
        zeros = torch.zeros_like(c_g)
        state = Inferring(h_g, c_g, zeros, zeros, zeros, torch.zeros(len(v), device=v.device))
        constant = self._constants(0, r, v, x) if len(self.generation) == 1 else None
        size = self.recompute_steps or self.num_steps
        for first in range(0, self.num_steps, size):
            steps = range(first, min(first + size, self.num_steps))
            state = call(self._advance, steps, state, constant, r, v, x, noise, forget=self.recompute_steps > 0)
        return Drawing(self.canvas.render(state.drawn), state.kl)

    def _advance(
        self,
        steps: range,
        state: Inferring,
        constant: tuple[Tensor, Tensor] | None,
        r: Tensor,
        v: Tensor,
        x: Tensor,
        noise: Tensor | None,
    ) -> Inferring:
        """Makes some steps of `infer`; `constant` is what a shared core gets from `_constants`, None for the others."""
        h_g, c_g, h_e, c_e, drawn, kl = state
        for step in steps:
            core, eye = self._generation_core(step), self._inference_core(step)
            told, observed = constant or self._constants(step, r, v, x)
            prior = core.prior(h_g)
            seen = self.canvas.read(drawn, eye.canvas_to_map)
            h_e, c_e = eye(observed, h_g, seen, h_e, c_e)
            posterior = eye.posterior(h_e)
            z = posterior.sample(None if noise is None else noise[step])
            kl = kl + gaussian_kl(posterior, prior)
            h_g, c_g = core(told, z, h_g, c_g)
            drawn = drawn + h_g
        return Inferring(h_g, c_g, h_e, c_e, drawn, kl)

    def _constants(self, step: int, r: Tensor, v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the gates of a step's two cores get from inputs that do not change with l."""
        return self._generation_core(step).condition(r, v), self._inference_core(step).observe(r, v, x)

    def generate(self, r: Tensor, v: Tensor, sample: bool = True, noise: Tensor | None = None) -> Drawing:
        """Draws with latents from the prior π(z | v, r): samples, or its means where `sample` is false."""
        conditions = [self._generation_core(i).condition(r, v) for i in range(len(self.generation))]
        h_g, c_g = self._start(r, v)
        drawn = torch.zeros_like(c_g)
        for step in range(self.num_steps):
            core = self._generation_core(step)
            prior = core.prior(h_g)
            z = prior.sample(None if noise is None else noise[step]) if sample else prior.mean
            h_g, c_g = core(conditions[step % len(conditions)], z, h_g, c_g)
            drawn = drawn + h_g
        return Drawing(self.canvas.render(drawn), torch.zeros(len(v), device=v.device))

    def _generation_core(self, step: int) -> GenerationCore:
        return cast(GenerationCore, self.generation[step % len(self.generation)])

    def _inference_core(self, step: int) -> InferenceCore:
        return cast(InferenceCore, self.inference[step % len(self.inference)])

    def _start(self, r: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Returns h^g_0 and c^g_0 for N = B Q queries."""
        zeros = r.new_zeros((len(v), *self.hidden_shape)).contiguous(memory_format=torch.channels_last)
        h_g = zeros if self.initial_state is None else self.initial_state(r, v)
        return h_g.contiguous(memory_format=torch.channels_last), zeros
