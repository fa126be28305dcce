"""What `run.json` says of a run: what was asked for, what the representation cost, and how its curve is drawn."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym

from gqn_rl.agents.encoders import PRETRAINED
from gqn_rl.agents.run_environments import task_arguments
from gqn_rl.experience import EXPERIENCE, pretraining_experience

CURVE = "curve"
"""Entry of `repr` and of `run.json`: label, colour and line of the representation in figures."""
_NAMED_APART = ("name", "kind", "features", CURVE)
_AS_IN_FILES = {"positions": "places"}
"""What `features` is called in `run.json`, whose entry `told` is older than the setting's name."""


def asked_for(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of `run.json` that must be the same when a run continues.

    Args:
        settings: the command's, resolved.
    """
    names = {key: settings[key]["name"] for key in ("env", "repr", "camera", "agent")}
    facts = {"seed": settings["seed"], "encoder": settings["encoder"], "task": task_arguments(settings["task"])}
    facts |= {"repr_settings": repr_facts(settings["repr"]), "agent_settings": settings["agent"]}
    features = settings["repr"].get("features")
    facts |= {"told": _AS_IN_FILES.get(features, features), "scene": settings["env"]["scene"]}
    return names | facts | {key: settings[key] for key in ("eval_episodes", "eval_seed")}


def first_entries(settings: Mapping[str, Any], words: Sequence[str], encoder: Any) -> dict[str, Any]:
    """Returns all entries of `run.json` with which a run begins.

    Args:
        settings: the command's, resolved.
        words: of the command line.
        encoder: what the agent sees through or begins with, None without one.
    """
    facts = asked_for(settings) | {"pretraining": pretraining_cost(encoder)}
    facts |= {EXPERIENCE: pretraining_experience(getattr(encoder, "metadata", {}))._asdict()}
    if curve := settings["repr"].get(CURVE):
        facts |= {CURVE: curve}
    return facts | {"command": shlex.join(["python", "-m", "gqn_rl.train_agent", *words])}


def repr_facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of `repr` that runs of one name have in common, as `run.json` holds them."""
    return {key: value for key, value in settings.items() if key not in _NAMED_APART}


def described(settings: Mapping[str, Any], space: gym.Space[Any]) -> str:
    """Says who learns from what: the agent, what it sees and in how many numbers, and whose r that is."""
    env, representation = settings["env"], settings["repr"]
    parts = space.spaces if isinstance(space, gym.spaces.Dict) else {"state": space}
    shapes = ", ".join(f"{name} {list(part.shape or ())}" for name, part in parts.items())
    encoder = ""
    if representation["kind"] in PRETRAINED:
        encoder = f" by the encoder {settings['encoder'] or env.get('encoder', env['name'])}"
    return f"{settings['agent']['name']} in {env['name']} on {representation['name']}{encoder}: {shapes}"


def pretraining_cost(encoder: Any) -> str:
    """Returns what a representation was trained on, in words; nothing for one that was not."""
    facts = {} if encoder is None else encoder.metadata
    if "dataset" not in facts:
        return ""
    trainings = [*facts.get("earlier", []), facts]
    data = list({json.dumps(one["dataset"], sort_keys=True): one["dataset"] for one in trainings}.values())
    steps, scenes = sum(one["step"] for one in trainings), [one["num_scenes"]["train"] for one in data]
    pictures = sum(number * one["views_per_scene"] for number, one in zip(scenes, data, strict=True))
    return f"{steps:,} steps on {pictures:,} pictures of {sum(scenes):,} scenes."
