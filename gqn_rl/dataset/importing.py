"""import_dataset: turns gqn-datasets' TFRecord files into a data set of ours, and goes on where it stopped."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import gqn_rl
from gqn_rl.dataset.folder import check_continues, delete, is_finished, prepare
from gqn_rl.dataset.manifest import (
    MANIFEST,
    PARTIAL_MANIFEST,
    SCHEMA_VERSION,
    SPLITS,
    read_manifest,
    settings_digest,
    write_json,
)
from gqn_rl.dataset.shards import finished_record, write_shard
from gqn_rl.dataset.source import Decode, Found, decode_record, gather, list_files, read_scenes
from gqn_rl.locks import sole_writer
from gqn_rl.machine import available_cores
from gqn_rl.poses import POSE_CONVENTION
from gqn_rl.progress import tqdm
from gqn_rl.views import Views

SCENE_PREFIX = "imported_"
"""The manifest's `scene` is this and the given name, so that no data set passes for one of our own scenes."""
SHARD_BYTES = 256 * 2**20
"""Pictures in one shard, at most."""

_NAME = re.compile(r"[\w.-]+")


def import_dataset(
    root: str | Path,
    source: str | Path,
    *,
    name: str,
    image_size: int = 64,
    crop: int | None = None,
    num_scenes: int | None = None,
    held_out_scenes: int | None = None,
    strict: bool = False,
    num_workers: int | None = 1,
    scenes_per_shard: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> tuple[dict[str, Any], int]:
    """Imports `source`/train and `source`/test as the splits of a data set in `root`; continues an earlier call.

    Scenes keep the order of their files. A record that cannot be used is left out; the manifest names it under
    `refused`, with file, byte offset and reason. Two processes may call this for one `root`: the second waits.

    Args:
        root: folder of the data set.
        source: folder with `train/*.tfrecord` and `test/*.tfrecord`.
        name: of the data set; the manifest's `scene` becomes "imported_<name>".
        image_size: height and width of the pictures.
        crop: side of the middle square that is kept of each frame; None keeps the largest.
        num_scenes: how many to import from train; None imports all. A later call may ask for more.
        held_out_scenes: how many to import from test, likewise.
        strict: stop at a record that cannot be used.
        num_workers: processes that decode; 1 decodes in this one, None uses every core that this may run on.
        scenes_per_shard: scenes in each file; None makes files of at most 256 MiB.
        overwrite: delete a data set that is there already.
        progress: show a progress bar.

    Returns:
        The manifest, and how many scenes this call imported: 0 when the data set was finished already.

    Raises:
        ValueError: nothing can be read, the data in `root` were made otherwise, or a record is refused and `strict`.
    """
    root, source = Path(root), Path(source)
    num_workers = available_cores() if num_workers is None else num_workers
    asked = {"train": num_scenes, "heldout": held_out_scenes}
    _check_settings(name, image_size, crop, asked, num_workers, scenes_per_shard)
    plan = _plan(source, name, image_size, crop, asked, scenes_per_shard)
    decode = functools.partial(decode_record, image_size=image_size, crop=crop, num_views=plan["views_per_scene"])
    with sole_writer(root, wait=True):
        if overwrite:
            delete(root)
        check_continues(root, plan)
        if (manifest := _finished(root, asked, settings_digest(plan))) is not None:
            _check_strict(manifest["refused"], strict)
            return manifest, 0
        prepare(root)
        write_json(root / PARTIAL_MANIFEST, plan)
        (root / MANIFEST).unlink(missing_ok=True)
        splits = {split: _Split(root, source, split, plan, strict) for split in SPLITS}
        for split in splits.values():
            split.fill(decode, num_workers, progress)
        manifest = plan | {
            "num_scenes": {name: split.num_scenes for name, split in splits.items()},
            "refused": [entry for split in splits.values() for entry in split.refused],
            "shards": {name: split.shards for name, split in splits.items()},
        }
        write_json(root / MANIFEST, manifest)
        (root / PARTIAL_MANIFEST).unlink()
        return manifest, sum(split.num_imported for split in splits.values())


class _Split:
    """One split while it is being imported.

    Attributes:
        shards: records of the finished shards; each says in which file and at which byte its successor begins.
        refused: file, offset and reason of each record that is left out.
        num_imported: scenes written by this process.
    """

    def __init__(self, root: Path, source: Path, split: str, plan: Mapping[str, Any], strict: bool):
        self._root, self._source, self._split, self._strict = root, source, split, strict
        self._files: dict[str, int] = dict(plan["source"]["files"][split])
        self._shard_size: int = plan["scenes_per_shard"]
        self._limit: int | None = plan["num_scenes_asked"][split]
        self._made_with = settings_digest(plan)
        self.shards = list(_full_shards(root, split, self._shard_size, self._made_with))
        self.refused = [entry for shard in self.shards for entry in shard["refused"]]
        self.num_imported = 0
        _check_strict(self.refused, strict)

    @property
    def num_scenes(self) -> int:
        """How many scenes the finished shards hold."""
        return sum(shard["num_scenes"] for shard in self.shards)

    def fill(self, decode: Decode, num_workers: int, progress: bool) -> None:
        """Imports what is missing, up to the limit or to the last scene of the last file."""
        missing = None if self._limit is None else self._limit - self.num_scenes
        if missing == 0:
            return
        file, offset = self.shards[-1]["source_end"] if self.shards else (next(iter(self._files)), 0)
        with self._bar(file, offset, progress) as bar:
            found = self._shown(read_scenes(self._source, list(self._files), file, offset, decode, num_workers), bar)
            for scenes, refused, end in gather(found, self._shard_size, missing):
                _check_strict(refused, self._strict)
                self.refused += refused
                if scenes:
                    self._write(scenes, {"refused": refused, "source_end": end})
        if not self.shards:
            raise ValueError(
                f"No scene could be read from the {len(self._files)} files for `{self._split}` in `{self._source}`; "
                f"the first fault: {_place(self.refused[0]) if self.refused else 'they are empty'}."
            )

    def _write(self, scenes: list[Views], facts: dict[str, Any]) -> None:
        index = len(self.shards)
        arrays = {
            "images": np.stack([scene.images for scene in scenes]),
            "viewpoints": np.stack([scene.viewpoints for scene in scenes]),
            "state": np.empty((len(scenes), 0), np.float32),  # nobody knows it
        }
        write_shard(self._root, self._split, index, arrays, self._made_with, facts)
        record = finished_record(self._root, self._split, index, len(scenes), self._made_with)
        assert record is not None
        self.shards.append(record)
        self.num_imported += len(scenes)

    def _bar(self, file: str, offset: int, shown: bool) -> tqdm:
        """Counts scenes when their number is known beforehand, else bytes."""
        if self._limit is not None:
            numbers = {"total": self._limit, "initial": self.num_scenes, "unit": " scenes"}
        else:
            before = list(self._files).index(file)
            done = sum(list(self._files.values())[:before]) + offset
            numbers = {"total": sum(self._files.values()), "initial": done, "unit": "B", "unit_scale": True}
        return tqdm(desc=f"importing {self._split}", disable=not shown, **numbers)

    def _shown(self, found: Iterator[Found], bar: tqdm) -> Iterator[Found]:
        for item in found:
            bar.update(isinstance(item.scene, Views) if self._limit is not None else item.end - item.offset)
            yield item


def _plan(
    source: Path,
    name: str,
    image_size: int,
    crop: int | None,
    asked: dict[str, int | None],
    scenes_per_shard: int | None,
) -> dict[str, Any]:
    """Returns the manifest but for its shards; the first scene that can be read says how many views a scene has."""
    files = {split: list_files(source, split) for split in SPLITS}
    decode = functools.partial(decode_record, image_size=image_size, crop=crop, num_views=None)
    refused = None
    for found in read_scenes(source, list(files["train"]), next(iter(files["train"])), 0, decode, num_workers=1):
        if isinstance(found.scene, Views):
            num_views = len(found.scene.images)
            break
        refused = refused or found
    else:
        fault = _place(refused.refusal) if refused else "its files are empty"
        raise ValueError(f"No scene could be read from `{source / 'train'}`; the first fault: {fault}.")
    scene_bytes = num_views * image_size**2 * 3
    return {
        "schema_version": SCHEMA_VERSION,
        "scene": SCENE_PREFIX + name,
        "scene_facts": {"imported_from": "TFRecord files of gqn-datasets' format", "crop": crop},
        "source": {
            "folder": str(source.resolve()),
            "files": {split: [list(item) for item in names.items()] for split, names in files.items()},
        },
        "num_scenes_asked": asked,
        "num_scenes": asked,
        "views_per_scene": num_views,
        "image_size": image_size,
        "pose_convention": POSE_CONVENTION,
        "state_names": [],
        "scenes_per_shard": scenes_per_shard or max(1, SHARD_BYTES // scene_bytes),
        "versions": {"gqn_rl": gqn_rl.__version__} | {name: metadata.version(name) for name in ("numpy", "pillow")},
    }


def _finished(root: Path, asked: Mapping[str, int | None], made_with: str) -> dict[str, Any] | None:
    """Returns the manifest of a data set that holds what is asked for and lacks no file; None otherwise."""
    if not is_finished(root):
        return None
    manifest = read_manifest(root)
    is_whole = all(
        finished_record(root, split, index, shard["num_scenes"], made_with) == shard
        for split, shards in manifest["shards"].items()
        for index, shard in enumerate(shards)
    )
    return manifest if is_whole and manifest["num_scenes_asked"] == asked else None


def _full_shards(root: Path, split: str, size: int, made_with: str) -> Iterator[dict[str, Any]]:
    """Yields the records of the finished shards, in order; one that is not full is made again, for it may grow."""
    index = 0
    while (record := finished_record(root, split, index, size, made_with)) is not None:
        yield record
        index += 1


def _check_strict(refused: list[dict[str, Any]], strict: bool) -> None:
    if refused and strict:
        raise ValueError(f"A record cannot be used: {_place(refused[0])}. Without strict=true it is left out.")


def _place(refusal: Mapping[str, Any]) -> str:
    return f"`{refusal['file']}` at byte {refusal['offset']}: {refusal['reason']}"


def _check_settings(
    name: str,
    image_size: int,
    crop: int | None,
    asked: Mapping[str, int | None],
    num_workers: int,
    scenes_per_shard: int | None,
) -> None:
    if not _NAME.fullmatch(str(name)):
        raise ValueError(f"`name` must be letters, digits, `_`, `-` and `.`, got {name!r}.")
    numbers = {
        "image_size": image_size,
        "crop": crop,
        "num_scenes": asked["train"],
        "held_out_scenes": asked["heldout"],
        "num_workers": num_workers,
        "scenes_per_shard": scenes_per_shard,
    }
    for setting, number in numbers.items():
        if number is not None and (type(number) is not int or number < 1):
            raise ValueError(f"`{setting}` must be an integer of at least 1, got {number!r}.")
