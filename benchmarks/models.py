"""Parameters and arithmetic of each preset, and training speed of `gqn_small` in bfloat16 and float32.

    python benchmarks/models.py [threads]

A sample is one predicted picture with its share of the context, forward and backward; one multiply-add counts as two.
"""

from __future__ import annotations

import sys
import time

import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from gqn_rl.groups import register_groups
from gqn_rl.models import SceneModel, build_model
from gqn_rl.pretrain.objectives.elbo import negative_elbo
from gqn_rl.views import VIEWPOINT_SIZE, Views

PRESETS = ("gqn_paper", "gqn_small", "gqn_debug")
SECONDS = 8.0


def preset(name: str) -> tuple[SceneModel, int, int]:
    """Returns a preset's model, its number of query views, and the mean number of context views, rounded up."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        register_groups()
        cfg = compose("pretrain", [f"recipe={name}"])
    parts = OmegaConf.to_container(cfg.model)
    scene = {"image_size": 64, "fovy_deg": 45.0, "depths_m": [0.8, 2.8], "wavelengths_m": [2.0, 1.0, 0.5]}
    model = build_model(parts | {"scene": scene})
    return model, cfg.train.num_queries, (cfg.train.max_context + 2) // 2


def random_views(batch: int, num_views: int, image_size: int) -> Views:
    """Returns noise pictures from anywhere."""
    images = torch.randint(0, 256, (batch, num_views, image_size, image_size, 3), dtype=torch.uint8)
    return Views(images, torch.randn(batch, num_views, VIEWPOINT_SIZE))


def gflop_per_sample(model: SceneModel, num_queries: int, num_context: int, latents: bool) -> float:
    """Counts the arithmetic of one training step of one scene."""
    context, query = (random_views(1, n, model.image_size) for n in (num_context, num_queries))
    with FlopCounterMode(display=False) as counter:
        negative_elbo(model, context, query, sigma=1.0, latents=latents)[0].backward()
    return counter.get_total_flops() / num_queries / 1e9


def samples_per_s(model: SceneModel, num_queries: int, num_context: int, bf16: bool, latents: bool) -> float:
    """Measures training steps of 32 scenes, Adam included."""
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    context, query = (random_views(32, n, model.image_size) for n in (num_context, num_queries))
    num_steps, begin = -1, 0.0
    while num_steps < 1 or time.perf_counter() - begin < SECONDS:
        if num_steps == 0:
            begin = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss, _ = negative_elbo(model, context, query, sigma=1.0, latents=latents)
        loss.backward()
        optimizer.step()
        num_steps += 1
    return num_steps * 32 * num_queries / (time.perf_counter() - begin)


def matmul_gflop_per_s(bf16: bool) -> float:
    """Measures the machine's matrix multiplication, the limit of all this."""
    a = torch.randn(1024, 1024, dtype=torch.bfloat16 if bf16 else torch.float32)
    a @ a
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < 1.0:
        a @ a
        count += 1
    return count * 2 * 1024**3 / (time.perf_counter() - begin) / 1e9


def main() -> None:
    """Prints both tables."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
    print("preset      million parameters   GFLOP a sample   the same in the warm-up")
    for name in PRESETS:
        model, num_queries, num_context = preset(name)
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        full, warm = gflop_per_sample(model, num_queries, num_context, True), gflop_per_sample(model, 1, 1, False)
        print(f"{name:12}{millions:18.2f} {full:16.2f} {warm:25.2f}", flush=True)
    print(f"gqn_small, {torch.get_num_threads()} threads     samples/s    GFLOP/s    share of matrix multiplication")
    model, num_queries, num_context = preset("gqn_small")
    for latents, views in ((True, num_context), (False, 1)):
        gflop = gflop_per_sample(model, num_queries, views, latents)
        for bf16 in (True, False):
            speed, limit = samples_per_s(model, num_queries, views, bf16, latents), matmul_gflop_per_s(bf16)
            kind = f"{'bf16' if bf16 else 'float32'}, {'whole' if latents else 'warm-up'}"
            print(f"  {kind:20} {speed:13.0f} {speed * gflop:10.0f} {speed * gflop / limit:12.2f}", flush=True)


if __name__ == "__main__":
    main()
