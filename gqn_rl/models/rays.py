"""RayState: the generator's first hidden map, in which every cell asks r what lies along its line of sight (ours)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        wavelengths_m: of the sines and cosines of a point's coordinates.
        features: width of the ray's features.
    """

    right: Tensor
    up: Tensor
    depths: Tensor
    NUM_POINTS = 8

    def __init__(
        self,
        r_channels: int,
        hidden: int,
        map_size: int,
        fovy_deg: float,
        depths_m: tuple[float, float],
        wavelengths_m: Sequence[float] = (2.0, 1.0, 0.5),
        features: int = 128,
    ):
        super().__init__()
        self.wavelengths_m = tuple(wavelengths_m)
        self.ray = nn.Conv2d(3 * self.NUM_POINTS * (1 + 2 * len(wavelengths_m)), features, 1)
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
        waves = [wave(points * (2 * math.pi / m)) for m in self.wavelengths_m for wave in (torch.sin, torch.cos)]
        seen = self.ray(torch.cat([points, *waves], dim=1).contiguous(memory_format=torch.channels_last)) + self.cells
        scaled = seen * self.scale(r)[:, :, None, None]
        shifted = torch.relu(seen + self.shift(r)[:, :, None, None])
        return self.mix(torch.cat([scaled, shifted], dim=1).contiguous(memory_format=torch.channels_last))
