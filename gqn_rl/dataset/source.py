"""The files that a data set is imported from, read as one row of scenes in the order of their records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gqn_rl.artefacts.files import check_regular
from gqn_rl.dataset.deepmind import read_scene
from gqn_rl.dataset.tfrecord import Record, read_records
from gqn_rl.processes import map_in_order
from gqn_rl.views import Views

SPLIT_FOLDERS = {"train": "train", "heldout": "test"}
"""The folder of TFRecord files that becomes each split."""

Decode = Callable[[Record], Views | str]


class Found(NamedTuple):
    """A record and what became of it.

    Attributes:
        file: its file's path below the source folder, such as "train/0001-of-3600.tfrecord".
        offset: where it begins, in bytes.
        end: where reading goes on.
        scene: its views, or what is wrong with it.
    """

    file: str
    offset: int
    end: int
    scene: Views | str

    @property
    def refusal(self) -> dict[str, Any]:
        """How a manifest names a record that is left out."""
        return {"file": self.file, "offset": self.offset, "reason": self.scene}


def list_files(source: Path, split: str) -> dict[str, int]:
    """Returns the TFRecord files of a split in order, path below `source` -> bytes.

    Raises:
        ValueError: there are none, or one of them is no regular file.
    """
    folder = source / SPLIT_FOLDERS[split]
    paths = sorted(path for path in folder.glob("*.tfrecord") if not path.name.startswith("."))
    if not paths:
        raise ValueError(f"`source` must hold .tfrecord files in `train/` and `test/`; `{folder}` holds none.")
    for path in paths:
        check_regular(path)
    return {path.relative_to(source).as_posix(): path.stat().st_size for path in paths}


def read_scenes(
    source: Path, files: list[str], file: str, offset: int, decode: Decode, num_workers: int
) -> Iterator[Found]:
    """Yields every record of `files` from byte `offset` of `file` on, decoded by `num_workers` processes, in order."""
    records = _records(source, files[files.index(file) :], offset)
    if num_workers == 1:
        for name, record in records:
            yield Found(name, record.offset, record.end, decode(record))
        return
    numbered = (((name, record.offset, record.end), record) for name, record in records)
    try:
        for place, scene in map_in_order(decode, numbered, num_workers):
            yield Found(*place, scene)
    except ChildProcessError as error:
        raise ChildProcessError(
            f"Decoding pictures failed ({error}); the same command goes on after the last finished shard."
        ) from None


def decode_record(record: Record, image_size: int, crop: int | None, num_views: int | None) -> Views | str:
    """Returns a record's views, or what is wrong with it; `num_views`, where known, is what every scene must have."""
    if record.fault is not None:
        return record.fault
    try:
        views = read_scene(record.data, image_size, crop)
    except ValueError as error:
        return str(error)
    if num_views is not None and len(views.images) != num_views:
        return f"it has {len(views.images)} views, the first scene has {num_views}"
    return views


def gather(
    found: Iterable[Found], size: int, limit: int | None
) -> Iterator[tuple[list[Views], list[dict[str, Any]], tuple[str, int]]]:
    """Collects `size` scenes at a time, up to `limit` in all (None: all); the last lot may be smaller.

    Yields:
        Scenes, the refusals met among them, and file and byte where reading goes on.
    """
    scenes: list[Views] = []
    refused: list[dict[str, Any]] = []
    end, num_gathered = ("", 0), 0
    for item in found:
        end = (item.file, item.end)
        if isinstance(item.scene, Views):
            scenes.append(item.scene)
            num_gathered += 1
        else:
            refused.append(item.refusal)
        if len(scenes) == size or num_gathered == limit:
            yield scenes, refused, end
            scenes, refused = [], []
        if num_gathered == limit:
            return
    if scenes or refused:
        yield scenes, refused, end


def _records(source: Path, files: list[str], offset: int) -> Iterator[tuple[str, Record]]:
    for file in files:
        for record in read_records(source / file, offset):
            yield file, record
        offset = 0
