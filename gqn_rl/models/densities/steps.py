"""The recurrence of the density "draw": L convolutional LSTM steps that draw a query view onto a canvas.

Legend (the GQN paper's letters): r scene representation, v query viewpoint, x query picture, z_l latents of step l, h^g
and c^g hidden and cell state of the generation core, h^e and c^e those of the inference core, u canvas. N counts query
views, s is the side of the hidden maps.

Order inside a step, after the supplement: prior from h^g before z_l enters; the inference core advances; posterior from
its new h^e; z_l is drawn; the generation core advances; the canvas grows by Δ(h^g).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from gqn_rl.models.config import SceneFacts
from gqn_rl.models.densities.cores import Canvas, CoreSizes, GenerationCore, InferenceCore
from gqn_rl.models.densities.states import ConditionState, RayState
from gqn_rl.models.layers import Gaussian, call, gaussian_kl
from gqn_rl.models.protocols import ConditionShape

STATES = ("zeros", "rays", "condition")
PRIORS = ("learned", "standard")


@dataclasses.dataclass(frozen=True)
class DrawConfig:
    """Settings of the density "draw"; the defaults are the GQN paper's.

    Attributes:
        num_steps: L.
        shared_cores: whether the L steps share their weights.
        hidden_channels: channels of the recurrent state.
        latent_channels: channels of each z_l.
        canvas_channels: channels of the canvas u.
        kernel_size: of the recurrent cores, odd.
        downsample: side of the patch that one cell of the recurrent state draws.
        initial_state: h^g_0: "zeros" (the paper), "rays" (ours, see `RayState`) or "condition" (a convolution of r, v).
        prior: of z_l: "learned" from h^g, or "standard", N(0, 1).
    """

    kind: str = "draw"
    num_steps: int = 12
    shared_cores: bool = False
    hidden_channels: int = 128
    latent_channels: int = 3
    canvas_channels: int = 128
    kernel_size: int = 5
    downsample: int = 4
    initial_state: str = "zeros"
    prior: str = "learned"

    def __post_init__(self) -> None:
        if not isinstance(self.shared_cores, bool):
            raise ValueError(f"`shared_cores` must be true or false, got {self.shared_cores!r}.")
        if self.kernel_size % 2 == 0 or self.num_steps < 1:
            raise ValueError(
                f"`kernel_size` must be odd and `num_steps` ≥ 1, got {self.kernel_size} and {self.num_steps}."
            )
        if self.initial_state not in STATES:
            raise ValueError(f"`initial_state` must be one of {', '.join(STATES)}, got {self.initial_state!r}.")
        if self.prior not in PRIORS:
            raise ValueError(f"`prior` must be one of {', '.join(PRIORS)}, got {self.prior!r}.")


class Drawing(NamedTuple):
    """What one pass yields: mean of the pictures' distribution, float32 [N, 3, H, W], and Σ_l KL in nats, [N]."""

    mean: Tensor
    kl: Tensor


class Inferring(NamedTuple):
    """What one step of `Draw.infer` hands to the next; maps are [N, hidden, s, s].

    Attributes:
        h_g, c_g, h_e, c_e: hidden and cell maps of the two cores.
        hidden_sum: Σ h^g so far.
        kl: Σ KL so far in nats, float32 [N].
    """

    h_g: Tensor
    c_g: Tensor
    h_e: Tensor
    c_e: Tensor
    hidden_sum: Tensor
    kl: Tensor


class Seen(NamedTuple):
    """A condition with its queries in one axis: r [B or B Q, ...] (None: nothing) and viewpoints [B Q, V]."""

    r: Tensor | None
    v: Tensor


Choose = Callable[[Gaussian, int], Tensor]
"""How z_l is drawn of the posterior or prior of step l."""


