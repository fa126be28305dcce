"""One task, many observations: environments that differ by one word, `repr`."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack

from gqn_rl.envs.cameras import Camera
from gqn_rl.experience import EXPERIENCE, Experience
from gqn_rl.imagenet import ImageNetEncoder, load_weights
from gqn_rl.machine import import_triton_before_opengl
from gqn_rl.representation import SceneEncoder, random_encoder
from gqn_rl.runtimes import TORCH
from gqn_rl.views import IMAGE, PROPRIOCEPTION, VIEWPOINT, Views
from gqn_rl.wrappers.batched import GQNVecEnv
from gqn_rl.wrappers.camera import CameraObservation
from gqn_rl.wrappers.context import Encoder, resolve_encoder
from gqn_rl.wrappers.monitor import monitor_file
from gqn_rl.wrappers.representation import GQNObservationWrapper
from gqn_rl.wrappers.shared_memory import SharedMemoryVecEnv

REPRESENTATIONS = ("oracle", "pixels", "gqn", "vae", "random_encoder", "imagenet")
"""What an agent may see: the true state, pictures, r of a pretrained GQN, a VAE's code, r of an untrained network, or
what a network knows of photographs."""
_ENCODED = ("gqn", "vae", "random_encoder", "imagenet")


def make_env(
    env_id: str,
    repr: str = "gqn",
    camera: Camera | str = "moving",
    encoder: Encoder | str | None = None,
    *,
    size: int | None = None,
    proprioception: Sequence[str] = (),
    pose_noise: Sequence[float] = (0.0, 0.0),
    keep: Sequence[str] = (),
    env_kwargs: dict[str, Any] | None = None,
    **representation: Any,
) -> gym.Env[Any, Any]:
    """Makes one environment as an agent sees it.

    Args:
        env_id: the task's Gymnasium id.
        repr: one of `REPRESENTATIONS`.
        camera: see `CameraObservation`; repr="oracle" looks through none.
        encoder: the encoder of repr="gqn", "vae", "random_encoder" or "imagenet" (`untrained_encoder` and
            `imagenet_encoder` make the last two).
        size: height and width of the pictures; by default the encoder's, or 64 without one.
        proprioception: see `CameraObservation`; beside r it is seen too.
        pose_noise: see `CameraObservation`.
        keep: keys of the environment's own Dict observation to see beside pictures or r, such as "achieved_goal" and
            "desired_goal"; beside r also those of `CameraObservation`'s.
        env_kwargs: keyword arguments of the environment itself.
        **representation: further arguments of `GQNObservationWrapper`.
    """
    own = _own_keys(repr, keep)
    encoder = _encoder_for(repr, encoder, representation)
    size = _picture_size(size, encoder)
    env = _camera_env(env_id, repr, camera, size, proprioception, env_kwargs or {}, pose_noise, own)
    representation = _keeping(representation, keep, proprioception)
    return env if encoder is None else GQNObservationWrapper(env, encoder, **representation)


def make_vec_env(
    env_id: str,
    repr: str = "gqn",
    camera: Camera | str = "moving",
    encoder: Encoder | str | None = None,
    *,
    num_envs: int = 1,
    seed: int = 0,
    num_workers: int = 0,
    monitor_dir: str | pathlib.Path | None = None,
    size: int | None = None,
    stack: int = 1,
    proprioception: Sequence[str] = (),
    pose_noise: Sequence[float] = (0.0, 0.0),
    keep: Sequence[str] = (),
    env_kwargs: dict[str, Any] | None = None,
    **representation: Any,
) -> VecEnv:
    """Makes `num_envs` environments for Stable-Baselines3, seeded `seed`, `seed + 1`, ….

    Args:
        env_id: the task's Gymnasium id.
        repr: one of `REPRESENTATIONS`.
        camera: see `CameraObservation`.
        encoder: as for `make_env`.
        num_envs: number of environments side by side.
        seed: of the first environment.
        num_workers: processes that share the environments (`SharedMemoryVecEnv`), 0 steps all in this one. Each encodes
            what its own see, unless the encoder is on a GPU: that one stays in this process.
        monitor_dir: folder of Stable-Baselines3's monitor files, appended to where they exist; None writes none.
        size: as for `make_env`.
        stack: with repr="pixels", how many of the newest pictures and viewpoints are seen at once, the oldest first:
            images [H, W, 3 * stack] and viewpoints [7 * stack], 0 where the episode is younger.
        proprioception: as for `make_env`.
        pose_noise: see `CameraObservation`.
        keep: as for `make_env`.
        env_kwargs: keyword arguments of the environment itself.
        **representation: further arguments of `GQNVecEnv`.
    """
    if num_envs < 1 or num_workers < 0:
        raise ValueError(
            f"`num_envs` must be at least 1 and `num_workers` 0 or more, got {num_envs} and {num_workers}."
        )
    if stack < 1 or (stack > 1 and repr != "pixels"):
        raise ValueError(f"`stack` must be 1, or more with repr='pixels', got {stack} with repr={repr!r}.")
    own = _own_keys(repr, keep)
    encoder = _encoder_for(repr, encoder, representation)
    size = _picture_size(size, encoder)
    make = functools.partial(_camera_env, env_id, repr, camera, size, proprioception, env_kwargs or {}, pose_noise, own)
    representation = _keeping(representation, keep, proprioception)
    files = [None if monitor_dir is None else pathlib.Path(monitor_dir) / str(i) for i in range(num_envs)]
    starts: list[Callable[[], gym.Env]] = [functools.partial(_monitored, make, file) for file in files]

    def encoded(envs: VecEnv) -> VecEnv:
        return envs if encoder is None else GQNVecEnv(envs, encoder, **representation)

    if num_workers == 0:
        envs = encoded(DummyVecEnv(starts))
    elif getattr(encoder, "device", "cpu") == "cpu":
        envs = _in_workers(starts, min(num_workers, num_envs), make, encoded)
    else:
        envs = encoded(_in_workers(starts, min(num_workers, num_envs), make))
    envs.seed(seed)
    return VecFrameStack(envs, stack) if stack > 1 else envs


def untrained_encoder(
    network: dict[str, Any],
    env_id: str,
    camera: Camera | str,
    *,
    seed: int,
    env_kwargs: dict[str, Any] | None = None,
    entries: int | None = None,
    views_per_scene: int = 4,
    runtime: str = TORCH,
) -> SceneEncoder:
    """Returns the encoder of repr="random_encoder": a network's first weights, standardised on random states.

    Args:
        network: what `build_model` takes; in a pretrained encoder: `metadata["model"]`.
        env_id: the task's Gymnasium id.
        camera: see `CameraObservation`.
        seed: of the weights and of the states.
        env_kwargs: keyword arguments of the environment itself.
        entries: as for `random_encoder`.
        views_per_scene: of the views that it is standardised on; with a single one all entries are told as they are.
        runtime: as for `load_encoder`.
    """
    size = random_encoder(network, seed).image_size
    views = random_views(env_id, camera, size=size, seed=seed, env_kwargs=env_kwargs, views_per_scene=views_per_scene)
    encoder = random_encoder(network, seed, views, entries, runtime)
    encoder.metadata[EXPERIENCE] = _cost(views)
    return encoder


def imagenet_encoder(
    env_id: str, camera: Camera | str, *, size: int, seed: int, env_kwargs: dict[str, Any] | None = None
) -> ImageNetEncoder:
    """Returns the encoder of repr="imagenet", standardised on random states; arguments as for `random_views`.

    Raises:
        ValueError: its weights are not installed.
    """
    weights = load_weights()
    views = random_views(env_id, camera, size=size, seed=seed, env_kwargs=env_kwargs)
    encoder = ImageNetEncoder(size, views, weights)
    encoder.metadata[EXPERIENCE] = _cost(views)
    return encoder


def _cost(views: Views) -> dict[str, int | None]:
    """Returns the pictures and actions of random episodes, whose first view takes no action."""
    num_scenes, views_per_scene = views.images.shape[:2]
    return Experience(num_scenes * views_per_scene, num_scenes * (views_per_scene - 1))._asdict()


def random_views(
    env_id: str,
    camera: Camera | str,
    *,
    size: int,
    num_scenes: int = 512,
    seed: int = 0,
    env_kwargs: dict[str, Any] | None = None,
    views_per_scene: int = 4,
) -> Views:
    """Looks at the first steps of random episodes: the pictures that a random encoder is standardised on.

    Returns:
        images uint8 [num_scenes, views_per_scene, size, size, 3], viewpoints float32 [num_scenes, views_per_scene, 7].
    """
    env = _camera_env(env_id, "pixels", camera, size, (), env_kwargs or {})
    env.action_space.seed(seed)
    seen: list[dict[str, np.ndarray]] = []
    for scene in range(num_scenes):
        seen.append(env.reset(seed=seed if scene == 0 else None)[0])
        seen += [env.step(env.action_space.sample())[0] for _ in range(views_per_scene - 1)]
    env.close()
    parts = (np.stack([view[key] for view in seen]) for key in (IMAGE, VIEWPOINT))
    return Views(*(part.reshape(num_scenes, views_per_scene, *part.shape[1:]) for part in parts))


def _encoder_for(repr: str, encoder: Encoder | str | None, settings: dict[str, Any]) -> Encoder | None:
    """Returns the loaded encoder of a representation, None where it has none; refuses settings without effect."""
    if repr not in REPRESENTATIONS:
        raise ValueError(f"`repr` must be one of {list(REPRESENTATIONS)}, got {repr!r}.")
    if repr not in _ENCODED:
        if settings:
            raise ValueError(f"{sorted(settings)} have no effect with repr={repr!r}; leave them out.")
        return None
    if encoder is None:
        raise ValueError(f"`encoder` must be given with repr={repr!r}: an encoder, or the path or name of one.")
    return resolve_encoder(encoder)


def _picture_size(size: int | None, encoder: Encoder | None) -> int:
    return size or (64 if encoder is None else encoder.image_size)


def _own_keys(repr: str, keep: Sequence[str]) -> list[str]:
    """Returns which of the keys to keep are the environment's own, and not of `CameraObservation`; refuses the rest."""
    if isinstance(keep, str):
        raise ValueError(f"`keep` must be a list of observation keys, got the string {keep!r}.")
    own = [key for key in keep if key not in (IMAGE, VIEWPOINT, PROPRIOCEPTION)]
    if keep and repr == "oracle":
        raise ValueError(f"`keep` {list(keep)} has no effect with repr='oracle', which sees everything; leave it out.")
    if repr == "pixels" and len(own) < len(keep):
        raise ValueError(f"`keep` must name the environment's own keys with repr='pixels', got {list(keep)}.")
    return own


