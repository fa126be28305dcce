"""A function applied to many items by several processes, with the results in order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from gqn_rl.processes.pool import WorkerPool
from gqn_rl.processes.starting import Connection
from gqn_rl.processes.watchdog import WorkerLost

AHEAD_PER_WORKER = 8
"""Results that may wait for a slower one before them."""

Label = TypeVar("Label")
Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[tuple[Label, Item]], num_workers: int
) -> Iterator[tuple[Label, Result]]:
    """Yields (label, function(item)) for each (label, item) in order, computed by `num_workers` new processes.

    A process gets its next item when it has answered, so that neither waits for the other with a full pipe.

    Raises:
        ChildProcessError: a process failed, died or does not answer.
    """
    numbered = enumerate(items)
    labels: dict[int, Label] = {}
    results: dict[int, Result] = {}
    busy: dict[int, int] = {}  # worker -> number of its item
    num_yielded = 0
    with WorkerPool(_answer, lambda _: (function,), num_workers) as pool:
        while True:
            for worker in range(num_workers):
                if worker in busy or len(labels) >= num_workers * AHEAD_PER_WORKER:
                    continue
                if (following := next(numbered, None)) is not None:
                    number, (label, item) = following
                    labels[number], busy[worker] = label, number
                    pool.send(worker, item)
            if not labels:  # nothing was sent although nothing waits: the items have ended
                return
            if num_yielded in results:
                yield labels.pop(num_yielded), results.pop(num_yielded)
                num_yielded += 1
                continue
            for worker, answer in pool.receive(awaited=busy):
                if isinstance(answer, WorkerLost):
                    raise ChildProcessError(str(answer))
                results[busy.pop(worker)] = answer


def _answer(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """Answers items in a worker process until the pipe closes."""
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        result = function(item)
        with contextlib.suppress(ConnectionError):  # nobody waits for it any more
            pipe.send(result)
