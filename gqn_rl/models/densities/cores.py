"""What a step of the density "draw" is made of: its two recurrent cores, what conditions them, and the canvas.

The letters are those of `draw.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn_rl.models import winograd
from gqn_rl.models.conv_lstm import ConvLSTM, Convolved
from gqn_rl.models.layers import ConstantMapConv, Gaussian, GaussianHead, MapConv, fit_map
from gqn_rl.models.protocols import ConditionShape


class CoreSizes(NamedTuple):
    """Sizes of a step's layers.

    Attributes:
        condition: shape of what the density is conditioned on.
        map_size: s.
        hidden: channels of h and c.
        latent: channels of z_l.
        canvas: channels of u.
        kernel_size: of the cores and heads.
        downsample: d, side of a patch in pixels.
        prior: "learned" or "standard".
    """

    condition: ConditionShape
    map_size: int
    hidden: int
    latent: int
    canvas: int
    kernel_size: int
    downsample: int
    prior: str


class Conditioning(nn.Module):
    """The share of a core's gate pre-activations that r and v have; the same at every step of a shared core.

    Args:
        sizes: of the step's layers; without a condition the share is 0.
        channels: channels returned.
    """

    def __init__(self, sizes: CoreSizes, channels: int):
        super().__init__()
        self.map_size, self.channels = sizes.map_size, channels
        constant, viewpoint_size = sizes.condition[:2]
        self.from_viewpoint: ConstantMapConv | None = None
        self.from_r: nn.Module | None = None
        if viewpoint_size:
            self.from_viewpoint = ConstantMapConv(viewpoint_size, channels, sizes.kernel_size, sizes.map_size)
        if constant is not None:
            self.from_r = (
                ConstantMapConv(constant[0], channels, sizes.kernel_size, sizes.map_size)
                if len(constant) == 1
                else MapConv(constant[0], channels, sizes.kernel_size, bias=False)
            )

    def forward(self, r: Tensor | None, v: Tensor) -> Tensor:
        """Maps r [B, ...] and v [B Q, V] to [B Q, channels, s, s]; r's share is computed once for all Q queries."""
        if self.from_r is None or self.from_viewpoint is None or r is None:
            return v.new_zeros(len(v), self.channels, 1, 1)
        r = r if r.ndim == 2 else fit_map(r, self.map_size)
        if isinstance(self.from_r, MapConv) and len(r) == len(v):
            maps = [r, v[:, :, None, None].expand(-1, -1, *r.shape[2:])]
            weights = [self.from_r.weight, self.from_viewpoint.conv.weight]
            if winograd.pays(maps, weights):
                return winograd.convolve(maps, weights)
        share_of_r, share_of_v = self.from_r(r), self.from_viewpoint(v)
        if len(r) == len(v):
            return share_of_v + share_of_r
        return (share_of_v.unflatten(0, (len(r), -1)) + share_of_r[:, None]).flatten(0, 1)  # keeps the memory order


class StandardPrior(nn.Module):
    """The prior N(0, 1), whatever has been drawn so far."""

    def __init__(self, latent: int):
        super().__init__()
        self.latent = latent

    def forward(self, hidden: Tensor) -> Gaussian:
        """Returns the distribution in float32 for hidden maps [N, hidden, s, s]."""
        zeros = torch.zeros(len(hidden), self.latent, *hidden.shape[2:], device=hidden.device)
        return Gaussian(zeros, zeros)


