"""Spawned worker processes with a pipe to each: deaths are noticed at once and reported with their reason."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import connection as pipes
from multiprocessing.util import Finalize
from typing import Any, cast

import torch
import torch.multiprocessing

from gqn_rl.machine import keep_freed_memory

STOP_S = 5.0
"""Seconds that a worker gets to end by itself before it is killed."""
LAST_LINES = 12
"""Lines of a failed worker's traceback that are told."""

Connection = pipes.Connection
Target = Callable[..., None]


@dataclasses.dataclass(frozen=True)
class WorkerLost:
    """A worker process that has ended before it was told to.

    Attributes:
        index: which worker.
        exit_code: of its process; negative for the signal that killed it.
        error: the last lines of its traceback, empty when it left none.
        fatal: whether a new worker would fail in the same way (an error of kind FloatingPointError).
    """

    index: int
    exit_code: int | None
    error: str
    fatal: bool = False

    def __str__(self) -> str:
        code = self.exit_code
        how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else "failed"
        return f"worker {self.index} {how} (exit code {code})" + (f":\n{self.error}" if self.error else "")


@dataclasses.dataclass(frozen=True)
class _Failure:
    """What a worker sends instead of a message before it ends with an error."""

    error: str
    fatal: bool


class WorkerPool:
    """`num_workers` spawned processes that run `target(connection, *arguments(index))`; use it as a context.

    Signals that ask for an end are left to their parent. Workers end when their pipe closes, so a parent that is killed
    leaves none behind; the context, or the program's end, ends those that still run. One thread of torch each.
    """

    def __init__(self, target: Target, arguments: Callable[[int], tuple[Any, ...]], num_workers: int):
        self._target, self._arguments = target, arguments
        self._context = torch.multiprocessing.get_context("spawn")
        self._processes: list[Any] = [None] * num_workers
        self._connections: list[Connection | None] = [None] * num_workers
        self._failures: dict[int, _Failure] = {}
        Finalize(self, _close, args=(self._connections, self._processes), exitpriority=0)

    def __enter__(self) -> WorkerPool:
        try:
            for index in range(len(self._processes)):
                self.start(index)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the workers that run."""
        return [process.pid for process in self._processes if process is not None and process.is_alive()]

    def start(self, index: int) -> None:
        """Starts worker `index`, for the first time or again."""
        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._target, self._arguments(index))
        process = self._context.Process(target=_run, args=arguments, daemon=True, name=f"worker-{index}")
        with signals_left_to_parent():
            process.start()
        theirs.close()
        self._processes[index], self._connections[index] = process, ours

    def send(self, index: int, message: Any) -> None:
        """Sends a message to a worker; one that has ended is told of by `receive`, not here."""
        connection = self._connections[index]
        if connection is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(message)

    def receive(self, timeout_s: float | None = None) -> Iterator[tuple[int, Any]]:
        """Waits for messages and yields them as (index, message), with a `WorkerLost` for a worker that has ended."""
        open_ones = {connection: index for index, connection in enumerate(self._connections) if connection is not None}
        for connection in cast(list[Connection], pipes.wait(list(open_ones), timeout_s)):
            index = open_ones[connection]
            try:
                message = connection.recv()
            except (EOFError, OSError):  # OSError: it was killed while it sent
                yield index, self._lost(index)
                continue
            if isinstance(message, _Failure):
                self._failures[index] = message
            else:
                yield index, message

    def _lost(self, index: int) -> WorkerLost:
        """Takes leave of a worker whose pipe has closed."""
        process, failure = self._processes[index], self._failures.pop(index, None)
        _end(process)
        connection, self._connections[index], self._processes[index] = self._connections[index], None, None
        if connection is not None:
            connection.close()
        return WorkerLost(
            index, process.exitcode, failure.error if failure else "", failure is not None and failure.fatal
        )

    def close(self) -> None:
        """Closes the pipes, which ends the workers, and kills those that do not end within `STOP_S`."""
        _close(self._connections, self._processes)


def _close(connections: list[Connection | None], processes: list[Any]) -> None:
    """Closes the pipes and sees that their processes end; both lists hold nothing but None afterwards."""
    for connection in connections:
        if connection is not None:
            connection.close()
    for process in processes:
        if process is not None:
            _end(process)
    connections[:] = [None] * len(connections)
    processes[:] = [None] * len(processes)


def _run(connection: Connection, target: Target, arguments: tuple[Any, ...]) -> None:
    """Runs `target` in a worker process; an error is sent to the parent instead of printed."""
    torch.set_num_threads(1)  # several workers with several threads each fight for the cores
    keep_freed_memory()
    try:
        target(connection, *arguments)
    except Exception as error:
        lines = traceback.format_exc().strip().splitlines()[-LAST_LINES:]
        text = str(error) if isinstance(error, FloatingPointError) else "\n".join(lines)
        with contextlib.suppress(OSError):  # the error was that the parent has closed the pipe, or is gone
            connection.send(_Failure(text, isinstance(error, FloatingPointError)))
        sys.exit(1)


def _end(process: Any) -> None:
    """Waits for a process whose pipe is closed, and kills it when that takes too long."""
    process.join(STOP_S)
    if process.exitcode is None:
        process.kill()
        process.join()


@contextlib.contextmanager
def signals_left_to_parent() -> Iterator[None]:
    """A context to start a process in: it ignores SIGINT and SIGTERM from its very first instruction.

    A terminal sends Ctrl-C, and a cluster SIGTERM, to parent and children alike; it is the parent that decides, and it
    may need them to leave a checkpoint. Only the main thread can arrange for it; another starts a process as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
