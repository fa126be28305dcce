"""Training steps of the paper's GQN beside public implementations: speed, arithmetic, share of the peak, memory.

    python benchmarks/training.py [peers=FOLDER] [threads=1] [batch=16] [rounds=2] [only=GROUP] [out=results/benchmarks]

FOLDER holds the peers' checkouts, whose own licences apply; one that is not there is left out:

    git clone https://github.com/iShohei220/torch-gqn
    git clone https://github.com/rnagumo/gqnlib
    git clone https://github.com/wohlert/generative-query-network-pytorch

A step is forward, backward and Adam on a batch of noise: 64×64 pixels, five context views, one query a scene. Ours is
`Trainer.update`, the peers' what their training scripts do. All of a group stand in processes of their own and take
turns, one step each a round, matrix multiplication (the peak) among them; a CPU second is one thread's, free of the
neighbours' share. The arithmetic is counted as it is done (`FlopCounterMode`). Memory is the most that two steps in a
fresh process hold beyond what it held before the model was built: weights, gradients, Adam's moments and activations.
GROUP is a part of a group's name, such as "unshared". Prints the tables and writes `training.csv` and
`training_elbo.csv`, how far bfloat16 moves the ELBO.

What differs between the models, beside rounding: see docs/speed.md.
"""

from __future__ import annotations

import csv
import functools
import multiprocessing
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gqn_rl.agents.speed import fast_matmul
from gqn_rl.checkpoint.upgrades import settings_1_to_2
from gqn_rl.dataset import Batch
from gqn_rl.models import build_model
from gqn_rl.pretrain.hardware import Workers
from gqn_rl.pretrain.objectives.elbo import negative_elbo
from gqn_rl.pretrain.settings import TrainSettings
from gqn_rl.pretrain.trainer import Trainer
from gqn_rl.views import VIEWPOINT_SIZE, Views

NUM_CONTEXT, IMAGE_SIZE, SIGMA = 5, 64, 0.7
MEMORY_STEPS = 2  # Adam's moments come at the end of the first
PEAKS = {torch.float32: "matrix multiplication, float32", torch.bfloat16: "matrix multiplication, bf16"}
Step = Callable[[], object]
Build = Callable[[int], Step]


def noise_views(batch: int, num_views: int, image_size: int) -> Views:
    """Returns noise pictures from anywhere, as the data set holds them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, num_views, image_size, image_size, 3), dtype=np.uint8)
    return Views(images, rng.standard_normal((batch, num_views, VIEWPOINT_SIZE), dtype=np.float32))


def ours(
    batch: int,
    precision: str = "float32",
    recompute_steps: int = 0,
    num_context: int = NUM_CONTEXT,
    image_size: int = IMAGE_SIZE,
    **sizes: Any,
) -> Step:
    """Returns `Trainer.update` for the paper's GQN with some sizes changed."""
    torch.manual_seed(0)
    model = build_model(settings_1_to_2({"name": "gqn", "image_size": image_size, **sizes})[1])
    settings = TrainSettings(batch_size=batch, precision=precision, recompute_steps=recompute_steps)
    trainer = Trainer(model, settings, Workers())
    context, query = (noise_views(batch, n, image_size) for n in (num_context, 1))
    return functools.partial(trainer.update, Batch(context, query, None))


