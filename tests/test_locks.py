"""Locks on folders."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gqn_rl import locks
from gqn_rl.locks import LOCK_FILE, FolderInUseError, sole_writer

HOLDER = """
import sys
from gqn_rl.locks import sole_writer
with sole_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


FORKING_HOLDER = """
import os, sys
from gqn_rl.locks import sole_writer
with sole_writer(sys.argv[1]):
    if os.fork() == 0:
        print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_holder(folder: Path, script: str = HOLDER) -> Iterator[subprocess.Popen]:
    """A process that holds the folder until its input is closed."""
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    """Process, host and command are in the refusal, and the holder keeps the lock."""
    with another_holder(tmp_path) as holder:
        for _ in range(2):
            with pytest.raises(FolderInUseError) as refused, sole_writer(tmp_path):
                pass
            assert f"`{tmp_path}` is in use by process {holder.pid} on {socket.gethostname()} (" in str(refused.value)
            assert "sole_writer" in str(refused.value), "the command"


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    """The system frees the lock with its process; the record that it left behind does not count."""
    with another_holder(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert f'"pid": {holder.pid},' in (tmp_path / LOCK_FILE).read_text()
        with sole_writer(tmp_path):
            assert f'"pid": {os.getpid()},' in (tmp_path / LOCK_FILE).read_text()


def test_waiting_goes_on_when_the_holder_has_ended(tmp_path, monkeypatch):
    """With `wait` the holder is named in a warning, and the lock is taken after it."""
    said = []

    def end_the_holder(text: str, *values: object) -> None:
        said.append(text % values)
        holder.stdin.close()

    monkeypatch.setattr(locks._log, "warning", end_the_holder)
    with another_holder(tmp_path) as holder:
        with sole_writer(tmp_path, wait=True):
            assert holder.wait() == 0
        assert len(said) == 1
        assert f"in use by process {holder.pid} " in said[0]


def test_one_process_takes_a_folder_once_at_a_time(tmp_path):
    """A second part of the same process is refused too; afterwards the folder is free, also after an error."""
    with contextlib.suppress(KeyError), sole_writer(tmp_path):
        with pytest.raises(FolderInUseError, match=f"process {os.getpid()} "), sole_writer(tmp_path):
            pass
        raise KeyError
    with sole_writer(tmp_path):
        pass


def test_a_lock_file_that_was_removed_meanwhile_locks_nothing(tmp_path, monkeypatch):
    """Whoever got the lock of a file that is gone takes the one that is there now."""
    real = locks._take

    def replaced(descriptor: int, folder: Path, wait: bool) -> None:
        real(descriptor, folder, wait)
        (folder / LOCK_FILE).unlink()
        monkeypatch.setattr(locks, "_take", real)

    monkeypatch.setattr(locks, "_take", replaced)
    with sole_writer(tmp_path), pytest.raises(FolderInUseError), sole_writer(tmp_path):
        pass


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_are_not_followed(tmp_path, link):
    """A lock file that is a link to something is refused, and what it points to stays as it is."""
    victim, folder = tmp_path / "victim", tmp_path / "run"
    victim.write_text("precious")
    folder.mkdir()
    link(victim, folder / LOCK_FILE)
    with pytest.raises(ValueError, match="not a lock file of gqn_rl: move it elsewhere"), sole_writer(folder):
        pass
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: Path(path).write_text("mine")])
def test_other_things_of_that_name_are_left_alone(tmp_path, make):
    """A folder, a pipe and a file with other content are refused without waiting and without a change."""
    make(tmp_path / LOCK_FILE)
    before = (tmp_path / LOCK_FILE).lstat()
    with pytest.raises(ValueError, match="not a lock file"), sole_writer(tmp_path):
        pass
    after = (tmp_path / LOCK_FILE).lstat()
    assert (after.st_mode, after.st_size, after.st_ino) == (before.st_mode, before.st_size, before.st_ino)


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    """A child that outlives the killed process which took the lock holds nobody up."""
    with another_holder(tmp_path, FORKING_HOLDER) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with sole_writer(tmp_path):
            assert holder.stdin is not None
            holder.stdin.close()  # the child lived until now


def test_a_system_without_file_locks_is_warned_of(tmp_path, monkeypatch, caplog):
    """Without `fcntl` the work goes on, and one sentence says what the user has to see to."""
    monkeypatch.setattr(locks, "fcntl", None)
    with sole_writer(tmp_path):
        assert not (tmp_path / LOCK_FILE).exists()
    assert f"no file locks: make sure that no other command writes to `{tmp_path}`" in caplog.text


def test_a_folder_that_cannot_be_written_needs_no_lock(tmp_path, monkeypatch):
    """A finished, read-only folder can be looked into."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with sole_writer(tmp_path):
        assert not list(tmp_path.iterdir())


def test_a_folder_that_nothing_is_written_into_is_taken_away_again(tmp_path):
    """With those above it that were made for it; one that holds something stays, and so does one that was there."""
    with contextlib.suppress(KeyError), sole_writer(tmp_path / "a" / "b"):
        raise KeyError
    assert not list(tmp_path.iterdir())
    with sole_writer(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "row").touch()
    with sole_writer(tmp_path):
        pass
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == [LOCK_FILE, "row"]
    assert (tmp_path / LOCK_FILE).exists()
