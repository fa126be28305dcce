"""How a process is started: no death or silence of a child holds its parent, no signal is lost, failures are said."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from gqn_rl.processes import WorkerPool, starting, watchdog
from gqn_rl.processes.starting import start_process

PAYLOAD = bytes(2**22)
"""Far more than a pipe holds."""

IN_WORKERS = """
    from gqn_rl.wrappers import SharedMemoryVecEnv
    from tests.tiny_envs import Echo

    def main():
        one = Echo()
        envs = SharedMemoryVecEnv([Echo] * 2, 2, one.observation_space, one.action_space)
        print(envs.reset().shape)
        envs.close()

"""


def run_program(tmp_path, text, *, from_file=True):
    """Runs a program, from a file or from standard input."""
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(text))
    root = str(pathlib.Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command, told = ([sys.executable, str(file)], None) if from_file else ([sys.executable, "-"], file.read_text())
    return subprocess.run(command, input=told, capture_output=True, text=True, timeout=300, env=environment)


def echo(connection, payload):
    connection.send(len(payload))
    connection.recv()


def first_message(pool):
    while True:
        for _, message in pool.receive(timeout_s=60):
            return message


class DiesWhenRead:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (7,)


class StopsWhenRead:
    """Stops the process that unpickles it."""

    def __reduce__(self):
        return signal.raise_signal, (signal.SIGSTOP,)


class FailsWhenRead:
    """Cannot be unpickled."""

    def __reduce__(self):
        return os.fspath, (3,)


def test_arguments_of_any_size_arrive():
    """They lie in memory that the process inherits."""
    with WorkerPool(echo, lambda _: (PAYLOAD,), 1) as pool:
        assert first_message(pool) == len(PAYLOAD)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_child_that_ends_or_stops_at_once_does_not_hold_its_parent(monkeypatch, number):
    """`start_process` returns, though nobody reads the arguments; waiting for its first word ends too."""
    monkeypatch.setattr(watchdog, "START_LIMIT_S", 0.2)
    monkeypatch.setattr(watchdog, "TICK_S", 0.1)
    with WorkerPool(echo, lambda _: (PAYLOAD,), 1) as pool:
        os.kill(pool.process_ids[0], number)
        lost = first_message(pool)
    expected = {
        signal.SIGKILL: "worker 0 was killed by SIGKILL (exit code -9)",
        signal.SIGSTOP: "worker 0 had not begun within 0.2 s and was killed",
    }
    assert str(lost) == expected[number] and not lost.cannot_start


@pytest.mark.parametrize("thing", [DiesWhenRead(), FailsWhenRead()])
def test_arguments_that_cannot_be_read_are_told(quick_workers, thing):
    """By the traceback where there is one, else with the guard that scripts often lack."""
    with WorkerPool(echo, lambda _: (thing,), 1) as pool:
        said = str(first_message(pool))
    died = "worker 0 ended before it had begun (exit code 7): what it printed says why; what a program does must stand"
    assert said.startswith(died) or "TypeError: expected str, bytes or os.PathLike object, not int" in said


def test_a_worker_that_stops_while_it_reads_its_arguments_is_killed(quick_workers, monkeypatch):
    """The limit on a start holds until the worker says that it has begun."""
    monkeypatch.setattr(watchdog, "START_LIMIT_S", 0.2)
    monkeypatch.setattr(watchdog, "TICK_S", 0.1)
    with WorkerPool(echo, lambda _: (StopsWhenRead(),), 1) as pool:
        assert "had not begun within 0.2 s" in str(first_message(pool))


def test_a_program_without_the_guard_ends_with_a_sentence(tmp_path):
    """Its workers, which import it, print nothing of their own."""
    done = run_program(tmp_path, IN_WORKERS + "    main()\n")
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ChildProcessError: Environments are lost: worker ") and last.endswith(
        "ended before it had begun (exit code 83): what a program does must stand below "
        '`if __name__ == "__main__":`, since each worker process imports it anew.'
    )


def test_a_program_that_is_no_file_ends_with_a_sentence(tmp_path):
    """What comes from standard input cannot be imported by a worker."""
    done = run_program(tmp_path, IN_WORKERS + "    if __name__ == '__main__':\n        main()\n", from_file=False)
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1
    assert "and `<stdin>` is no file that they can read; save the program in a file" in done.stderr


def test_a_program_with_the_guard_runs(tmp_path):
    """The same environments, started as they should be."""
    done = run_program(tmp_path, IN_WORKERS + "    if __name__ == '__main__':\n        main()\n")
    assert (done.stdout, done.stderr, done.returncode) == ("(2, 3)\n", "", 0)


class RaisesSignal:
    """Sends SIGINT to this process while it is pickled, in the middle of a start."""

    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGINT)
        return bytes, (3,)


def test_a_signal_during_a_start_arrives_after_it(quick_workers):
    """It is neither lost nor does it leave half a worker."""
    with pytest.raises(KeyboardInterrupt):
        start_process(echo, (RaisesSignal(),), "worker")
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_thread_can_start_workers():
    """Signals are held back for the thread that starts them, whichever it is."""
    heard = []

    def start():
        with WorkerPool(echo, lambda _: (b"four",), 1) as pool:
            os.kill(pool.process_ids[0], signal.SIGINT)  # at once, while it imports
            heard.append(first_message(pool))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert heard == [4]


@pytest.mark.parametrize(("number", "remedy"), [(24, "`ulimit -n`"), (11, "`ulimit -u`"), (12, "free some memory")])
def test_a_start_that_the_system_refuses_is_one_sentence(monkeypatch, number, remedy):
    """It names what ran out and what helps."""

    class Full:
        def Pipe(self):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(starting, "get_context", Full)
    with pytest.raises(ChildProcessError) as told:
        start_process(echo, (b"",), "worker-3")
    assert str(told.value).startswith(f"The process `worker-3` could not be started ({os.strerror(number)}): ")
    assert remedy in str(told.value)
