"""What of a model is drawn: MuJoCo's groups of geoms, sites, tendons, … and its decoration, as plain settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco

_GROUPS = tuple(name for name in dir(mujoco.MjvOption) if name.endswith("group"))
_NUMBERS = ("label", "frame", "bvh_depth", "flex_layer")
_FLAGS = {
    name.removeprefix("mjVIS_").lower(): flag.value
    for name, flag in mujoco.mjtVisFlag.__members__.items()
    if flag.value < mujoco.mjtVisFlag.mjNVISFLAG.value
}

Visual = Mapping[str, Any]
"""Settings of `mujoco.MjvOption`: `geomgroup`, `sitegroup`, … with the numbers of the groups that are drawn, and flags
such as `contactpoint` or `transparent` with true or false. What is left out is as MuJoCo has it: groups 0, 1 and 2."""


def make_option(visual: Visual | None) -> mujoco.MjvOption:
    """Returns MuJoCo's visualisation options with some of them changed.

    Args:
        visual: for example {"geomgroup": [1, 2], "contactpoint": True}.

    Raises:
        ValueError: an unknown name or a wrong value; says what is expected.

    >>> make_option({"geomgroup": [1, 2]}).geomgroup.tolist()
    [0, 1, 1, 0, 0, 0]
    """
    option = mujoco.MjvOption()
    for name, value in (visual or {}).items():
        if name in _GROUPS:
            getattr(option, name)[:] = _drawn_groups(name, value)
        elif name.lower() in _FLAGS:
            if not isinstance(value, bool):
                raise ValueError(f"`visual.{name}` must be true or false, got {value!r}.")
            option.flags[_FLAGS[name.lower()]] = value
        elif name in _NUMBERS:
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"`visual.{name}` must be a whole number of at least 0, got {value!r}.")
            setattr(option, name, value)
        else:
            raise ValueError(f"`visual` takes {[*_GROUPS, *_NUMBERS, *_FLAGS]}, got {name!r}.")
    return option


def _drawn_groups(name: str, groups: Any) -> list[int]:
    numbers = list(groups) if isinstance(groups, Sequence) and not isinstance(groups, str) else None
    known = range(mujoco.mjNGROUP)
    if numbers is None or any(isinstance(number, bool) or number not in known for number in numbers):
        raise ValueError(
            f"`visual.{name}` must be a list of the groups to draw, numbers from 0 to {mujoco.mjNGROUP - 1}, "
            f"got {groups!r}."
        )
    return [int(number in numbers) for number in known]
