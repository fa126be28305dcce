"""generate: makes a data set, or what is missing of it, the same to the last bit whatever the number of workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import gqn_rl
from gqn_rl.dataset.folder import check_continues, delete, is_finished, prepare
from gqn_rl.dataset.manifest import (
    MANIFEST,
    PARTIAL_MANIFEST,
    SCHEMA_VERSION,
    SPLITS,
    settings_digest,
    shard_sizes,
    write_json,
)
from gqn_rl.dataset.shards import finished_record
from gqn_rl.dataset.workers import ShardJob, run_in_workers
from gqn_rl.experience import EXPERIENCE, add_shards
from gqn_rl.locks import sole_writer
from gqn_rl.machine import available_cores
from gqn_rl.poses import POSE_CONVENTION, Scene
from gqn_rl.progress import tqdm


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
    num_workers = available_cores() if num_workers is None else num_workers
    _check_numbers(num_scenes, held_out_scenes, views_per_scene, seed, num_workers, scenes_per_shard)
    root = Path(root)
    scene = scene_factory()
    try:
        plan = _plan(scene, scene_name, num_scenes, held_out_scenes, views_per_scene, seed, scenes_per_shard)
        with sole_writer(root, wait=True):
            if overwrite:
                delete(root)
            check_continues(root, plan)
            jobs = _missing_shards(root, plan)
            if not jobs and is_finished(root):
                return 0
            prepare(root)
            write_json(root / PARTIAL_MANIFEST, plan)
            (root / MANIFEST).unlink(missing_ok=True)
            _run(jobs, scene, scene_factory, num_workers, progress)
            shards = _records(root, plan)
            counts = {split: add_shards(records) for split, records in shards.items()}
            write_json(root / MANIFEST, plan | {"shards": shards, EXPERIENCE: counts})
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
    """Returns a job for each shard that is not finished."""
    jobs, made_with = [], settings_digest(plan)
    for split in SPLITS:
        start = 0
        for index, size in enumerate(shard_sizes(plan["num_scenes"][split], plan["scenes_per_shard"])):
            scenes = range(start, start + size)
            start += size
            if finished_record(root, split, index, size, made_with) is None:
                jobs.append(ShardJob(root, split, index, scenes, plan["views_per_scene"], plan["seed"], made_with))
    return jobs


def _records(root: Path, plan: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Returns the records of all shards, which are finished."""
    made_with = settings_digest(plan)
    records: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for index, size in enumerate(shard_sizes(plan["num_scenes"][split], plan["scenes_per_shard"])):
            record = finished_record(root, split, index, size, made_with)
            assert record is not None
            records[split].append(record)
    return records


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
