"""Arguments of an algorithm from the settings of a config."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.utils import LinearSchedule

from gqn_rl.agents.networks import GQNExtractor, PixelExtractor
from gqn_rl.views import IMAGE


def arguments_of(settings: Mapping[str, Any], space: gym.Space) -> dict[str, Any]:
    """Turns the settings of a config into arguments of an algorithm that sees observations of `space`."""
    settings = dict(settings)
    policy = "MultiInput" if isinstance(space, gym.spaces.Dict) else "Mlp"
    policy += "LstmPolicy" if settings.pop("lstm", False) else "Policy"
    policy_kwargs: dict[str, Any] = {}
    if "net_arch" in settings:
        policy_kwargs["net_arch"] = list(settings.pop("net_arch"))
    if "activation" in settings:
        policy_kwargs["activation_fn"] = _activation(settings.pop("activation"))
    if "encoder" in settings:
        policy_kwargs["features_extractor_class"] = GQNExtractor
        shift = (settings.pop("extractor", None) or {}).get("shift", 0)
        policy_kwargs["features_extractor_kwargs"] = {
            "encoder": settings.pop("encoder"),
            "freeze": False,
            "shift": shift,
        }
    elif (extractor := settings.pop("extractor", None)) and IMAGE in getattr(space, "spaces", ()):
        policy_kwargs["features_extractor_class"] = PixelExtractor
        policy_kwargs["features_extractor_kwargs"] = dict(extractor)
    if policy_kwargs:
        settings["policy_kwargs"] = policy_kwargs
    if "falling" in settings:
        warnings.warn("`agent.settings.falling` is called `annealed` now.", FutureWarning, stacklevel=2)
        settings.setdefault("annealed", settings.pop("falling"))
    for name in settings.pop("annealed", ()):
        settings[name] = LinearSchedule(settings[name], 0.0, 1.0)
    return {"policy": policy, **settings}


def _activation(name: str) -> type[torch.nn.Module]:
    """Returns the activation function that a config names."""
    known = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
    if name not in known:
        raise ValueError(f"`agent.settings.activation` must be one of {', '.join(known)}, got {name!r}.")
    return known[name]
