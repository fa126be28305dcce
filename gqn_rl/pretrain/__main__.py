"""Pretrains a scene model on pictures of random scenes; makes the pictures first when there are none.

python -m gqn_rl.pretrain env=jaco                                # continues when it was interrupted
python -m gqn_rl.pretrain model=gqn_paper train.total_steps=2000000
python -m gqn_rl.pretrain data.root=data/mine data.num_scenes=50000 run_dir=runs/pretrain/mine
torchrun --nproc-per-node=2 -m gqn_rl.pretrain env=jaco           # several processes, one batch
"""

from __future__ import annotations

import functools
import logging
import pathlib

import torch
from omegaconf import DictConfig, OmegaConf

from gqn_rl.cli import command, write_run_header
from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.dataset.shards import MANIFEST
from gqn_rl.envs import make_scene
from gqn_rl.models import build_model
from gqn_rl.pretrain.hardware import Workers, join_workers
from gqn_rl.pretrain.loop import train
from gqn_rl.pretrain.settings import TrainSettings


@command("pretrain")
def main(cfg: DictConfig) -> None:
    """Makes data, builds the model, trains."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    settings = TrainSettings(seed=cfg.seed, **cfg.train)
    with join_workers(cfg.device) as workers:
        if workers.is_main:
            make_data_when_missing(cfg)
        workers.wait()
        dataset = open_data(cfg, "train", workers)
        heldout = open_data(cfg, "heldout", workers)
        torch.manual_seed(cfg.seed)
        model = build_model(**OmegaConf.to_container(cfg.model, resolve=True), image_size=dataset.image_size)
        if workers.is_main:
            write_run_header(cfg.run_dir, cfg)
            print(f"Training {cfg.model.name} on {dataset.num_scenes} scenes of {cfg.data.root}, into {cfg.run_dir}.")
        metrics = train(model, dataset, heldout, run_dir=cfg.run_dir, settings=settings, workers=workers)
        if workers.is_main:
            print_summary(metrics, cfg.run_dir)


def make_data_when_missing(cfg: DictConfig) -> None:
    """Generates the data set unless a finished one is there."""
    data = cfg.data
    if (pathlib.Path(data.root) / MANIFEST).is_file():
        return
    print(
        f"No data in {data.root}: rendering {data.num_scenes} training and {data.held_out_scenes} held-out scenes of "
        f"{cfg.env.name}, {data.views_per_scene} views each (data.num_scenes=... for another number)."
    )
    scene_settings = OmegaConf.to_container(cfg.env.scene, resolve=True)
    factory = functools.partial(make_scene, cfg.env.name, **scene_settings)
    settings = {key: value for key, value in data.items() if key != "root"}
    generate(data.root, factory, scene_name=cfg.env.name, **settings)


def open_data(cfg: DictConfig, split: str, workers: Workers) -> MultiViewDataset:
    """Opens one split of the data set, refusing another scene's or another picture size."""
    dataset = MultiViewDataset(cfg.data.root, split, verify=workers.is_main)
    scene, size = dataset.manifest["scene"], cfg.env.scene.image_size
    if scene != cfg.env.name:
        raise ValueError(
            f"`data.root` {cfg.data.root} holds scenes of '{scene}', not of '{cfg.env.name}'; choose another."
        )
    if dataset.image_size != size:
        raise ValueError(
            f"`data.root` {cfg.data.root} holds pictures of {dataset.image_size} pixels, `env.scene.image_size` is {size}; "
            f"choose another root or env.scene.image_size={dataset.image_size}."
        )
    return dataset


def print_summary(metrics: dict[str, float], run_dir: str) -> None:
    """Says what came out and where it lies."""
    if not metrics:
        print(f"{run_dir} was finished already; a larger train.total_steps goes on.")
        return
    shown = [f"{key} {value:.4g}" for key, value in metrics.items() if key.endswith(("mse_1view", "_R2_1view"))]
    print("Held-out scenes: " + ", ".join(shown))
    print(f"Encoder: {run_dir}/best.safetensors, curves: {run_dir}/progress.csv, pictures: {run_dir}/sheets")


if __name__ == "__main__":
    main()
