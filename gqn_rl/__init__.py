"""Generative Query Networks as scene representations for reinforcement learning.

Importing the package registers its environments with Gymnasium; everything heavier is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from gqn_rl.localisation import localise
    from gqn_rl.representation import load_encoder
    from gqn_rl.wrappers import CameraObservation, GQNObservationWrapper

__version__ = "0.1.0"
__all__ = ["CameraObservation", "GQNObservationWrapper", "__version__", "load_encoder", "localise"]

_HOME_OF = {
    "CameraObservation": "wrappers",
    "GQNObservationWrapper": "wrappers",
    "load_encoder": "representation",
    "localise": "localisation",
}

gymnasium.register(id="gqn_rl/JacoReach-v0", entry_point="gqn_rl.envs.jaco.reach:JacoReachEnv")
gymnasium.register(id="gqn_rl/JacoTrack-v0", entry_point="gqn_rl.envs.jaco.track:JacoTrackEnv")
gymnasium.register(id="gqn_rl/JacoAvoid-v0", entry_point="gqn_rl.envs.jaco.avoid:JacoAvoidEnv")
gymnasium.register(id="gqn_rl/MazeNav-v0", entry_point="gqn_rl.envs.maze.nav:MazeNavEnv")
for _cells in (7, 9, 11):
    gymnasium.register(
        id=f"gqn_rl/MazeNav-{_cells}x{_cells}-v0",
        entry_point="gqn_rl.envs.maze.nav:MazeNavEnv",
        kwargs={"cells": _cells},
    )


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module `gqn_rl` has no attribute `{name}`")
    try:
        if name == "CameraObservation":
            importlib.import_module("gqn_rl.envs.opengl").refuse_unusable_backend()
        return getattr(importlib.import_module(f"gqn_rl.{_HOME_OF[name]}"), name)
    except AttributeError as error:  # Python would take it for a name that is not there
        raise ImportError(f"`gqn_rl.{name}` could not be imported: {error}") from error


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
