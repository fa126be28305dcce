"""Processor seconds of this process and of the processes that it started, those at work included."""

from __future__ import annotations

import os
import time
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_PROC = Path("/proc")
_PARENT, _USER, _SYSTEM = 1, 11, 12
"""Fields of /proc/<pid>/stat behind the name: the parent's number, and user's and system's time in clock ticks."""


def processor_seconds() -> float:
    """Returns user's and system's seconds so far of this process, its ended children and its living descendants.

    Unlike the clock's they do not depend on who else uses the machine. Where there is no /proc, living children count
    when they have ended.
    """
    seconds = time.process_time()
    if resource is not None:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds += ended.ru_utime + ended.ru_stime
    return seconds + sum(_descendants(os.getpid()).values())


def _descendants(pid: int) -> dict[int, float]:
    """Returns the processor seconds of every living process that `pid` or one of these started, by number."""
    table: dict[int, tuple[int, float]] = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        ticks = int(fields[_USER]) + int(fields[_SYSTEM])
        table[int(folder.name)] = (int(fields[_PARENT]), ticks / os.sysconf("SC_CLK_TCK"))
    found, newest = dict[int, float](), {pid}
    while newest:
        newest = {child for child, (parent, _) in table.items() if parent in newest and child not in found}
        found |= {child: table[child][1] for child in newest}
    return found
