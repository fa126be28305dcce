"""Training steps of this version beside an earlier one's: CPU seconds and memory of a step, as ratios.

    git worktree add /tmp/earlier 9fbe901
    python benchmarks/versions.py /tmp/earlier [out=results/benchmarks/versions.csv] [rounds=12] [only=PART]

A step is `Trainer.update` of a recipe on a batch of noise, 64×64 pixels, on one thread, in a process that keeps freed
memory as the command does. Both versions stand in a process of their own and take turns, one step each a round, so that
the machine's other load meets both. A ratio is the median over rounds of earlier over now: above 1, this version is
quicker. Memory is the most that a process held.
"""

from __future__ import annotations

import csv
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

LENS: dict[str, Any] = {"fovy_deg": 45.0, "ray_depths_m": [1.0, 2.4], "ray_wavelengths_m": [2.0, 1.0, 0.5]}
CASES = {
    "gqn_points, warm-up": ("gqn_points", 32, 1, False),
    "gqn_points, with latents": ("gqn_points", 32, 3, True),
    "gqn_small, warm-up": ("gqn_small", 32, 1, False),
    "gqn_small, with latents": ("gqn_small", 32, 3, True),
    "gqn_paper": ("gqn_paper", 1, 5, True),
}
"""Recipe, scenes a batch, context views, whether there are latents."""
WARM_UP_ROUNDS = 2


def main() -> None:
    """Prints the table and writes it."""
    folder = pathlib.Path(sys.argv[1]).resolve()
    options = dict(word.split("=", 1) for word in sys.argv[2:])
    here = pathlib.Path(__file__).resolve().parents[1]
    rows = []
    for name in CASES:
        if options.get("only", "") in name:
            rows.append(
                {"case": name, **compare(name, {"earlier": folder, "now": here}, int(options.get("rounds", 12)))}
            )
            print(rows[-1], flush=True)
    with pathlib.Path(options.get("out", "results/benchmarks/versions.csv")).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def compare(name: str, folders: dict[str, pathlib.Path], rounds: int) -> dict[str, Any]:
    """Lets both versions take turns, and returns medians, the median ratio, and memory."""
    processes = {who: start(name, folder) for who, folder in folders.items()}
    taken: dict[str, list[float]] = {who: [] for who in processes}
    for number in range(rounds + WARM_UP_ROUNDS):
        for who in sorted(processes, reverse=bool(number % 2)):  # neither is always first
            taken[who].append(float(ask(processes[who], "step")))
    memory = {who: float(ask(process, "memory")) for who, process in processes.items()}
    for process in processes.values():
        process.communicate()
    earlier, now = (taken[who][WARM_UP_ROUNDS:] for who in ("earlier", "now"))
    ratios = [a / b for a, b in zip(earlier, now, strict=True)]
    return {
        "earlier_cpu_s": round(statistics.median(earlier), 4),
        "now_cpu_s": round(statistics.median(now), 4),
        "times_earlier_speed": round(statistics.median(ratios), 3),
        "earlier_peak_mib": round(memory["earlier"]),
        "now_peak_mib": round(memory["now"]),
        "times_earlier_memory": round(memory["now"] / memory["earlier"], 3),
        "rounds": rounds,
    }


def start(name: str, folder: pathlib.Path) -> subprocess.Popen[str]:
    """Starts a version's process, which imports the package from its own folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--serve", name, str(folder)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(process: subprocess.Popen[str], what: str) -> str:
    """Asks a version's process for the seconds of one more step, or for the memory that it held."""
    assert process.stdin and process.stdout
    print(what, file=process.stdin, flush=True)
    return process.stdout.readline()


def serve(name: str, folder: pathlib.Path) -> None:
    """Makes a step whenever it is asked to, in a version's process."""
    import torch

    import gqn_rl
    from gqn_rl.machine import keep_freed_memory

    assert pathlib.Path(gqn_rl.__file__).is_relative_to(folder), f"{gqn_rl.__file__} is not of {folder}"
    torch.set_num_threads(1)
    keep_freed_memory()
    step = make_step(*CASES[name])
    for line in sys.stdin:
        begin = time.process_time()
        if line.strip() == "step":
            step()
            print(time.process_time() - begin, flush=True)
        else:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


def make_step(recipe: str, batch: int, num_context: int, latents: bool) -> Callable[[], object]:
    """Returns `Trainer.update` of a recipe, by whichever names this process's version has for it."""
    import numpy as np
    import torch
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    from gqn_rl import models
    from gqn_rl.dataset import Batch
    from gqn_rl.pretrain.hardware import Workers
    from gqn_rl.pretrain.settings import TrainSettings
    from gqn_rl.pretrain.trainer import Trainer
    from gqn_rl.views import VIEWPOINT_SIZE, Views

    earlier = hasattr(models, "fit_settings")  # before representations and densities were parts of their own
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        if not earlier:
            from gqn_rl.groups import register_groups

            register_groups()
        cfg = compose("pretrain", [f"{'model' if earlier else 'recipe'}={recipe}", f"train.batch_size={batch}"])
    torch.manual_seed(0)
    settings: Any = OmegaConf.to_container(cfg.model, resolve=True)
    if earlier:
        model = models.build_model(**models.fit_settings(LENS, **settings, image_size=64))
    else:
        from gqn_rl.models.config import scene_facts

        model = models.build_model(settings | {"scene": scene_facts(LENS) | {"image_size": 64}})
    train: Any = OmegaConf.to_container(cfg.train, resolve=True)
    trainer = Trainer(model, TrainSettings(**train | {"warmup_steps": 0 if latents else 10**6}), Workers())
    rng = np.random.default_rng(0)

    def noise(num_views: int) -> Views:
        images = rng.integers(0, 256, (batch, num_views, 64, 64, 3), dtype=np.uint8)
        return Views(images, rng.standard_normal((batch, num_views, VIEWPOINT_SIZE), dtype=np.float32))

    data = Batch(noise(num_context), noise(cfg.train.num_queries), None)
    return lambda: trainer.update(data)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2], pathlib.Path(sys.argv[3]))
    else:
        main()
