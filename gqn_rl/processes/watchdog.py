"""Limits on waiting for another process: one that stays silent too long is killed, and that is said."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from gqn_rl.interrupts import noted_stop
from gqn_rl.processes.starting import GUARD, UNGUARDED_EXIT_CODE, Connection, Failure

START_LIMIT_S = 300.0
"""Seconds from a worker's start until it has imported what it needs and has its arguments."""
ANSWER_LIMIT_S = 1800.0
"""Seconds of waiting for a worker that has begun."""
STOP_LIMIT_S = 20.0
"""Seconds of waiting for a worker after Ctrl-C or SIGTERM; a cluster kills everything after 30."""
TICK_S = 1.0


@dataclasses.dataclass(frozen=True)
class WorkerLost:
    """A worker process that has ended before it was told to.

    Attributes:
        index: which worker.
        exit_code: of its process; negative for the signal that killed it.
        error: the last lines of its traceback, or why it was killed; empty when it left no word.
        fatal: whether a new worker would fail in the same way (an error of kind FloatingPointError).
        cannot_start: whether it ended by itself before it had its arguments, as a new worker would.
        is_silent: whether the watchdog killed it.
    """

    index: int
    exit_code: int | None
    error: str
    fatal: bool = False
    cannot_start: bool = False
    is_silent: bool = False

    def __str__(self) -> str:
        code = self.exit_code
        if self.cannot_start:
            return f"worker {self.index} ended before it had begun (exit code {code}): {self.error}"
        if self.is_silent:
            return f"worker {self.index} {self.error}"
        how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else "failed"
        return f"worker {self.index} {how} (exit code {code})" + (f":\n{self.error}" if self.error else "")


@dataclasses.dataclass(eq=False)
class Worker:
    """A worker process, and what is known of it.

    Attributes:
        index: its number.
        process: the process.
        connection: our end of its pipe.
        has_started: whether it has said that it has its arguments.
        failure: what it said before it ended with an error.
        silent_s: seconds that were spent waiting for it since it said something.
        silent_since_stop_s: those of them after this process was asked to stop.
        verdict: why the watchdog killed it, empty while it has not.
    """

    index: int
    process: Any
    connection: Connection
    has_started: bool = False
    failure: Failure | None = None
    silent_s: float = 0.0
    silent_since_stop_s: float = 0.0
    verdict: str = ""

    def heard(self) -> None:
        """Begins to count anew."""
        self.silent_s = self.silent_since_stop_s = 0.0

    def lost(self) -> WorkerLost:
        """Describes its end."""
        code, failure = self.process.exitcode, self.failure
        if self.verdict:
            return WorkerLost(self.index, code, self.verdict, is_silent=True)
        if failure is not None:
            return WorkerLost(self.index, code, failure.error, failure.fatal)
        if not self.has_started and code is not None and code > 0:
            seen = "" if code == UNGUARDED_EXIT_CODE else "what it printed says why; "
            return WorkerLost(self.index, code, f"{seen}{GUARD}.", cannot_start=True)
        return WorkerLost(self.index, code, "")


class Watchdog:
    """A thread that looks once a second after the workers that the main thread is waiting for.

    One that has been silent for too long is killed, and one that is dead although its pipe is still open (a process of
    its own holds it) is hung up on. Either way the main thread, which may be stuck in the middle of a message, sees
    the pipe close. Seconds in which the whole program is stopped (Ctrl-Z) do not count.
    """

    def __init__(self) -> None:
        self._awaited: Sequence[Worker] = ()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to watch; a second call does nothing."""
        if self._thread is None:
            self._closing.clear()
            self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._closing.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():  # where garbage is collected in it
            thread.join(TICK_S)

    @contextlib.contextmanager
    def awaiting(self, workers: Sequence[Worker]) -> Iterator[None]:
        """A context for the main thread to wait in for something that any of these workers does."""
        self._awaited = workers
        try:
            yield
        finally:
            self._awaited = ()
            with self._lock:  # a look at them that has begun ends first: two threads must not ask how a process ended
                pass

    def _watch(self) -> None:
        while not self._closing.wait(TICK_S):
            with self._lock:
                for worker in self._awaited:
                    self._look_at(worker)

    def _look_at(self, worker: Worker) -> None:
        """Counts a second of silence."""
        stop = noted_stop()
        worker.silent_s += TICK_S
        worker.silent_since_stop_s += TICK_S if stop else 0.0
        limit_s = ANSWER_LIMIT_S if worker.has_started else START_LIMIT_S
        done = "answered" if worker.has_started else "begun"
        if worker.process.exitcode is not None:
            _hang_up(worker.connection)
        elif stop and worker.silent_since_stop_s >= STOP_LIMIT_S:
            self._kill(worker, f"had not {done} {STOP_LIMIT_S:g} s after {stop} and was killed")
        elif worker.silent_s >= limit_s:
            self._kill(worker, f"had not {done} within {limit_s:g} s and was killed")

    def _kill(self, worker: Worker, verdict: str) -> None:
        worker.verdict = verdict
        worker.process.kill()
        _hang_up(worker.connection)


def _hang_up(connection: Connection) -> None:
    """Ends a pipe in both directions without closing it, so that whoever reads or writes it is woken."""
    if not hasattr(socket, "AF_UNIX"):  # Windows, whose pipes close with the process
        return
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as pipe:
        pipe.shutdown(socket.SHUT_RDWR)
