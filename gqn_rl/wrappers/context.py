"""From views to r for several episodes at once: the one place that the wrapper and its batched twins share.

Every view is encoded alone, ψ(x, v), and r is the sum of ψ over the views that `context` names.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import gymnasium as gym
import numpy as np

from gqn_rl.forks import warn_if_forked
from gqn_rl.representation import load_encoder
from gqn_rl.scene_encoder import read
from gqn_rl.views import IMAGE, REPRESENTATION, VIEWPOINT, VIEWPOINT_SIZE, CameraPose
from gqn_rl.wrappers.camera import viewpoint_space
from gqn_rl.wrappers.context_sum import CONTEXTS, Context, ContextSum

Frame = Literal["world", "camera"]
FRAMES = ("world", "camera")
_NO_VIEW = np.zeros((1, VIEWPOINT_SIZE), np.float32)


class Encoder(Protocol):
    """What the wrappers ask of an encoder; `gqn_rl.load_encoder` returns one.

    An encoder whose sums over views are to be read in a way of their own has a `readout` too.
    """

    image_size: int
    representation_shape: tuple[int, ...]

    def encode_views(self, images: np.ndarray, viewpoints: np.ndarray) -> np.ndarray:
        """Maps uint8 [N, H, W, 3] and float32 [N, 7] to ψ, float32 [N, *representation_shape]."""
        ...


@dataclasses.dataclass(frozen=True)
class RepresentationSpec:
    """How views become r: which encoder, which views it is the sum of, in which frame it is read, what stands beside.

    Attributes:
        encoder: the frozen encoder, or the path or name of one.
        context: the views that r sums over: "current", the last "window", or the whole "episode".
        window: number of views of context="window".
        frame: the frame in which an r with a geometry is read, "camera" or "world"; None is the usual one, "camera"
            for a plan of the ground and "world" for points. Every other r is as it is, "world".
        include_viewpoint: whether the observation has "viewpoint" too.
        keep: observation keys to hand through.

    Raises:
        ValueError: a setting is unknown or out of range.
    """

    encoder: Encoder | str | None = None
    context: Context = "current"
    window: int = 4
    frame: Frame | None = None
    include_viewpoint: bool = True
    keep: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.keep, str):
            raise ValueError(f"`keep` must be a list of observation keys, got the string {self.keep!r}.")
        if self.context not in CONTEXTS:
            raise ValueError(f"`context` must be one of {list(CONTEXTS)}, got {self.context!r}.")
        if self.window < 1:
            raise ValueError(f"`window` must be at least 1 view, got {self.window}.")
        if self.frame not in (None, *FRAMES):
            raise ValueError(f"`frame` must be null or one of {list(FRAMES)}, got {self.frame!r}.")


class RepresentationMap:
    """Maps batches of camera observations to batches of {"representation", "viewpoint", kept keys}.

    Args:
        spec: how views become r; its encoder must be given.
        space: one environment's observation: a Dict with "image", or a Box that is the picture itself.
        num_envs: number of episodes that run side by side.
        viewpoint: the constant viewpoint of environments that give none, as a 7-vector or a `CameraPose`.
    """

    def __init__(
        self,
        spec: RepresentationSpec,
        space: gym.Space[Any],
        *,
        num_envs: int,
        viewpoint: Sequence[float] | np.ndarray | CameraPose | None = None,
    ):
        if spec.encoder is None:
            raise ValueError("`encoder` must be an encoder, or the path or name of one, got None.")
        self.encoder = resolve_encoder(spec.encoder)
        parts = _parts(space)
        _check_parts(parts, self.encoder, has_viewpoint=viewpoint is not None, keep=spec.keep)
        self._frame = _frame_of(self.encoder, spec.frame)
        self._viewpoint = None if viewpoint is None else as_viewpoint(viewpoint)
        self._handed_on = [VIEWPOINT] * spec.include_viewpoint + list(spec.keep)
        shape = tuple(self.encoder.representation_shape)
        features = read(
            getattr(self.encoder, "readout", None), np.zeros((1, *shape), np.float32), _NO_VIEW, self._frame
        )
        spaces = {VIEWPOINT: viewpoint_space(), **parts}
        self.observation_space = gym.spaces.Dict(
            {REPRESENTATION: gym.spaces.Box(-np.inf, np.inf, features.shape[1:], np.float32)}
            | {key: spaces[key] for key in self._handed_on}
        )
        self._everyone = np.arange(num_envs)
        self._sum = ContextSum(shape, num_envs, spec.context, spec.window)

    def reset(self, indices: Sequence[int] | np.ndarray | None = None) -> None:
        """Starts new episodes in the environments `indices` (all when None)."""
        self._sum.reset(self._everyone if indices is None else indices)

    def step(self, batch: Any) -> dict[str, np.ndarray]:
        """Adds one view to every episode and returns the observations, [num_envs, ...] each."""
        parts = self._named(batch)
        return self._observation(parts, self._sum.add(self._encode(parts), self._everyone))

    def step_with_last(self, batch: Any, last: Sequence[Any], ended: np.ndarray) -> tuple[dict, list[dict]]:
        """Like `step` where some episodes ended within the step: one forward pass encodes first and last views.

        Args:
            batch: the present observations, [num_envs, ...]: where an episode ended, the next one's first.
            last: the final observation of every ended episode.
            ended: their environments' indices, int [len(last)].

        Returns:
            the present observations [num_envs, ...] and, one by one, the final ones.
        """
        if len(ended) == 0:
            return self.step(batch), []
        present, final = self._named(batch), self._named(_stack(last))
        psi = self._encode({key: np.concatenate([present[key], final[key]]) for key in (IMAGE, VIEWPOINT)})
        final = self._observation(final, self._sum.add(psi[len(self._everyone) :], ended))
        self._sum.reset(ended)
        present = self._observation(present, self._sum.add(psi[: len(self._everyone)], self._everyone))
        return present, [{key: value[i] for key, value in final.items()} for i in range(len(ended))]

    def step_some(self, batch: Any, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Adds a view to the episodes `indices` alone; the others keep their r. Returns all, [num_envs, ...]."""
        parts = self._named(batch)
        self._sum.add(self._encode({key: parts[key][indices] for key in (IMAGE, VIEWPOINT)}), indices)
        return self._observation(parts, self._sum.value(self._everyone))

    def _encode(self, parts: Mapping[str, np.ndarray]) -> np.ndarray:
        warn_if_forked()
        images = np.ascontiguousarray(parts[IMAGE])  # a picture may be a flipped view of another, as MuJoCo's are
        return self.encoder.encode_views(images, np.ascontiguousarray(parts[VIEWPOINT], np.float32))

    def _observation(self, parts: Mapping[str, np.ndarray], r: np.ndarray) -> dict[str, np.ndarray]:
        r = read(getattr(self.encoder, "readout", None), r, parts[VIEWPOINT], self._frame)
        return {REPRESENTATION: r} | {key: parts[key] for key in self._handed_on}

    def _named(self, batch: Any) -> dict[str, np.ndarray]:
        """Names a bare picture's batch and fills in the constant viewpoint."""
        parts = dict(batch) if isinstance(batch, Mapping) else {IMAGE: batch}
        if self._viewpoint is not None:
            parts[VIEWPOINT] = np.tile(self._viewpoint, (len(parts[IMAGE]), 1))
        return parts


