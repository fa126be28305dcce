"""The runner: makes the runs of a study one after the other, on as many machines as share its folder."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gqn_rl.interrupts import StopRequest
from gqn_rl.locks import FolderInUseError, sole_writer
from gqn_rl.processes import run_command
from gqn_rl.processor_time import processor_seconds
from gqn_rl.study.plan import COMMANDS, Plan, Run
from gqn_rl.study.state import LOG_FILE, State

LAST_LINES = 5
"""Of a failed run's log that are shown."""
Say = Callable[[str], object]


def run_study(plan: Plan, root: Path, parts: Sequence[str], *, wait_s: float = 30.0, say: Say = print) -> list[Run]:
    """Makes every unfinished run of `parts` whose needs are met, until none is left.

    Several processes, on one machine or on several that share `root`, may do so at once: each run is made by one of
    them. A run that fails is left out, with all that need it, and the others go on.

    Args:
        plan: the study.
        root: its folder.
        parts: names of the parts to make.
        wait_s: seconds between two looks while all that is left is being made by other processes.
        say: is told what begins and ends.

    Returns:
        The runs that failed.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the present run has saved what it has.
    """
    state, failed = State(root, plan), list[Run]()
    with StopRequest() as stop:
        while True:
            waiting = [run for run in plan.runs if run.part in parts and run not in failed and state.done(run) is None]
            ready = [run for run in waiting if all(state.done(other) for other in plan.waits_for(run))]
            made = next((run for run in ready if _try(run, state, failed, say, stop)), None)
            if stop.signal_name is not None:
                raise KeyboardInterrupt(stop.signal_name)
            ready = [run for run in ready if run not in failed]
            if made is None and not ready:
                for run in waiting:
                    if run not in failed:
                        say(f"left out, for what it needs is not there: {run.folder}")
                return failed
            if made is None:
                time.sleep(wait_s)


def _try(run: Run, state: State, failed: list[Run], say: Say, stop: StopRequest) -> bool:
    """Makes a run unless another process does or has; tells whether this one has made it, or failed to."""
    with contextlib.suppress(FolderInUseError), sole_writer(state.folder(run)):
        if state.done(run) is not None:
            return True
        say(f"begins: {run.folder}")
        before = processor_seconds()
        code = _call(run, state, stop)
        if code == 0:
            state.note_done(run, processor_seconds() - before)
            say(f"finished: {run.folder}, {processor_seconds() - before:.0f} processor seconds")
        elif stop.signal_name is None:
            failed.append(run)
            say(f"failed (exit status {code}): {run.folder}\n" + _last_lines(state.folder(run) / LOG_FILE))
        return True
    return False


def command_line(run: Run, state: State) -> list[str]:
    """Returns the command of a run, whose needs are met."""
    words = state.words(run)
    assert words is not None
    command = state.plan.parts[run.part].command
    return [sys.executable, "-m", f"gqn_rl.{command}", *words, f"{COMMANDS[command]}={state.root / run.folder}"]


def _call(run: Run, state: State, stop: StopRequest) -> int:
    """Runs the command, what it prints into a log; returns its exit status."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with open(state.folder(run) / LOG_FILE, "ab", opener=_not_through_links) as log:
        return run_command(command_line(run, state), stop, stdout=log, stderr=log, env=environment)


def _not_through_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _last_lines(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    return "\n".join(f"    {line}" for line in lines)


def describe(plan: Plan, root: Path, parts: Sequence[str]) -> Iterator[str]:
    """Yields a line for each part: how many of its runs are finished and at what cost; then the settings chosen."""
    state = State(root, plan)
    for name in parts:
        runs = plan.of_part(name)
        done = [facts for run in runs if (facts := state.done(run)) is not None]
        cost = sum(facts["processor_s"] for facts in done)
        yield f"{name}: {len(done)} of {len(runs)} runs finished, {cost:,.0f} processor seconds"
        for case in plan.parts[name].cases if plan.parts[name].settings else ():
            found = state.chosen(name, case)
            if found is not None:
                tried = ", ".join(f"{setting} {value:.3g}" for setting, value in found["tried"].items())
                yield f"    {case}: {found['setting']} ({tried})"
