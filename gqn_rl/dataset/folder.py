"""The folder of a data set in the making: one process writes, what is there is continued or refused, never mixed."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gqn_rl.dataset.manifest import (
    ARRAYS,
    MADE_WITH,
    MANIFEST,
    MAY_DIFFER,
    PARTIAL_MANIFEST,
    SPLITS,
    array_names,
    read_plan,
    read_record,
    record_path,
    settings_digest,
)
from gqn_rl.runlog import clear_leftovers

VERIFIED = "verified.{split}.json"
"""Which files of a split were hashed: name -> [bytes, mtime_ns, sha256]; hashed again when one changes."""

_OURS = re.compile(rf"(\d{{5,}})\.(?:json|(?:{'|'.join(ARRAYS)})\.npy)")
"""How files of a shard are called."""


def prepare(root: Path) -> None:
    """Makes the folders of the splits and clears away what a killed process left; for the folder's sole writer."""
    for split in SPLITS:
        _refuse_link(root / split)
        (root / split).mkdir(exist_ok=True)
        clear_leftovers(root / split)
    clear_leftovers(root)


def delete(root: Path) -> None:
    """Deletes a data set's own files, its manifest before all others; anything else in `root` stays.

    Its own are those that the manifest or the record of a shard lists. Nothing is deleted through a link.

    Raises:
        ValueError: the folder of a split is a link.
    """
    for split in SPLITS:
        _refuse_link(root / split)
    listed = [*_listed(root)]
    stamps = [root / VERIFIED.format(split=split) for split in SPLITS]
    for path in [root / MANIFEST, root / PARTIAL_MANIFEST, *stamps, *listed]:
        if path.is_symlink() or path.is_file():  # of a link, only the link goes
            path.unlink(missing_ok=True)


def is_finished(root: Path) -> bool:
    """Tells whether the data set in `root` is complete."""
    return (root / MANIFEST).is_file() and not (root / PARTIAL_MANIFEST).is_file()


def check_continues(root: Path, plan: dict[str, Any]) -> None:
    """Refuses to mix two data sets: what is in `root` must have been made by the same settings.

    Args:
        root: folder of the data set.
        plan: its manifest but for the shards; a number of scenes that is None means all there are.

    Raises:
        ValueError: other settings, or files where the shards would be that are of no data set or of another.
    """
    there = read_plan(root)
    if there is None:
        _refuse_strangers(root, settings_digest(plan))
        return
    differences = [
        f"`{name}` is {_short(old)}, asked for {_short(new)}" for name, old, new in _differences(there, plan)
    ]
    for split, count in plan["num_scenes"].items():
        has = there["num_scenes"][split]
        if count is not None and (has is None or count < has):
            differences.append(f"it has {'all' if has is None else has} {split} scenes, asked for {count}")
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


def _listed(root: Path) -> Iterator[Path]:
    """Yields the files that the manifest and the shards' records list, and these records."""
    try:
        plan = read_plan(root) or {}
    except ValueError:  # damaged: the records alone say which shards there are
        plan = {}
    for split in SPLITS:
        count = (plan.get("num_scenes") or {}).get(split) or 0
        num_shards = -(-count // plan.get("scenes_per_shard", 1))
        found = {path: int(name[1]) for path in (root / split).glob("[0-9]*") if (name := _OURS.fullmatch(path.name))}
        recorded = {index for path, index in found.items() if path.suffix == ".json" and _is_record(path, index)}
        yield from (path for path, index in found.items() if index < num_shards or index in recorded)


def _is_record(path: Path, index: int) -> bool:
    try:
        return read_record(path)["files"].keys() == array_names(index)
    except (ValueError, OSError):
        return False


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise ValueError(
            f"`{path}` is a link, through which nothing is written or deleted; put the folder in its place, or choose "
            "another `root`."
        )


def _refuse_strangers(root: Path, made_with: str) -> None:
    """Refuses files where shards would be written, unless their records say that they were made with these settings."""
    for split in SPLITS:
        for path in sorted((root / split).glob("[0-9]*")):
            name = _OURS.fullmatch(path.name)
            if name and not _was_made_with(record_path(root, split, int(name[1])), made_with):
                raise ValueError(
                    f"`{path}` stands where a shard would be written, but no manifest says that it is one of these "
                    "settings; choose another `root`, or remove the file."
                )


def _was_made_with(record: Path, made_with: str) -> bool:
    """Tells whether a shard's record says so; where it was lost, its arrays were not finished and are made again."""
    try:
        return read_record(record).get(MADE_WITH) == made_with
    except (ValueError, OSError):
        return False
