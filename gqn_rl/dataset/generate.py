"""generate: makes a data set, or what is missing of it, the same to the last bit whatever the number of workers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import textwrap
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

import gqn_rl
from gqn_rl.dataset.shards import (
    MANIFEST,
    PARTIAL_MANIFEST,
    SCHEMA_VERSION,
    SPLITS,
    finished_record,
    read_json,
    shard_sizes,
    write_json,
)
from gqn_rl.dataset.workers import ShardJob, run_in_workers
from gqn_rl.views import POSE_CONVENTION, Scene

MAY_DIFFER = ("num_scenes", "versions")
"""Entries of a manifest in which a command may differ from the data set it continues; a data set may grow."""


def generate(
    root: str | Path,
    scene_factory: Callable[[], Scene],
    *,
    scene_name: str,
    num_scenes: int,
    held_out_scenes: int,
    views_per_scene: int,
    seed: int,
    num_workers: int | None,
    scenes_per_shard: int = 256,
    overwrite: bool = False,
    progress: bool = True,
) -> int:
    """Makes the data set in `root`; what an earlier call finished is kept, and a finished data set may be made larger.

    Scene i of a split depends on (seed, split, i) alone. Two processes may call this for one `root`: the second waits.

    Args:
        root: folder of the data set.
        scene_factory: makes a scene; it is pickled and called once in each worker.
        scene_name: recorded in the manifest.
        num_scenes: scenes of the "train" split.
        held_out_scenes: scenes of the "heldout" split.
        views_per_scene: pictures of each scene.
        seed: of everything random.
        num_workers: processes that render; 1 renders in this one, None uses every core that this may run on.
        scenes_per_shard: scenes in each file.
        overwrite: delete a data set that is there already.
        progress: show a progress bar.

    Returns:
        The number of pictures rendered; 0 when the data set was finished already.
    """
    num_workers = _available_cores() if num_workers is None else num_workers
    _check_numbers(num_scenes, held_out_scenes, views_per_scene, seed, num_workers, scenes_per_shard)
    root = Path(root)
    scene = scene_factory()
    try:
        plan = _plan(scene, scene_name, num_scenes, held_out_scenes, views_per_scene, seed, scenes_per_shard)
        with _sole_writer(root):
            if overwrite:
                _delete(root)
            _check_continues(root, plan)
            jobs = _missing_shards(root, plan)
            if not jobs and _is_finished(root):
                return 0
            write_json(root / PARTIAL_MANIFEST, plan)
            (root / MANIFEST).unlink(missing_ok=True)
            _run(jobs, scene, scene_factory, num_workers, progress)
            write_json(root / MANIFEST, plan | {"shards": _records(root, plan)})
            (root / PARTIAL_MANIFEST).unlink()
            return sum(len(job.scene_indices) for job in jobs) * views_per_scene
    finally:
        scene.close()


def _plan(
    scene: Scene,
    scene_name: str,
    num_scenes: int,
    held_out_scenes: int,
    views_per_scene: int,
    seed: int,
    scenes_per_shard: int,
) -> dict[str, Any]:
    """Returns the manifest but for its shards."""
    plan = {
        "schema_version": SCHEMA_VERSION,
        "scene": scene_name,
        "scene_facts": scene.describe(),
        "seed": seed,
        "num_scenes": {"train": num_scenes, "heldout": held_out_scenes},
        "views_per_scene": views_per_scene,
        "image_size": scene.image_size,
        "pose_convention": POSE_CONVENTION,
        "state_names": scene.state_names,
        "scenes_per_shard": scenes_per_shard,
        "versions": {"gqn_rl": gqn_rl.__version__} | {name: metadata.version(name) for name in ("mujoco", "numpy")},
    }
    return json.loads(json.dumps(plan))  # tuples become lists, as they will be when read again


def _run(
    jobs: list[ShardJob], scene: Scene, scene_factory: Callable[[], Scene], num_workers: int, progress: bool
) -> None:
    total = sum(len(job.scene_indices) * job.views_per_scene for job in jobs)
    with tqdm(total=total, desc="rendering", unit="frame", disable=not progress) as bar:

        def on_scene() -> None:
            bar.update(jobs[0].views_per_scene)

        if num_workers > 1:
            run_in_workers(jobs, scene_factory, num_workers, on_scene)
        else:
            for job in jobs:
                job.run(scene, on_scene)


def _missing_shards(root: Path, plan: dict[str, Any]) -> list[ShardJob]:
    """Returns a job for each shard that is not finished, and clears away what an interrupted run left of it."""
    jobs = []
    for split in SPLITS:
        (root / split).mkdir(exist_ok=True)
        for leftover in (root / split).glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        start = 0
        for index, size in enumerate(shard_sizes(plan["num_scenes"][split], plan["scenes_per_shard"])):
            scenes = range(start, start + size)
            start += size
            if finished_record(root, split, index, size) is None:
                jobs.append(ShardJob(root, split, index, scenes, plan["views_per_scene"], plan["seed"]))
    return jobs


def _records(root: Path, plan: dict[str, Any]) -> dict[str, list[dict[str, Any] | None]]:
    return {
        split: [
            finished_record(root, split, index, size)
            for index, size in enumerate(shard_sizes(plan["num_scenes"][split], plan["scenes_per_shard"]))
        ]
        for split in SPLITS
    }


def _is_finished(root: Path) -> bool:
    return (root / MANIFEST).is_file() and not (root / PARTIAL_MANIFEST).is_file()


def _check_continues(root: Path, plan: dict[str, Any]) -> None:
    """Refuses to mix two data sets: what is in `root` must have been made by the same settings."""
    for path in (root / PARTIAL_MANIFEST, root / MANIFEST):
        if path.is_file():
            break
    else:
        return
    there = read_json(path)
    differences = [
        f"`{name}` is {_short(old)}, asked for {_short(new)}" for name, old, new in _differences(there, plan)
    ]
    for split, count in plan["num_scenes"].items():
        if count < there["num_scenes"][split]:
            differences.append(f"it has {there['num_scenes'][split]} {split} scenes, asked for {count}")
    if differences:
        raise ValueError(
            f"`{root}` holds a data set made with other settings: {'; '.join(differences)}. "
            "Choose another `root`, or make it anew with overwrite=true."
        )


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields (name, old, new) for every entry that differs, descending into nested entries."""
    for key, value in new.items():
        if prefix + key in MAY_DIFFER or old.get(key) == value:
            continue
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            yield from _differences(old[key], value, f"{prefix}{key}.")
        else:
            yield prefix + key, old.get(key), value


