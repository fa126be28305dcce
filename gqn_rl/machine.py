"""What this process has of the machine: its cores, and memory that it frees and takes again."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""mallopt's parameters (malloc.h): bytes of free memory, and of a buffer, from which on it goes back to the system."""
_NEVER = 2**30


def available_cores() -> int:
    """Returns the number of CPU cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # absent on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Tells glibc's malloc to keep what is freed; does nothing elsewhere.

    A step takes the same buffers as the one before it, and what went back to the system is zeroed by it, page by page,
    when it is asked for again. The process stays as large as it ever was.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):  # other C libraries have no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_MMAP_THRESHOLD, _NEVER)
