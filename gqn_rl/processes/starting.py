"""How this package starts a process: nothing on the way can hang, no signal is lost, and a failure is one sentence.

`multiprocessing` hands a spawned process its arguments through a pipe. A parent whose child dies before it has read
them waits in that pipe for ever, since it holds the other end as well. Here the arguments lie in memory that the new
process inherits, so the pipe carries only a handle, and a start never waits for the child. The child says over its own
connection that it has begun; `WorkerPool` limits how long that may take.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import connection as pipes
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

from gqn_rl.machine import keep_freed_memory
from gqn_rl.processes.parent import end_with_parent
from gqn_rl.processes.shared_bytes import SharedBytes

GUARD = 'what a program does must stand below `if __name__ == "__main__":`, since each worker process imports it anew'
UNGUARDED_EXIT_CODE = 83
"""Of a worker whose main program, imported by it, would have started workers itself."""
LAST_LINES = 12
"""Lines of a failed worker's traceback that are reported."""

Connection = pipes.Connection
Target = Callable[..., None]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Started(NamedTuple):
    """The first message of a process: it has its arguments and begins."""


class Failure(NamedTuple):
    """What a process sends instead of a message before it ends with an error.

    Attributes:
        error: the last lines of its traceback.
        fatal: whether another process would fail in the same way (an error of kind FloatingPointError).
    """

    error: str
    fatal: bool


def start_process(target: Target, arguments: tuple[Any, ...], name: str) -> tuple[Any, Connection]:
    """Starts a process that runs `target(connection, *arguments)` and leaves SIGINT and SIGTERM to its parent.

    It computes on one thread, sends `Started` as soon as it has its arguments and `Failure` instead of printing an
    error, and ends with its parent, however that ends and whatever it is doing then.

    Args:
        target: a function of a module.
        arguments: anything that can be pickled to a spawned process.
        name: of the process.

    Returns:
        The process, and our end of a connection to it.

    Raises:
        ChildProcessError: no process can be started: too many are open, or the main program is no file.
    """
    _check_main_program()
    resource_tracker.ensure_running()  # or it would be started within, where it unblocks the signals
    context = get_context()
    try:
        ours, theirs = context.Pipe()
    except OSError as error:
        raise _cannot_start(name, error) from error
    handed_over = _HandedOver((target, arguments))
    process = context.Process(target=_run, args=(theirs, handed_over), daemon=True, name=name)
    try:
        with _signals_held_back():
            process.start()
    except BaseException as error:
        ours.close()
        if isinstance(error, OSError):
            raise _cannot_start(name, error) from error
        raise
    finally:
        theirs.close()
        handed_over.release()
    return process, ours


def get_context() -> SpawnContext:
    """Returns how processes are started: spawned, since neither OpenGL contexts nor threads survive a fork."""
    return multiprocessing.get_context("spawn")


class _HandedOver:
    """Arguments on their way to a process: pickled when it is started, and read there when it is ready for them."""

    def __init__(self, content: Any):
        self._content: Any = content
        self._pickled: SharedBytes | None = None

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        data = ForkingPickler.dumps(self._content)
        self._pickled = SharedBytes(len(data))
        memoryview(self._pickled.memory).cast("B")[: len(data)] = data
        return _Arrived, (self._pickled, len(data))

    def release(self) -> None:
        """Frees this process's part of it."""
        self._content = self._pickled = None


class _Arrived:
    """Arguments that have come to a process, still pickled."""

    def __init__(self, pickled: SharedBytes, num_bytes: int):
        self._pickled, self._num_bytes = pickled, num_bytes

    def load(self) -> Any:
        with memoryview(self._pickled.memory).cast("B") as data:
            return ForkingPickler.loads(data[: self._num_bytes])


def _run(connection: Connection, arrived: _Arrived) -> None:
    """Runs in the new process."""
    _leave_signals_to_parent()
    end_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"  # several processes with several threads each fight for the cores
    keep_freed_memory()
    try:
        target, arguments = arrived.load()
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(1)
        connection.send(Started())
        del arrived
        target(connection, *arguments)
    except Exception as error:
        lines = traceback.format_exc().strip().splitlines()[-LAST_LINES:]
        text = str(error) if isinstance(error, FloatingPointError) else "\n".join(lines)
        with contextlib.suppress(OSError):  # the error was that the parent has closed the pipe, or is gone
            connection.send(Failure(text, isinstance(error, FloatingPointError)))
        sys.exit(1)


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """A context in which SIGINT and SIGTERM wait; a process that is started in it does not hear them at all.

    A terminal sends Ctrl-C, and a cluster SIGTERM, to parent and children alike. It is the parent that decides what
    becomes of it, and it needs its children to leave a checkpoint. A signal that comes meanwhile arrives afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_signals_to_parent() -> None:
    """Ignores the signals that were held back when this process was started."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # for the processes that this one may start


def _check_main_program() -> None:
    """Refuses what a new process cannot import, and ends a process that is only imported by a worker to be."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(UNGUARDED_EXIT_CODE)
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is None and file is not None and not os.path.exists(file):
        raise ChildProcessError(
            f"Worker processes import the main program, and `{file}` is no file that they can read; save the program "
            f"in a file and run that: {GUARD}."
        )


def _cannot_start(name: str, error: OSError) -> ChildProcessError:
    """Says why no process could be started, and what helps."""
    remedy = {
        errno.EMFILE: "raise the limit of open files (`ulimit -n`) or use fewer workers",
        errno.ENFILE: "the machine has too many open files; use fewer workers",
        errno.EAGAIN: "raise the limit of processes (`ulimit -u`) or use fewer workers",
        errno.ENOMEM: "free some memory or use fewer workers",
        errno.ENOSPC: "free some room in /dev/shm and the temporary folder, or use fewer workers",
    }.get(error.errno or 0, "use fewer workers")
    return ChildProcessError(f"The process `{name}` could not be started ({error.strerror or error}): {remedy}.")
