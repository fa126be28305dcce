"""MultiViewDataset: a finished data set, memory-mapped, read by scene and view numbers."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from gqn_rl.dataset.shards import (
    MANIFEST,
    PARTIAL_MANIFEST,
    SCHEMA_VERSION,
    SPLITS,
    array_path,
    check_sha256,
    check_sizes,
    read_json,
    write_json,
)
from gqn_rl.views import POSE_CONVENTION, Views

VERIFIED = "verified.{split}.json"
"""Which files were hashed: name -> [bytes, mtime_ns]; a file is hashed again when either changes."""


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
        self.states = self._load("state", len(shards))
        self.viewpoints = self._load("viewpoints", len(shards))
        # One row per picture, [scenes * K, H * W * 3]: gathering a row is then one contiguous copy.
        self._images = [
            np.asarray(np.load(array_path(self.root, split, i, "images"), mmap_mode="r")).reshape(
                -1, self.image_size * self.image_size * 3
            )
            for i in range(len(shards))
        ]

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

    def _load(self, array: str, num_shards: int) -> np.ndarray:
        return np.concatenate([np.load(array_path(self.root, self.split, i, array)) for i in range(num_shards)])

    def _verify(self, shards: list[dict[str, Any]]) -> None:
        stamp_path = self.root / VERIFIED.format(split=self.split)
        known = read_json(stamp_path) if stamp_path.is_file() else {}
        stamps = {}
        for record in shards:
            for name, file in record["files"].items():
                path = self.root / self.split / name
                stamps[name] = [path.stat().st_size, path.stat().st_mtime_ns, file["sha256"]]
                if known.get(name) != stamps[name]:
                    check_sha256(path, file["sha256"])
        if stamps != known:
            with contextlib.suppress(OSError):  # on a read-only or full disk, the next opening hashes again
                write_json(stamp_path, stamps)


def read_manifest(root: Path) -> dict[str, Any]:
    """Returns the manifest of a finished data set, refusing an unfinished or foreign one."""
    command = f"`python -m gqn_rl.generate_data root={root}`"
    if not (root / MANIFEST).is_file():
        if (root / PARTIAL_MANIFEST).is_file():
            raise ValueError(f"The data set in `{root}` is unfinished; the command that began it continues it.")
        raise ValueError(f"`{root}` holds no data set (no {MANIFEST}); make one with {command}.")
    manifest = read_json(root / MANIFEST)
    given = (manifest.get("schema_version"), manifest.get("pose_convention"))
    if given != (SCHEMA_VERSION, POSE_CONVENTION):
        raise ValueError(
            f"`{root / MANIFEST}` must have schema version and pose convention {(SCHEMA_VERSION, POSE_CONVENTION)}, "
            f"got {given}; make the data again with {command}."
        )
    return manifest


def _check_range(name: str, indices: np.ndarray, limit: int) -> None:
    if indices.size and not (indices.min() >= 0 and indices.max() < limit):
        raise ValueError(f"`{name}` must lie in [0, {limit}), got {indices.min()} to {indices.max()}.")
