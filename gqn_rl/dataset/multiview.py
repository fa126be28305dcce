"""MultiViewDataset: a finished data set, memory-mapped, read by scene and view numbers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gqn_rl.artefacts.documents import Anything, ListOf, MapOf, read_json
from gqn_rl.dataset.arrays import expected_shape, open_array
from gqn_rl.dataset.folder import VERIFIED
from gqn_rl.dataset.manifest import SPLITS, array_path, read_manifest
from gqn_rl.dataset.shards import check_sha256, check_sizes
from gqn_rl.runlog import write_atomic
from gqn_rl.views import Views

_REMEDY = "file and manifest do not belong together: restore them, or make the data again with overwrite=true"


class MultiViewDataset:
    """One split of a data set of N scenes with K views each.

    Images stay on disk, memory-mapped; viewpoints and states, which are small, are held in memory.

    Attributes:
        manifest: what `generate` wrote about the data set.
        num_scenes, views_per_scene, image_size: N, K and H = W.
        state_names: names of the entries of a state.
        states: float32 [N, S], the true state of every scene.
        viewpoints: float32 [N, K, 7].
    """

    def __init__(self, root: str | Path, split: str = "train", verify: bool = True) -> None:
        """Opens a data set, refusing a damaged one by the name of the file.

        Args:
            root: folder that `generate` wrote.
            split: "train" or "heldout".
            verify: compare each file's sha256 as well as its size. A file that was hashed before and has the same size
                and modification time is not hashed again (`verified.<split>.json` in `root` remembers).
        """
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {SPLITS}, got {split!r}.")
        self.root, self.split = Path(root), split
        self.manifest = read_manifest(self.root)
        self.num_scenes: int = self.manifest["num_scenes"][split]
        self.views_per_scene: int = self.manifest["views_per_scene"]
        self.image_size: int = self.manifest["image_size"]
        self.state_names: tuple[str, ...] = tuple(self.manifest["state_names"])

        shards = self.manifest["shards"][split]
        for record in shards:
            check_sizes(self.root, split, record)
        if verify:
            self._verify(shards)
        self.states = self._load("state")
        self.viewpoints = self._load("viewpoints")
        # One row per picture, [scenes * K, H * W * 3]: gathering a row is then one contiguous copy.
        row = self.image_size * self.image_size * 3
        self._images = [np.asarray(images).reshape(-1, row) for images in self._arrays("images")]

    def views(self, scene_indices: np.ndarray, view_indices: np.ndarray) -> Views:
        """Gathers views.

        Args:
            scene_indices: int [B], scenes.
            view_indices: int [B, n], views of each of those scenes.

        Returns:
            Views of NumPy arrays: images uint8 [B, n, H, W, 3], viewpoints float32 [B, n, 7].
        """
        scenes, view_numbers = np.asarray(scene_indices), np.asarray(view_indices)
        _check_range("scene_indices", scenes, self.num_scenes)
        _check_range("view_indices", view_numbers, self.views_per_scene)
        size = self.image_size
        images = np.empty((*view_numbers.shape, size * size * 3), np.uint8)
        shard_of_scene, row_in_shard = np.divmod(scenes, self.manifest["scenes_per_shard"])
        pictures = row_in_shard[:, None] * self.views_per_scene + view_numbers
        for shard in np.unique(shard_of_scene):
            chosen = shard_of_scene == shard
            images[chosen] = self._images[shard][pictures[chosen]]
        return Views(images.reshape(*view_numbers.shape, size, size, 3), self.viewpoints[scenes[:, None], view_numbers])

    def _load(self, array: str) -> np.ndarray:
        return np.concatenate(list(self._arrays(array)))

    def _arrays(self, array: str) -> Iterator[np.ndarray]:
        """Yields an array of every shard, compared with what the manifest says of it."""
        for index, shard in enumerate(self.manifest["shards"][self.split]):
            shape = expected_shape(self.manifest, array, shard["num_scenes"])
            yield open_array(array_path(self.root, self.split, index, array), array, shape, _REMEDY)

    def _verify(self, shards: list[dict[str, Any]]) -> None:
        stamp_path = self.root / VERIFIED.format(split=self.split)
        known = _stamps(stamp_path)
        stamps = {}
        for record in shards:
            for name, file in record["files"].items():
                path = self.root / self.split / name
                stamps[name] = [path.stat().st_size, path.stat().st_mtime_ns, file["sha256"]]
                if known.get(name) != stamps[name]:
                    check_sha256(path, file["sha256"])
        if stamps != known:
            with contextlib.suppress(OSError):  # on a read-only or full disk, the next opening hashes again
                write_atomic(stamp_path, json.dumps(stamps, indent=2) + "\n")


def _stamps(path: Path) -> dict[str, Any]:
    """Returns which files were hashed before; nothing where that cannot be read, and all are hashed again."""
    try:
        return read_json(path, MapOf(ListOf(Anything())), "all files are hashed again")
    except (ValueError, OSError):
        return {}


def _check_range(name: str, indices: np.ndarray, limit: int) -> None:
    if indices.size and not (indices.min() >= 0 and indices.max() < limit):
        raise ValueError(f"`{name}` must lie in [0, {limit}), got {indices.min()} to {indices.max()}.")