def peer(model: nn.Module, batch: int, loss: Callable[..., torch.Tensor]) -> Step:
    """Returns a training step of a peer: `loss(model, x, v, x_q, v_q)` of floats, then Adam as PyTorch makes it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    x, x_q = (torch.rand(batch, n, 3, IMAGE_SIZE, IMAGE_SIZE) for n in (NUM_CONTEXT, 1))
    v, v_q = (torch.randn(batch, n, VIEWPOINT_SIZE) for n in (NUM_CONTEXT, 1))

    def step() -> None:
        loss(model, x, v, x_q, v_q).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def torch_gqn(folder: str, shared: bool, batch: int) -> Step:
    """Returns a step of iShohei220/torch-gqn."""
    sys.path.insert(0, f"{folder}/torch-gqn")
    from model import GQN

    def loss(model: nn.Module, x: Any, v: Any, x_q: Any, v_q: Any) -> torch.Tensor:
        return -model(x, v, v_q[:, 0], x_q[:, 0], SIGMA).mean()

    return peer(GQN(representation="tower", L=12, shared_core=shared), batch, loss)


def gqnlib(folder: str, batch: int) -> Step:
    """Returns a step of rnagumo/gqnlib."""
    sys.path.insert(0, f"{folder}/gqnlib")
    from gqnlib import GenerativeQueryNetwork

    def loss(model: nn.Module, x: Any, v: Any, x_q: Any, v_q: Any) -> torch.Tensor:
        return model(x, v, x_q, v_q, SIGMA**2, 1.0)["loss"].mean()

    return peer(GenerativeQueryNetwork(generator_params={"n_layer": 12, "z_channel": 3}), batch, loss)


def wohlert(folder: str, batch: int) -> Step:
    """Returns a step of wohlert/generative-query-network-pytorch."""
    sys.path.insert(0, f"{folder}/generative-query-network-pytorch")
    from gqn import GenerativeQueryNetwork

    def loss(model: nn.Module, x: Any, v: Any, x_q: Any, v_q: Any) -> torch.Tensor:
        mean, _, kl = model(x, v, x_q[:, 0], v_q[:, 0])
        log_likelihood = torch.distributions.Normal(mean, SIGMA).log_prob(x_q[:, 0])
        return (kl.sum() - log_likelihood.sum()) / batch

    return peer(GenerativeQueryNetwork(3, VIEWPOINT_SIZE, 256, 128, 3, L=8), batch, loss)


def groups(folder: str) -> dict[str, dict[str, Build]]:
    """Returns who is compared with whom; the last of a group is the peer of the ratios, where it is there."""
    ours_by = {
        "gqn_rl, float32": {"precision": "float32"},
        "gqn_rl, bf16": {"precision": "bf16"},
        "gqn_rl, bf16, recomputed": {"precision": "bf16", "recompute_steps": 3},
    }
    sizes: dict[str, dict[str, Any]] = {
        "tower, L = 12, shared": {"shared_cores": True},
        "tower, L = 12, unshared": {"shared_cores": False},
        "pool, L = 8, shared": {"encoder": "pool", "num_steps": 8, "shared_cores": True},
    }
    peers: dict[str, dict[str, Build]] = {
        "tower, L = 12, shared": {
            "gqnlib": functools.partial(gqnlib, folder),
            "torch-gqn": functools.partial(torch_gqn, folder, True),
        },
        "tower, L = 12, unshared": {"torch-gqn": functools.partial(torch_gqn, folder, False)},
        "pool, L = 8, shared": {"generative-query-network-pytorch": functools.partial(wohlert, folder)},
    }
    return {
        group: {name: functools.partial(ours, **kind, **sizes[group]) for name, kind in ours_by.items()}
        | {name: build for name, build in theirs.items() if is_there(folder, name)}
        for group, theirs in peers.items()
    }


@functools.cache
def is_there(folder: str, name: str) -> bool:
    """Tells whether a peer's checkout is there, and says so where it is not."""
    found = bool(folder) and (pathlib.Path(folder) / name).is_dir()
    if not found:
        print(f"{name} is left out: no folder of this name in peers=FOLDER.", flush=True)
    return found


def matmul(dtype: torch.dtype, batch: int, size: int = 1024) -> Step:
    """Returns multiplications of two matrices, whatever the batch, by the quicker of torch's libraries."""
    a = torch.randn(size, size).to(dtype)

    @fast_matmul()
    def step() -> list[torch.Tensor]:
        return [a @ a for _ in range(100)]

    return step


def resident_mib(entry: str) -> float:
    """Returns this process's memory in MiB: "VmRSS" now, "VmHWM" at most."""
    lines = pathlib.Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(entry)) / 1024


def serve(connection: Connection, build: Build, batch: int, threads: int) -> None:
    """Makes steps when asked, in a process of its own: answers peak MiB and GFLOP once, then seconds."""
    torch.set_num_threads(threads)
    before = resident_mib("VmRSS")
    step = build(batch)
    for _ in range(MEMORY_STEPS):
        step()
    peak = resident_mib("VmHWM") - before
    with FlopCounterMode(display=False) as counter:
        step()
    connection.send((peak, counter.get_total_flops() / 1e9))
    while connection.recv():
        cpu, begin = time.process_time(), time.perf_counter()
        step()
        connection.send((time.perf_counter() - begin, time.process_time() - cpu))


class Contestant:
    """A process that makes steps.

    Attributes:
        peak_mib: most memory that two steps held.
        gflop: arithmetic of a step.
        seconds: wall-clock and CPU seconds of each step that was timed.
    """

    def __init__(self, build: Build, batch: int, threads: int):
        context = multiprocessing.get_context("spawn")
        self._end, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, build, batch, threads), daemon=True)
        self._process.start()
        self.peak_mib, self.gflop = self._end.recv()
        self.seconds: list[tuple[float, float]] = []

    def make_step(self) -> None:
        """Times a step."""
        self._end.send(True)
        self.seconds.append(self._end.recv())

    def stop(self) -> None:
        """Ends the process."""
        self._end.send(False)
        self._process.join()

    @property
    def wall_s(self) -> float:
        """Median wall-clock seconds of a step."""
        return statistics.median(wall for wall, _ in self.seconds)

    @property
    def cpu_s(self) -> float:
        """Median CPU seconds of a step, all threads together."""
        return statistics.median(cpu for _, cpu in self.seconds)


def take_turns(builds: dict[str, Build], batch: int, threads: int, rounds: int) -> dict[str, Contestant]:
    """Lets everybody make one step a round; one process computes at a time."""
    contestants = {name: Contestant(build, batch, threads) for name, build in builds.items()}
    for _ in range(rounds):
        for contestant in contestants.values():
            contestant.make_step()
    for contestant in contestants.values():
        contestant.stop()
    return contestants


