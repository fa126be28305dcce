"""Command lines that this program runs as its children: what asks it to stop reaches them, and none outlives it."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from gqn_rl.interrupts import StopRequest

POLL_S = 0.2
HAND_ON_AFTER_S = {"SIGTERM": 0.0, "SIGINT": 10.0}
"""Seconds until a command is sent SIGTERM. A terminal's Ctrl-C reaches it by itself, and a second signal would keep it
from saving what it has; a SIGINT that was sent to this process alone does not reach it."""
SAVE_LIMIT_S = 60.0
"""Seconds that it then gets to save what it has, before it is killed."""
HURRIED_LIMIT_S = 5.0
"""The same when this program is itself interrupted meanwhile."""


def run_command(
    command: Sequence[str], stop: StopRequest, *, on_line: Callable[[str], object] | None = None, **how: Any
) -> int:
    """Runs a command to its end, which a stop that was asked for brings about.

    Args:
        command: program and arguments.
        stop: the stop that this program honours; nothing is started once it was asked for.
        on_line: is told every line that the command prints, in a thread of its own; None leaves them to `how`.
        how: further arguments of `subprocess.Popen`.

    Returns:
        The exit status; 130, a shell's for Ctrl-C, where nothing was started.
    """
    if stop.signal_name is not None:
        return 130
    if on_line is not None:
        how |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    process = subprocess.Popen(command, **how)
    reader = threading.Thread(target=_read, args=(process, on_line), daemon=True)
    try:
        if on_line is not None:
            reader.start()
        return _wait(process, stop)
    except BaseException:
        _end(process, HURRIED_LIMIT_S)
        raise
    finally:
        if on_line is not None:
            reader.join(HURRIED_LIMIT_S)  # a process that the command left behind may hold the pipe


def _wait(process: subprocess.Popen[Any], stop: StopRequest) -> int:
    """Waits for the end of a command, and hands a stop on to it."""
    asked_s: float | None = None
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_S)
        if stop.signal_name is None:
            continue
        asked_s = time.monotonic() if asked_s is None else asked_s
        if time.monotonic() - asked_s >= HAND_ON_AFTER_S[stop.signal_name]:
            return _end(process, SAVE_LIMIT_S)


def _end(process: subprocess.Popen[Any], limit_s: float) -> int:
    """Asks a command to end, and kills it when it does not; returns its exit status."""
    process.terminate()
    try:
        return process.wait(limit_s)
    except BaseException as error:
        process.kill()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
    return process.wait()


def _read(process: subprocess.Popen[str], on_line: Callable[[str], object]) -> None:
    assert process.stdout is not None
    with process.stdout, contextlib.suppress(ValueError):  # it is closed when this program ends
        for line in process.stdout:
            on_line(line)
