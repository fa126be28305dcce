"""Scene models of some thousand weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from gqn_rl.models import DENSITIES, REPRESENTATIONS, SceneFacts, SceneModel, SceneModelConfig
from gqn_rl.models import build_model as build_nested
from gqn_rl.views import Views
from tests.flat_settings import build_model

IMAGE_SIZE = 16
TINY_GQN = {
    "image_size": IMAGE_SIZE,
    "encoder": "pyramid",
    "r_channels": 8,
    "num_steps": 2,
    "hidden_channels": 4,
    "latent_channels": 2,
    "canvas_channels": 4,
    "kernel_size": 3,
}
"""Flat settings, as files of format 1 have them."""
SCENE = SceneFacts(IMAGE_SIZE, 7, 50.0, (0.8, 3.0), (2.0, 1.0))
TINY = {
    "r_channels": 8, "num_steps": 1, "hidden_channels": 4, "latent_channels": 2, "canvas_channels": 4, "channels": 4,
    "kernel_size": 3, "downsample": 4, "plan_size": 8, "num_points": 3, "code_size": 6, "features": 8,
    "latent_size": 4, "hidden_size": 8, "render_steps": 2,
}  # fmt: skip
"""Settings of any member of the family, by their names."""
OF_KIND = {"points": {"r_channels": 18}}


def tiny_gqn(seed: int = 0, **changes: Any) -> SceneModel:
    """Builds a GQN, `TINY_GQN` with changes."""
    torch.manual_seed(seed)
    return build_model("gqn", **(TINY_GQN | changes))


def tiny_member(representation: str, density: str, seed: int = 0) -> SceneModel:
    """Builds a representation with a density, each with its defaults but the sizes of `TINY`."""
    parts = [_shrunk(members[kind].config) for members, kind in _members(representation, density)]
    torch.manual_seed(seed)
    return build_nested(SceneModelConfig(SCENE, *parts))


def random_views(batch: int, num_views: int, image_size: int = IMAGE_SIZE, seed: int = 0) -> Views:
    """Draws noise with viewpoints around the middle, as tensors [batch, num_views, ...]."""
    source = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, num_views, image_size, image_size, 3), dtype=torch.uint8, generator=source)
    angle = torch.rand(batch, num_views, generator=source) * 6.28
    x, y, level = 2 * angle.cos(), 2 * angle.sin(), torch.zeros_like(angle)
    facing = (level + 0.5, -angle.sin(), -angle.cos(), level, level + 1)  # z, and yaw and pitch towards the middle
    return Views(images, torch.stack([x, y, *facing], dim=-1))


def _members(representation: str, density: str) -> list[tuple[Any, str]]:
    return [(REPRESENTATIONS, representation), (DENSITIES, density)]


def _shrunk(config: Any) -> Any:
    sizes = TINY | OF_KIND.get(config.kind, {})
    names = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **{name: value for name, value in sizes.items() if name in names})
