"""What training minimises, apart from architecture: objectives by the name that `objective=` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gqn_rl.models.config import make
from gqn_rl.pretrain.objectives.elbo import Elbo, ElboConfig
from gqn_rl.pretrain.objectives.protocol import Objective, Phase, Terms

OBJECTIVES: dict[str, tuple[Callable[[Any], Objective], type]] = {"elbo": (Elbo, ElboConfig)}
"""Objectives and their settings by name."""

__all__ = ["OBJECTIVES", "Elbo", "ElboConfig", "Objective", "Phase", "Terms", "make_objective"]


def make_objective(settings: Mapping[str, Any]) -> Objective:
    """Returns the objective that plain settings with a `kind` describe.

    Raises:
        ValueError: for an unknown kind or setting; lists the known ones.
    """
    kind = settings.get("kind")
    if kind not in OBJECTIVES:
        raise ValueError(f"`objective.kind` must be one of {sorted(OBJECTIVES)}, got {kind!r}.")
    build, config = OBJECTIVES[kind]
    return build(make(config, dict(settings), "objective"))
