"""One task, many observations: environments that differ by one word, `repr`."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from gqn_rl.envs.cameras import Camera
from gqn_rl.machine import import_triton_before_opengl
from gqn_rl.wrappers.context import Encoder
from gqn_rl.wrappers.monitor import monitor_file
from gqn_rl.wrappers.observation import ObservationSpec, look
from gqn_rl.wrappers.shared_memory import SharedMemoryVecEnv


def make_env(
    env_id: str,
    repr: str = "gqn",
    camera: Camera | str = "moving",
    encoder: Encoder | str | None = None,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> gym.Env[Any, Any]:
    """Makes one environment as an agent sees it.

    Args:
        env_id: the task's Gymnasium id.
        repr: one of `REPRESENTATIONS`.
        camera: see `CameraObservation`; repr="oracle" looks through none.
        encoder: the encoder of repr="gqn", "vae", "random_encoder" or "imagenet" (`untrained_encoder` and
            `imagenet_encoder` make the last two).
        env_kwargs: keyword arguments of the environment itself.
        **settings: further attributes of `ObservationSpec`.
    """
    spec = _spec(repr, camera, encoder, settings)
    return spec.wrap(_make(env_id, env_kwargs or {}))


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
    env_kwargs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> VecEnv:
    """Makes `num_envs` environments for Stable-Baselines3, seeded `seed`, `seed + 1`, …; see `make_envs_of`.

    Args:
        env_id: the task's Gymnasium id.
        repr: one of `REPRESENTATIONS`.
        camera: see `CameraObservation`.
        encoder: as for `make_env`.
        num_envs: as for `make_envs_of`.
        seed: likewise.
        num_workers: likewise.
        monitor_dir: likewise.
        env_kwargs: keyword arguments of the environment itself.
        **settings: further attributes of `ObservationSpec`.
    """
    spec = _spec(repr, camera, encoder, settings)
    how: dict[str, Any] = {"num_envs": num_envs, "seed": seed, "num_workers": num_workers, "monitor_dir": monitor_dir}
    return make_envs_of(spec, env_id, env_kwargs, **how)


def make_envs_of(
    spec: ObservationSpec,
    env_id: str,
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    num_envs: int = 1,
    seed: int = 0,
    num_workers: int = 0,
    monitor_dir: str | pathlib.Path | None = None,
) -> VecEnv:
    """Makes environments side by side, as `spec` says that an agent sees them.

    Args:
        spec: what the agent sees.
        env_id: the task's Gymnasium id.
        env_kwargs: keyword arguments of the environment itself.
        num_envs: number of environments side by side.
        seed: of the first environment; the others have the next ones.
        num_workers: processes that share the environments (`SharedMemoryVecEnv`), 0 steps all in this one. Each encodes
            what its own see, unless the encoder is on a GPU: that one stays in this process.
        monitor_dir: folder of Stable-Baselines3's monitor files, appended to where they exist; None writes none.
    """
    if num_envs < 1 or num_workers < 0:
        raise ValueError(
            f"`num_envs` must be at least 1 and `num_workers` 0 or more, got {num_envs} and {num_workers}."
        )
    make = functools.partial(_look, env_id, dict(env_kwargs or {}), spec.of_camera())
    files = [None if monitor_dir is None else pathlib.Path(monitor_dir) / str(i) for i in range(num_envs)]
    starts: list[Callable[[], gym.Env]] = [functools.partial(_monitored, make, file) for file in files]
    if num_workers == 0:
        envs = spec.wrap_vec(DummyVecEnv(starts))
    elif getattr(spec.encoder, "device", "cpu") == "cpu":
        envs = spec.stacked(_in_workers(starts, min(num_workers, num_envs), make, spec.encoded))
    else:
        envs = spec.wrap_vec(_in_workers(starts, min(num_workers, num_envs), make))
    envs.seed(seed)
    return envs


def _spec(
    repr: str, camera: Camera | str, encoder: Encoder | str | None, settings: Mapping[str, Any]
) -> ObservationSpec:
    """Returns what the agent sees, with the encoder itself.

    Raises:
        ValueError: a setting is unknown, out of range or without effect.
    """
    known = [field.name for field in dataclasses.fields(ObservationSpec)]
    if unknown := sorted(set(settings) - set(known)):
        raise ValueError(f"{unknown} are no settings of what an agent sees; there are {', '.join(known)}.")
    return ObservationSpec(kind=repr, camera=camera, encoder=encoder, **settings).load()


def _make(env_id: str, env_kwargs: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """Makes the environment itself."""
    if env_kwargs.get("render_mode") is not None:
        import_triton_before_opengl()
    try:
        return gym.make(env_id, disable_env_checker=True, **env_kwargs)
    except TypeError as error:  # an argument that it does not have
        raise ValueError(f"`{env_id}` cannot be made: {error}.") from error


def _look(env_id: str, env_kwargs: Mapping[str, Any], camera: Mapping[str, Any] | None) -> gym.Env[Any, Any]:
    """Makes the environment as far as its pictures, or its true state for the oracle."""
    return look(_make(env_id, env_kwargs), camera)


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
