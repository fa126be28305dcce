"""Hydra's groups whose options are dataclasses, and words of command lines from before these groups.

Types and defaults of a member's settings have their home in its dataclass: `model/representation`, `model/density`,
`objective` and `train` are made from those that are registered when a command begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from gqn_rl.models import DENSITIES, REPRESENTATIONS
from gqn_rl.models.config import SCENE_NAMES
from gqn_rl.pretrain.objectives import OBJECTIVES
from gqn_rl.pretrain.settings import TrainSettings

_REPRESENTATION = ("r_channels", "num_points", "detail_channels", "plan_size", "plan_width_m")
_DENSITY = (
    *("num_steps", "shared_cores", "hidden_channels", "latent_channels", "canvas_channels", "kernel_size"),
    *("downsample", "initial_state", "code_size", "features"),
)
_WORD = re.compile(r"(?P<sign>[+~]*)(?P<key>[^=]+)=(?P<value>.*)", re.DOTALL)
_OLD = re.compile(r"(?:env\.)?model\.(\w+)$")


def register_groups() -> None:
    """Makes every registered member an option of its group."""
    store = ConfigStore.instance()
    for group, members in (("model/representation", REPRESENTATIONS), ("model/density", DENSITIES)):
        for kind, member in members.items():
            store.store(name=kind, node=_node(member.config), group=group)
    for kind, (_, config) in OBJECTIVES.items():
        store.store(name=kind, node=_node(config), group="objective")
    store.store(name="paper", node=_node(TrainSettings), group="train")


def present_words(words: Iterable[str]) -> list[str]:
    """Returns the words of a command line with those of older versions as they are said now.

    >>> present_words(["model=gqn_points", "model.detail_channels=24", "+model.fovy_deg=60", "train.lr=0.1"])
    ['recipe=gqn_points', 'model.representation.detail_channels=24', '+model.scene.fovy_deg=60', 'train.lr=0.1']
    """
    return [_present(word) for word in words]


def _present(word: str) -> str:
    match = _WORD.fullmatch(word)
    if match is None or word.startswith("-"):
        return word
    sign, key, value = match["sign"], match["key"], match["value"]
    if key in ("model", "model@repr.model"):
        return f"{sign}{key.replace('model', 'recipe')}={value}"
    old = _OLD.fullmatch(key)
    if old is None:
        return word
    name = old[1]
    if name == "encoder":
        return f"model/representation={value}"
    if name in SCENE_NAMES:
        return f"+model.scene.{SCENE_NAMES[name]}={value}"
    part = "representation" if name in _REPRESENTATION else "density" if name in _DENSITY else None
    return word if part is None else f"{sign}model.{part}.{name}={value}"


def _node(config: Any) -> DictConfig:
    """Returns a frozen dataclass as a typed config that a command line may change."""
    node = OmegaConf.structured(config)
    OmegaConf.set_readonly(node, None)
    return node
