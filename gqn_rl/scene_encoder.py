"""Frozen scene representations: images and viewpoints in, one vector (or map) per view out, NumPy on both sides."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from gqn_rl.checkpoint import R_DIRECTIONS, R_MEAN, R_PLACE_DIRECTIONS, R_STD
from gqn_rl.forks import warn_if_forked
from gqn_rl.models import SceneModel
from gqn_rl.models.readout import Readout, Statistics
from gqn_rl.runtimes import AUTO, FLOAT32, TORCH, CompiledEncoder, Encode, choose_runtime
from gqn_rl.threads import computing_with, encoding_threads
from gqn_rl.views import POSE_CONVENTION, VIEWPOINT_SIZE, Views

FEATURES = ("all", "positions")
"""Which features of r an agent may get: all, or only those that say where things are."""


VERSION_KEYS = ("gl_renderer", "meshes", "mujoco")
"""Facts about the pretraining pictures (of the scene's `describe`) that should be the same at use, or pixels differ."""


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

    @property
    def fovy_deg(self) -> float | None:
        """Vertical field of view of the pictures that it was trained on, degrees; None where its file has none."""
        trained = self.metadata.get("dataset", {}).get("fovy_deg", self.module.model.config.scene.fovy_deg)
        return None if trained is None else float(trained)

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


_SAME_FOVY_DEG = 1e-3
"""Fields of view that differ by less are the same but for rounding."""


def check_field_of_view(encoder: object, fovy_deg: object, *, name: str, whose: str, instead: str) -> None:
    """Refuses pictures of another field of view than an encoder was trained on, where both are known.

    Args:
        encoder: a `SceneEncoder`; any other says no field of view and takes all.
        fovy_deg: vertical field of view of the pictures that it is to encode, degrees; None if it is not known.
        name: the encoder's, for the error.
        whose: what has these pictures.
        instead: what to choose, followed by the right number.

    Raises:
        ValueError: names both numbers.
    """
    trained = getattr(encoder, "fovy_deg", None)
    if trained is not None and isinstance(fovy_deg, int | float) and abs(trained - fovy_deg) > _SAME_FOVY_DEG:
        raise ValueError(
            f"`encoder` {name} was trained on a vertical field of view of {trained:g}°, but {whose} have "
            f"{fovy_deg:g}°; choose another encoder, or {instead}{trained:g}."
        )
