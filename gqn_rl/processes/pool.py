"""Worker processes with a pipe to each: deaths and silence are noticed and reported with their reason."""

from __future__ import annotations

import contextlib
import multiprocessing.process
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from multiprocessing import connection as pipes
from multiprocessing.util import Finalize
from typing import Any

from gqn_rl.interrupts import noted_stop
from gqn_rl.processes.starting import Failure, Started, Target, start_process
from gqn_rl.processes.watchdog import Watchdog, Worker, WorkerLost

END_LIMIT_S = 60.0
"""Seconds that workers get to end by themselves before they are killed: far more than on a busy machine."""
HURRIED_LIMIT_S = 5.0
"""The same after Ctrl-C or SIGTERM, of a process that has nothing to tell any more; and killed ones to be gone."""
_LOOK_AGAIN_S = 0.1


class WorkerPool:
    """`num_workers` spawned processes that run `target(connection, *arguments(index))`; use it as a context.

    Signals that ask for an end are left to their parent. Workers end when their pipe closes, so a parent that is killed
    leaves none behind; the context, or the program's end, ends those that still run. One thread of torch each.
    Waiting for a worker has limits, those of `watchdog.py`.
    """

    def __init__(self, target: Target, arguments: Callable[[int], tuple[Any, ...]], num_workers: int):
        self._target, self._arguments = target, arguments
        self._workers: list[Worker | None] = [None] * num_workers
        self._watchdog = Watchdog()
        Finalize(self, _close, args=(self._workers, self._watchdog), exitpriority=0)

    def __enter__(self) -> WorkerPool:
        try:
            for index in range(len(self._workers)):
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
        return [worker.process.pid for worker in self._workers if worker is not None and worker.process.is_alive()]

    def start(self, index: int) -> None:
        """Starts worker `index`, for the first time or again; `receive` tells of one that fails to."""
        process, connection = start_process(self._target, self._arguments(index), f"worker-{index}")
        self._workers[index] = Worker(index, process, connection)
        self._watchdog.start()

    def send(self, index: int, message: Any) -> None:
        """Sends a message to a worker; one that has ended is told of by `receive`, not here."""
        worker = self._workers[index]
        if worker is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError), self._watchdog.awaiting([worker]):
                worker.connection.send(message)

    def receive(
        self, timeout_s: float | None = None, awaited: Collection[int] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Waits for messages and yields them as (index, message), with a `WorkerLost` for a worker that has ended.

        Args:
            timeout_s: how long to wait; None waits until there is a message.
            awaited: the workers that owe an answer, on whose silence there is a limit; None stands for all.
        """
        workers = [worker for worker in self._workers if worker is not None]
        owing = [worker for worker in workers if awaited is None or worker.index in awaited]
        with self._watchdog.awaiting(owing):
            ready = pipes.wait([worker.connection for worker in workers], timeout_s)
        for worker in workers:
            if worker.connection in ready:
                try:
                    with self._watchdog.awaiting([worker]):
                        message = worker.connection.recv()
                except (EOFError, OSError):  # OSError: it was killed while it sent
                    yield worker.index, self._lost(worker)
                    continue
                worker.heard()
                if isinstance(message, Started):
                    worker.has_started = True
                elif isinstance(message, Failure):
                    worker.failure = message
                else:
                    yield worker.index, message

    def _lost(self, worker: Worker) -> WorkerLost:
        """Takes leave of a worker whose pipe has closed."""
        self._workers[worker.index] = None
        _end([worker])
        return worker.lost()

    def close(self) -> None:
        """Closes the pipes, which ends the workers, and kills those that do not end within `END_LIMIT_S`."""
        _close(self._workers, self._watchdog)


def _close(workers: list[Worker | None], watchdog: Watchdog) -> None:
    """Ends all workers; the list holds nothing but None afterwards."""
    watchdog.stop()
    running = [worker for worker in workers if worker is not None]
    workers[:] = [None] * len(workers)
    _end(running)


def _end(workers: Sequence[Worker]) -> None:
    """Closes the pipes of workers and sees that their processes end; an interrupt does not wait for them."""
    for worker in workers:
        worker.connection.close()
    limit_s = HURRIED_LIMIT_S if noted_stop() else END_LIMIT_S
    try:
        late = _wait_for_end(workers, limit_s)
    except BaseException:
        _kill(workers)
        raise
    if late:
        _kill(late)
        names = ", ".join(str(worker.index) for worker in late)
        said = f"Worker {names} had not ended within {limit_s:g} s and was killed."
        warnings.warn(said, RuntimeWarning, stacklevel=2)


def _wait_for_end(workers: Sequence[Worker], limit_s: float) -> list[Worker]:
    """Waits up to `limit_s` for the end of all these processes; returns those that still run."""
    deadline_s = time.monotonic() + limit_s
    while running := [worker for worker in workers if worker.process.exitcode is None]:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            break
        pipes.wait([worker.process.sentinel for worker in running], min(left_s, _LOOK_AGAIN_S))
    return running


def _kill(workers: Sequence[Worker]) -> None:
    """Kills processes; one that the system cannot end (it waits for a dead disk) is no longer waited for by anyone."""
    for worker in workers:
        if worker.process.exitcode is None:
            worker.process.kill()
    for worker in _wait_for_end(workers, HURRIED_LIMIT_S):
        multiprocessing.process._children.discard(worker.process)  # type: ignore[attr-defined]
