"""Models from flat settings, as files of format 1 have them: shorter to write in a test than three nested groups."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gqn_rl.checkpoint.upgrades import settings_1_to_2
from gqn_rl.models import SceneModel, SceneModelConfig
from gqn_rl.models import build_model as build_nested
from gqn_rl.models.densities.steps import Drawing
from gqn_rl.views import Views, prepare_images


def flat_config(name: str, **settings: Any) -> dict[str, Any]:
    """Returns the settings of format 2 for flat ones."""
    return settings_1_to_2({"name": name, **settings})[1]


def build_model(name: str, **settings: Any) -> SceneModel:
    """Builds a scene model of flat settings."""
    return build_nested(SceneModelConfig.from_json(flat_config(name, **settings)))


def infer(model: SceneModel, r: Tensor, query: Views, noise: Tensor | None = None) -> Drawing:
    """Draws query views with latents from the posterior: mean and KL of each of the B Q pictures."""
    c = model.condition(r, query.viewpoints)
    drawing = model.density.infer(c, prepare_images(query.images), noise)
    return drawing if c.residual is None else drawing._replace(mean=drawing.mean + c.residual.flatten(0, 1))


def generate(
    model: SceneModel, r: Tensor, viewpoints: Tensor, sample: bool = True, noise: Tensor | None = None
) -> Tensor:
    """Draws viewpoints with latents from the prior: the B Q pictures."""
    return model.draw(r, viewpoints, sample, noise).flatten(0, 1)
