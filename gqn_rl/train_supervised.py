"""Trains an encoder's architecture on the true positions of things: the ceiling of r, and repr=supervised.

python -m gqn_rl.train_supervised env=jaco data.root=data/jaco
python -m gqn_rl.train_supervised env=jaco env.scene.image_size=96 data.root=data/jaco96 run_dir=runs/supervised/jaco96
python -m gqn_rl.train_agent repr=supervised encoder=runs/supervised/jaco_gqn_points_seed0
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gqn_rl.cli import command, refuse_other_settings, write_run_header
from gqn_rl.envs import make_scene
from gqn_rl.locks import sole_writer
from gqn_rl.models import build_model
from gqn_rl.pretrain import resume
from gqn_rl.pretrain.data import make_when_missing, open_splits, scene_of
from gqn_rl.pretrain.supervised import SupervisedSettings, train_supervised

MAY_CHANGE = (
    *("supervised.total_steps", "supervised.eval_every", "supervised.checkpoint_every"),
    *("data.num_workers", "threads", "overwrite", "run_dir"),
)
"""Settings that decide when a run ends and what it writes, not what it learns."""


@command("train_supervised")
def main(cfg: DictConfig) -> None:
    """Makes the data that are missing, trains, and says how near the positions are."""
    with sole_writer(cfg.run_dir):
        if cfg.overwrite:
            resume.delete_run(Path(cfg.run_dir))
        else:
            refuse_other_settings(cfg.run_dir, cfg, MAY_CHANGE)
        resume.refuse_rows(Path(cfg.run_dir), cfg.supervised.checkpoint_every)
        train_in(cfg)


def train_in(cfg: DictConfig) -> None:
    """Trains in a folder that nobody else writes to."""
    env: Any = OmegaConf.to_container(cfg.env, resolve=True)
    entries = tuple(cfg.supervised.entries)
    settings = SupervisedSettings(**{**cfg.supervised, "entries": entries}, seed=cfg.seed)
    factory = functools.partial(make_scene, env["name"], **env["scene"])
    make_when_missing(scene_factory=factory, scene_name=env["name"], **cfg.data)
    size = env["scene"]["image_size"]
    dataset, heldout = open_splits(cfg.data.root, scene_name=env["name"], image_size=size, scene_settings=env["scene"])
    torch.manual_seed(cfg.seed)
    parts: Any = OmegaConf.to_container(cfg.model, resolve=True)
    facts = scene_of(dataset.manifest, cfg.data.root, env.get("model") or {}, parts.get("scene") or {})
    model = build_model(parts | {"scene": facts})
    write_run_header(cfg.run_dir, cfg)
    metrics = train_supervised(model, dataset, heldout, run_dir=cfg.run_dir, settings=settings)
    if not metrics:
        print(f"{cfg.run_dir} was finished already; a larger supervised.total_steps goes on.")
        return
    print(", ".join(f"{name} {value:.3g}" for name, value in metrics.items()))
    print(f"Encoder: {cfg.run_dir}/best.safetensors, curves: {cfg.run_dir}/progress.csv")


if __name__ == "__main__":
    main()