def _short(value: Any) -> str:
    return textwrap.shorten(str(value), width=60, placeholder="...")


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # absent on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_numbers(
    num_scenes: int, held_out_scenes: int, views_per_scene: int, seed: int, num_workers: int, scenes_per_shard: int
) -> None:
    least = {
        "num_scenes": (num_scenes, 1),
        "held_out_scenes": (held_out_scenes, 1),
        "views_per_scene": (views_per_scene, 2),
        "seed": (seed, 0),
        "num_workers": (num_workers, 1),
        "scenes_per_shard": (scenes_per_shard, 1),
    }
    for name, (given, minimum) in least.items():
        if given < minimum:
            raise ValueError(f"`{name}` must be at least {minimum}, got {given}.")


@contextlib.contextmanager
def _sole_writer(root: Path) -> Iterator[None]:
    """Keeps other processes from writing to `root` meanwhile; the system frees the lock if this one dies."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.getLogger(__name__).warning("Waiting for another process that makes the data set in `%s`.", root)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _delete(root: Path) -> None:
    """Deletes a data set's own files, the manifest before all others; anything else in `root` stays."""
    shard_files = [path for split in SPLITS for path in (root / split).glob("[0-9]*")]
    for path in [root / MANIFEST, root / PARTIAL_MANIFEST, *root.glob("verified.*.json"), *shard_files]:
        path.unlink(missing_ok=True)
