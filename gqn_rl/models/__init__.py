"""Scene models: networks that encode views into r and predict other views from it; they know nothing of worlds.

A scene model is a representation (what r is, and how a query sees it) times an image density p(x | v, r).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gqn_rl.models.config import SceneFacts, SceneModelConfig
from gqn_rl.models.densities import draw, global_latent, vae  # noqa: F401 (they register themselves)
from gqn_rl.models.registry import DENSITIES, REPRESENTATIONS, register_density, register_representation
from gqn_rl.models.representations import code, ground_plan, plain, points  # noqa: F401
from gqn_rl.models.scene_model import SceneModel

__all__ = [
    "DENSITIES",
    "REPRESENTATIONS",
    "SceneFacts",
    "SceneModel",
    "SceneModelConfig",
    "build_model",
    "register_density",
    "register_representation",
]


def build_model(config: SceneModelConfig | Mapping[str, Any]) -> SceneModel:
    """Returns the untrained scene model of a config, or of plain settings as `SceneModelConfig.to_json` has them.

    Raises:
        ValueError: for an unknown kind or setting, or for parts that do not fit each other.
    """
    return SceneModel(config if isinstance(config, SceneModelConfig) else SceneModelConfig.from_json(config))
