"""Representation networks ψ(x, v): one picture and its viewpoint in, one summand of the scene representation r out.

Pyramid, Tower and Pool have the sizes of the GQN paper's Fig. S1 as re-implementations report them. Gated is ours: it
multiplies picture features by a linear map of the viewpoint, since where something is in the world is a product of
where it is in the picture and how the camera is turned.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from torch import Tensor, nn

from gqn_rl.models.config import SceneFacts
from gqn_rl.models.layers import centre, strided_trunk
from gqn_rl.models.protocols import Condition, ConditionShape, Representation
from gqn_rl.models.registry import register_representation


def broadcast(viewpoints: Tensor, maps: Tensor) -> Tensor:
    """Appends viewpoints [N, V], repeated over the picture, to maps [N, C, h, w]: [N, C + V, h, w]."""
    repeated = viewpoints[:, :, None, None].to(maps.dtype).expand(-1, -1, *maps.shape[-2:])
    return torch.cat([maps, repeated], dim=1).contiguous(memory_format=torch.channels_last)


class Pyramid(nn.Module):
    """Four strided convolutions down to a vector; the viewpoint enters beside the pixels."""

    def __init__(self, image_size: int, viewpoint_size: int, r_channels: int = 256):
        super().__init__()
        self.shape = (r_channels,)
        self.layers = nn.Sequential(
            *(nn.Conv2d(3 + viewpoint_size, 32, 2, stride=2), nn.ReLU()),
            *(nn.Conv2d(32, 64, 2, stride=2), nn.ReLU()),
            *(nn.Conv2d(64, 128, 2, stride=2), nn.ReLU()),
            *(nn.Conv2d(128, r_channels, image_size // 8), nn.ReLU()),
        )

    def forward(self, images: Tensor, viewpoints: Tensor) -> Tensor:
        """Maps float images [N, 3, H, W] and viewpoints [N, V] to [N, r_channels]."""
        return self.layers(broadcast(viewpoints, images)).flatten(1)


class Tower(nn.Module):
    """Two residual blocks; the viewpoint enters at a quarter of the picture's size, which r keeps."""

    def __init__(self, image_size: int, viewpoint_size: int, r_channels: int = 256):
        super().__init__()
        self.shape: tuple[int, ...] = (r_channels, image_size // 4, image_size // 4)
        half = r_channels // 2
        self.stem = nn.Conv2d(3, r_channels, 2, stride=2)
        self.skip_1 = nn.Conv2d(r_channels, r_channels, 2, stride=2)
        self.block_1 = nn.Sequential(
            *(nn.Conv2d(r_channels, half, 3, padding=1), nn.ReLU()), nn.Conv2d(half, r_channels, 2, stride=2)
        )
        self.skip_2 = nn.Conv2d(r_channels + viewpoint_size, r_channels, 3, padding=1)
        self.block_2 = nn.Sequential(
            *(nn.Conv2d(r_channels + viewpoint_size, half, 3, padding=1), nn.ReLU()),
            nn.Conv2d(half, r_channels, 3, padding=1),
        )
        self.out = nn.Conv2d(r_channels, r_channels, 1)

    def forward(self, images: Tensor, viewpoints: Tensor) -> Tensor:
        """Maps float images [N, 3, H, W] and viewpoints [N, V] to [N, r_channels, H/4, W/4]."""
        x = torch.relu(self.stem(images))
        x = torch.relu(self.skip_1(x)) + torch.relu(self.block_1(x))
        x = broadcast(viewpoints, x)
        x = torch.relu(self.skip_2(x)) + torch.relu(self.block_2(x))
        return torch.relu(self.out(x))


class Pool(Tower):
    """Tower, averaged over the picture: the paper's most view-invariant representation."""

    def __init__(self, image_size: int, viewpoint_size: int, r_channels: int = 256):
        super().__init__(image_size, viewpoint_size, r_channels)
        self.shape = (r_channels,)

    def forward(self, images: Tensor, viewpoints: Tensor) -> Tensor:
        """Maps float images [N, 3, H, W] and viewpoints [N, V] to [N, r_channels]."""
        return super().forward(images, viewpoints).mean(dim=(-2, -1))


class Gated(nn.Module):
    """Strided convolutions to features that the viewpoint multiplies; normalised, so that no unit dies (ours)."""

    def __init__(self, image_size: int, viewpoint_size: int, r_channels: int = 256, features: int = 512):
        super().__init__()
        self.shape = (r_channels,)
        self.trunk = strided_trunk(image_size, features)
        self.scale = nn.Linear(viewpoint_size, features)
        self.shift = nn.Linear(viewpoint_size, features)
        self.head = nn.Sequential(
            *(nn.LayerNorm(2 * features), nn.Linear(2 * features, features), nn.ReLU()),
            *(nn.Linear(features, r_channels), nn.LayerNorm(r_channels)),
        )

    def forward(self, images: Tensor, viewpoints: Tensor) -> Tensor:
        """Maps float images [N, 3, H, W] and viewpoints [N, V] to [N, r_channels]."""
        features = self.trunk(centre(images))
        gated = torch.cat([features * self.scale(viewpoints), features + self.shift(viewpoints)], dim=1)
        return self.head(gated)


NETWORKS: dict[str, type[nn.Module]] = {"pyramid": Pyramid, "tower": Tower, "pool": Pool, "gated": Gated}
"""Representation networks without a geometry, by the name that `model/representation=` takes."""


@dataclasses.dataclass(frozen=True)
class PlainConfig:
    """Settings of a representation that is a plain vector or map.

    Attributes:
        kind: one of `NETWORKS`.
        r_channels: channels of r.
    """

    kind: str = "tower"
    r_channels: int = 256


class Plain(Representation):
    """r as a network makes it; a query sees all of it, whatever its viewpoint."""

    def __init__(self, config: PlainConfig, scene: SceneFacts):
        super().__init__()
        self.encoder = NETWORKS[config.kind](scene.image_size, scene.viewpoint_size, config.r_channels)
        self.shape = cast(tuple[int, ...], self.encoder.shape)
        self.condition_shape = ConditionShape(self.shape, scene.viewpoint_size)

    def forward(self, images: Tensor, viewpoints: Tensor) -> Tensor:
        """Maps float images [N, 3, H, W] and viewpoints [N, V] to ψ, [N, *shape]."""
        return self.encoder(images, viewpoints)

    def condition(self, r: Tensor, viewpoints: Tensor) -> Condition:
        """Returns r [B, *shape], the same for viewpoints [B, Q, V] of a scene."""
        return Condition(viewpoints, r[:, None])


for _kind in NETWORKS:
    register_representation(Plain, PlainConfig(_kind))
