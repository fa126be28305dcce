"""Scene models: networks that encode views into r and predict other views from it; they know nothing of worlds."""

from __future__ import annotations

from typing import Any

from gqn_rl.models.gqn import GQN
from gqn_rl.models.scene_model import SceneModel

MODELS: dict[str, type[SceneModel]] = {"gqn": GQN}
"""Scene models by name."""


def build_model(name: str, **sizes: Any) -> SceneModel:
    """Returns the scene model called `name` with the given sizes.

    Raises:
        ValueError: for an unknown name or size; lists the known names.
    """
    if name not in MODELS:
        raise ValueError(f"`model.name` must be one of {sorted(MODELS)}, got {name!r}.")
    try:
        return MODELS[name](**sizes)
    except TypeError as error:
        raise ValueError(f"`model` {name!r} does not take these sizes: {error}.") from error