def measure_group(builds: dict[str, Build], batch: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Returns a row for every member of a group."""
    peaks: dict[str, Build] = {name: functools.partial(matmul, dtype) for dtype, name in PEAKS.items()}
    found = take_turns({**peaks, **builds}, batch, threads, rounds)
    peak = {name: found[name].gflop / min(cpu for _, cpu in found[name].seconds) for name in PEAKS.values()}
    last = list(builds)[-1]
    rival = None if last.startswith("gqn_rl") else found[last]
    rows = []
    for name in builds:
        mine = found[name]
        limit = peak[PEAKS[torch.bfloat16 if "bf16" in name else torch.float32]]
        ratios = (
            {}
            if rival is None
            else {
                "times_peer": median_ratio(rival, mine, 0),
                "times_peer_by_cpu": median_ratio(rival, mine, 1),
                "share_of_peer_memory": round(mine.peak_mib / rival.peak_mib, 3),
            }
        )
        rows.append(
            {
                "contestant": name,
                "samples_per_s": round(batch / mine.wall_s, 3),
                "samples_per_cpu_s": round(batch / mine.cpu_s, 3),
                "gflop_per_sample": round(mine.gflop / batch, 1),
                "gflop_per_cpu_s": round(mine.gflop / mine.cpu_s, 1),
                "peak_gflop_per_cpu_s": round(limit, 1),
                "share_of_peak": round(mine.gflop / mine.cpu_s / limit, 3),
                "memory_mib": round(mine.peak_mib),
                "times_peer": "",
                "times_peer_by_cpu": "",
                "share_of_peer_memory": "",
                **ratios,
            }
        )
    return rows


def median_ratio(slow: Contestant, quick: Contestant, clock: int) -> float:
    """Returns how many times as long `slow` takes; the median over rounds of the ratio within each."""
    pairs = zip(slow.seconds, quick.seconds, strict=True)
    return round(statistics.median(a[clock] / b[clock] for a, b in pairs), 2)


def elbo_difference(shared: bool, batch: int) -> dict[str, float]:
    """Returns relative differences of bf16 from float32 with the same weights, views and noise, at σ = 0.7.

    "loss" is the whole −ELBO, nearly constant; "excess" is the loss above that of a perfect picture; "kl" the KL alone.
    """
    torch.manual_seed(0)
    model = build_model(settings_1_to_2({"name": "gqn", "shared_cores": shared})[1])
    context, query = (noise_views(batch, n, IMAGE_SIZE).to_torch("cpu") for n in (NUM_CONTEXT, 1))
    noise = torch.randn(model.density.num_steps, batch, *model.density.latent_shape)
    terms = []
    for bf16 in (False, True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss, parts = negative_elbo(model, context, query, sigma=SIGMA, noise=noise)
        excess = 3 * IMAGE_SIZE**2 * parts["mse"].item() / (2 * SIGMA**2) + parts["kl"].item()
        terms.append({"loss": loss.item(), "excess": excess, "kl": parts["kl"].item()})
    exact, rounded = terms
    return {name: abs(rounded[name] - exact[name]) / abs(exact[name]) for name in exact}


def settings_of(words: list[str], **defaults: Any) -> dict[str, Any]:
    """Returns `name=value` words over the defaults, of the defaults' types."""
    given = dict(word.split("=", 1) for word in words)
    if unknown := given.keys() - defaults.keys():
        raise ValueError(f"Unknown {sorted(unknown)}; there are {', '.join(f'{name}=' for name in defaults)}.")
    return {name: type(value)(given.get(name, value)) for name, value in defaults.items()}


def machine() -> str:
    """Returns versions, processor and number of cores."""
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"torch {torch.__version__}, {model}, {os.cpu_count()} cores"


def write(path: pathlib.Path, rows: list[dict[str, Any]], setup: str) -> None:
    """Writes rows, each with the setup."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], "setup"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"setup": setup} for row in rows)


def main() -> None:
    """Prints the tables and writes them."""
    args = settings_of(sys.argv[1:], peers="", threads=1, batch=16, rounds=2, only="", out="results/benchmarks")
    batch, threads, rounds = args["batch"], args["threads"], args["rounds"]
    torch.set_num_threads(threads)
    command = f"python benchmarks/training.py peers=FOLDER threads={threads} batch={batch} rounds={rounds}"
    command += f" only='{args['only']}'" if args["only"] else ""
    setup = f"{command}; {machine()}"
    print(setup, flush=True)
    rows: list[dict[str, Any]] = []
    for group, builds in groups(args["peers"]).items():
        if args["only"] not in group:
            continue
        print(group, flush=True)
        for row in measure_group(builds, batch, threads, rounds):
            rows.append({"group": group, **row})
            print("  " + ", ".join(f"{name} {value}" for name, value in row.items() if value != ""), flush=True)
        write(pathlib.Path(args["out"]) / "training.csv", rows, setup)
    differences = []
    for shared in (True, False):
        difference = {name: float(f"{value:.2e}") for name, value in elbo_difference(shared, batch).items()}
        differences.append({"cores": "shared" if shared else "unshared", **difference})
        print(f"bf16 against float32, relative: {differences[-1]}", flush=True)
    write(pathlib.Path(args["out"]) / "training_elbo.csv", differences, setup)


if __name__ == "__main__":
    main()
