"""Scene models: networks that encode views into r and predict other views from it; they know nothing of worlds."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from gqn_rl.models.gqn import GQN
from gqn_rl.models.scene_model import SceneModel
from gqn_rl.models.vae import VAE

MODELS: dict[str, type[SceneModel]] = {"gqn": GQN, "vae": VAE}
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


def fit_settings(scene_settings: Mapping[str, Any], name: str, **sizes: Any) -> dict[str, Any]:
    """Returns what `build_model` takes: name, sizes, and what follows from the scene where the model has use for it.

    Args:
        scene_settings: sizes that follow from the scene, such as the cameras' field of view; `sizes` come first.
        name: of the model; an unknown one is left for `build_model` to refuse.
        **sizes: of the model.
    """
    known = set(inspect.signature(MODELS[name]).parameters) if name in MODELS else set()
    return {"name": name, **{key: value for key, value in scene_settings.items() if key in known}, **sizes}
