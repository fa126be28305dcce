"""The file between training and use: a model's weights and every fact needed to use them, in one safetensors.

The file holds tensors and JSON, nothing else, so reading one cannot run code: the model is built from a name out of our
own registries and plain sizes. A digest over JSON and tensors tells an altered file from a whole one. The present
format is 2; files of format 1 are read as they are and upgraded in memory (`upgrades.py`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch

from gqn_rl.artefacts.documents import Record, Text, parse_json
from gqn_rl.artefacts.files import check_regular
from gqn_rl.artefacts.model_file import REMEDY, check_model, check_statistics, parse_facts, parse_facts_1
from gqn_rl.artefacts.tensors import check_like
from gqn_rl.checkpoint.upgrades import MAP_DECODER, SCENE_MODEL, facts_1_to_2, weight_1_to_2
from gqn_rl.models import SceneModel, SceneModelConfig
from gqn_rl.models.map_decoder import MapDecoder, MapDecoderConfig
from gqn_rl.runlog import write_atomic
from gqn_rl.views import POSE_CONVENTION

M = TypeVar("M", SceneModel, MapDecoder)

R_MEAN, R_STD, R_DIRECTIONS, R_PLACE_DIRECTIONS = STATISTICS = "r_mean", "r_std", "r_directions", "r_place_directions"
"""Metadata entries that are tensors: statistics of what one view says, see `representation.view_statistics`."""

_FORMAT_1, _FORMAT = "gqn_rl scene model 1", "gqn_rl 2"
_HEADER = "gqn_rl"
_WEIGHTS = "model."
_STATISTICS = "statistics."
_HEADER_ENTRIES = Record({}, {"format": Text(), "facts": Text(), "sha256": Text()})


def save_model(path: str | pathlib.Path, model: SceneModel | MapDecoder, metadata: dict[str, Any]) -> None:
    """Writes `model` and what is known about it to `path`, whole or not at all.

    Args:
        path: the `.safetensors` file to write.
        model: a scene model or a map decoder; its settings, `image_size` and `representation_shape` are written too.
        metadata: JSON-ready facts (step, metrics, data set …); `STATISTICS` may be tensors.
    """
    statistics = {key: torch.as_tensor(metadata[key]).float() for key in STATISTICS if key in metadata}
    tensors = {_WEIGHTS + name: value for name, value in model.state_dict().items()}
    tensors |= {_STATISTICS + name: value for name, value in statistics.items()}
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }
    facts = {key: value for key, value in metadata.items() if key not in statistics} | {
        "kind": SCENE_MODEL if isinstance(model, SceneModel) else MAP_DECODER,
        "model": model.config.to_json(),
        "image_size": model.image_size,
        "representation_shape": list(model.representation_shape),
        "pose_convention": POSE_CONVENTION,
        "gqn_rl_version": package_version("gqn-rl"),
    }
    text = json.dumps(facts, sort_keys=True)
    header = {"format": _FORMAT, "facts": text, "sha256": _digest(text, tensors)}
    # One entry, since safetensors writes several in random order and equal models would make different files.
    write_atomic(path, safetensors.torch.save(tensors, {_HEADER: json.dumps(header)}))


def load_model(path: str | pathlib.Path) -> tuple[SceneModel, dict[str, Any]]:
    """Reads a scene model that `save_model` wrote.

    Returns:
        The model, on the CPU in evaluation mode, and its metadata, in which `STATISTICS` (if any) are tensors.

    Raises:
        ValueError: the file is missing, truncated, altered, of another kind, for another pose convention, or holds what
            no model could have: other shapes or types than its settings say, NaN, infinity, a deviation of 0.
    """
    facts, tensors = _read(pathlib.Path(path))
    _check_kind(path, facts)
    if facts["kind"] == MAP_DECODER:
        raise ValueError(f"`{path}` holds a map decoder, not a scene model; name the encoder that it was trained on.")
    model = _build(path, facts, tensors, lambda settings: SceneModel(SceneModelConfig.from_json(settings)))
    statistics = {key: tensors[_STATISTICS + key] for key in STATISTICS if _STATISTICS + key in tensors}
    check_statistics(path, statistics, tuple(model.representation_shape))
    return model, facts | statistics


def load_map_decoder(path: str | pathlib.Path) -> tuple[MapDecoder, dict[str, Any]]:
    """Reads a map decoder that `save_model` wrote; as `load_model`."""
    facts, tensors = _read(pathlib.Path(path))
    _check_kind(path, facts)
    if facts["kind"] == SCENE_MODEL:
        raise ValueError(
            f"`{path}` holds a scene model, not a map decoder; `python -m gqn_rl.train_map` trains one on it."
        )
    return _build(path, facts, tensors, lambda settings: MapDecoder(MapDecoderConfig.from_json(settings))), facts


def _check_kind(path: str | pathlib.Path, facts: dict[str, Any]) -> None:
    if facts["kind"] not in (SCENE_MODEL, MAP_DECODER):
        raise ValueError(f"`{path}` holds neither a scene model nor a map decoder, but `kind` {facts['kind']!r}.")


def package_version(name: str) -> str:
    """Returns the installed version of a distribution, `"unknown"` when it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _build(
    path: str | pathlib.Path,
    facts: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    new: Callable[[dict[str, Any]], M],
) -> M:
    """Makes the model that a file describes and gives it its weights; on the CPU in evaluation mode."""
    if facts["pose_convention"] != POSE_CONVENTION:
        raise ValueError(
            f"`{path}` was trained on viewpoints '{facts['pose_convention']}', expected '{POSE_CONVENTION}'."
        )
    weights = {key.removeprefix(_WEIGHTS): value for key, value in tensors.items() if key.startswith(_WEIGHTS)}
    with torch.device("meta"):  # shapes alone: the sizes may be those of a model that fits into no memory
        check_like(path, weights, _new(path, facts, new).state_dict(), REMEDY)
    model = _new(path, facts, new)
    check_model(path, facts, model)
    model.load_state_dict(weights)
    return model.eval()


