"""What a model knows before training: the weights of an encoder that was trained before, and what these cost."""

from __future__ import annotations

from typing import Any

from gqn_rl.checkpoint import load_model
from gqn_rl.models import SceneModel
from gqn_rl.models.config import check_same_camera
from gqn_rl.representation import find_encoder

_ENCODER = "representation.encoder."
"""How the names of ψ's weights begin."""


def begin_from(model: SceneModel, path_or_name: str) -> list[dict[str, Any]]:
    """Gives `model` the weights of a trained one; layers of `model` beyond ψ that it lacks stay random.

    Args:
        model: a scene model, changed in place.
        path_or_name: as for `load_encoder`.

    Returns:
        The trainings that are in these weights, oldest first: steps and data set of each.

    Raises:
        ValueError: no such encoder, or layers of it have no place in `model`.
    """
    path = find_encoder(path_or_name)
    trained, facts = load_model(path)
    weights, own = trained.state_dict(), model.state_dict()
    fits = all(name in own and own[name].shape == value.shape for name, value in weights.items())
    whole = all(name in weights for name in own if name.startswith(_ENCODER))
    check_same_camera(model.config.scene, trained.config.scene, str(path))
    if not (fits and whole):
        raise ValueError(
            f"`init_from` must be an encoder of the model that is to be trained, but `{path}` holds one with "
            f"{_differences(trained, model) or 'the same settings'}; choose model= and its settings like that."
        )
    model.load_state_dict(own | weights)
    return [*facts.get("earlier", []), {"step": facts["step"], "dataset": facts["dataset"]}]


def _differences(trained: SceneModel, model: SceneModel) -> dict[str, Any]:
    """Returns the settings of a trained model that another one does not have, by `part.name`."""
    here, there = model.config.to_json(), trained.config.to_json()
    return {
        f"{part}.{name}": value
        for part, settings in there.items()
        for name, value in settings.items()
        if here[part].get(name) != value
    }
