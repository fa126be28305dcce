"""Waiting for what other processes do: as long as a busy machine may need, and no longer than it takes."""

import pathlib
import time

LIMIT_S = 300.0
"""Nothing is measured by it: it ends a test in which what is awaited never comes."""


def wait_until(is_so):
    """Returns when `is_so()` first gives something true, and returns that."""
    deadline_s = time.monotonic() + LIMIT_S
    while not (answer := is_so()):
        assert time.monotonic() < deadline_s, f"not so within {LIMIT_S:g} s"
        time.sleep(0.02)
    return answer


def is_running(process_id):
    """Tells whether a process still runs: one that is dead may wait for somebody to notice."""
    try:
        status = pathlib.Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"
