"""First hidden maps of the density "draw": what is known of r and v before the first latent."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn_rl.models.config import SceneFacts
from gqn_rl.models.densities.cores import Conditioning, CoreSizes


class RayState(nn.Module):
    """Gives the generation core a first hidden map: every cell asks r what lies along its line of sight (ours).

    Points along a cell's ray, with sines and cosines of their coordinates, become features that a linear map of r
    multiplies: whether something at a place that r knows is on a ray is such a product. A learnt map of the cells lets
    r speak of the picture's own frame too, in which things are learnt first.

    Args:
        constant: shape of r, a vector or a map that is averaged.
        hidden_shape: of h^g, (hidden, s, s).
        scene: the cameras.
    """

    right: Tensor
    up: Tensor
    depths: Tensor
    NUM_POINTS = 8
    FEATURES = 128

    def __init__(self, constant: tuple[int, ...], hidden_shape: tuple[int, int, int], scene: SceneFacts):
        super().__init__()
        (hidden, map_size, _), features = hidden_shape, self.FEATURES
        fovy_deg, depths_m = scene.lens("`initial_state='rays'`")
        if scene.wavelengths_m is None:
            raise ValueError(
                "`initial_state='rays'` knows places by waves and must know the scene's size, which the data do not "
                "tell: give +model.scene.wavelengths_m=[2,1,0.5], in metres from the scene's size to its details."
            )
        self.wavelengths_m = scene.wavelengths_m
        self.ray = nn.Conv2d(3 * self.NUM_POINTS * (1 + 2 * len(self.wavelengths_m)), features, 1)
        self.cells = nn.Parameter(torch.randn(features, map_size, map_size))
        self.scale, self.shift = nn.Linear(constant[0], features), nn.Linear(constant[0], features)
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


class ConditionState(nn.Module):
    """Gives the generation core a first hidden map that is a convolution of r and v: the prior of the first step.

    Sohn et al. (2015) need it: with a single step, a prior π(z | v, r) has nothing else to see them by.
    """

    def __init__(self, sizes: CoreSizes):
        super().__init__()
        self.condition = Conditioning(sizes, sizes.hidden)

    def forward(self, r: Tensor, v: Tensor) -> Tensor:
        """Maps r [B, ...] and v [B Q, V] to h^g_0 [B Q, hidden, s, s]."""
        return torch.tanh(self.condition(r, v))
