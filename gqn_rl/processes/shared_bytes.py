"""Memory that a process shares with those it starts: without a name, so that nothing can be left behind."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import sys
import weakref
from collections.abc import Callable
from multiprocessing.reduction import DupFd
from typing import Any


class SharedBytes:
    """`num_bytes` bytes, all 0, that processes started with this object as an argument see too.

    On Linux it is an anonymous file in memory (memfd): it has no name, needs no room in /dev/shm (64 MB in a Docker
    container) and is gone with the last process that holds it, whatever ended them. Elsewhere it is a file that
    `multiprocessing` removes at once.

    Attributes:
        memory: the bytes, writable, as anything that takes a buffer reads them (`np.frombuffer`).
    """

    memory: Any

    def __init__(self, num_bytes: int):
        self._size = max(num_bytes, 1)
        if sys.platform != "linux":
            self.memory = multiprocessing.get_context("spawn").RawArray("B", self._size)
            return
        self._fd = os.memfd_create("gqn_rl")
        weakref.finalize(self, os.close, self._fd)
        os.ftruncate(self._fd, self._size)
        self.memory = mmap.mmap(self._fd, self._size)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if sys.platform != "linux":
            return _ArrayOfParent, (self.memory,)
        return _attach, (DupFd(self._fd), self._size)


class _ArrayOfParent:
    """What arrives in a worker process of a system without memfd."""

    def __init__(self, memory: Any):
        self.memory = memory


def _attach(handle: Any, size: int) -> SharedBytes:
    """Maps the parent's memory in the process that it started."""
    shared = SharedBytes.__new__(SharedBytes)
    shared._size, shared._fd = size, handle.detach()
    weakref.finalize(shared, os.close, shared._fd)
    shared.memory = mmap.mmap(shared._fd, size)
    return shared
