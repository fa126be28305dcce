"""Environment steps/s of two worker processes on r, with an encoder in each of them.

    python benchmarks/encoding_workers.py [table.csv] [device]

JacoReach seen by the moving camera, random actions, rendering and encoding included, no learning. Each worker steps k
environments side by side. All runs share one go, with one thread of torch a process.
`encode_views` alone is the encoder's limit.
"""

from __future__ import annotations

import csv
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
import torch

from gqn_rl import load_encoder
from gqn_rl.envs import opengl
from gqn_rl.processes import Connection, WorkerLost, WorkerPool
from gqn_rl.views import VIEWPOINT_SIZE
from gqn_rl.wrappers import make_vec_env
from gqn_rl.wrappers.context import Encoder

ENCODER, ENV_ID = "jaco", "gqn_rl/JacoReach-v0"
NUM_WORKERS, NUM_ENVS = 2, (1, 4, 8, 16)
BATCH_SIZES = (1, 4, 8, 16, 32)
SECONDS, REPEATS, WARM_UP_STEPS = 3.0, 3, 5


def work(connection: Connection, index: int) -> None:
    """Steps environments for `SECONDS` whenever told how many; answers with steps/s."""
    encoder = load_encoder(ENCODER)
    while True:
        num_envs = connection.recv()
        envs = make_vec_env(ENV_ID, "gqn", "moving", encoder, num_envs=num_envs, seed=100 * index)
        envs.action_space.seed(index)
        envs.reset()

        def step(envs: Any = envs, num_envs: int = num_envs) -> None:
            envs.step(np.stack([envs.action_space.sample() for _ in range(num_envs)]))

        for _ in range(WARM_UP_STEPS):
            step()
        connection.send("ready")
        connection.recv()
        connection.send(num_envs * calls_per_s(step))
        envs.close()


def steps_per_s(pool: WorkerPool, num_envs: int) -> float:
    """Returns environment steps/s of all workers, which begin together."""
    tell_all(pool, num_envs)  # they get ready
    return sum(tell_all(pool, "go"))


def tell_all(pool: WorkerPool, message: Any) -> list[Any]:
    """Sends a message to every worker and returns their answers."""
    for index in range(NUM_WORKERS):
        pool.send(index, message)
    answers: dict[int, Any] = {}
    while len(answers) < NUM_WORKERS:
        for index, answer in pool.receive():
            if isinstance(answer, WorkerLost):
                raise ChildProcessError(str(answer))
            answers[index] = answer
    return list(answers.values())


def calls_per_s(function: Callable[[], object]) -> float:
    """Calls a function for `SECONDS`."""
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS:
        function()
        count += 1
    return count / (time.perf_counter() - begin)


def views_per_s(encoder: Encoder, batch_size: int) -> float:
    """Measures `encode_views` on noise."""
    size, rng = encoder.image_size, np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, size, size, 3), np.uint8)
    viewpoints = rng.standard_normal((batch_size, VIEWPOINT_SIZE), np.float32)
    encoder.encode_views(images, viewpoints)
    return batch_size * calls_per_s(lambda: encoder.encode_views(images, viewpoints))


def write(file: str, rows: list[tuple[str, int, float]]) -> None:
    """Writes the table."""
    with open(file, "w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(("what", "batch", "per_second"))
        writer.writerows((what, batch, f"{speed:.1f}") for what, batch, speed in rows)


def main() -> None:
    """Prints the tables."""
    file, device = (*sys.argv[1:], *("", "cpu")[len(sys.argv) - 1 :])
    torch.set_num_threads(1)
    encoder = load_encoder(ENCODER, device=device)
    print(f"torch {torch.__version__}, MuJoCo {mujoco.__version__}, {opengl.gl_strings()[1]}, encoder on {device}")
    print(f"{os.cpu_count()} cores, {platform.machine()}; medians of {REPEATS} runs of {SECONDS:.0f} s")
    alone = [("encode_views alone, views", n, views_per_s(encoder, n)) for n in BATCH_SIZES]
    for _, batch_size, speed in alone:
        print(f"encode_views alone, batch of {batch_size:2} {speed:14.1f} views/s", flush=True)
    stepped = []
    with WorkerPool(work, lambda index: (index,), NUM_WORKERS) as pool:
        for num_envs in NUM_ENVS:
            speed = statistics.median(steps_per_s(pool, num_envs) for _ in range(REPEATS))
            print(f"{NUM_WORKERS} workers, k = {num_envs:2} {speed:24.1f} steps/s", flush=True)
            stepped.append(("steps", num_envs, speed))
    if file:
        write(file, alone + stepped)


if __name__ == "__main__":
    main()
