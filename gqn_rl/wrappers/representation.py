"""GQNObservationWrapper: one environment's views replaced by the scene representation r."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from gqn_rl.scene_encoder import check_field_of_view
from gqn_rl.views import IMAGE, VIEWPOINT, CameraPose
from gqn_rl.wrappers.camera import viewpoint_space
from gqn_rl.wrappers.context import Encoder, Frame, RepresentationMap, RepresentationSpec, as_viewpoint
from gqn_rl.wrappers.context_sum import Context

Viewpoint = Sequence[float] | np.ndarray | CameraPose
"""A viewpoint as a 7-vector or as the pose it describes."""


class GQNObservationWrapper(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Replaces camera views by r, the sum of the frozen encoder's ψ(x, v) over the views that `context` names.

    The observation is {"representation": float32 r, "viewpoint": float32 [7], and the keys in `keep`}.

    Args:
        env: an environment that observes {"image", "viewpoint"} (`CameraObservation` makes one of any MuJoCo
            environment), {"image"}, or a bare picture; pictures are uint8 [H, W, 3] of the encoder's size.
        encoder: the frozen encoder, or the path or name of one.
        context: "current" (this frame), "window" (the last `window` frames) or "episode" (all since the reset).
        window: number of frames of context="window".
        frame: the frame in which an r with a geometry is read, "camera" or "world"; None is the usual one, "camera"
            for a plan of the ground and "world" for points. Every other r is as it is, "world".
        include_viewpoint: whether the observation has "viewpoint" too.
        viewpoint: the viewpoint of environments that observe none: a constant, or a callable of the environment.
        keep: observation keys to hand through unchanged.

    >>> from gqn_rl.envs.cameras import Fixed
    >>> from gqn_rl.wrappers import CameraObservation
    >>> class Means:  # stands for load_encoder("jaco")
    ...     image_size, representation_shape = 32, (3,)
    ...     def encode_views(self, images, viewpoints):
    ...         return images.mean(axis=(1, 2), dtype=np.float32)
    >>> env = CameraObservation(gym.make("Reacher-v5"), Fixed((0.4, 0.0, 0.5), (0.0, 0.0, 0.0)), size=32)
    >>> env = GQNObservationWrapper(env, Means(), context="episode")
    >>> {key: space.shape for key, space in env.observation_space.items()}
    {'representation': (3,), 'viewpoint': (7,)}
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        encoder: Encoder | str,
        context: Context = "current",
        window: int = 4,
        frame: Frame | None = None,
        include_viewpoint: bool = True,
        viewpoint: Viewpoint | Callable[[gym.Env], Viewpoint] | None = None,
        keep: Sequence[str] = (),
    ):
        gym.utils.RecordConstructorArgs.__init__(
            self, _disable_deepcopy=True,  # an encoder may hold what cannot be copied, and is large
            encoder=encoder, context=context, window=window, frame=frame, include_viewpoint=include_viewpoint,
            viewpoint=viewpoint, keep=keep,
        )  # fmt: skip
        super().__init__(env)
        self._ask_viewpoint = viewpoint if callable(viewpoint) else None
        spec = RepresentationSpec(encoder, context, window, frame, include_viewpoint, keep)
        space = env.observation_space if self._ask_viewpoint is None else _with_viewpoint(env.observation_space)
        constant = None if callable(viewpoint) else viewpoint
        self._map = RepresentationMap(spec, space, num_envs=1, viewpoint=constant)
        check_field_of_view(
            self._map.encoder, _field_of_view(env), name=encoder if isinstance(encoder, str) else "(the one given)",
            whose="the pictures of the environment", instead="a camera with fovy_deg=",
        )  # fmt: skip
        self.observation_space = self._map.observation_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts a new episode with an empty context."""
        self._map.reset()
        return super().reset(seed=seed, options=options)

    def observation(self, observation: Any) -> dict[str, np.ndarray]:
        """Adds the view to the context and returns the observation with r in its place."""
        parts = dict(observation) if isinstance(observation, Mapping) else {IMAGE: observation}
        if self._ask_viewpoint is not None:
            parts[VIEWPOINT] = as_viewpoint(self._ask_viewpoint(self.env))
        batch = {key: np.asarray(value)[None] for key, value in parts.items()}
        return {key: value[0] for key, value in self._map.step(batch).items()}


def _field_of_view(env: gym.Env[Any, Any]) -> object:
    """Returns the vertical field of view of an environment's pictures, degrees; None where it does not say."""
    try:
        return env.get_wrapper_attr("fovy_deg")
    except AttributeError:
        return None


def _with_viewpoint(space: gym.Space[Any]) -> gym.spaces.Dict:
    """Returns the observation space with the viewpoint that a callable adds; an error when there is one already."""
    parts = dict(space.spaces) if isinstance(space, gym.spaces.Dict) else {IMAGE: space}
    if VIEWPOINT in parts:
        raise ValueError("`viewpoint` was given, but the environment already observes one; leave it out.")
    return gym.spaces.Dict({**parts, VIEWPOINT: viewpoint_space()})
