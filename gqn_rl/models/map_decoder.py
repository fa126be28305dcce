"""MapDecoder: draws a scene from above out of r, without r ever learning to be drawn from above."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gqn_rl.models.config import SceneFacts, make
from gqn_rl.models.densities.draw import Draw
from gqn_rl.models.densities.steps import DrawConfig
from gqn_rl.models.protocols import Bound, Condition, ConditionShape
from gqn_rl.models.representations.ground_plan import PlanFromAbove
from gqn_rl.views import prepare_images


@dataclasses.dataclass(frozen=True)
class MapDecoderConfig:
    """What a map decoder is made of.

    Attributes:
        scene: size of the map, and the camera that looks at the scene from above.
        representation_shape: shape of r.
        viewpoint: where the map is seen from, 7 numbers.
        r_is_plan: whether r is a plan of the ground that this camera sees (`ground_plan.py`).
        density: of the maps.
    """

    scene: SceneFacts
    representation_shape: tuple[int, ...]
    viewpoint: tuple[float, ...]
    r_is_plan: bool
    density: DrawConfig

    def to_json(self) -> dict[str, Any]:
        """Returns plain values: what `from_json` takes."""
        return dataclasses.asdict(self, dict_factory=_plain)

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> MapDecoderConfig:
        """Returns the config of plain values.

        Raises:
            ValueError: for an unknown or missing setting.
        """
        parts = dict(settings)
        for name, kind in (("scene", SceneFacts), ("density", DrawConfig)):
            parts[name] = make(kind, parts.get(name) or {}, name)
        return make(cls, parts, "map decoder")


class MapDecoder(nn.Module):
    """A second generator for one viewpoint, high above the scene, that no picture of pretraining was taken from.

    No gradient reaches r: the map is read out of what other views left in it (Eslami, Rezende et al. 2018, mazes).
    """

    viewpoint: Tensor

    def __init__(self, config: MapDecoderConfig):
        super().__init__()
        self.config, self.image_size = config, config.scene.image_size
        self.representation_shape = shape = tuple(config.representation_shape)
        viewpoint = torch.tensor(list(config.viewpoint), dtype=torch.float32)
        self.register_buffer("viewpoint", viewpoint, persistent=False)
        self.plan: PlanFromAbove | None = None
        if config.r_is_plan:
            side = self.image_size // config.density.downsample
            self.plan = PlanFromAbove(shape, (config.density.hidden_channels, side, side))
            shape = self.plan.shape
        condition = ConditionShape(shape, len(config.viewpoint), projected=config.r_is_plan)
        self.density = Draw(config.density, condition, config.scene)

    def bound(self, r: Tensor, maps: Tensor, *, sigma: float) -> Bound:
        """Returns the ELBO's terms of maps uint8 [B, H, W, 3], given r [B, *representation_shape], nats a map."""
        return self.density.bound(self._condition(r.detach()), prepare_images(maps)[:, None], sigma=sigma)

    def mean(self, r: Tensor) -> Tensor:
        """Draws maps with every latent at its prior's mean: float32 [B, 3, H, W], about [0, 1]; r gets no gradient."""
        return self.density.mean(self._condition(r.detach()))[:, 0]

    def draw(self, r: Tensor, sample: bool = False) -> Tensor:
        """Draws maps from the prior, from its mean or from samples of it: float32 [B, 3, H, W], about [0, 1]."""
        c = self._condition(r)
        return (self.density.sample(c) if sample else self.density.mean(c))[:, 0]

    def _condition(self, r: Tensor) -> Condition:
        seen = r if self.plan is None else self.plan(r)
        return Condition(self.viewpoint.expand(len(r), 1, -1), seen[:, None])


def _plain(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in items}
