"""Encoders by the file, folder or name they are asked for, untrained ones, and what their files need to say."""

from __future__ import annotations

import importlib.resources
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gqn_rl.checkpoint import R_DIRECTIONS, R_MEAN, R_PLACE_DIRECTIONS, R_STD, load_model, package_version
from gqn_rl.checkpoint.upgrades import settings_1_to_2
from gqn_rl.directions import scene_directions
from gqn_rl.models import build_model
from gqn_rl.models.readout import Geometry, Readout
from gqn_rl.runtimes import AUTO, FLOAT32, TORCH
from gqn_rl.scene_encoder import SceneEncoder, read
from gqn_rl.views import VIEWPOINT_SIZE, Views

BEST_FILE, LAST_FILE = "best.safetensors", "last.safetensors"
"""The encoder files of a pretraining run's folder."""

_SMALLEST_STD = 1e-6


def load_encoder(
    path_or_name: str | pathlib.Path,
    device: str = "cpu",
    standardise: bool = True,
    features: str | None = None,
    runtime: str = AUTO,
    precision: str = FLOAT32,
    told: str | None = None,
) -> SceneEncoder:
    """Loads a pretrained encoder.

    Args:
        path_or_name: a `.safetensors` file, a run's folder (its best encoder), or the name of one that ships.
        device: where to compute.
        standardise: say r in entries of mean 0 and deviation 1 over the training scenes, in the directions in which
            scenes differ (`directions.py`), if the file has them; otherwise r is the sum as the GQN takes it.
        features: of those, "all" or only the "positions", where an r of points says that things are and not what they
            look like; None is "positions" where r has them.
        runtime: what encodes on the CPU: "onnx" (ONNX Runtime), "openvino" if it is installed, "torch", or "auto", the
            fastest that is always there. The first use of a compiled one exports the encoder, which takes some seconds
            once a machine. On a GPU torch encodes.
        precision: "float32", or "bf16" with runtime="openvino" on a processor that computes it.
        told: what `features` was called in earlier versions.

    Raises:
        ValueError: nothing there, or the file is damaged or of another kind; the sentence names it.
    """
    if told is not None:
        warnings.warn("`told` is called `features` now, and its places are positions.", FutureWarning, stacklevel=2)
        features = "positions" if told == "places" else told
    model, metadata = load_model(find_encoder(path_or_name))
    how: dict[str, Any] = {"standardise": standardise, "features": features, "runtime": runtime, "precision": precision}
    encoder = SceneEncoder(model, metadata, device=device, **how)
    encoder.warn_if_drawn_differently(mujoco=package_version("mujoco"))
    return encoder


def find_encoder(path_or_name: str | pathlib.Path) -> pathlib.Path:
    """Returns the encoder file that a path, a run folder or a shipped name stands for."""
    path = pathlib.Path(path_or_name)
    shipped = {file.stem: file for file in _shipped_files()}
    if path.is_file():
        return path
    for name in (BEST_FILE, LAST_FILE):
        if (path / name).is_file():
            return path / name
    if str(path_or_name) in shipped:
        return shipped[str(path_or_name)]
    names = ", ".join(sorted(shipped)) or "none"
    raise ValueError(
        f"`{path_or_name}` is no encoder: expected a .safetensors file, a pretraining folder with {BEST_FILE}, or a "
        f"name that ships ({names}); `python -m gqn_rl.pretrain` trains one."
    )


def random_encoder(
    model_config: dict[str, Any],
    seed: int,
    views: Views | None = None,
    entries: int | None = None,
    runtime: str = TORCH,
) -> SceneEncoder:
    """Returns the same network untrained: the baseline that shows what pretraining adds.

    Args:
        model_config: what `build_model` takes, in a pretrained encoder `metadata["model"]`; or flat settings with a
            `name`, as files of format 1 have them.
        seed: of the random weights.
        views: K views each of N scenes to standardise on, images uint8 [N, K, H, W, 3]; None leaves ψ as it is.
        entries: tell this many of the directions in which scenes differ, the most telling; None those in which they
            differ more than views of one scene do, which an untrained network has few of.
        runtime: as for `load_encoder`.
    """
    config = settings_1_to_2(model_config)[1] if "name" in model_config else model_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(config)
    metadata: dict[str, Any] = {"model": model.config.to_json(), "random_seed": seed, "step": 0}
    if views is not None:
        images, viewpoints = (np.concatenate(part) for part in views)
        psi = SceneEncoder(model, metadata).encode_views(images, viewpoints)
        metadata |= view_statistics(psi.reshape(*views.images.shape[:2], *psi.shape[1:]), model.geometry, entries)
    return SceneEncoder(model, metadata, runtime=runtime)


def view_statistics(
    psi: np.ndarray, geometry: Geometry | None = None, entries: int | Callable[[torch.Tensor], int] | None = None
) -> dict[str, torch.Tensor]:
    """Measures what one view says: what an encoder's file needs to say it in standard entries.

    Args:
        psi: ψ of K views each of N scenes, float32 [N, K, *shape].
        geometry: how the model reads r.
        entries: how many directions, the most telling, or what chooses that number for standard entries [N, K, R];
            None decides by their variance (`scene_directions`).

    Returns:
        `r_mean` and `r_std`, [*shape] each (1 where an entry never varies), and where r is a vector and K ≥ 2
        `r_directions`, [R, D] (see `directions.py`), and `r_place_directions`, [R, D], of the entries that say
        where things are alone, where the geometry knows them.
    """
    features = torch.from_numpy(read(Readout(geometry), psi.reshape(-1, *psi.shape[2:]))).float()
    std, mean = torch.std_mean(features, dim=0, correction=0)
    std = torch.where(std > _SMALLEST_STD, std, torch.ones_like(std))
    statistics = {R_MEAN: mean, R_STD: std}
    if features.ndim == 2 and psi.shape[1] > 1:
        standard = ((features - mean) / std).unflatten(0, psi.shape[:2])
        statistics[R_DIRECTIONS] = _chosen_directions(standard, entries)
        if geometry is not None and (num_positions := geometry.num_positions):
            places = _chosen_directions(standard[..., :num_positions], entries)
            statistics[R_PLACE_DIRECTIONS] = F.pad(places, (0, 0, 0, standard.shape[-1] - num_positions))
    return statistics


def _chosen_directions(standard: torch.Tensor, entries: int | Callable[[torch.Tensor], int] | None) -> torch.Tensor:
    """Returns as many directions of standard entries [N, K, R] as are asked for."""
    return scene_directions(standard, entries(standard) if callable(entries) else entries)


def num_entries(encoder: Any) -> int:
    """Returns how many features an agent gets of an encoder of any kind."""
    nothing = np.zeros((1, *encoder.representation_shape), np.float32), np.zeros((1, VIEWPOINT_SIZE), np.float32)
    readout = getattr(encoder, "readout", None)
    return int(np.prod(read(readout, *nothing, frame="world" if readout is None else readout.frames[0]).shape))


def _shipped_files() -> list[pathlib.Path]:
    folder = pathlib.Path(str(importlib.resources.files("gqn_rl"))) / "pretrained"
    return sorted(folder.glob("*.safetensors"))