def _new(path: str | pathlib.Path, facts: dict[str, Any], new: Callable[[dict[str, Any]], M]) -> M:
    """Makes a model of a file's settings; whatever a constructor makes of impossible ones becomes one sentence."""
    try:
        return new(facts["model"])
    except Exception as error:
        first_line = str(error).strip().split("\n")[0]
        raise ValueError(f"`{path}` does not fit this version of the {facts['kind']}: {first_line}") from error


def _read(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Reads facts and tensors, refusing what is not a whole, unaltered file of ours."""
    check_regular(path)
    if not path.is_file():
        raise ValueError(f"`{path}` is not a file; expected a scene model written by `python -m gqn_rl.pretrain`.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_HEADER, "{}")
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"`{path}` is truncated or not a safetensors file ({error}); {REMEDY}.") from error
    header = parse_json(path, text, _HEADER_ENTRIES, REMEDY)
    if header.get("format") not in (_FORMAT_1, _FORMAT):
        raise ValueError(
            f"`{path}` is not a gqn_rl scene model of this version (format '{header.get('format')}', expected "
            f"'{_FORMAT}' or '{_FORMAT_1}'); a newer version may read it."
        )
    if header.get("sha256") != _digest(header.get("facts", ""), tensors):
        raise ValueError(f"`{path}` was altered after it was written (its sha256 differs); {REMEDY}.")
    if header["format"] == _FORMAT:
        return parse_facts(path, header["facts"]), tensors
    return _upgrade(path, parse_facts_1(path, header["facts"]), tensors)


def _upgrade(
    path: pathlib.Path, facts: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Turns what a file of format 1 holds into what one of format 2 would."""
    try:
        upgraded = facts_1_to_2(facts)
    except ValueError as error:
        raise ValueError(f"`{path}` does not fit any version of the model: {error}") from error
    return upgraded, {
        _WEIGHTS + weight_1_to_2(name.removeprefix(_WEIGHTS)) if name.startswith(_WEIGHTS) else name: value
        for name, value in tensors.items()
    }


def _digest(text: str, tensors: dict[str, torch.Tensor]) -> str:
    """Returns the sha256 over the JSON and over every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for part in _tensor_parts(tensors):
        digest.update(part)
    return digest.hexdigest()


def _tensor_parts(tensors: dict[str, torch.Tensor]) -> Iterator[bytes]:
    for name in sorted(tensors):
        value = tensors[name]
        yield f"{name} {value.dtype} {tuple(value.shape)}".encode()
        yield value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
