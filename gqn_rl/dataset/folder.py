"""The folder of a data set in the making: one process writes, what is there is continued or refused, never mixed."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gqn_rl.dataset.shards import MANIFEST, PARTIAL_MANIFEST, SPLITS, read_json

MAY_DIFFER = ("num_scenes", "num_scenes_asked", "source.folder", "versions")
"""Entries of a manifest in which a command may differ from the data set it continues; a data set may grow."""


@contextlib.contextmanager
def sole_writer(root: Path) -> Iterator[None]:
    """Keeps other processes from writing to `root` meanwhile; the system frees the lock if this one dies."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.getLogger(__name__).warning("Waiting for another process that makes the data set in `%s`.", root)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def delete(root: Path) -> None:
    """Deletes a data set's own files, the manifest before all others; anything else in `root` stays."""
    shard_files = [path for split in SPLITS for path in (root / split).glob("[0-9]*")]
    for path in [root / MANIFEST, root / PARTIAL_MANIFEST, *root.glob("verified.*.json"), *shard_files]:
        path.unlink(missing_ok=True)


def is_finished(root: Path) -> bool:
    """Tells whether the data set in `root` is complete."""
    return (root / MANIFEST).is_file() and not (root / PARTIAL_MANIFEST).is_file()


def check_continues(root: Path, plan: dict[str, Any]) -> None:
    """Refuses to mix two data sets: what is in `root` must have been made by the same settings.

    Args:
        root: folder of the data set.
        plan: its manifest but for the shards; a number of scenes that is None means all there are.
    """
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
