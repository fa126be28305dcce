"""The stages of `benchmarks/gpu.sh`: what a CUDA card does with training, encoding, agents and drawing, as CSV.

    python -m benchmarks.gpu stages                      # their names
    python -m benchmarks.gpu STAGE [out=results/benchmarks/gpu] [device=cuda] [seconds=20] [peers=FOLDER]

Models train in bfloat16 on pictures of noise that lie on the card as a data set would, from which every step draws its
batch. The peak is that of a bfloat16 matrix product measured in the same process; arithmetic is counted as it is done
(`FlopCounterMode`). `device=cpu seconds=0` tries a stage where there is no card.
"""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training import machine, settings_of, torch_gqn, write
from gqn_rl import load_encoder
from gqn_rl.agents.speed import fast_matmul
from gqn_rl.agents.training import new_ppo
from gqn_rl.dataset import Batch
from gqn_rl.devices import pick_device
from gqn_rl.envs import make_scene
from gqn_rl.groups import present_words, register_groups
from gqn_rl.machine import available_cores
from gqn_rl.models import build_model
from gqn_rl.pretrain.hardware import Workers
from gqn_rl.pretrain.settings import TrainSettings
from gqn_rl.pretrain.trainer import Trainer
from gqn_rl.runtimes.onnx_file import random_views
from gqn_rl.views import Views
from gqn_rl.wrappers import make_vec_env

MODELS = ("gqn_points", "gqn_small", "gqn_paper")
NUM_SCENES, VIEWS_PER_SCENE = 2000, 10
PEAK_SIZE = 8192
BATCHES = (1, 32, 256, 1024)

Rows = list[dict[str, Any]]