class GenerationCore(nn.Module):
    """One step of the prior and the generation network."""

    def __init__(self, sizes: CoreSizes):
        super().__init__()
        gates, kernel_size = 4 * sizes.hidden, sizes.kernel_size
        self.condition = Conditioning(sizes, gates)
        self.latent_to_gates = nn.Conv2d(sizes.latent, gates, kernel_size, padding=kernel_size // 2, bias=False)
        self.lstm = ConvLSTM(sizes.hidden, kernel_size)
        self.prior: nn.Module = (
            StandardPrior(sizes.latent)
            if sizes.prior == "standard"
            else GaussianHead(sizes.hidden, sizes.latent, kernel_size)
        )

    def forward(self, condition: Tensor, z: Tensor, hidden: Tensor | None, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Advances h^g and c^g with z_l; None stands for an h^g of zeros."""
        return self.lstm(condition, [Convolved(z.to(condition.dtype), self.latent_to_gates)], hidden, cell)


class InferenceCore(nn.Module):
    """One step of the inference network and the posterior."""

    def __init__(self, sizes: CoreSizes):
        super().__init__()
        hidden, kernel_size, self.downsample = sizes.hidden, sizes.kernel_size, sizes.downsample
        pad, patch = kernel_size // 2, sizes.downsample**2
        self.condition = Conditioning(sizes, 4 * hidden)
        self.image_to_map = nn.Conv2d(3, hidden, self.downsample, stride=self.downsample)
        self.image_to_gates = MapConv(hidden, 4 * hidden, kernel_size, bias=False)
        bound = (sizes.canvas * patch) ** -0.5
        self.canvas_to_map = nn.Parameter(torch.empty(hidden, sizes.canvas, patch).uniform_(-bound, bound))
        self.state_to_gates = nn.Conv2d(2 * hidden, 4 * hidden, kernel_size, padding=pad, bias=False)
        self.lstm = ConvLSTM(hidden, kernel_size)
        self.posterior = GaussianHead(hidden, sizes.latent, kernel_size)

    def observe(self, r: Tensor | None, v: Tensor, x: Tensor) -> Tensor:
        """Returns the gates' share of everything that does not change with l: (x, v, r)."""
        return self.condition(r, v) + self._look(x)

    def _look(self, x: Tensor) -> Tensor:
        """Returns `image_to_gates(image_to_map(x))`; in one convolution where a patch has fewer values than its map."""
        to_map, to_gates = self.image_to_map, self.image_to_gates
        if 3 * self.downsample**2 >= to_map.out_channels:
            return to_gates(to_map(x))
        assert to_map.bias is not None
        patches = F.pixel_unshuffle(x, self.downsample)
        patches = torch.cat([patches, torch.ones_like(patches[:, :1])], dim=1)  # the bias ends where the map does
        weight = torch.cat([to_map.weight.flatten(1), to_map.bias[:, None]], dim=1)
        weight = torch.einsum("ghij,hp->gpij", to_gates.weight, weight)
        return F.conv2d(patches.contiguous(memory_format=torch.channels_last), weight, padding=to_gates.padding)

    def forward(
        self, observed: Tensor, h_g: Tensor | None, seen_canvas: Tensor, hidden: Tensor | None, cell: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Advances h^e and c^e with h^g and the canvas as `canvas_to_map` sees it, [N, hidden, s, s].

        None stands for an h^e of zeros, and for an h^g of zeros beside an empty canvas.
        """
        if h_g is None:
            return self.lstm(observed, [], hidden, cell)
        state = torch.cat([h_g, seen_canvas.to(h_g.dtype)], dim=1)
        return self.lstm(observed, [Convolved(state, self.state_to_gates)], hidden, cell)


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

    def render(self, hidden_sum: Tensor) -> Tensor:
        """Returns η_g(u), the mean of the picture's distribution, float32 [N, 3, H, W]; Σ h^g is [N, hidden, s, s]."""
        weight = torch.einsum("xc,cph->xph", self.eta.weight[:, :, 0, 0], self.delta).flatten(0, 1)
        assert self.eta.bias is not None
        bias = self.eta.bias.repeat_interleave(self.downsample**2)
        patches = F.conv2d(hidden_sum, weight[:, :, None, None], bias)
        return F.pixel_shuffle(patches, self.downsample).float()

    def read(self, hidden_sum: Tensor, reader: Tensor) -> Tensor:
        """Returns the canvas seen by a d×d/d convolution with weight `reader` [out, channels, d²]: [N, out, s, s]."""
        weight = torch.einsum("ocp,cph->oh", reader, self.delta)
        return F.conv2d(hidden_sum, weight[:, :, None, None])
