"""Convolutional networks of pixel agents: from pictures with any number of channels to a vector of features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class NatureCNN(nn.Module):
    """Three convolutions (Mnih et al. 2015), Stable-Baselines3's default for pictures."""

    SMALLEST = 36

    def __init__(self, channels: int, size: int, features: int):
        super().__init__()
        if size < self.SMALLEST:
            raise ValueError(
                f"`network` nature reads pictures of at least {self.SMALLEST} pixels, got {size}; impala and "
                "spatial_softmax read any."
            )
        self.maps = nn.Sequential(
            *(nn.Conv2d(channels, 32, 8, stride=4), nn.ReLU()),
            *(nn.Conv2d(32, 64, 4, stride=2), nn.ReLU()),
            *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten()),
        )
        self.head = head(self.maps, channels, size, features)

    def forward(self, pictures: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, features]."""
        return self.head(self.maps(pictures))


class ImpalaCNN(nn.Module):
    """The residual network of IMPALA (Espeholt et al. 2018): three sections of 16, 32 and 32 channels."""

    WIDTHS = (16, 32, 32)

    def __init__(self, channels: int, size: int, features: int):
        super().__init__()
        sections: list[nn.Module] = []
        for width in self.WIDTHS:
            sections += [nn.Conv2d(channels, width, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1)]
            sections += [Residual(width), Residual(width)]
            channels = width
        self.maps = nn.Sequential(*sections, nn.ReLU(), nn.Flatten())
        self.head = head(self.maps, self.maps[0].in_channels, size, features)  # type: ignore[arg-type]

    def forward(self, pictures: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, features]."""
        return self.head(self.maps(pictures))


class Residual(nn.Module):
    """Two convolutions whose sum with the input goes on."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)), *(nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, width, H, W] to the same shape."""
        return x + self.layers(x)


class SpatialSoftmax(nn.Module):
    """Convolutions to maps of which only the place of each one's mass is kept (Levine et al. 2016).

    The features are then where K things are in the picture, which is what reaching is about.
    """

    NUM_POINTS = 32

    def __init__(self, channels: int, size: int, features: int):
        super().__init__()
        self.maps = nn.Sequential(
            *(nn.Conv2d(channels, 32, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
            nn.Conv2d(32, self.NUM_POINTS, 3, padding=1),
        )
        self.head = nn.Sequential(nn.Linear(2 * self.NUM_POINTS, features), nn.ReLU())

    def points(self, pictures: Tensor) -> Tensor:
        """Returns right and down, ±1 at the edges, of every map's mass: [N, K, 2]."""
        maps = self.maps(pictures)
        height, width = maps.shape[-2:]
        mass = maps.flatten(2).softmax(dim=-1).unflatten(-1, (height, width))
        return torch.stack([mass.sum(2) @ _cells(width, mass), mass.sum(3) @ _cells(height, mass)], dim=-1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, features]."""
        return self.head(self.points(pictures).flatten(1))


def head(maps: nn.Module, channels: int, size: int, features: int) -> nn.Sequential:
    """Returns the layer from flat maps of pictures [N, channels, size, size] to features."""
    with torch.no_grad():
        entries = maps(torch.zeros(1, channels, size, size)).shape[1]
    return nn.Sequential(nn.Linear(entries, features), nn.ReLU())


def _cells(number: int, like: Tensor) -> Tensor:
    """Returns the centres of cells between -1 and 1, [number]."""
    return (torch.arange(number, device=like.device, dtype=like.dtype) + 0.5) / number * 2 - 1


TRUNKS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "nature": NatureCNN,
    "impala": ImpalaCNN,
    "spatial_softmax": SpatialSoftmax,
}
"""Networks by the name that `repr.network` takes; each is called with channels, size and number of features."""
