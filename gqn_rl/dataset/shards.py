"""What lies on disk: shards of consecutive scenes as plain .npy files, and the manifest that names and hashes them.

root/manifest.json               written last: the data set is complete
root/manifest.partial.json       instead of it while the data is being made
root/train/00000.images.npy      uint8   [N, K, H, W, 3], N scenes of K views
root/train/00000.viewpoints.npy  float32 [N, K, 7]
root/train/00000.state.npy       float32 [N, S]
root/train/00000.json            written after its three arrays: the shard is finished
root/heldout/...
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gqn_rl.runlog import write_atomic
from gqn_rl.views import VIEWPOINT_SIZE, Scene

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
PARTIAL_MANIFEST = "manifest.partial.json"
SPLITS = ("train", "heldout")
"""Names of the splits; a split's place in this tuple is part of the random seed of its scenes."""
ARRAYS = ("images", "viewpoints", "state")
REMEDY = "delete the file and run the command that made the data once more: it makes that shard again"


def shard_sizes(num_scenes: int, scenes_per_shard: int) -> list[int]:
    """Returns how many scenes each shard of a split holds: all full but perhaps the last.

    >>> shard_sizes(10, 4)
    [4, 4, 2]
    """
    full, rest = divmod(num_scenes, scenes_per_shard)
    return [scenes_per_shard] * full + [rest] * (rest > 0)


def array_path(root: Path, split: str, index: int, array: str) -> Path:
    """Returns the path of one array of shard `index`."""
    return root / split / f"{index:05d}.{array}.npy"


def record_path(root: Path, split: str, index: int) -> Path:
    """Returns the path of the record that says that shard `index` is finished."""
    return root / split / f"{index:05d}.json"


def scene_rng(seed: int, split: str, scene_index: int) -> np.random.Generator:
    """Returns the one source of randomness of a scene, so that a scene depends on nothing but these three values."""
    return np.random.default_rng([seed, SPLITS.index(split), scene_index])


def render_scenes(
    scene: Scene,
    seed: int,
    split: str,
    scene_indices: range,
    views_per_scene: int,
    on_scene: Callable[[], object] = lambda: None,
) -> dict[str, np.ndarray]:
    """Draws the scenes of one shard and looks at each from `views_per_scene` random poses.

    Returns:
        images uint8 [N, K, H, W, 3], viewpoints float32 [N, K, 7], state float32 [N, S], and actions int64 [N], those
        that it took to get into each scene: 0 where a scene is drawn as it is and does not count any.
    """
    n, k, size = len(scene_indices), views_per_scene, scene.image_size
    images = np.empty((n, k, size, size, 3), np.uint8)
    viewpoints = np.empty((n, k, VIEWPOINT_SIZE), np.float32)
    state = np.empty((n, len(scene.state_names)), np.float32)
    actions = np.zeros(n, np.int64)
    for row, scene_index in enumerate(scene_indices):
        rng = scene_rng(seed, split, scene_index)
        scene.sample(rng)
        state[row] = scene.state()
        actions[row] = getattr(scene, "num_actions", 0)
        for view in range(k):
            pose = scene.sample_pose(rng)
            images[row, view] = scene.render(pose)
            viewpoints[row, view] = pose.viewpoint
        on_scene()
    return {"images": images, "viewpoints": viewpoints, "state": state, "actions": actions}


def write_shard(
    root: Path, split: str, index: int, arrays: dict[str, np.ndarray], facts: Mapping[str, Any] | None = None
) -> None:
    """Writes a shard's arrays, then its record with further `facts`; each file appears whole or not at all."""
    record_path(root, split, index).unlink(missing_ok=True)
    files = {}
    for name in ARRAYS:
        buffer = io.BytesIO()
        np.save(buffer, arrays[name])
        path, content = array_path(root, split, index, name), buffer.getvalue()
        write_atomic(path, content)
        files[path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write_json(record_path(root, split, index), {"num_scenes": len(arrays["state"]), "files": files, **(facts or {})})


def finished_record(root: Path, split: str, index: int, num_scenes: int) -> dict[str, Any] | None:
    """Returns the record of a shard that is finished and holds `num_scenes`; None when it has to be made."""
    path = record_path(root, split, index)
    if not path.is_file():
        return None
    record = read_json(path)
    sizes = {name: file["bytes"] for name, file in record["files"].items()}
    on_disk = {name: _size(root / split / name) for name in sizes}
    return record if record["num_scenes"] == num_scenes and sizes == on_disk else None


def check_sizes(root: Path, split: str, record: dict[str, Any]) -> None:
    """Refuses a shard with a missing or truncated file."""
    for name, file in record["files"].items():
        path = root / split / name
        size = _size(path)
        if size is None:
            raise ValueError(f"Shard file `{path}` is missing; run the command that made the data once more.")
        if size != file["bytes"]:
            raise ValueError(f"Shard file `{path}` must have {file['bytes']} bytes, has {size}: {REMEDY}.")


def check_sha256(path: Path, expected: str) -> None:
    """Refuses a shard file whose content is not what was written."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        raise ValueError(f"Shard file `{path}` was altered: its sha256 is not the one in the manifest; {REMEDY}.")


def read_json(path: Path) -> dict[str, Any]:
    """Reads one of the data set's JSON files, refusing a broken one by name."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"`{path}` is not valid JSON ({error}); delete it and generate the data again.") from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON atomically."""
    write_atomic(path, json.dumps(content, indent=2).encode() + b"\n")


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
