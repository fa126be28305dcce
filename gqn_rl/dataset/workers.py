"""Workers: spawned processes that each own a scene and write whole shards, watched so that none can die unnoticed."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from gqn_rl.dataset.shards import render_scenes, write_shard
from gqn_rl.experience import ACTIONS, EXPERIENCE, PICTURES
from gqn_rl.views import Scene

_READY, _SCENE_DONE = "ready", "scene done"
"""What a worker says over its pipe; it may also send the exception that ended it."""


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """Everything that decides a shard but the scene itself."""

    root: Path
    split: str
    index: int
    scene_indices: range
    views_per_scene: int
    seed: int
    made_with: str

    def run(self, scene: Scene, on_scene: Callable[[], object]) -> None:
        """Renders the shard and writes it, calling `on_scene` after each scene."""
        arrays = render_scenes(scene, self.seed, self.split, self.scene_indices, self.views_per_scene, on_scene)
        counts = {PICTURES: len(self.scene_indices) * self.views_per_scene, ACTIONS: int(arrays["actions"].sum())}
        write_shard(self.root, self.split, self.index, arrays, self.made_with, {EXPERIENCE: counts})


def run_in_workers(
    jobs: Sequence[ShardJob], scene_factory: Callable[[], Scene], num_workers: int, on_scene: Callable[[], object]
) -> None:
    """Runs all jobs in `num_workers` new processes.

    Processes are spawned, not forked, because an OpenGL context does not survive a fork. Each waits on its own pipe,
    which closes when the other side dies: a dead worker is noticed at once, and workers end with their parent.

    Raises:
        ChildProcessError: a worker died.
        ValueError, OSError: raised in a worker.
    """
    spawn = multiprocessing.get_context("spawn")
    waiting = deque(jobs)
    workers: dict[Connection, SpawnProcess] = {}
    try:
        for number in range(min(num_workers, len(jobs))):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_work, args=(scene_factory, theirs), name=f"worker {number}", daemon=True)
            process.start()
            theirs.close()
            workers[ours] = process
        busy = dict(workers)
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                said = _listen(pipe, busy[pipe])
                if said == _SCENE_DONE:
                    on_scene()
                elif waiting:
                    _tell(pipe, busy[pipe], waiting.popleft())
                else:
                    busy.pop(pipe)  # idle for good; ended below
    finally:
        for pipe, process in workers.items():
            pipe.close()
            process.terminate()
            process.join()


def _work(scene_factory: Callable[[], Scene], pipe: Connection) -> None:
    """Runs in the new process: does jobs until it is ended or the parent dies; hands an error to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    with contextlib.suppress(EOFError, ConnectionError):  # the parent is gone
        try:
            _do_jobs(scene_factory(), pipe)
        except (ValueError, OSError) as error:
            pipe.send(error)
    os._exit(
        0
    )  # at once: files are whole or absent, and OpenGL contexts complain when the interpreter ends before them


def _do_jobs(scene: Scene, pipe: Connection) -> None:
    while True:
        pipe.send(_READY)
        job: ShardJob = pipe.recv()
        job.run(scene, on_scene=lambda: pipe.send(_SCENE_DONE))


def _listen(pipe: Connection, process: SpawnProcess) -> str:
    """Returns what a worker said; raises the exception that ended it."""
    try:
        said = pipe.recv()
    except (EOFError, ConnectionError):
        raise _death(process) from None
    if isinstance(said, Exception):
        raise said
    return str(said)


def _tell(pipe: Connection, process: SpawnProcess, job: ShardJob) -> None:
    try:
        pipe.send(job)
    except ConnectionError:
        raise _death(process) from None


def _death(process: SpawnProcess) -> ChildProcessError:
    process.join()
    return ChildProcessError(
        f"Data {process.name} (process {process.pid}) died with exit code {process.exitcode} "
        "(-9: killed, perhaps for lack of memory); the same command continues after the last finished shard."
    )
