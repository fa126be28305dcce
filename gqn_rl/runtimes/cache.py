"""Exported encoders on disk: made once, found by every process and every later run under the same key.

The folder may be deleted at any time: what was in it is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from gqn_rl.locks import sole_writer
from gqn_rl.runlog import write_atomic

ENTRY_FILE = "encoder.onnx.sha256"
"""An entry: the SHA-256 of the ONNX file (32 bytes), then the file itself."""
FOLDER_VARIABLE = "GQN_RL_CACHE"
"""Environment variable that names another folder."""
UNUSABLE = (OSError, ValueError, RuntimeError)
"""Errors of a folder: no room, no leave to write, something else in its place, no home."""
_DIGEST_SIZE = hashlib.sha256().digest_size

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Returns where exported encoders are kept: `$GQN_RL_CACHE`, or where this system has a user's caches."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        return Path(folder)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "gqn_rl" / "encoders"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gqn_rl" / "encoders"
    if sys.platform == "win32" and (base := os.environ.get("LOCALAPPDATA")):
        return Path(base) / "gqn_rl" / "Cache" / "encoders"
    return Path.home() / ".cache" / "gqn_rl" / "encoders"


def cached(key: str, make: Callable[[], bytes]) -> bytes:
    """Returns what is kept under `key`; makes and keeps it where there is nothing, or something damaged.

    Of several processes that ask at once, one makes it and the others wait. Where the folder cannot be used, every
    process makes its own.
    """
    with contextlib.ExitStack() as lock:
        try:
            folder = cache_folder() / key
            found = _read(folder / ENTRY_FILE)
            if found is None:
                lock.enter_context(sole_writer(folder, wait=True))
                found = _read(folder / ENTRY_FILE)
        except UNUSABLE as error:
            _log.warning("The exported encoder cannot be kept for other processes: %s", error)
            return make()
        return _kept(folder / ENTRY_FILE, make()) if found is None else found


def discard(key: str) -> None:
    """Removes what is kept under `key`, if anything."""
    try:
        (cache_folder() / key / ENTRY_FILE).unlink(missing_ok=True)
    except UNUSABLE as error:
        _log.warning("An exported encoder that is not usable cannot be removed: %s", error)


def _kept(path: Path, content: bytes) -> bytes:
    """Writes an entry and returns what it holds; a full disk is no reason not to go on."""
    try:
        write_atomic(path, hashlib.sha256(content).digest() + content)
    except OSError as error:
        _log.warning("The exported encoder cannot be kept for other processes: %s", error)
    return content


def _read(path: Path) -> bytes | None:
    """Returns what an entry holds, None where there is none or it is damaged."""
    try:
        entry = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, content = entry[:_DIGEST_SIZE], entry[_DIGEST_SIZE:]
    return content if hashlib.sha256(content).digest() == digest else None
