"""Worker processes: messages both ways, how a death is told, and that none stays behind."""

import os
import pathlib
import signal
import struct
import subprocess
import sys
import time

import pytest
import torch

from gqn_rl import worker_pool
from gqn_rl.worker_pool import LAST_LINES, WorkerLost, WorkerPool
from tests.tiny_envs import forkserver


@pytest.fixture
def quick_workers(monkeypatch):
    monkeypatch.setattr(torch.multiprocessing, "get_context", forkserver)


def answer(connection, greeting):
    """Greets, then returns every message doubled."""
    connection.send(greeting)
    while True:
        connection.send(2 * connection.recv())


def fail(connection, error):
    raise error


def fall(connection, depth):
    if depth == 0:
        raise ValueError("the ground")
    fall(connection, depth - 1)


def sleep(connection):
    connection.send("asleep")
    time.sleep(600)


def describe_process(connection):
    """Tells what a worker is like, also after a signal."""
    connection.send((torch.get_num_threads(), torch.cuda.is_initialized()))
    connection.recv()
    connection.send("still here")


def messages(pool, count):
    """Waits for `count` messages, as {index: message}."""
    heard = []
    while len(heard) < count:
        heard += pool.receive(timeout_s=60)
    return dict(heard)


def the_end_of(target, *arguments):
    """Runs one worker up to its end."""
    with WorkerPool(target, lambda _: arguments, 1) as pool:
        return messages(pool, 1)[0]


def test_messages_travel_both_ways(quick_workers):
    """Every worker gets its own arguments and its own messages, and is known by its index."""
    with WorkerPool(answer, lambda index: (f"hello {index}",), 2) as pool:
        assert messages(pool, 2) == {0: "hello 0", 1: "hello 1"}
        pool.send(0, 7)
        pool.send(1, torch.ones(2))
        heard = messages(pool, 2)
        assert heard[0] == 14 and heard[1].tolist() == [2.0, 2.0]
        assert list(pool.receive(timeout_s=0.0)) == []


def test_an_error_is_told_with_exit_code_and_last_lines(quick_workers):
    """Of a long traceback the last lines arrive, the error itself among them."""
    lost = the_end_of(fall, 30)
    assert (lost.index, lost.exit_code, lost.fatal) == (0, 1, False)
    lines = lost.error.splitlines()
    assert len(lines) == LAST_LINES and lines[-1] == "ValueError: the ground"
    assert str(lost) == f"worker 0 failed (exit code 1):\n{lost.error}"


@pytest.mark.parametrize("error", [EOFError("end of replay"), ConnectionResetError("the simulator hung up")])
def test_a_pipe_of_the_workers_own_that_breaks_is_an_error_like_any_other(quick_workers, error):
    """It is not taken for the end of the parent's pipe, at which a worker ends in silence."""
    lost = the_end_of(fail, error)
    assert lost.exit_code == 1 and lost.error.endswith(f"{type(error).__name__}: {error}")


def test_a_killed_worker_is_told_with_its_signal(quick_workers):
    """A process that the kernel ended leaves no words, but its exit code names the signal; others go on."""
    with WorkerPool(answer, lambda index: ("hello",), 2) as pool:
        messages(pool, 2)
        os.kill(pool.process_ids[1], signal.SIGKILL)
        lost = messages(pool, 1)[1]
        assert lost == WorkerLost(1, -signal.SIGKILL, "")
        assert str(lost) == "worker 1 was killed by SIGKILL (exit code -9)"
        pool.send(1, "nobody hears this")
        pool.send(0, 1)
        assert messages(pool, 1) == {0: 2}
        pool.start(1)
        assert messages(pool, 1) == {1: "hello"} and len(pool.process_ids) == 2


def die_in_mid_sentence(connection):
    """Sends the length of a message and four of its bytes."""
    os.write(connection.fileno(), struct.pack("!i", 1000) + b"part")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_killed_while_it_sends_is_told_of_like_any_other(quick_workers):
    """The part of its message that arrived is dropped."""
    assert the_end_of(die_in_mid_sentence) == WorkerLost(0, -signal.SIGKILL, "")


def test_a_worker_that_ends_by_itself_is_told_of(quick_workers):
    """Exit code 0 before its time is a loss too."""
    assert the_end_of(time_is_up) == WorkerLost(0, 0, "")


def time_is_up(connection):
    pass


def test_a_number_that_is_not_finite_is_fatal(quick_workers):
    """A new worker would meet it again; its sentence arrives without a traceback."""
    lost = the_end_of(fail, FloatingPointError("NaN"))
    assert lost.fatal and lost.error == "NaN" and lost.exit_code == 1


def test_leaving_the_context_ends_every_worker(quick_workers, monkeypatch):
    """Workers that wait for a message end by themselves; one that does something else is killed after a while."""
    with WorkerPool(answer, lambda index: ("hello",), 2) as pool:
        messages(pool, 2)
    assert pool.process_ids == []
    monkeypatch.setattr(worker_pool, "STOP_S", 0.1)
    with pytest.raises(KeyError, match="for another reason"), WorkerPool(sleep, lambda index: (), 1) as pool:
        messages(pool, 1)
        raise KeyError("for another reason")
    assert pool.process_ids == [] and not torch.multiprocessing.active_children()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_spawned_workers_ignore_signals_and_have_one_thread_and_no_cuda(number):
    """Their parent, which hears Ctrl-C and SIGTERM as before, decides when they end."""
    before = signal.getsignal(number)
    with WorkerPool(describe_process, lambda index: (), 1) as pool:
        assert signal.getsignal(number) is before
        os.kill(pool.process_ids[0], number)  # at once, while it still imports
        assert messages(pool, 1) == {0: (1, False)}
        os.kill(pool.process_ids[0], number)
        pool.send(0, "go on")
        assert messages(pool, 1) == {0: "still here"}


def test_a_program_that_leaves_workers_open_ends(tmp_path):
    """Its end closes their pipes; it does not wait for ever for workers that ignore its SIGTERM."""
    file = tmp_path / "program.py"
    file.write_text(
        "from gqn_rl.worker_pool import WorkerPool\n"
        "from tests.test_worker_pool import answer, messages\n"
        "if __name__ == '__main__':\n"
        "    pool = WorkerPool(answer, lambda index: ('hello',), 1)\n"
        "    pool.start(0)\n"
        "    print(messages(pool, 1)[0])\n"
    )
    root = str(pathlib.Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.stdout, done.stderr, done.returncode) == ("hello\n", "", 0)
