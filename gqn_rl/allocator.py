"""Memory that is freed stays with the process, for the next step takes the same buffers again."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""mallopt's parameters (malloc.h): bytes of free memory, and of a buffer, from which on it goes back to the system."""
_NEVER = 2**30


def keep_freed_memory() -> None:
    """Tells glibc's malloc to keep what is freed; does nothing elsewhere.

    What goes back to the system is zeroed by it, page by page, when the next step asks for it again. The process stays
    as large as it ever was.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):  # other C libraries have no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_MMAP_THRESHOLD, _NEVER)
