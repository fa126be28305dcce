"""Frozen scene representations: images and viewpoints in, one vector (or map) per view out, NumPy on both sides."""

from __future__ import annotations

import copy
import importlib.resources
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gqn_rl.checkpoint import R_DIRECTIONS, R_MEAN, R_PLACE_DIRECTIONS, R_STD, load_model, package_version
from gqn_rl.checkpoint.upgrades import settings_1_to_2
from gqn_rl.directions import scene_directions
from gqn_rl.forks import warn_if_forked
from gqn_rl.models import SceneModel, build_model
from gqn_rl.models.readout import Geometry, Readout, Statistics
from gqn_rl.runtimes import AUTO, FLOAT32, TORCH, CompiledEncoder, Encode, choose_runtime
from gqn_rl.threads import computing_with, encoding_threads
from gqn_rl.views import POSE_CONVENTION, VIEWPOINT_SIZE, Views

BEST_FILE, LAST_FILE = "best.safetensors", "last.safetensors"
"""The encoder files of a pretraining run's folder."""
FEATURES = ("all", "positions")
"""Which features of r an agent may get: all, or only those that say where things are."""
VERSION_KEYS = ("gl_renderer", "meshes", "mujoco")
"""Facts about the pretraining pictures (of the scene's `describe`) that should be the same at use, or pixels differ."""

_SMALLEST_STD = 1e-6


class ViewEncoder(nn.Module):
    """ψ of each view, standardised, tensors on both sides: Views [B, K, ...] → float32 [B, K, *representation_shape].

    Gradients flow through it, for those who adapt it to a task; `SceneEncoder` is the frozen one.
    """

    def __init__(self, model: SceneModel, readout: Readout):
        super().__init__()
        self.model = model.float().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.readout = readout

    def forward(self, views: Views) -> torch.Tensor:
        """Encodes views [B, K, ...]."""
        return self.readout.of_view(self.model.encode_views(views).float())


class SingleViews(nn.Module):
    """ψ of each picture on its own: uint8 [N, H, W, 3] and viewpoints [N, 7] → float32 [N, *representation_shape]."""

    def __init__(self, encoder: ViewEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, images: torch.Tensor, viewpoints: torch.Tensor) -> torch.Tensor:
        """Encodes N views."""
        return self.encoder(Views(images[:, None], viewpoints[:, None])).flatten(0, 1)


