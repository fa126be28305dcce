"""What a model knows before training: the weights of an encoder that was trained before, and what these cost."""

from __future__ import annotations

from typing import Any

from gqn_rl.checkpoint import load_model
from gqn_rl.models import SceneModel
from gqn_rl.representation import find_encoder

_ENCODER = "encoder."
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
    if type(trained) is not type(model) or not (fits and whole):
        other = {key: value for key, value in trained.config.items() if model.config.get(key) != value}
        raise ValueError(
            f"`init_from` must be an encoder of the model that is to be trained, but `{path}` holds a "
            f"{facts['model']['name']} with {other or 'the same settings'}; choose model= and its settings like that."
        )
    model.load_state_dict(own | weights)
    return [*facts.get("earlier", []), {"step": facts["step"], "dataset": facts["dataset"]}]
