"""Commands that run as children: a stop reaches them once, they may save what they have, and none outlives it."""

import functools
import os
import signal
import sys
import threading

import pytest

from gqn_rl.interrupts import StopRequest
from gqn_rl.processes import commands, run_command
from tests.waiting import is_running, wait_until

SAVES = """
import os, signal, sys, time
def save(number, _):
    print("saved after", signal.Signals(number).name, flush=True)
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGINT, save)
print(os.getpid(), flush=True)
time.sleep(600)
"""
DEAF = SAVES.replace("sys.exit(130)", "pass").replace("time.sleep(600)", "while True: time.sleep(600)")


def run_until(signals, program):
    """Runs a program that prints its process id, and raises signals here when it has; returns status and lines."""
    lines = []

    def heard(line):
        lines.append(line.strip())
        if len(lines) == 1:
            for number in signals:
                os.kill(os.getpid(), number)

    with StopRequest() as stop:
        return run_command([sys.executable, "-c", program], stop, on_line=heard), lines


def test_a_command_that_ends_by_itself_tells_lines_and_status():
    """What it writes to either stream comes line by line."""
    program = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)"
    assert run_until([], program) == (3, ["out", "err"])


def test_sigterm_is_handed_on_and_the_command_may_save():
    """Its own exit status is returned."""
    status, lines = run_until([signal.SIGTERM], SAVES)
    assert (status, lines[1:]) == (130, ["saved after SIGTERM"])


def test_an_interrupt_that_did_not_reach_the_command_is_handed_on_later(monkeypatch):
    """A terminal's Ctrl-C would have: so it gets time to end by itself, and then SIGTERM."""
    assert commands.HAND_ON_AFTER_S["SIGINT"] > 0
    monkeypatch.setitem(commands.HAND_ON_AFTER_S, "SIGINT", 0.3)
    status, lines = run_until([signal.SIGINT], SAVES)
    assert (status, lines[1:]) == (130, ["saved after SIGTERM"])


def test_a_command_that_does_not_end_is_killed(monkeypatch):
    """The exit status tells the signal."""
    monkeypatch.setattr(commands, "SAVE_LIMIT_S", 0.3)
    status, lines = run_until([signal.SIGTERM], DEAF)
    assert status == -signal.SIGKILL and not is_running(int(lines[0]))


def test_a_second_interrupt_ends_the_command_too():
    """It is raised here, and the command is asked to end at once."""
    lines = []

    def heard(line):
        lines.append(line)
        if len(lines) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            wait_until(lambda: stop.signal_name)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        run_command([sys.executable, "-c", SAVES], stop, on_line=heard)
    assert not is_running(int(lines[0])) and lines[1:] == ["saved after SIGTERM\n"]


def test_nothing_is_started_after_a_stop(tmp_path):
    """A command that waited for its turn is left out, with the status of Ctrl-C."""
    touch = [sys.executable, "-c", f"open({str(tmp_path / 'made')!r}, 'w')"]
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert run_command(touch, stop) == 130
    assert not (tmp_path / "made").exists()


def test_a_command_can_be_run_by_a_thread():
    """The stop is noted by the main thread."""
    statuses, lines = [], []
    with StopRequest() as stop:
        run = functools.partial(run_command, [sys.executable, "-c", SAVES], stop, on_line=lines.append)
        thread = threading.Thread(target=lambda: statuses.append(run()))
        thread.start()
        wait_until(lambda: lines)
        signal.raise_signal(signal.SIGTERM)
        thread.join()
    assert statuses == [130] and not is_running(int(lines[0]))