def _keeping(representation: dict[str, Any], keep: Sequence[str], proprioception: Sequence[str]) -> dict[str, Any]:
    """Returns the arguments of `GQNObservationWrapper` that hand these keys, and proprioception, on."""
    kept = list(dict.fromkeys([*keep, *([PROPRIOCEPTION] if proprioception else [])]))
    return representation | {"keep": kept} if kept else representation


def _camera_env(
    env_id: str,
    repr: str,
    camera: Camera | str,
    size: int,
    proprioception: Sequence[str],
    env_kwargs: dict[str, Any],
    pose_noise: Sequence[float] = (0.0, 0.0),
    keep: Sequence[str] = (),
) -> gym.Env[Any, Any]:
    """Makes the environment as far as its pictures, or its true state for the oracle."""
    if env_kwargs.get("render_mode") is not None:
        import_triton_before_opengl()
    try:
        env = gym.make(env_id, disable_env_checker=True, **env_kwargs)
    except TypeError as error:  # an argument that it does not have
        raise ValueError(f"`{env_id}` cannot be made: {error}.") from error
    return env if repr == "oracle" else CameraObservation(env, camera, size, proprioception, pose_noise, keep=keep)


def _monitored(make: Callable[[], gym.Env[Any, Any]], file: pathlib.Path | None) -> Monitor:
    """Makes one environment with its monitor file, whose rows and clock go on where it exists."""
    if file is None:
        return Monitor(make())
    found = monitor_file(file)
    monitor = Monitor(make(), str(found.path), override_existing=found.began_s is None)
    if found.began_s is not None:  # readers put episodes in the order of time
        monitor.t_start = found.began_s
    return monitor


def _in_workers(
    starts: Sequence[Callable[[], gym.Env]],
    num_workers: int,
    make: Callable[[], gym.Env],
    wrap: Callable[[VecEnv], VecEnv] | None = None,
) -> VecEnv:
    """Starts worker processes; one environment is made here too, and closed, to learn its spaces."""
    one: VecEnv = DummyVecEnv([make])
    one = one if wrap is None else wrap(one)
    one.close()
    return SharedMemoryVecEnv(starts, num_workers, one.observation_space, one.action_space, wrap)
