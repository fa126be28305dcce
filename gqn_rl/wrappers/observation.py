"""ObservationSpec: everything that decides what an agent sees of a task, in one value that can make it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

from gqn_rl.envs.cameras import Camera
from gqn_rl.views import IMAGE, PROPRIOCEPTION, VIEWPOINT
from gqn_rl.wrappers.batched import GQNVecEnv
from gqn_rl.wrappers.camera import CameraObservation
from gqn_rl.wrappers.context import RepresentationSpec, resolve_encoder
from gqn_rl.wrappers.representation import GQNObservationWrapper

ORACLE, PIXELS = "oracle", "pixels"
ENCODED = ("gqn", "vae", "random_encoder", "imagenet")
"""Kinds whose frozen encoder stands between the camera and the agent."""
FINETUNED, SCRATCH = "finetuned", "scratch"
IN_NETWORK = (FINETUNED, SCRATCH)
"""Kinds whose encoder is a part of the agent's network, which sees pictures and trains it: pretrained, or not."""
REPRESENTATIONS = (ORACLE, PIXELS, *ENCODED, *IN_NETWORK)
"""What an agent may see: the true state, pictures, r of a pretrained GQN, a VAE's code, r of an untrained network,
ImageNet features, or pictures for an encoder that learns with the agent."""
DEFAULT_SIZE = 64
"""Pixels: side of the pictures where no encoder says another."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObservationSpec(RepresentationSpec):
    """What an agent sees: of which kind, through which camera and which encoder, and how those are set.

    Attributes:
        kind: one of `REPRESENTATIONS`.
        camera: see `CameraObservation`; kind "oracle" looks through none.
        size: height and width of the pictures; None is the encoder's, or 64 without one.
        stack: with kind "pixels", how many of the newest pictures and viewpoints are seen at once, the oldest first:
            images [H, W, 3 * stack] and viewpoints [7 * stack], 0 where the episode is younger.
        proprioception: see `CameraObservation`; beside r it is seen too.
        pose_noise: see `CameraObservation`.
        keep: keys of the environment's own Dict observation to see beside pictures or r, such as "achieved_goal" and
            "desired_goal"; beside r also those of `CameraObservation`'s.

    Raises:
        ValueError: a setting is unknown, out of range, or without effect on this kind.
    """

    kind: str = "gqn"
    camera: Camera | str = "moving"
    size: int | None = None
    stack: int = 1
    proprioception: Sequence[str] = ()
    pose_noise: Sequence[float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.kind not in REPRESENTATIONS:
            raise ValueError(f"`repr` must be one of {list(REPRESENTATIONS)}, got {self.kind!r}.")
        super().__post_init__()
        if self.stack < 1 or (self.stack > 1 and self.kind != PIXELS):
            raise ValueError(
                f"`stack` must be 1, or more with repr='pixels', got {self.stack} with repr={self.kind!r}."
            )
        if self.keep and self.kind == ORACLE:
            raise ValueError(
                f"`keep` {list(self.keep)} has no effect with repr='oracle', which sees everything; leave it out."
            )
        if not self.encodes:
            self._refuse_settings_of_encoders()
        elif self.encoder is None:
            raise ValueError(
                f"`encoder` must be given with repr={self.kind!r}: an encoder, or the path or name of one."
            )

    @property
    def encodes(self) -> bool:
        """Whether views are replaced by r before the agent sees them."""
        return self.kind in ENCODED

    @property
    def learns(self) -> bool:
        """Whether the encoder is a part of the agent's network."""
        return self.kind in IN_NETWORK

    def load(self) -> ObservationSpec:
        """Returns the same with the encoder itself in the place of its path or name."""
        return dataclasses.replace(self, encoder=None if self.encoder is None else resolve_encoder(self.encoder))

    def wrap(self, env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        """Wraps one environment, so that it observes what the agent sees; without `stack`, which `wrap_vec` does."""
        env = look(env, self.of_camera())
        return GQNObservationWrapper(env, **self._of_encoder()) if self.encodes else env

    def of_camera(self) -> dict[str, Any] | None:
        """Returns the arguments of `CameraObservation`, for `look`; None for the oracle."""
        if self.kind == ORACLE:
            return None
        size = self.size or (DEFAULT_SIZE if self.encoder is None else resolve_encoder(self.encoder).image_size)
        facts = {"camera": self.camera, "size": size, "pose_noise": self.pose_noise, "keep": self._own_keys()}
        return facts | {"proprioception": self.proprioception}

    def wrap_vec(self, envs: VecEnv) -> VecEnv:
        """Wraps environments that observe views, so that they observe what the agent sees."""
        return self.stacked(self.encoded(envs))

    def encoded(self, envs: VecEnv) -> VecEnv:
        """Replaces views by r; one forward pass encodes those of all environments. Nothing without an encoder."""
        return GQNVecEnv(envs, **self._of_encoder()) if self.encodes else envs

    def stacked(self, envs: VecEnv) -> VecEnv:
        """Lets the newest `stack` observations be seen at once."""
        return VecFrameStack(envs, self.stack) if self.stack > 1 else envs

    def _of_encoder(self) -> dict[str, Any]:
        """Returns the arguments of `GQNObservationWrapper` and its batched twin."""
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(RepresentationSpec)}
        felt = [PROPRIOCEPTION] if self.proprioception else []
        return settings | {"keep": list(dict.fromkeys([*self.keep, *felt]))}

    def _own_keys(self) -> list[str]:
        """Returns which of the keys to keep are the environment's own, and not `CameraObservation`'s."""
        return [key for key in self.keep if key not in (IMAGE, VIEWPOINT, PROPRIOCEPTION)]

    def _refuse_settings_of_encoders(self) -> None:
        """Refuses what only a frozen encoder reads."""
        fields = [field for field in dataclasses.fields(RepresentationSpec) if field.name not in ("encoder", "keep")]
        if idle := sorted(field.name for field in fields if getattr(self, field.name) != field.default):
            raise ValueError(f"{idle} have no effect with repr={self.kind!r}; leave them out.")
        if len(self._own_keys()) < len(self.keep):
            raise ValueError(f"`keep` must name the environment's own keys with repr='pixels', got {list(self.keep)}.")


def look(env: gym.Env[Any, Any], camera: Mapping[str, Any] | None) -> gym.Env[Any, Any]:
    """Wraps an environment in the camera of `ObservationSpec.of_camera`, or leaves it its true state."""
    return env if camera is None else CameraObservation(env, **camera)
