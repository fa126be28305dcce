"""Building blocks of the scene models: constant-map convolution, Gaussian heads, closed-form KL, trunks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gqn_rl.models import winograd
from gqn_rl.views import Views, prepare_images


class Gaussian(NamedTuple):
    """A diagonal normal distribution.

    Attributes:
        mean: [N, C, s, s].
        log_std: natural logarithm of the standard deviation, [N, C, s, s].
    """

    mean: Tensor
    log_std: Tensor

    def sample(self, noise: Tensor | None = None) -> Tensor:
        """Draws by reparameterisation; `noise` is standard normal of the mean's shape, drawn here when not given.

        What a seed draws does not depend on the memory order of `mean`, as it would with `randn_like`.
        """
        noise = torch.randn(self.mean.shape, device=self.mean.device) if noise is None else noise
        return self.mean + self.log_std.exp() * noise


def gaussian_kl(q: Gaussian, p: Gaussian) -> Tensor:
    """Returns KL(q ‖ p) in nats for each of the N elements, float32 [N]."""
    q_mean, q_log_std, p_mean, p_log_std = (t.float() for t in (*q, *p))
    squared_distance = (q_mean - p_mean).square() + (2 * q_log_std).exp()
    kl = p_log_std - q_log_std + 0.5 * squared_distance * (-2 * p_log_std).exp() - 0.5
    return kl.flatten(1).sum(1)


class GaussianHead(nn.Module):
    """Maps a hidden map [N, hidden, s, s] to a Gaussian over a latent map [N, latent, s, s] by one convolution."""

    def __init__(self, hidden_channels: int, latent_channels: int, kernel_size: int):
        super().__init__()
        self.conv = nn.Conv2d(hidden_channels, 2 * latent_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, hidden: Tensor) -> Gaussian:
        """Returns the distribution in float32, whatever precision the convolution ran in."""
        mean, log_std = self.conv(hidden).float().chunk(2, dim=1)
        return Gaussian(mean, log_std)


class ConstantMapConv(nn.Module):
    """A zero-padded convolution over a vector that is broadcast to a map, without making the map.

    On a constant map, a k×k convolution has only k×k different outputs: one for the interior and one for each way in
    which padding cuts the kernel. They are computed on a k×k map and repeated. The result is that of `nn.Conv2d`.

    Args:
        in_channels: length of the vector.
        out_channels: channels of the map returned.
        kernel_size: k, odd.
        map_size: height and width of the map returned.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, map_size: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.small_size = min(kernel_size, map_size)
        self.map_size = map_size

    def forward(self, vector: Tensor) -> Tensor:
        """Maps [N, in_channels] to [N, out_channels, map_size, map_size]."""
        small = self.conv(vector[:, :, None, None].expand(-1, -1, self.small_size, self.small_size))
        return self._stretch(self._stretch(small, 2), 3).contiguous(memory_format=torch.channels_last)

    def _stretch(self, small: Tensor, dim: int) -> Tensor:
        """Repeats the middle row or column until `dim` has `map_size` entries."""
        half = self.small_size // 2
        first, middle, last = small.split([half, 1, self.small_size - half - 1], dim)
        sizes = [-1] * 4
        sizes[dim] = self.map_size - self.small_size + 1
        return torch.cat([first, middle.expand(sizes), last], dim)


class MapConv(nn.Conv2d):
    """A zero-padded convolution that keeps the map's size; training on the CPU it goes by `winograd.py` if that pays.

    Which order the result's axes have in memory depends on the way.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True):
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, in_channels, s, s] to [N, out_channels, s, s]."""
        if not winograd.pays([x], [self.weight]):
            return super().forward(x)
        result = winograd.convolve([x], [self.weight])
        return result if self.bias is None else result + self.bias[:, None, None]


def fit_map(r: Tensor, size: int) -> Tensor:
    """Averages a representation map [B, C, h, w] down to [B, C, size, size] where it is larger."""
    return r if r.shape[-2:] == (size, size) else F.adaptive_avg_pool2d(r, size)


def exact(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Returns a context without autocast, for arithmetic that bfloat16 would spoil: metres lose centimetres."""
    known = torch.amp.is_autocast_available(device.type)  # the meta device has none
    return torch.autocast(device.type, enabled=False) if known else contextlib.nullcontext()


def call(function: Callable[..., Any], *args: Any, forget: bool) -> Any:
    """Calls `function`; with `forget`, its activations are not kept but computed again in the backward pass."""
    if forget and torch.is_grad_enabled():
        return checkpoint(function, *args, use_reentrant=False)
    return function(*args)


def centre(images: Tensor) -> Tensor:
    """Gives pictures in [0, 1] zero mean and unit variance or so; a trunk starts twice as fast on them."""
    return (images - 0.5) * 4


def strided_trunk(image_size: int, features: int) -> nn.Sequential:
    """Returns strided convolutions from centred pictures [N, 3, H, W], H a multiple of 16, to [N, features]."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 4, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 64, 4, stride=2, padding=1), nn.GroupNorm(8, 64), nn.ReLU()),
        *(nn.Conv2d(64, 128, 4, stride=2, padding=1), nn.GroupNorm(8, 128), nn.ReLU()),
        *(nn.Conv2d(128, 128, 4, stride=2, padding=1), nn.GroupNorm(8, 128), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(128 * (image_size // 16) ** 2, features), nn.ReLU()),
    )


def flatten_queries(maps: Tensor) -> Tensor:
    """Returns pictures or maps [B, Q, C, h, w] as [B Q, C, h, w], channels last in memory.

    Merged behind the channels: of a single map, `maps.flatten(0, 1)` makes strides that no layer takes for that order.
    """
    return maps.movedim(2, -1).flatten(0, 1).movedim(-1, 1).contiguous(memory_format=torch.channels_last)


def pictures_of(views: Views) -> Tensor:
    """Returns the pictures of views [B, Q, ...] as float [B Q, 3, H, W] in [0, 1]."""
    return prepare_images(views.images.flatten(0, 1)).contiguous(memory_format=torch.channels_last)
