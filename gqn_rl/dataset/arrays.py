"""The arrays of a shard, compared with what the manifest says of them before anything is made of them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gqn_rl.artefacts.files import open_regular
from gqn_rl.dataset.manifest import ARRAYS
from gqn_rl.poses import VIEWPOINT_SIZE

_DTYPES = {"images": np.uint8, "viewpoints": np.float32, "state": np.float32}
_UNIT_TOLERANCE = 1e-3
"""By how much the squares of an angle's sine and cosine may miss 1."""


def expected_shape(manifest: Mapping[str, Any], array: str, num_scenes: int) -> tuple[int, ...]:
    """Returns the shape that an array of a shard with `num_scenes` scenes must have."""
    views, size = manifest["views_per_scene"], manifest["image_size"]
    return {
        "images": (num_scenes, views, size, size, 3),
        "viewpoints": (num_scenes, views, VIEWPOINT_SIZE),
        "state": (num_scenes, len(manifest["state_names"])),
    }[array]


def open_array(path: Path, array: str, shape: tuple[int, ...], remedy: str) -> np.ndarray:
    """Opens one array of a shard: pictures memory-mapped, the others read and checked (see `fault_of`).

    Args:
        path: the .npy file.
        array: one of `ARRAYS`.
        shape: what it must have.
        remedy: what the user can do when it has not, to end the sentence.

    Raises:
        ValueError: it is no such array; the sentence names the file.
    """
    dtype, num_bytes = np.dtype(_DTYPES[array]), math.prod(shape) * np.dtype(_DTYPES[array]).itemsize
    with open_regular(path) as file:
        given = _header(file)
        if given != (shape, False, dtype):
            raise ValueError(f"`{path}` must hold {dtype} {list(shape)}, {_described(given)}; {remedy}.")
        start = file.tell()
        if (rest := file.seek(0, os.SEEK_END) - start) != num_bytes:
            raise ValueError(f"`{path}` must hold {num_bytes} bytes of numbers, has {rest}; {remedy}.")
        if array == "images":
            return np.memmap(file, dtype, "r", start, shape)
        file.seek(start)
        values = np.frombuffer(file.read(), dtype).reshape(shape)
    if (fault := fault_of(array, values)) is not None:
        raise ValueError(f"`{path}` {fault}; {remedy}.")
    return values


def fault_of(array: str, values: np.ndarray) -> str | None:
    """Returns what is wrong with the numbers of an array, in words; None when nothing is.

    >>> fault_of("viewpoints", np.array([[[0, 0, 0, 0, 1, 0, 2]]], np.float32))
    'holds a pitch whose sine and cosine are not of one angle'
    """
    if array == "images":
        return None
    if not np.isfinite(values).all():
        return "holds NaN or infinity"
    if array == "viewpoints":
        for name, place in (("yaw", 3), ("pitch", 5)):
            squares = np.square(values[..., place : place + 2], dtype=np.float64).sum(-1)
            if (np.abs(squares - 1) > _UNIT_TOLERANCE).any():
                return f"holds a {name} whose sine and cosine are not of one angle"
    return None


def check_arrays(arrays: Mapping[str, np.ndarray], what: str) -> None:
    """Refuses arrays that could not be read again, before they are written; `what` made them, for the error."""
    for name in ARRAYS:
        if (fault := fault_of(name, arrays[name])) is not None:
            raise ValueError(f"{what}: `{name}` {fault}.")


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype] | None:
    """Reads shape, order and type off the front of a .npy file; None when it is none."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(file)
    except Exception:  # NumPy evaluates the header as a literal, which may fail in any way
        return None


def _described(given: tuple[tuple[int, ...], bool, np.dtype] | None) -> str:
    if given is None:
        return "but is not a .npy file"
    shape, is_fortran, dtype = given
    return f"holds {dtype} {list(shape)}{' in Fortran order' if is_fortran else ''}"
