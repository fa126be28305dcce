"""What this process has of the machine: its cores, memory that it frees and takes again, its copies of LLVM."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pathlib
import shutil
import sys
import warnings

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""mallopt's parameters (malloc.h): bytes of free memory, and of a buffer, from which on it goes back to the system."""
_NEVER = 2**30
_SHARED_MEMORY = "/dev/shm"


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


def check_shared_memory(num_bytes: int) -> None:
    """Checks that /dev/shm, where torch puts tensors that processes share, has room for so many bytes more.

    Without room, the first write kills the process by a bus error. Docker gives a container 64 MB.

    Raises:
        OSError: there is less room.
    """
    if not os.path.isdir(_SHARED_MEMORY):  # other systems keep them elsewhere
        return
    free = shutil.disk_usage(_SHARED_MEMORY).free
    if free < num_bytes:
        raise OSError(
            f"Tensors that processes share need {num_bytes / 1e6:.1f} MB, and {_SHARED_MEMORY} has {free / 1e6:.1f} MB "
            "left: give it more room (`docker run --shm-size=1g`), or make the network smaller."
        )


def import_triton_before_opengl() -> None:
    """Imports triton, where it is installed; must be called before this process opens its first OpenGL context.

    Mesa's software rasteriser and triton each bring a copy of LLVM. Mesa makes the symbols of its copy visible to the
    whole process; a triton that is loaded after it (by `torch.compile` or by the first step of an optimiser) binds to
    them and crashes the process. A triton that is loaded first keeps to its own. Where Mesa's copy is loaded already,
    by another program's renderer, triton is declared missing in this process: PyTorch does without it, but for
    `torch.compile` on a GPU.
    """
    if "triton" in sys.modules or importlib.util.find_spec("triton") is None:
        return
    if _has_loaded("libLLVM"):
        sys.modules["triton"] = None  # type: ignore[assignment]  # the next import of it raises an ImportError
        warnings.warn(
            "OpenGL was opened before triton was imported, and importing it now would crash: this process does without "
            "triton. Import gqn_rl and make its environments before anything is drawn, or write `import triton` first.",
            stacklevel=2,
        )
        return
    with contextlib.suppress(Exception):  # a broken triton is not needed to draw
        importlib.import_module("triton")


def _has_loaded(library: str) -> bool:
    """Tells whether a shared library of this name is loaded; False where the system does not say."""
    try:
        return library in pathlib.Path("/proc/self/maps").read_text()
    except OSError:
        return False
