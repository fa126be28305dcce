"""Encoders that no scene has trained: a network's first weights, or ImageNet's, standardised on random states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gqn_rl.envs.cameras import Camera
from gqn_rl.experience import EXPERIENCE, Experience
from gqn_rl.imagenet import ImageNetEncoder, load_weights
from gqn_rl.representation import random_encoder
from gqn_rl.runtimes import TORCH
from gqn_rl.scene_encoder import SceneEncoder
from gqn_rl.views import IMAGE, VIEWPOINT, Views
from gqn_rl.wrappers.factory import make_env
from gqn_rl.wrappers.observation import PIXELS


def untrained_encoder(
    network: dict[str, Any],
    env_id: str,
    camera: Camera | str,
    *,
    seed: int,
    env_kwargs: Mapping[str, Any] | None = None,
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
        views_per_scene: of the views that it is standardised on; with a single one all entries stay as they are.
        runtime: as for `load_encoder`.
    """
    size = random_encoder(network, seed).image_size
    views = random_views(env_id, camera, size=size, seed=seed, env_kwargs=env_kwargs, views_per_scene=views_per_scene)
    encoder = random_encoder(network, seed, views, entries, runtime)
    encoder.metadata[EXPERIENCE] = _cost(views)
    return encoder


def imagenet_encoder(
    env_id: str, camera: Camera | str, *, size: int, seed: int, env_kwargs: Mapping[str, Any] | None = None
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
    env_kwargs: Mapping[str, Any] | None = None,
    views_per_scene: int = 4,
) -> Views:
    """Looks at the first steps of random episodes: the pictures that a random encoder is standardised on.

    Returns:
        images uint8 [num_scenes, views_per_scene, size, size, 3], viewpoints float32 [num_scenes, views_per_scene, 7].
    """
    env = make_env(env_id, PIXELS, camera, size=size, env_kwargs=env_kwargs)
    env.action_space.seed(seed)
    seen: list[dict[str, np.ndarray]] = []
    for scene in range(num_scenes):
        seen.append(env.reset(seed=seed if scene == 0 else None)[0])
        seen += [env.step(env.action_space.sample())[0] for _ in range(views_per_scene - 1)]
    env.close()
    parts = (np.stack([view[key] for view in seen]) for key in (IMAGE, VIEWPOINT))
    return Views(*(part.reshape(num_scenes, views_per_scene, *part.shape[1:]) for part in parts))
