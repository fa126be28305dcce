"""Memory that processes share."""

import pathlib

import numpy as np

from gqn_rl.processes import SharedBytes, WorkerPool


def add_one(connection, shared):
    np.frombuffer(shared.memory, np.uint8)[:] += 1
    connection.send("done")


def test_parent_and_worker_see_the_same_bytes_and_nothing_has_a_name(quick_workers):
    """What a worker writes is read here; /dev/shm holds no more than before, so nothing can stay there."""
    named = pathlib.Path("/dev/shm")
    before = {file.name for file in named.glob("*")}
    shared = SharedBytes(5)
    with WorkerPool(add_one, lambda _: (shared,), 1) as pool:
        while not list(pool.receive(timeout_s=60)):
            pass
        mine = {file.name for file in named.glob("*")} - before
        assert np.frombuffer(shared.memory, np.uint8).tolist() == [1] * 5
    assert not [name for name in mine if name.startswith(("pym-", "sem.mp-"))]


def test_none_is_a_size_too():
    """An observation without numbers needs no special case."""
    assert len(SharedBytes(0).memory) >= 0
