"""Plücker rays: for every pixel the line of sight that it shows, the strongest way to tell a network its camera."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

RAY_CHANNELS = 6
"""Direction and moment of a ray."""


def plucker_rays(viewpoints: Tensor, size: int, fovy_deg: float) -> Tensor:
    """Returns the ray of every pixel in the world frame.

    A ray from o along the unit vector d has the six coordinates (d, o × d), which any point on it gives alike.

    Args:
        viewpoints: of cameras without roll, float [N, 7], ordered as `views.POSE_CONVENTION`.
        size: height and width of the pictures in pixels.
        fovy_deg: vertical field of view.

    Returns:
        float32 [N, 6, size, size]: direction, then moment in metres; the first row is the picture's top.
    """
    position, (sin_yaw, cos_yaw, sin_pitch, cos_pitch) = viewpoints[:, :3], viewpoints[:, 3:7].unbind(1)
    ahead = torch.stack([cos_pitch * cos_yaw, cos_pitch * sin_yaw, sin_pitch], dim=1)
    right = torch.stack([sin_yaw, -cos_yaw, torch.zeros_like(sin_yaw)], dim=1)
    up = torch.linalg.cross(right, ahead)
    centres = ((torch.arange(size, device=viewpoints.device) + 0.5) / size * 2 - 1) * math.tan(
        math.radians(fovy_deg) / 2
    )
    ahead, right, up, position = (axis[:, :, None, None] for axis in (ahead, right, up, position))
    direction = F.normalize(ahead + right * centres - up * centres[:, None], dim=1)
    return torch.cat([direction, torch.linalg.cross(position.expand_as(direction), direction, dim=1)], dim=1)
