"""Workers: processes that each own a scene and write whole shards."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from gqn_rl.dataset.shards import render_scenes, write_shard
from gqn_rl.experience import ACTIONS, EXPERIENCE, PICTURES
from gqn_rl.poses import Scene
from gqn_rl.processes import Connection, WorkerLost, WorkerPool

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

    Raises:
        ChildProcessError: a worker died or does not answer.
        ValueError, OSError: raised in a worker.
    """
    waiting = deque(jobs)
    busy = set(range(min(num_workers, len(jobs))))
    with WorkerPool(_work, lambda _: (scene_factory,), len(busy)) as pool:
        while busy:
            for index, message in pool.receive(awaited=busy):
                if isinstance(message, Exception):
                    raise message
                if isinstance(message, WorkerLost):
                    raise _death(message)
                if message == _SCENE_DONE:
                    on_scene()
                elif waiting:
                    pool.send(index, waiting.popleft())
                else:
                    busy.discard(index)  # idle for good; the pool ends it


def _work(pipe: Connection, scene_factory: Callable[[], Scene]) -> None:
    """Runs in the new process: does jobs until it is ended or the parent dies; hands an error to the parent."""
    with contextlib.suppress(EOFError, ConnectionError):  # the parent is gone
        try:
            _do_jobs(scene_factory(), pipe)
        except (ValueError, OSError) as error:
            pipe.send(error)
    os._exit(0)  # at once: files are whole or absent, and OpenGL contexts complain when the interpreter ends first


def _do_jobs(scene: Scene, pipe: Connection) -> None:
    while True:
        pipe.send(_READY)
        job: ShardJob = pipe.recv()
        job.run(scene, on_scene=lambda: pipe.send(_SCENE_DONE))


def _death(lost: WorkerLost) -> ChildProcessError:
    memory = " (perhaps for lack of memory)" if lost.exit_code == -9 and not lost.is_silent else ""
    return ChildProcessError(f"Data {lost}{memory}; the same command continues after the last finished shard.")
