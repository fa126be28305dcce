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

from gqn_rl.interrupts import StopRequest
from gqn_rl.processes import WorkerLost, WorkerPool, watchdog
from gqn_rl.processes import pool as pools
from gqn_rl.processes.starting import LAST_LINES
from tests.waiting import LIMIT_S, is_running, wait_until


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


def with_package():
    """Returns the environment variables of a program that imports this package and its tests."""
    root = str(pathlib.Path(__file__).parents[1])
    return os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


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
    monkeypatch.setattr(pools, "END_LIMIT_S", 0.1)
    killed = pytest.warns(RuntimeWarning, match="Worker 0 had not ended within 0.1 s and was killed.")
    with killed, pytest.raises(KeyError, match="for another reason"), WorkerPool(sleep, lambda index: (), 1) as pool:
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
        "from gqn_rl.processes import WorkerPool\n"
        "from tests.test_processes_pool import answer, messages\n"
        "if __name__ == '__main__':\n"
        "    pool = WorkerPool(answer, lambda index: ('hello',), 1)\n"
        "    pool.start(0)\n"
        "    print(messages(pool, 1)[0])\n"
    )
    command = [sys.executable, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=with_package())
    assert (done.stdout, done.stderr, done.returncode) == ("hello\n", "", 0)


# -------------------------------------------------------------------------------------------------- limits on waiting


def stop_itself(connection):
    """Does not react any more, as a process that waits for a dead disk or a driver."""
    os.kill(os.getpid(), signal.SIGSTOP)
    connection.send("never said")


def stop_in_mid_sentence(connection):
    os.write(connection.fileno(), struct.pack("!i", 1000) + b"part")
    os.kill(os.getpid(), signal.SIGSTOP)


def do_not_listen(connection):
    connection.send("ready")
    os.kill(os.getpid(), signal.SIGSTOP)


def leave_a_child_with_the_pipe(connection):
    """Ends, but for a child process that holds both ends of what its parent looks at."""
    if os.fork() == 0:
        time.sleep(600)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def impatient(monkeypatch):
    """Lets the watchdog look often, and, from the call of what this returns on, lose patience soon."""
    monkeypatch.setattr(watchdog, "TICK_S", 0.05)
    return lambda: monkeypatch.setattr(watchdog, "ANSWER_LIMIT_S", 0.2)


@pytest.mark.parametrize("target", [stop_itself, stop_in_mid_sentence])
def test_a_worker_that_does_not_answer_is_killed_and_that_is_said(quick_workers, impatient, target):
    """Whether it is silent or breaks off in the middle of a message, waiting for it ends."""
    impatient()
    lost = the_end_of(target)
    assert str(lost) == "worker 0 had not answered within 0.2 s and was killed" and lost.is_silent


def test_a_worker_that_does_not_read_is_killed(quick_workers, impatient):
    """A message that is larger than a pipe holds cannot keep the parent for ever."""
    with WorkerPool(do_not_listen, lambda _: (), 1) as pool:
        messages(pool, 1)
        impatient()
        pool.send(0, bytes(2**24))
        assert messages(pool, 1)[0].is_silent


def test_only_workers_that_owe_an_answer_must_give_one(quick_workers, impatient):
    """One that has nothing to do may be silent as long as it likes."""
    with WorkerPool(answer, lambda index: (index,), 2) as pool:
        messages(pool, 2)
        impatient()
        for _ in range(3):
            assert list(pool.receive(timeout_s=0.3, awaited=[])) == []
        assert len(pool.process_ids) == 2


def test_a_death_is_noticed_even_when_a_child_of_the_worker_holds_its_pipe(quick_workers, monkeypatch):
    """The watchdog asks for the process itself."""
    monkeypatch.setattr(watchdog, "TICK_S", 0.05)
    assert the_end_of(leave_a_child_with_the_pipe).exit_code == -signal.SIGKILL


def test_after_a_signal_a_worker_gets_little_time(quick_workers, monkeypatch):
    """The loop that notes Ctrl-C goes on to wait for its workers: one that is stopped cannot keep it."""
    monkeypatch.setattr(watchdog, "TICK_S", 0.05)
    monkeypatch.setattr(watchdog, "STOP_LIMIT_S", 0.2)
    with WorkerPool(do_not_listen, lambda _: (), 1) as pool, StopRequest():
        messages(pool, 1)
        signal.raise_signal(signal.SIGTERM)
        assert str(messages(pool, 1)[0]) == "worker 0 had not answered 0.2 s after SIGTERM and was killed"


def test_after_a_signal_workers_get_little_time_to_end(quick_workers, monkeypatch):
    """A cluster kills everything soon after its SIGTERM; without one, a busy machine gets all the time it needs."""
    monkeypatch.setattr(pools, "HURRIED_LIMIT_S", 0.2)
    pool = WorkerPool(do_not_listen, lambda _: (), 1)
    with pool, StopRequest():
        messages(pool, 1)
        signal.raise_signal(signal.SIGTERM)
        with pytest.warns(RuntimeWarning, match="^Worker 0 had not ended within 0.2 s and was killed.$"):
            pool.close()
    assert not torch.multiprocessing.active_children()


def fall_asleep(connection):
    """Never looks at its pipe again."""
    print(os.getpid(), flush=True)
    time.sleep(600)


KILLED = """
import os, time
from gqn_rl.processes import WorkerPool
from tests.test_processes_pool import fall_asleep
if __name__ == "__main__":
    with WorkerPool(fall_asleep, lambda _: (), 1):
        if os.fork() == 0:  # holds the pipe's other end
            os.read(0, 1)
            os._exit(0)
        time.sleep(600)
"""


@pytest.mark.slow  # two programs start
def test_a_worker_ends_with_a_killed_parent_whatever_it_is_doing(tmp_path):
    """Though it does not use its pipe, and though another process holds the other end of that."""
    file = tmp_path / "program.py"
    file.write_text(KILLED)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, file], stdin=pipe, stdout=pipe, text=True, env=with_package()) as parent:
        worker = int(parent.stdout.readline())
        assert is_running(worker)
        parent.kill()
        wait_until(lambda: not is_running(worker))


def test_leaving_several_stopped_workers_waits_once(quick_workers, monkeypatch):
    """They share one limit, are killed together, and are named in one warning."""
    monkeypatch.setattr(pools, "END_LIMIT_S", 0.1)
    pool = WorkerPool(do_not_listen, lambda _: (), 3)
    with pool:
        messages(pool, 3)
        with pytest.warns(RuntimeWarning, match="^Worker 0, 1, 2 had not ended within 0.1 s and was killed.$"):
            pool.close()
    assert not torch.multiprocessing.active_children()


def test_an_interrupt_while_workers_are_ended_kills_them_at_once(quick_workers, monkeypatch):
    """A second Ctrl-C does not wait for the limit."""
    with WorkerPool(do_not_listen, lambda _: (), 2) as pool:
        messages(pool, 2)
        (first, *_) = torch.multiprocessing.active_children()
        monkeypatch.setattr(pools, "_wait_for_end", interrupted_once(pools._wait_for_end))
        with pytest.raises(KeyboardInterrupt):
            pool.close()
        assert first.exitcode == -signal.SIGKILL and not torch.multiprocessing.active_children()


def interrupted_once(function):
    calls = []

    def call(workers, limit_s):
        calls.append(workers)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return function(workers, limit_s)

    return call
