"""Whether a resume file is the run's: of the same settings and data, with weights that fit and finite numbers."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gqn_rl.artefacts.documents import ListOf, MapOf, Number, Record, check
from gqn_rl.artefacts.files import shown
from gqn_rl.artefacts.tensors import check_like, check_tensor
from gqn_rl.pretrain.settings import TrainSettings

SETTINGS, DATA = "settings", "data"
"""Entries of a state: what the run was begun with."""
MAY_DIFFER = (
    *("total_steps", "log_every", "eval_every", "checkpoint_every", "keep_checkpoints"),
    *("precision", "channels_last", "compile", "recompute_steps"),
)
"""Settings that may change when a run goes on: when it ends, what it writes when, and how the same is computed."""
_OF_DATA = ("scene", "seed", "num_scenes", "views_per_scene", "image_size")
"""Entries of a manifest that decide what a batch holds."""
_PREFIX = {SETTINGS: "train", DATA: "data"}
"""How these settings are called on the command line."""
_REMEDY = "the run cannot go on from it"
_COUNT = Number(least=0, most=2**53, integer=True)
STEP = Record({"step": _COUNT})
"""Plain entries of a state that has no more than weights and an optimiser."""
PRETRAINING = Record(
    {
        "step": _COUNT,
        "num_summed": _COUNT,
        "best": Number(finite=False),
        "model_settings": MapOf(),
    },
    {"earlier": ListOf(MapOf()), SETTINGS: MapOf(), DATA: MapOf()},
)
"""Plain entries of a state of pretraining."""


def begun_with(settings: TrainSettings, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of a state that say what its run was begun with: every setting, and which data."""
    return {SETTINGS: dataclasses.asdict(settings), DATA: {key: manifest.get(key) for key in _OF_DATA}}


def check_begun_with(run_dir: pathlib.Path, state: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuses to go on with other settings or data than a run was begun with.

    Args:
        run_dir: the run's folder, for the error.
        state: from a resume file; one of an earlier version does not say what it was begun with, and is believed.
        asked: `begun_with` of now.

    Raises:
        ValueError: names every setting that differs, as on the command line.
    """
    differing = [
        f"{name}={old} (now {new})"
        for part in (SETTINGS, DATA)
        for name, old, new in _differences(part, state.get(part, {}), asked[part])
    ]
    if differing:
        raise ValueError(
            f"`{run_dir}` was begun with {', '.join(differing)}; give the command as it was, or another `run_dir` "
            "(init_from=... begins with the weights of an encoder)."
        )


def check_state(path: pathlib.Path, state: Any, record: Record = PRETRAINING, weights_entry: str = "model") -> None:
    """Refuses a state that no run could have written: entries of another kind, another step, NaN, infinity.

    Args:
        path: the file, for the error.
        state: what it holds.
        record: plain entries that it must have.
        weights_entry: where its weights are.

    Raises:
        ValueError: names the file and the entry.
    """
    check(path, state, record, _REMEDY)
    try:
        json.dumps([state.get(key) for key in ("model_settings", "earlier", SETTINGS, DATA)])
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{path}`: settings must be what JSON can hold ({error}); {_REMEDY}.") from None
    if math.isnan(state.get("best", 0.0)):
        raise ValueError(f"`{path}`: `best` must be a number, got nan; {_REMEDY}.")
    if not path.name.endswith(f"-{state['step']:09d}.resume"):
        raise ValueError(f"`{path}`: `step` must be that of its name, got {state['step']}; {_REMEDY}.")
    weights = state.get(weights_entry)
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"`{path}`: `{weights_entry}` must be tensors by name, got {shown(weights)}; {_REMEDY}.")
    for name, value in _tensors(state, ""):
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"`{path}`: `{name}` holds NaN or infinity; {_REMEDY}.")


def load_weights(model: nn.Module, state: Mapping[str, Any], weights_entry: str = "model") -> None:
    """Gives a model the weights of a state whose settings are the model's."""
    check_like(_name(state), state[weights_entry], model.state_dict(), _REMEDY)
    model.load_state_dict(state[weights_entry])


def load_optimizer(optimizer: torch.optim.Optimizer, saved: Any, state: Mapping[str, Any]) -> None:
    """Gives an Adam the moments that a state holds; its own settings stay, which the command gives.

    Args:
        optimizer: over the same weights in the same order.
        saved: what its `state_dict` was.
        state: the whole state, for the error.

    Raises:
        ValueError: a moment is missing, or of another type or shape than its weight.
    """
    name, own = _name(state), optimizer.state_dict()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments = saved.get("state") if isinstance(saved, dict) else None
    if not isinstance(moments, dict) or not moments.keys() <= set(range(len(weights))):
        raise ValueError(f"`{name}`: `optimizer` must hold moments of {len(weights)} weights; {_REMEDY}.")
    for place, moment in moments.items():
        weight, entry = weights[place], f"optimizer.state[{place}]"
        if not isinstance(moment, dict) or moment.keys() != {"step", "exp_avg", "exp_avg_sq"}:
            raise ValueError(f"`{name}`: `{entry}` must hold step, exp_avg and exp_avg_sq; {_REMEDY}.")
        check_tensor(name, f"{entry}.step", moment["step"], torch.float32, (), _REMEDY)
        for key in ("exp_avg", "exp_avg_sq"):
            check_tensor(name, f"{entry}.{key}", moment[key], weight.dtype, tuple(weight.shape), _REMEDY)
        if moment["step"] < 0 or bool((moment["exp_avg_sq"] < 0).any()):
            raise ValueError(f"`{name}`: `{entry}` must not be below 0; {_REMEDY}.")
    optimizer.load_state_dict({"state": moments, "param_groups": own["param_groups"]})


def load_sums(state: Mapping[str, Any], like: Tensor) -> Tensor:
    """Returns the sums since the last row, of the type and shape of `like`, on its device."""
    return check_tensor(_name(state), "sums", state.get("sums"), like.dtype, tuple(like.shape), _REMEDY).to(like.device)


def _name(state: Mapping[str, Any]) -> str:
    return f"step-{state['step']:09d}.resume"


def _differences(part: str, old: Any, new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yields (name on the command line, old, new) of settings that must not differ."""
    for key, value in new.items():
        if key in old and key not in MAY_DIFFER and old[key] != value:
            yield "seed" if (part, key) == (SETTINGS, "seed") else f"{_PREFIX[part]}.{key}", old[key], value


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yields every tensor within dictionaries, lists and tuples, with where it stands."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _tensors(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _tensors(inner, f"{name}[{place}]")
