"""What a data set says of itself: the manifest and the records of its shards, sealed with digests and read by schema.

The digest tells an altered file from a whole one; schema and counts tell one that cannot be, such as scenes that do not
add up, or names of files that lie elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gqn_rl.artefacts.documents import (
    Anything,
    ListOf,
    MapOf,
    Number,
    OrNull,
    Record,
    Schema,
    Text,
    TupleOf,
    check,
    read_sealed,
    sealed,
)
from gqn_rl.artefacts.files import shown
from gqn_rl.poses import POSE_CONVENTION
from gqn_rl.runlog import write_atomic

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
PARTIAL_MANIFEST = "manifest.partial.json"
SPLITS = ("train", "heldout")
"""Names of the splits; a split's place in this tuple is part of the random seed of its scenes."""
ARRAYS = ("images", "viewpoints", "state")
MADE_WITH = "made_with"
"""Entry of a shard's record: a digest of the settings that decide its content."""
MAY_DIFFER = ("num_scenes", "num_scenes_asked", "source.folder", "versions")
"""Entries of a manifest in which a command may differ from the data set it continues; a data set may grow."""

_REMEDY = "delete that file and give the command that made the data once more: it keeps what is whole"
_RECORD_REMEDY = "its shard is made again"
_COUNT, _SIZE = Number(least=0, integer=True), Number(least=1, most=2**40, integer=True)
_SIDE = Number(least=1, most=2**14, integer=True)
_DIGEST = Text(pattern="[0-9a-f]{64}", words="a sha256")
_REFUSED = ListOf(Record({"file": Text(), "offset": _COUNT, "reason": Text()}))
_COUNTS = Record({"pictures": OrNull(_COUNT), "actions": OrNull(_COUNT)})
_SHARD: dict[str, Schema] = {
    "num_scenes": _SIZE,
    "files": MapOf(Record({"bytes": _COUNT, "sha256": _DIGEST}, closed=True)),
}
_SHARD_MORE: dict[str, Schema] = {
    "refused": _REFUSED,
    "source_end": TupleOf((Text(), _COUNT)),
    MADE_WITH: _DIGEST,
    "experience": _COUNTS,
}
_SCENE_FACTS = Record(
    {},
    {
        "cameras": MapOf(MapOf()),
        "settings": MapOf(),
        "model_settings": MapOf(),
        "gl_renderer": Text(),
        "meshes": Text(),
        "mujoco": Text(),
    },
)


def _per_split(schema: Schema) -> Record:
    return Record(dict.fromkeys(SPLITS, schema), closed=True)


_PLAN: dict[str, Schema] = {
    "schema_version": Number(integer=True),
    "scene": Text(),
    "scene_facts": _SCENE_FACTS,
    "num_scenes": _per_split(OrNull(_SIZE)),
    "views_per_scene": _SIDE,
    "image_size": _SIDE,
    "pose_convention": Text(),
    "state_names": ListOf(Text()),
    "scenes_per_shard": _SIZE,
}
_FILES = Record({"folder": Text(), "files": _per_split(ListOf(TupleOf((Text(), _COUNT))))}, closed=True)
_PLAN_MORE: dict[str, Schema] = {
    "seed": Number(least=0, integer=True),
    "versions": MapOf(Text()),
    "source": _FILES,
    "num_scenes_asked": _per_split(OrNull(_SIZE)),
}
_SHARDS = _per_split(ListOf(Record(_SHARD, _SHARD_MORE, closed=True)))
_FINISHED_MORE: dict[str, Schema] = {"refused": _REFUSED, "experience": _per_split(_COUNTS)}
_WHOLE_MANIFEST = Record(
    _PLAN | {"num_scenes": _per_split(_SIZE), "shards": _SHARDS}, _PLAN_MORE | _FINISHED_MORE, closed=True
)
_ANY_MANIFEST = Record(_PLAN, _PLAN_MORE | {"shards": Anything()} | _FINISHED_MORE, closed=True)
_SHARD_RECORD = Record(_SHARD, _SHARD_MORE, closed=True)


def read_manifest(root: Path) -> dict[str, Any]:
    """Returns the manifest of a finished data set, refusing an unfinished, foreign, altered or impossible one."""
    command = f"`python -m gqn_rl.generate_data root={root}`"
    path = root / MANIFEST
    if not path.exists():
        if (root / PARTIAL_MANIFEST).exists():
            raise ValueError(f"The data set in `{root}` is unfinished; the command that began it continues it.")
        raise ValueError(f"`{root}` holds no data set (no {MANIFEST}); make one with {command}.")
    manifest = _read(path, _WHOLE_MANIFEST)
    _check_shards(path, manifest)
    return manifest


def read_plan(root: Path) -> dict[str, Any] | None:
    """Returns what is said of the data set in `root`, be it finished or not; None where there is none."""
    for name in (PARTIAL_MANIFEST, MANIFEST):
        if (root / name).exists():
            return _read(root / name, _ANY_MANIFEST)
    return None


def _read(path: Path, schema: Schema) -> dict[str, Any]:
    """Reads a manifest; its version is looked at first, since it decides what the rest may be."""
    manifest = read_sealed(path, MapOf(), _REMEDY)
    given = (manifest.get("schema_version"), manifest.get("pose_convention"))
    if given != (SCHEMA_VERSION, POSE_CONVENTION):
        raise ValueError(
            f"`{path}` must have schema version and pose convention {(SCHEMA_VERSION, POSE_CONVENTION)}, "
            f"got {shown(given)}; make the data again with `python -m gqn_rl.generate_data`."
        )
    check(path, manifest, schema, _REMEDY)
    return manifest


def read_record(path: Path) -> dict[str, Any]:
    """Returns the record of a finished shard."""
    return read_sealed(path, _SHARD_RECORD, _RECORD_REMEDY)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON, sealed with its digest, atomically."""
    write_atomic(path, json.dumps(sealed(content), indent=2).encode() + b"\n")


def settings_digest(plan: Mapping[str, Any]) -> str:
    """Returns a digest of everything in a manifest that decides what a shard holds."""
    decisive = {key: plan[key] for key in (*_PLAN, *_PLAN_MORE) if key in plan and key not in MAY_DIFFER}
    if "source" in decisive:
        decisive["source"] = decisive["source"]["files"]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


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


def array_names(index: int) -> set[str]:
    """Returns the names of the three arrays of shard `index`: no others may a record or a manifest give."""
    return {array_path(Path(), "", index, array).name for array in ARRAYS}


def _check_shards(path: Path, manifest: dict[str, Any]) -> None:
    """Refuses a manifest whose shards do not hold its scenes, or whose files are not theirs."""
    for split, shards in manifest["shards"].items():
        num_scenes, size = manifest["num_scenes"][split], manifest["scenes_per_shard"]
        needed = -(-num_scenes // size)
        if len(shards) != needed or [shard["num_scenes"] for shard in shards] != shard_sizes(num_scenes, size):
            raise ValueError(
                f"`{path}`: `shards.{split}` must hold the {num_scenes} scenes that `num_scenes` says, {size} in each, "
                f"got {len(shards)} shards of {sum(shard['num_scenes'] for shard in shards)} scenes; {_REMEDY}."
            )
        for index, shard in enumerate(shards):
            if shard["files"].keys() != array_names(index):
                raise ValueError(
                    f"`{path}`: `shards.{split}[{index}].files` must be {sorted(array_names(index))}, "
                    f"got {sorted(shard['files'])}; {_REMEDY}."
                )
