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
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gqn_rl.artefacts.files import check_regular, open_regular
from gqn_rl.dataset.arrays import check_arrays
from gqn_rl.dataset.manifest import (
    ARRAYS,
    MADE_WITH,
    SPLITS,
    array_names,
    array_path,
    read_record,
    record_path,
    write_json,
)
from gqn_rl.poses import VIEWPOINT_SIZE, Scene
from gqn_rl.runlog import write_atomic

_log = logging.getLogger(__name__)

REMEDY = "delete the file and run the command that made the data once more: it makes that shard again"


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
    root: Path,
    split: str,
    index: int,
    arrays: dict[str, np.ndarray],
    made_with: str,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Writes a shard's arrays, then its record with further `facts`; each file appears whole or not at all.

    Args:
        root: folder of the data set.
        split: which split the shard is of.
        index: its number.
        arrays: its content, by the names of `ARRAYS`.
        made_with: the `settings_digest` of the data set.
        facts: further entries of the record.

    Raises:
        ValueError: an array holds NaN or infinity, or viewpoints that are none.
    """
    check_arrays(arrays, f"The scenes of `{array_path(root, split, index, 'images')}` cannot be written")
    record_path(root, split, index).unlink(missing_ok=True)
    files = {}
    for name in ARRAYS:
        buffer = io.BytesIO()
        np.save(buffer, arrays[name])
        path, content = array_path(root, split, index, name), buffer.getvalue()
        write_atomic(path, content)
        files[path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    record = {"num_scenes": len(arrays["state"]), "files": files, MADE_WITH: made_with, **(facts or {})}
    write_json(record_path(root, split, index), record)


def finished_record(root: Path, split: str, index: int, num_scenes: int, made_with: str) -> dict[str, Any] | None:
    """Returns what the manifest says of a shard that is finished; None when it has to be made.

    That is when a file is missing or cut, the record is damaged, it holds another number than `num_scenes`, or it was
    made with other settings. Records of earlier versions do not say what they were made with and are believed.
    """
    path = record_path(root, split, index)
    check_regular(path)
    if not path.exists():
        return None
    try:
        record = read_record(path)
    except ValueError as error:
        _log.warning("%s", error)
        return None
    sizes = {name: file["bytes"] for name, file in record["files"].items()}
    if record["files"].keys() != array_names(index) or record.pop(MADE_WITH, made_with) != made_with:
        return None
    on_disk = {name: _size(root / split / name) for name in sizes}
    return record if record["num_scenes"] == num_scenes and sizes == on_disk else None


def check_sizes(root: Path, split: str, record: dict[str, Any]) -> None:
    """Refuses a shard with a missing or truncated file."""
    for name, file in record["files"].items():
        path = root / split / name
        check_regular(path)
        size = _size(path)
        if size is None:
            raise ValueError(f"Shard file `{path}` is missing; run the command that made the data once more.")
        if size != file["bytes"]:
            raise ValueError(f"Shard file `{path}` must have {file['bytes']} bytes, has {size}: {REMEDY}.")


def check_sha256(path: Path, expected: str) -> None:
    """Refuses a shard file whose content is not what was written."""
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if digest != expected:
        raise ValueError(f"Shard file `{path}` was altered: its sha256 is not the one in the manifest; {REMEDY}.")


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
