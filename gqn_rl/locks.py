"""Locks on folders: one process at a time writes to a run or a data set, and whoever is refused learns who does.

with sole_writer("runs/mine"):
    ...

The lock is the operating system's, on the file `.lock` of the folder, so it ends with its process however that ends; a
file that a dead process left behind is simply taken over. The file holds who took it last.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shlex
import socket
import stat
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
_LONGEST_RECORD_BYTES = 65536
_SHOWN_CHARACTERS = 200
"""Of the holder's command in an error."""

_log = logging.getLogger(__name__)
_held: set[int] = set()
"""File descriptors of the locks that this process holds."""


class FolderInUseError(BlockingIOError):
    """Another process writes to the folder; the message says which."""


@contextlib.contextmanager
def sole_writer(folder: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Keeps other processes, and other parts of this one, from taking the same folder meanwhile.

    Nothing is locked where this process may not write: it cannot spoil anything there. Where the system has no file
    locks, a warning says so.

    Args:
        folder: the folder; made when missing, and taken away again if nothing is written into it.
        wait: whether to wait for the present holder, with a warning that names it, instead of refusing.

    Raises:
        FolderInUseError: another process holds the lock, and `wait` is false.
        ValueError: `.lock` is something that this function did not make; it is left untouched.
    """
    folder = Path(folder)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        _log.warning("This system has no file locks: make sure that no other command writes to `%s`.", folder)
    if fcntl is None or not os.access(folder, os.W_OK):
        yield
        return
    descriptor = _locked(folder / LOCK_FILE, wait)
    try:
        yield
    finally:
        if descriptor in _held:  # not in a forked child, which has closed its copy
            _remove_unused(made)
            _held.discard(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # though a child that is being forked may still have its copy
            os.close(descriptor)


def _remove_unused(made: list[Path]) -> None:
    """Takes folders away again that were made for the lock, the innermost first, if nothing came into them."""
    with contextlib.suppress(OSError):  # something did
        if made and os.listdir(made[0]) == [LOCK_FILE]:
            (made[0] / LOCK_FILE).unlink()
            for folder in made:
                folder.rmdir()


def _locked(path: Path, wait: bool) -> int:
    """Returns the descriptor of the lock file, locked, with this process on record."""
    while True:
        descriptor = _opened(path)
        try:
            _take(descriptor, path.parent, wait)
            if _is_at(descriptor, path):  # else it was removed while we waited, and locks nobody out
                _write_record(descriptor)
                _held.add(descriptor)
                return descriptor
        finally:
            if descriptor not in _held:
                os.close(descriptor)


def _opened(path: Path) -> int:
    """Opens the lock file without following links, waiting for a pipe's other end, or changing what it holds."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a folder, a socket
            raise _not_ours(path) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or not _is_record(_content(descriptor)):
        os.close(descriptor)
        raise _not_ours(path)
    return descriptor


def _take(descriptor: int, folder: Path, wait: bool) -> None:
    """Locks the file, or says who has it locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _holder(_content(descriptor))
        if not wait:
            raise FolderInUseError(
                f"`{folder}` is in use by {holder}: wait until that has ended, or choose another folder."
            ) from error
        _log.warning("`%s` is in use by %s: waiting until that has ended.", folder, holder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:  # some network file systems
        _log.warning("`%s` cannot be locked (%s): make sure that no other command writes to it.", folder, error)


def _is_at(descriptor: int, path: Path) -> bool:
    """Tells whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _write_record(descriptor: int) -> None:
    """Puts this process on record. Only an empty file or an earlier record is overwritten (see `_opened`)."""
    command = shlex.join(["python", *sys.orig_argv[1:]])[: _LONGEST_RECORD_BYTES // 8]
    record = {"pid": os.getpid(), "host": socket.gethostname(), "command": command}
    content = (json.dumps(record) + "\n").encode()
    os.pwrite(descriptor, content, 0)
    os.ftruncate(descriptor, len(content))


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, _LONGEST_RECORD_BYTES, 0)


def _is_record(content: bytes) -> bool:
    """Tells whether a lock file is new, or holds what `_write_record` wrote."""
    return not content or content.startswith(b'{"pid": ')


def _holder(content: bytes) -> str:
    """Says who holds a lock.

    >>> _holder(b'{"pid": 7, "host": "here", "command": "python -m gqn_rl.pretrain"}')
    'process 7 on here (`python -m gqn_rl.pretrain`)'
    """
    try:
        record = json.loads(content)
        command = textwrap.shorten(str(record["command"]), _SHOWN_CHARACTERS, placeholder=" ...")
        return f"process {record['pid']} on {record['host']} (`{command}`)"
    except (ValueError, KeyError, TypeError, RecursionError):  # it has only just taken the lock
        return "another process"


def _not_ours(path: Path) -> ValueError:
    return ValueError(f"`{path}` is not a lock file of gqn_rl: move it elsewhere, and give the same command again.")


def _forget_after_fork() -> None:
    """Closes a forked child's copies, which would hold the locks after the death of the process that took them."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
