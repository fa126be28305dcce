"""EncodedMazes: many mazes as a frozen GQN sees them, ψ of every view, beside their true maps and walls.

True maps are not part of a data set. A scene is a pure function of (seed, split, number), so it is drawn again and
looked at from above.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gqn_rl.dataset import MultiViewDataset
from gqn_rl.dataset.shards import scene_rng
from gqn_rl.progress import tqdm
from gqn_rl.scene_encoder import SceneEncoder

MOST_BYTES = 8 * 2**30
"""ψ of all views must fit into this much memory."""
_VIEWS_AT_ONCE = 256
_WALL_NAME = re.compile(r"wall_\d+_\d+")


class MazeFromAbove(Protocol):
    """A scene that can also be seen from above; `MazeScene` is one."""

    def sample(self, rng: np.random.Generator) -> None:
        """Draws a new maze."""

    def state(self) -> np.ndarray:
        """Returns its true state, float32 [S]."""

    def top_view(self, size: int | None = None) -> np.ndarray:
        """Returns it from above, uint8 [H, W, 3]."""


@dataclasses.dataclass(frozen=True)
class EncodedMazes:
    """N mazes with K views each.

    Attributes:
        psi: ψ of every view, not standardised, float32 [N, K, *representation_shape], on the CPU.
        viewpoints: float32 [N, K, 7].
        maps: the mazes from above, uint8 [N, H, W, 3].
        walls: bool [N, n, n].
    """

    psi: Tensor
    viewpoints: np.ndarray
    maps: np.ndarray
    walls: np.ndarray

    @property
    def num_views(self) -> int:
        """K."""
        return self.psi.shape[1]

    def representation(self, num_views: int, mazes: slice = slice(None)) -> Tensor:
        """Returns r of the first views of some mazes, float32 [N, *representation_shape]."""
        return self.psi[mazes, :num_views].sum(dim=1)


def encode_mazes(
    encoder: SceneEncoder,
    dataset: MultiViewDataset,
    scene: MazeFromAbove,
    num_mazes: int | None = None,
    progress: bool = True,
) -> EncodedMazes:
    """Encodes all views of the first mazes of a data set and draws their maps.

    Args:
        encoder: loaded with `standardise=False`, since the sum of its ψ is to be the GQN's own r.
        dataset: one split.
        scene: draws the data set's mazes again.
        num_mazes: how many; None for all.
        progress: show progress bars.
    """
    count = dataset.num_scenes if num_mazes is None else min(num_mazes, dataset.num_scenes)
    return EncodedMazes(
        encode_views(encoder, dataset, count, progress),
        dataset.viewpoints[:count],
        true_maps(dataset, scene, count, progress),
        true_walls(dataset)[:count],
    )


def encode_views(encoder: SceneEncoder, dataset: MultiViewDataset, num_mazes: int, progress: bool = True) -> Tensor:
    """Returns ψ of all views of the first mazes, float32 [N, K, *representation_shape]."""
    views = dataset.views_per_scene
    num_bytes = 4 * num_mazes * views * math.prod(encoder.representation_shape)
    if num_bytes > MOST_BYTES:
        raise ValueError(
            f"ψ of {num_mazes} mazes would take {num_bytes / 2**30:.0f} GiB of memory; "
            f"use at most {num_mazes * MOST_BYTES // num_bytes} mazes of this encoder."
        )
    at_once = max(1, _VIEWS_AT_ONCE // views)
    psi = torch.empty(num_mazes, views, *encoder.representation_shape)
    for first in tqdm(range(0, num_mazes, at_once), desc="encoding", unit="batch", disable=not progress):
        mazes = np.arange(first, min(first + at_once, num_mazes))
        images, viewpoints = dataset.views(mazes, np.tile(np.arange(views), (len(mazes), 1)))
        flat = encoder.encode_views(images.reshape(-1, *images.shape[2:]), viewpoints.reshape(-1, viewpoints.shape[-1]))
        psi[first : first + len(mazes)] = torch.from_numpy(flat).unflatten(0, (len(mazes), views))
    return psi


def true_maps(dataset: MultiViewDataset, scene: MazeFromAbove, num_mazes: int, progress: bool = True) -> np.ndarray:
    """Draws the first mazes of a data set again and returns them from above, uint8 [N, H, W, 3].

    Raises:
        ValueError: a maze comes out otherwise than when the data were made.
    """
    maps = np.empty((num_mazes, *[dataset.image_size] * 2, 3), np.uint8)
    seed = dataset.manifest["seed"]
    for index in tqdm(range(num_mazes), desc="true maps", unit="maze", disable=not progress):
        scene.sample(scene_rng(seed, dataset.split, index))
        if not np.array_equal(scene.state(), dataset.states[index]):
            raise ValueError(
                f"Maze {index} of `{dataset.root}` ({dataset.split}) comes out otherwise than when the data were made "
                f"with {dataset.manifest['versions']}; use those versions, or make the data again with "
                "`python -m gqn_rl.generate_data env=maze`."
            )
        maps[index] = scene.top_view(dataset.image_size)
    return maps


def true_walls(dataset: MultiViewDataset) -> np.ndarray:
    """Reads the walls of all mazes out of their true states, bool [N, n, n].

    Raises:
        ValueError: the data set is not of mazes.
    """
    columns = [index for index, name in enumerate(dataset.state_names) if _WALL_NAME.fullmatch(name)]
    cells = math.isqrt(len(columns))
    if not columns or cells**2 != len(columns):
        raise ValueError(
            f"`{dataset.root}` holds scenes of '{dataset.manifest['scene']}', whose state has no walls; expected mazes."
        )
    return dataset.states[:, columns].reshape(-1, cells, cells) > 0.5


def new_layouts(walls: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Tells which of the mazes [N, n, n] have a layout that none of the known ones [M, n, n] has, bool [N]."""
    layouts = {layout.tobytes() for layout in known}
    return np.array([layout.tobytes() not in layouts for layout in walls])


def scene_settings(manifest: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `MazeScene` with which a data set was made, from its manifest."""
    if manifest["scene"] != "maze":
        raise ValueError(
            f"`data.root` holds scenes of '{manifest['scene']}', expected mazes; "
            "`python -m gqn_rl.generate_data env=maze` makes some."
        )
    facts = manifest["scene_facts"]
    return {"cells": facts["cells"], "image_size": manifest["image_size"], "fovy_deg": facts["fovy_deg"]}
