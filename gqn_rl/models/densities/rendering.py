"""Drawing a query view of a scene whose latents are known: DRAW's canvas and recurrence, without noise."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gqn_rl.models.config import SceneFacts
from gqn_rl.models.conv_lstm import ConvLSTM
from gqn_rl.models.densities.cores import Canvas, Conditioning, CoreSizes
from gqn_rl.models.densities.states import RayState
from gqn_rl.models.layers import ConstantMapConv
from gqn_rl.models.protocols import Condition, ConditionShape

FIRST_STATES = ("rays", "cells")
_CELL_FEATURES = 128


class RendererSizes(NamedTuple):
    """Sizes of a renderer.

    Attributes:
        condition: shape of what it is conditioned on.
        code: entries of a scene's code.
        steps: of the recurrence, which share their weights.
        hidden: channels of h and c.
        canvas: channels of the canvas.
        kernel_size: of the recurrent core, odd.
        downsample: side of a patch in pixels.
        initial_state: one of `FIRST_STATES`.
    """

    condition: ConditionShape
    code: int
    steps: int
    hidden: int
    canvas: int
    kernel_size: int
    downsample: int
    initial_state: str


class Renderer(nn.Module):
    """Draws pictures of queries, given r as each query sees it and a code of the scene."""

    def __init__(self, sizes: RendererSizes, scene: SceneFacts):
        super().__init__()
        if scene.image_size % sizes.downsample or sizes.kernel_size % 2 == 0:
            raise ValueError(
                f"`image_size` must be a multiple of `downsample` and `kernel_size` odd, got {scene.image_size}, "
                f"{sizes.downsample} and {sizes.kernel_size}."
            )
        if sizes.initial_state not in FIRST_STATES:
            raise ValueError(f"`initial_state` must be one of {', '.join(FIRST_STATES)}, got {sizes.initial_state!r}.")
        self.steps, side, hidden = sizes.steps, scene.image_size // sizes.downsample, sizes.hidden
        core = CoreSizes(
            *(sizes.condition, side, hidden, 0, sizes.canvas, sizes.kernel_size, sizes.downsample, "learned")
        )
        self.condition = Conditioning(core, 4 * hidden)
        self.from_code = ConstantMapConv(sizes.code, 4 * hidden, sizes.kernel_size, side)
        self.lstm = ConvLSTM(hidden, sizes.kernel_size)
        self.canvas = Canvas(hidden, sizes.canvas, sizes.downsample)
        shape = (hidden, side, side)
        self.first: nn.Module = (
            RayState((sizes.code,), shape, scene)
            if sizes.initial_state == "rays"
            else CellState(sizes.code, scene.viewpoint_size, shape)
        )

    def forward(self, c: Condition, code: Tensor) -> Tensor:
        """Draws queries of scenes with codes [B, code]: float32 [B, Q, 3, H, W]."""
        assert c.constant is not None
        batch, num_queries = c.viewpoints.shape[:2]
        v, each = c.viewpoints.flatten(0, 1), code.repeat_interleave(num_queries, dim=0)
        inputs = self.condition(c.constant.flatten(0, 1), v) + self.from_code(each)
        h = self.first(code, v).contiguous(memory_format=torch.channels_last)
        cell, hidden_sum = torch.zeros_like(h), h
        for _ in range(self.steps):
            h, cell = self.lstm(inputs, [], h, cell)
            hidden_sum = hidden_sum + h
        pictures = self.canvas.render(hidden_sum).unflatten(0, (batch, num_queries))
        return pictures if c.residual is None else pictures + c.residual


class CellState(nn.Module):
    """A first hidden map for viewpoints that no rays can be cast from: learnt cells, scaled by code and viewpoint."""

    def __init__(self, code: int, viewpoint_size: int, hidden_shape: tuple[int, int, int]):
        super().__init__()
        (hidden, side, _), features = hidden_shape, _CELL_FEATURES
        self.cells = nn.Parameter(torch.randn(features, side, side))
        self.scale, self.shift = (nn.Linear(code + viewpoint_size, features) for _ in range(2))
        self.mix = nn.Sequential(
            *(nn.GroupNorm(8, 2 * features), nn.Conv2d(2 * features, 2 * features, 1), nn.ReLU()),
            *(nn.Conv2d(2 * features, hidden, 1), nn.Tanh()),
        )

    def forward(self, code: Tensor, v: Tensor) -> Tensor:
        """Maps codes [B, code] and viewpoints [B Q, V] to maps [B Q, hidden, s, s]."""
        told = torch.cat([code.repeat_interleave(len(v) // len(code), dim=0), v.to(code.dtype)], dim=1)
        scaled = self.cells * self.scale(told)[:, :, None, None]
        shifted = torch.relu(self.cells + self.shift(told)[:, :, None, None])
        return self.mix(torch.cat([scaled, shifted], dim=1).contiguous(memory_format=torch.channels_last))
