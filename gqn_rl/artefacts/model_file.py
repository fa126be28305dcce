"""What a model's file must hold, beside the digest that tells an altered file from a whole one.

A digest says that a file is as it was written, not that what was written is a model: a fine-tuning that diverged leaves
NaN, a foreign program any header at all. What is checked here holds for scene models and map decoders alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gqn_rl.artefacts.documents import (
    Anything,
    ListOf,
    MapOf,
    Number,
    OrNull,
    Record,
    Schema,
    Text,
    parse_json,
)
from gqn_rl.artefacts.tensors import check_tensor

REMEDY = "fetch or train it again"
LARGEST_SIZES = {"image_size": 4096, "num_steps": 1024, "plan_size": 1024}
"""Sizes that no weight's shape tells, but memory or time does."""
LARGEST_SIZE = 2**16
"""Of every other integer among a model's settings."""

_COUNT = Number(least=0, integer=True)


class _Setting:
    """A model's size or choice: a text, a truth value, a number, or a list of numbers."""

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""
        if isinstance(value, list):
            ListOf(Number()).check(value, entry)
        elif value is not None and not isinstance(value, str | bool):
            name = entry.rpartition(".")[2]
            most = LARGEST_SIZES.get(name, LARGEST_SIZE)
            Number(least=-most, most=most, integer=type(value) is int).check(value, entry)


class _Flat:
    """Format 1: the registered name of a model and what its constructor took."""

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""
        Record({"name": Text()}).check(value, entry)
        MapOf(_Setting()).check(value, entry)


class _Experience:
    """Pictures and actions that data have cost, for each split or altogether; null where nobody counted them."""

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""
        counts = Record({"pictures": OrNull(_COUNT), "actions": OrNull(_COUNT)})
        (counts if isinstance(value, dict) and "pictures" in value else MapOf(counts)).check(value, entry)


class _EarlierData:
    """What is said of data that there had to be before, likewise."""

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""
        DATASET.check(value, entry)


class _Parts:
    """Format 2: the settings of each part of a model, and single ones beside them."""

    def check(self, value: Any, entry: str) -> None:
        """See `Schema.check`."""
        MapOf(Anything()).check(value, entry)
        for key, part in value.items():
            (MapOf(_Setting()) if isinstance(part, dict) else _Setting()).check(part, f"{entry}.{key}")


DATASET = Record(
    {},
    {
        "scene": Text(),
        "seed": _COUNT,
        "num_scenes": Record({"train": _COUNT, "heldout": _COUNT}),
        "views_per_scene": _COUNT,
        "image_size": _COUNT,
        "state_names": ListOf(Text()),
        "cameras": MapOf(MapOf()),
        "gl_renderer": Text(),
        "meshes": Text(),
        "mujoco": Text(),
        "scene_facts": MapOf(),
        "experience": _Experience(),
        "after": ListOf(_EarlierData()),
    },
)
"""What a model's file says of its training data."""

_REQUIRED: dict[str, Schema] = {
    "image_size": Number(least=1, most=LARGEST_SIZES["image_size"], integer=True),
    "representation_shape": ListOf(Number(least=1, most=LARGEST_SIZE, integer=True)),
    "pose_convention": Text(),
}
_OPTIONAL: dict[str, Schema] = {
    "step": _COUNT,
    "metrics": MapOf(Number(finite=False)),
    "dataset": DATASET,
    "earlier": ListOf(Record({"step": _COUNT, "dataset": DATASET})),
    "gqn_rl_version": Text(),
    "experience": _Experience(),
    "encoder_sha256": Text(),
    "judge": Record({"threshold": Number(), "guesses": MapOf(ListOf(Anything()))}),
}
FACTS_1 = Record({"model": _Flat(), **_REQUIRED}, _OPTIONAL)
FACTS = Record({"kind": Text(), "model": _Parts(), **_REQUIRED}, _OPTIONAL)
"""The header of a model's file, of format 1 and of the present one."""


def parse_facts(path: str | Path, text: str) -> dict[str, Any]:
    """Returns the facts that a file's header holds as JSON; refuses those that no model could have.

    Raises:
        ValueError: names the file and the entry.
    """
    return parse_json(path, text, FACTS, REMEDY)


def parse_facts_1(path: str | Path, text: str) -> dict[str, Any]:
    """Returns the facts of a file of format 1, likewise."""
    return parse_json(path, text, FACTS_1, REMEDY)


def check_model(path: str | Path, facts: Mapping[str, Any], model: Any) -> None:
    """Refuses a model that is not the one its header describes, or whose settings give no finite geometry.

    Args:
        path: the file, for the error.
        facts: its header.
        model: what was built from it, with `image_size`, `representation_shape` and buffers.
    """
    built = {"image_size": model.image_size, "representation_shape": list(model.representation_shape)}
    for name, value in built.items():
        if facts[name] != value:
            raise ValueError(f"`{path}`: `{name}` is {facts[name]}, but its model has {value}; {REMEDY}.")
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and not bool(torch.isfinite(buffer).all()):
            raise ValueError(f"`{path}`: the settings of its model make `{name}` NaN or infinite; {REMEDY}.")


def check_statistics(path: str | Path, statistics: Mapping[str, Tensor], shape: tuple[int, ...]) -> None:
    """Refuses statistics of r that do not fit it: each finite and of its shape, deviations above 0.

    Args:
        path: the file, for the error.
        statistics: `r_mean` and `r_std`, [*shape] each, and directions [R, D] where r is a vector; or none of them.
        shape: the model's representation_shape.
    """
    if not statistics:
        return
    for name in ("r_mean", "r_std"):
        check_tensor(path, name, statistics.get(name), torch.float32, shape, REMEDY)
    if not bool((statistics["r_std"] > 0).all()):
        raise ValueError(f"`{path}`: `r_std` must be above 0 everywhere, got {statistics['r_std'].min():g}; {REMEDY}.")
    for name in sorted(statistics.keys() - {"r_mean", "r_std"}):
        value = check_tensor(path, name, statistics[name], torch.float32, (shape[0], None), REMEDY)
        if len(shape) > 1 or not 1 <= value.shape[1] <= shape[0]:
            raise ValueError(f"`{path}`: `{name}` {list(value.shape)} does not fit r of shape {list(shape)}; {REMEDY}.")