class SceneEncoder:
    """A frozen encoder ψ: one standardised representation per view, whose sum over views is the scene's r.

    Reentrant (safe to call from several threads) and picklable into spawned processes, where it starts on the CPU.
    There a compiled runtime may encode (see `gqn_rl.runtimes`); torch does on a GPU, and wherever the weights of
    `module` have changed since. Up to `threads.SMALL_BATCH` pictures at a time are encoded on one thread, more on as
    many as torch has.

    Attributes:
        image_size: side of the square pictures it was trained on, in pixels.
        representation_shape: shape of one view's representation.
        readout: from sums of ψ to features (see `read`).
        metadata: everything the file says: data set, step, metrics, pose convention …
        module: the network itself, with tensors on both sides.
        runtime: what encodes on the CPU: "torch", "onnx" or "openvino".
    """

    def __init__(
        self,
        model: SceneModel,
        metadata: dict[str, Any],
        *,
        device: str = "cpu",
        standardise: bool = True,
        features: str | None = None,
        runtime: str = TORCH,
        precision: str = FLOAT32,
    ):
        self.metadata = metadata
        self.image_size = model.image_size
        self.representation_shape = tuple(model.representation_shape)
        statistics = None
        if standardise and R_MEAN in metadata:
            statistics = Statistics(metadata[R_MEAN], metadata[R_STD], _directions(metadata, features))
        self.readout = Readout(model.geometry, statistics)
        self.module = ViewEncoder(model, copy.deepcopy(self.readout)).eval().requires_grad_(False).to(device)
        self.runtime = choose_runtime(runtime, precision)
        if runtime not in (AUTO, TORCH) and self.device != "cpu":
            raise ValueError(f"`runtime` {runtime!r} encodes on the CPU, got device {device!r}; leave one of them out.")
        self._compiled = None if self.runtime == TORCH else CompiledEncoder(self.runtime, precision)

    @property
    def device(self) -> str:
        """Kind of device that encodes, "cpu" or "cuda"."""
        return self.module.readout.mean.device.type

    def encode_views(self, images: np.ndarray, viewpoints: np.ndarray) -> np.ndarray:
        """Encodes each view on its own.

        Args:
            images: uint8 [N, H, W, 3] of this encoder's image size.
            viewpoints: float32 [N, 7], one per picture.

        Returns:
            float32 [N, *representation_shape]; the representation of a scene is the sum over its views.
        """
        self._check(images, viewpoints)
        is_forked = warn_if_forked()  # a compiled runtime has threads too
        images, viewpoints = np.ascontiguousarray(images), np.ascontiguousarray(viewpoints, np.float32)
        num_threads = encoding_threads(len(images))
        encode = self._compiled_encode(num_threads) if len(images) and not is_forked else None
        if encode is not None:
            return encode(images, viewpoints)
        views = Views(images, viewpoints).to_torch(self.module.readout.mean.device)
        with torch.inference_mode(), computing_with(num_threads):
            return SingleViews(self.module)(*views).cpu().numpy()

    def prepare(self) -> SceneEncoder:
        """Makes the compiled runtime ready now rather than at the first picture, and returns this encoder.

        Processes that it is sent to afterwards find it ready.
        """
        self._compiled_encode(num_threads=1)
        return self

    def to(self, device: str) -> SceneEncoder:
        """Moves the network and returns this encoder."""
        self.module.to(device)
        return self

    def warn_if_drawn_differently(self, **versions: str) -> None:
        """Warns when pictures are drawn by another renderer or MuJoCo than those of pretraining.

        Args:
            **versions: what draws the pictures now, by the names of `VERSION_KEYS`; those left out are not compared.
        """
        trained_on = self.metadata.get("dataset", {})
        for key in VERSION_KEYS:
            now, then = versions.get(key), trained_on.get(key)
            if None not in (now, then) and now != then:
                text = f"`{key}` is '{now}', but the encoder was trained on pictures of '{then}': pixels may differ."
                warnings.warn(text, stacklevel=2)

    def _compiled_encode(self, num_threads: int = 1) -> Encode | None:
        """Returns what encodes instead of torch in this process, if anything does."""
        if self._compiled is None or self.device != "cpu":
            return None
        model = self.module.model
        facts = f"{type(model).__qualname__} {model.config}"
        return self._compiled.open(self.module, lambda: SingleViews(self.module), self.image_size, facts, num_threads)

    def _check(self, images: np.ndarray, viewpoints: np.ndarray) -> None:
        size = self.image_size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise ValueError(
                f"`images` must be uint8 [N, {size}, {size}, 3] for this encoder, got {images.dtype} "
                f"{list(images.shape)}; render at {size} pixels or load an encoder of that size."
            )
        if np.shape(viewpoints) != (len(images), VIEWPOINT_SIZE):
            raise ValueError(
                f"`viewpoints` must be [{len(images)}, {VIEWPOINT_SIZE}] ({POSE_CONVENTION}), "
                f"got {list(np.shape(viewpoints))}."
            )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"module": self.module if self.device == "cpu" else copy.deepcopy(self.module).cpu()}


def read(
    readout: Readout | None, r: np.ndarray, viewpoints: np.ndarray | None = None, frame: str = "world"
) -> np.ndarray:
    """Reads sums of ψ over views as an encoder's `readout` has it; without one, r says what it is.

    Args:
        readout: the encoder's, on the CPU, or None.
        r: float32 [N, *representation_shape].
        viewpoints: float32 [N, 7], from where to look where the frame is "camera".
        frame: one of `readout.frames`.

    Returns:
        float32 [N, ...].
    """
    if readout is None:
        return r
    where = None if viewpoints is None else torch.from_numpy(np.asarray(viewpoints))
    with torch.inference_mode():
        return readout(torch.from_numpy(r), where, frame).numpy()


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


def _directions(metadata: dict[str, Any], features: str | None) -> torch.Tensor | None:
    """Returns the directions that r is projected onto, None where its entries are features themselves."""
    everything, positions = metadata.get(R_DIRECTIONS), metadata.get(R_PLACE_DIRECTIONS)
    if features not in (None, *FEATURES):
        raise ValueError(f"`features` must be null or one of {', '.join(FEATURES)}, got {features!r}.")
    if features == "positions" and positions is None:
        raise ValueError(
            "`features` is 'positions', but this encoder's r does not keep positions and appearance apart; use "
            "features=all."
        )
    return everything if features == "all" or positions is None else positions


def _shipped_files() -> list[pathlib.Path]:
    folder = pathlib.Path(str(importlib.resources.files("gqn_rl"))) / "pretrained"
    return sorted(folder.glob("*.safetensors"))