class Recurrence(nn.Module):
    """The steps of the conditional image model p(x | v, r) and of its posterior.

    Attributes:
        recompute_steps: 0, or after how many steps `infer` forgets what it computed, to compute it again in the
            backward pass: less memory for a third more arithmetic, the same gradients.
        code_size: entries of all latents of a picture together.

    Args:
        config: its settings.
        condition: what it is conditioned on.
        scene: facts about pictures and cameras.
    """

    def __init__(self, config: DrawConfig, condition: ConditionShape, scene: SceneFacts):
        super().__init__()
        if scene.image_size % config.downsample:
            raise ValueError(f"`image_size` must be a multiple of 16 and of `downsample`, got {scene.image_size}.")
        map_size = scene.image_size // config.downsample
        self.config, self.recompute_steps, self.num_steps = config, 0, config.num_steps
        self.hidden_shape = (config.hidden_channels, map_size, map_size)
        self.latent_shape = (config.latent_channels, map_size, map_size)
        self.code_size = config.num_steps * math.prod(self.latent_shape)
        sizes = CoreSizes(
            *(condition, map_size, config.hidden_channels, config.latent_channels, config.canvas_channels),
            *(config.kernel_size, config.downsample, config.prior),
        )
        copies = 1 if config.shared_cores else config.num_steps
        self.generation = nn.ModuleList(GenerationCore(sizes) for _ in range(copies))
        self.inference = nn.ModuleList(InferenceCore(sizes) for _ in range(copies))
        self.canvas = Canvas(config.hidden_channels, config.canvas_channels, config.downsample)
        self.initial_state = self._new_state(sizes, scene)

    def infer_steps(self, seen: Seen, x: Tensor, choose: Choose) -> Drawing:
        """Draws pictures x [N, 3, H, W] with latents that `choose` draws of the posteriors."""
        h_g, c_g = self._start(seen)
        zeros = torch.zeros_like(c_g)
        state = Inferring(h_g, c_g, zeros, zeros, zeros, torch.zeros(len(x), device=x.device))
        constant = self._constants(0, seen, x) if len(self.generation) == 1 else None
        size = self.recompute_steps or self.num_steps
        for first in range(0, self.num_steps, size):
            steps = range(first, min(first + size, self.num_steps))
            state = call(self._advance, steps, state, constant, seen, x, choose, forget=self.recompute_steps > 0)
        return Drawing(self.canvas.render(state.hidden_sum), state.kl)

    def _advance(
        self,
        steps: range,
        state: Inferring,
        constant: tuple[Tensor, Tensor] | None,
        seen: Seen,
        x: Tensor,
        choose: Choose,
    ) -> Inferring:
        """Makes some steps of inference; `constant` is what a shared core gets from `_constants`, else None."""
        h_g, c_g, h_e, c_e, hidden_sum, kl = state
        for step in steps:
            generation, inference = self._generation_core(step), self._inference_core(step)
            condition, observed = constant or self._constants(step, seen, x)
            prior = generation.prior(h_g)
            canvas = self.canvas.read(hidden_sum, inference.canvas_to_map)
            skips = self._skips_zeros(step)
            h_e, c_e = inference(observed, self._unless_zeros(h_g, step), canvas, None if skips else h_e, c_e)
            posterior = inference.posterior(h_e)
            z = choose(posterior, step)
            kl = kl + gaussian_kl(posterior, prior)
            h_g, c_g = generation(condition, z, self._unless_zeros(h_g, step), c_g)
            hidden_sum = hidden_sum + h_g
        return Inferring(h_g, c_g, h_e, c_e, hidden_sum, kl)

    def generate_steps(self, seen: Seen, choose: Choose) -> Drawing:
        """Draws pictures with latents that `choose` draws of the priors; their KL is 0."""
        conditions = [self._generation_core(i).condition(*seen) for i in range(len(self.generation))]
        h_g, c_g = self._start(seen)
        hidden_sum = torch.zeros_like(c_g)
        for step in range(self.num_steps):
            core = self._generation_core(step)
            z = choose(core.prior(h_g), step)
            h_g, c_g = core(conditions[step % len(conditions)], z, self._unless_zeros(h_g, step), c_g)
            hidden_sum = hidden_sum + h_g
        return Drawing(self.canvas.render(hidden_sum), torch.zeros(len(seen.v), device=seen.v.device))

    def _constants(self, step: int, seen: Seen, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what the gates of a step's two cores get from inputs that do not change with l."""
        return self._generation_core(step).condition(*seen), self._inference_core(step).observe(*seen, x)

    def _skips_zeros(self, step: int) -> bool:
        """Tells whether convolutions of zeros are left out: at the first step, if later ones train the same weights."""
        return step == 0 and self.num_steps > 1 and len(self.generation) == 1

    def _unless_zeros(self, h_g: Tensor, step: int) -> Tensor | None:
        """Returns h^g, None where it is known to be zeros."""
        return None if self.initial_state is None and self._skips_zeros(step) else h_g

    def _generation_core(self, step: int) -> GenerationCore:
        return cast(GenerationCore, self.generation[step % len(self.generation)])

    def _inference_core(self, step: int) -> InferenceCore:
        return cast(InferenceCore, self.inference[step % len(self.inference)])

    def _new_state(self, sizes: CoreSizes, scene: SceneFacts) -> nn.Module | None:
        kind, condition = self.config.initial_state, sizes.condition
        if kind == "zeros":
            return None
        if condition.constant is None or (kind == "rays" and condition.projected):
            raise ValueError(
                f"`initial_state` must be 'zeros' with this representation, which "
                f"{'looks along rays itself' if condition.projected else 'gives nothing to look at'}, got {kind!r}."
            )
        return RayState(condition.constant, self.hidden_shape, scene) if kind == "rays" else ConditionState(sizes)

    def _start(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Returns h^g_0 and c^g_0 for N = B Q queries."""
        like = seen.v if seen.r is None else seen.r
        zeros = like.new_zeros((len(seen.v), *self.hidden_shape)).contiguous(memory_format=torch.channels_last)
        h_g = zeros if self.initial_state is None else self.initial_state(*seen)
        return h_g.contiguous(memory_format=torch.channels_last), zeros