def resolve_encoder(encoder: Encoder | str | pathlib.Path) -> Encoder:
    """Returns the encoder itself, or the one that a path or a name stands for."""
    return load_encoder(encoder) if isinstance(encoder, str | pathlib.Path) else encoder


def _frame_of(encoder: Encoder, frame: Frame | None) -> Frame:
    """Returns the frame to read r in."""
    readout = getattr(encoder, "readout", None)
    known: tuple[Frame, ...] = ("world",) if readout is None else readout.frames
    if frame not in (None, *known):
        raise ValueError("`frame` 'camera' needs an encoder whose r has a geometry (plan, points); leave `frame` out.")
    return frame or known[0]


def as_viewpoint(viewpoint: Any) -> np.ndarray:
    """Returns float32 [7] of a 7-vector or a `CameraPose`."""
    vector = viewpoint.viewpoint if isinstance(viewpoint, CameraPose) else np.asarray(viewpoint, np.float32)
    if vector.shape != (VIEWPOINT_SIZE,):
        raise ValueError(
            f"`viewpoint` must have shape ({VIEWPOINT_SIZE},) or be a CameraPose, got shape {vector.shape}."
        )
    return vector


def _stack(observations: Sequence[Any]) -> Any:
    """Stacks single observations, dicts or arrays, into a batch."""
    if isinstance(observations[0], Mapping):
        return {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
    return np.stack(observations)


def _parts(space: gym.Space[Any]) -> dict[str, gym.Space[Any]]:
    """Returns the named parts of one environment's observation space; a Box counts as the picture."""
    return dict(space.spaces) if isinstance(space, gym.spaces.Dict) else {IMAGE: space}


def _check_parts(
    parts: dict[str, gym.Space[Any]], encoder: Encoder, *, has_viewpoint: bool, keep: Sequence[str]
) -> None:
    """Raises ValueError unless pictures, viewpoints and kept keys are what the encoder and the caller expect."""
    image, size = parts.get(IMAGE), encoder.image_size
    if not isinstance(image, gym.spaces.Box) or image.dtype != np.uint8 or image.shape[-1:] != (3,):
        raise ValueError(
            f"The observation must hold uint8 pictures [H, W, 3] under {IMAGE!r}, or be one, got {parts}; "
            "wrap the environment in `CameraObservation` first."
        )
    if image.shape != (size, size, 3):
        raise ValueError(
            f"`encoder` reads pictures of {size}x{size} pixels, but the environment gives "
            f"{image.shape[0]}x{image.shape[1]}; set the camera's `size` to {size} or choose another encoder."
        )
    if has_viewpoint and VIEWPOINT in parts:
        raise ValueError("`viewpoint` was given, but the environment already observes one; leave it out.")
    if not has_viewpoint and VIEWPOINT not in parts:
        raise ValueError("The environment observes no viewpoint; give `viewpoint`, a 7-vector or a CameraPose.")
    reserved = {REPRESENTATION, VIEWPOINT}
    wrong = [key for key in keep if key not in parts or key in reserved]
    if wrong:
        raise ValueError(f"`keep` must name keys of the observation ({sorted(set(parts) - reserved)}), got {wrong}.")
