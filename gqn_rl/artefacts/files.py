"""Opening of files that others may have made: a FIFO, a device or a folder in place of a file is refused at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def open_regular(path: str | Path) -> BinaryIO:
    """Opens a file for reading; never waits for a writer.

    Raises:
        ValueError: what stands at `path` is no regular file.
        OSError: it is missing or cannot be read.
    """
    check_regular(path)
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        _check_mode(path, os.fstat(file.fileno()).st_mode)  # again, since it may have been exchanged meanwhile
    except ValueError:
        file.close()
        raise
    return file


def check_regular(path: str | Path) -> None:
    """Refuses what exists and is no regular file, without opening it; what is missing passes."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    _check_mode(path, mode)


def read_bytes(path: str | Path) -> bytes:
    """Returns the content of a regular file; raises as `open_regular` does."""
    with open_regular(path) as file:
        return file.read()


def shown(value: object, width: int = 60) -> str:
    """Returns how an error shows a value: its `repr` on one line, shortened in the middle."""
    text = repr(value) if not isinstance(value, dict | list) else _kind(value)
    return text if len(text) <= width else f"{text[: width - 20]}…{text[-15:]}"


def _kind(value: dict | list) -> str:
    if isinstance(value, dict):
        return f"an object of {len(value)} entries"
    return f"a list of {len(value)} entries"


def _check_mode(path: str | Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ValueError(f"`{path}` must be a file, but is {_KINDS.get(stat.S_IFMT(mode), 'something else')}.")