def tests(args: dict[str, Any]) -> Rows:
    """Runs every test that is marked gpu; fails where one does."""
    subprocess.run([sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rs"], check=True)
    return [{"tests": "passed"}]


def drawing(args: dict[str, Any]) -> Rows:
    """Draws pictures of the Jaco room in one process, and in as many as there are cores."""
    rows = []
    for processes in sorted({1, available_cores()}):
        with concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(frames_per_s, [args["seconds"]] * processes))
        rows.append(
            {"processes": processes, "frames_per_s": round(sum(speed for speed, _ in found)), "gl": found[0][1]}
        )
    return rows


def frames_per_s(seconds: float) -> tuple[float, str]:
    """Draws for so long in this process; returns frames a second and the renderer's name."""
    scene, rng = make_scene("jaco"), np.random.default_rng(0)
    scene.sample(rng)
    speed = calls_per_s(lambda: scene.render(scene.sample_pose(rng)), seconds, "cpu")
    return speed, str(scene.describe().get("gl_renderer"))


def training(args: dict[str, Any], name: str, compiled: bool, latents: bool) -> Rows:
    """Trains one model of the package."""
    device = pick_device(args["device"])
    trainer = new_trainer(name, compiled, device)
    batches = batches_on(device, trainer.settings)
    if latents:
        trainer.step = trainer.settings.warmup_steps
    begin = time.perf_counter()
    trainer.update(next(batches))
    first = time.perf_counter() - begin
    with FlopCounterMode(display=False) as counter:
        trainer.update(next(batches))
    samples = trainer.settings.batch_size * trainer.settings.num_queries
    done = counter.get_total_flops() / 1e12
    speed = calls_per_s(lambda: trainer.update(next(batches)), args["seconds"], device.type)
    return [
        {"model": name, "compiled": compiled, "latents": latents, "samples_per_s": round(speed * samples, 1)}
        | {
            "tflop_per_s": round(speed * done, 2),
            "peak_tflop_per_s": round(peak(device), 1),
        }
        | {"first_step_s": round(first, 1), "memory_mib": most_memory(device)}
    ]


def new_trainer(name: str, compiled: bool, device: torch.device) -> Trainer:
    """Returns a preset's model and its optimiser, as `python -m gqn_rl.pretrain` makes them."""
    precision = "bf16" if device.type == "cuda" else "auto"
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        register_groups()
        words = [f"model={name}", f"train.compile={compiled}", f"train.precision={precision}"]
        cfg = compose("pretrain", present_words(words))
    torch.manual_seed(0)
    parts: Any = OmegaConf.to_container(cfg.model)
    scene = {"image_size": 64, "fovy_deg": 45.0, "depths_m": [1.0, 2.4], "wavelengths_m": [2.0, 1.0, 0.5]}
    model = build_model(parts | {"scene": scene})
    return Trainer(model, TrainSettings(**cfg.train), Workers(device=device))


def batches_on(device: torch.device, settings: TrainSettings) -> Iterator[Batch]:
    """Yields batches drawn from pictures that lie on the device."""
    context, queries = settings.max_context, settings.num_queries
    scenes = NUM_SCENES if device.type == "cuda" else 8
    images, viewpoints = random_views(64, scenes * VIEWS_PER_SCENE)
    data = Views(images.reshape(scenes, -1, 64, 64, 3), viewpoints.reshape(scenes, -1, 7)).to_torch(device)
    while True:
        chosen = torch.randint(scenes, (settings.batch_size,), device=device)
        views = Views(data.images[chosen], data.viewpoints[chosen])
        parts = (slice(context), slice(context, context + queries))
        yield Batch(*(Views(views.images[:, part], views.viewpoints[:, part]) for part in parts), None)


def peer(args: dict[str, Any]) -> Rows:
    """Trains torch-gqn with a tower and unshared cores, as its script does; without its clone, says so."""
    if not args["peers"] or args["device"] == "cpu":
        return [{"model": "torch-gqn", "samples_per_s": "not measured: PEERS names no folder"}]
    torch.set_default_device(args["device"])
    step = torch_gqn(args["peers"], False, 36)
    step()
    return [{"model": "torch-gqn", "samples_per_s": round(36 * calls_per_s(step, args["seconds"], "cuda"), 1)}]


def encoding(args: dict[str, Any]) -> Rows:
    """Encodes pictures with the shipped encoder, uploads and downloads included."""
    encoder = load_encoder("jaco", device=args["device"], runtime="torch")
    rows = []
    for batch in BATCHES if args["device"] != "cpu" else BATCHES[:1]:
        views = random_views(64, batch)
        encoder.encode_views(*views)
        speed = calls_per_s(functools.partial(encoder.encode_views, *views), args["seconds"] / 4, "cpu")
        rows.append({"batch": batch, "views_per_s": round(batch * speed)})
    return rows


@fast_matmul()
def agents(args: dict[str, Any]) -> Rows:
    """Trains PPO on r of the shipped encoder, whose pictures are drawn by workers and encoded on the card."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        agent: Any = OmegaConf.to_container(compose("train_agent", ["repr=gqn", "camera=moving"]).agent)
    encoder = load_encoder("jaco", device=args["device"], runtime="torch")
    sizes = {"num_envs": agent["num_envs"], "num_workers": min(agent["num_envs"], available_cores())}
    envs = make_vec_env("gqn_rl/JacoReach-v0", "gqn", "moving", encoder, **sizes)
    model = new_ppo(envs, agent["settings"], seed=0)
    steps = model.n_steps * model.n_envs
    speed = calls_per_s(lambda: model.learn(steps, reset_num_timesteps=False), args["seconds"], "cpu")
    envs.close()
    return [{"agent": "ppo", "repr": "gqn", "workers": sizes["num_workers"], "steps_per_s": round(speed * steps, 1)}]


def calls_per_s(function: Callable[[], object], seconds: float, device: str) -> float:
    """Calls a function once unmeasured, then for at least so many seconds, and waits for the card."""
    function()
    finish(device)
    begin, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - begin < seconds:
        function()
        count += 1
        if count % 10 == 0:
            finish(device)  # or the queue would run ahead of the clock
    finish(device)
    return count / (time.perf_counter() - begin)


def finish(device: str) -> None:
    """Waits until the card has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak(device: torch.device) -> float:
    """Returns the TFLOP/s of a large bfloat16 matrix product."""
    size = PEAK_SIZE if device.type == "cuda" else 256
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    return 2 * size**3 * calls_per_s(lambda: a @ a, 1.0 if device.type == "cuda" else 0.0, device.type) / 1e12


def most_memory(device: torch.device) -> int:
    """Returns the most MiB that tensors have held on the card."""
    return round(torch.cuda.max_memory_allocated(device) / 2**20) if device.type == "cuda" else 0


STAGES: dict[str, Callable[[dict[str, Any]], Rows]] = {"tests": tests, "drawing": drawing, "encoding": encoding}
STAGES |= {
    f"training_{name}{'_latents' * latents}{'_compiled' * compiled}": functools.partial(
        training, name=name, compiled=compiled, latents=latents
    )
    for name in MODELS
    for latents in (False, True)
    for compiled in (False, True)
}
STAGES |= {"torch_gqn": peer, "agents": agents}


def main() -> None:
    """Runs a stage and writes its table."""
    if sys.argv[1:] == ["stages"]:
        print("\n".join(STAGES))
        return
    stage = sys.argv[1]
    args = settings_of(sys.argv[2:], out="results/benchmarks/gpu", device="cuda", seconds=20.0, peers="")
    if stage != "tests":
        pick_device(args["device"])
    rows = STAGES[stage](args)
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(*rows, sep="\n")
    pathlib.Path(args["out"]).mkdir(parents=True, exist_ok=True)
    write(pathlib.Path(args["out"]) / f"{stage}.csv", rows, f"python -m benchmarks.gpu {stage}; {card}; {machine()}")


if __name__ == "__main__":
    main()
