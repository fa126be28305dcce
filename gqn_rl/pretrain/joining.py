"""How the processes that train one model find each other: within a limit, and so that Ctrl-C ends the wait."""

from __future__ import annotations

import concurrent.futures
import datetime
import threading
from collections.abc import Callable

from torch import distributed

JOIN_LIMIT_S = 600.0
"""Seconds that a process waits for the others to join it: they start, import and read the same settings meanwhile."""
_LONGEST_WAIT = datetime.timedelta(hours=2)
"""For each other, once all have joined: one of them may be making data."""


def join(backend: str, rank: int, world_size: int) -> None:
    """Makes torch's process group of the processes that its environment variables name (MASTER_ADDR and so on).

    Raises:
        TimeoutError: some had not joined within `JOIN_LIMIT_S`, perhaps since they ended before.
    """
    store = _interruptible(lambda: _meet(rank, world_size))
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=_LONGEST_WAIT)


def _meet(rank: int, world_size: int) -> distributed.Store:
    """Waits until every process has said in the common store that it is there; returns the store."""
    limit = datetime.timedelta(seconds=JOIN_LIMIT_S)
    try:
        store, *_ = next(distributed.rendezvous("env://", rank, world_size, timeout=limit))
        store.set(_joined(rank), b"")
        store.wait([_joined(other) for other in range(world_size)], limit)
    except distributed.DistError as error:
        raise TimeoutError(
            f"Process {rank} of {world_size} that train together waited {JOIN_LIMIT_S:g} s for the others to join: see "
            "why they have ended or were not started, and start all of them again."
        ) from error
    return store


def _joined(rank: int) -> str:
    return f"gqn_rl/joined/{rank}"


def _interruptible(wait: Callable[[], distributed.Store]) -> distributed.Store:
    """Returns what `wait` does, called in a thread: torch waits without hearing signals."""
    answer: concurrent.futures.Future[distributed.Store] = concurrent.futures.Future()

    def call() -> None:
        try:
            answer.set_result(wait())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=call, daemon=True, name="join").start()
    return answer.result()
