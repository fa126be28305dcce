"""Pretrains a scene model on pictures of random scenes; makes the pictures first when there are none.

python -m gqn_rl.pretrain env=jaco                                # continues when it was interrupted
python -m gqn_rl.pretrain recipe=gqn_paper train.batch_size=16
python -m gqn_rl.pretrain recipe=gqn_points model/density=cvae_standard   # another p(x | v, r) on the same r
python -m gqn_rl.pretrain env=gymnasium env.id=Reacher-v5 recipe=gqn_quick
python -m gqn_rl.pretrain env=imported env.dataset=jaco           # what gqn_rl.import_dataset made
python -m gqn_rl.pretrain data.root=data/mine data.num_scenes=50000 run_dir=runs/pretrain/mine
python -m gqn_rl.pretrain init_from=jaco model.detail_channels=24 run_dir=…   # the encoder that ships learns on
torchrun --nproc-per-node=2 -m gqn_rl.pretrain env=jaco           # several processes share each batch
"""

from __future__ import annotations

import contextlib
import functools
import logging
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gqn_rl.cli import command, write_run_header
from gqn_rl.envs import make_scene
from gqn_rl.locks import sole_writer
from gqn_rl.models import build_model
from gqn_rl.pretrain import resume
from gqn_rl.pretrain.data import make_when_missing, open_splits, scene_of
from gqn_rl.pretrain.hardware import join_workers
from gqn_rl.pretrain.loop import train
from gqn_rl.pretrain.objectives import make_objective
from gqn_rl.pretrain.origin import begin_from
from gqn_rl.pretrain.settings import TrainSettings

SHOWN = ("eval/mse_1view", "eval/psnr_1view")
"""Metrics of pictures printed at the end."""
PROBE = re.compile(r"probe/(.+)_R2_1view")


@command("pretrain")
def main(cfg: DictConfig) -> None:
    """Makes data, builds the model, trains."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    settings = TrainSettings(**cfg.train)
    env: Any = OmegaConf.to_container(cfg.env, resolve=True)
    parts: Any = OmegaConf.to_container(cfg.model, resolve=True)
    objective = make_objective(cfg.objective)
    name, scene = env["name"], env["scene"]  # imported data have no scene
    with join_workers(cfg.device) as workers, run_folder(cfg, settings.checkpoint_every, workers.is_main):
        if workers.is_main:
            factory = functools.partial(make_scene, name, **scene) if scene else None
            make_when_missing(scene_factory=factory, scene_name=name, **cfg.data)
        workers.wait()
        size = scene["image_size"] if scene else None
        dataset, heldout = open_splits(
            cfg.data.root, scene_name=name, image_size=size, verify=workers.is_main, scene_settings=scene
        )
        torch.manual_seed(cfg.seed)
        facts = scene_of(dataset.manifest, cfg.data.root, env.get("model") or {}, parts["scene"])
        model = build_model(parts | {"scene": facts})
        earlier = begin_from(model, cfg.init_from) if cfg.init_from else []

        def on_begin() -> None:
            if workers.is_main:
                write_run_header(cfg.run_dir, cfg)
                name = described(parts)
                print(f"Training {name} on {dataset.num_scenes} scenes of {cfg.data.root}, into {cfg.run_dir}.")

        metrics = train(
            model,
            dataset,
            heldout,
            run_dir=cfg.run_dir,
            settings=settings,
            earlier=earlier,
            workers=workers,
            on_begin=on_begin,
            objective=objective,
        )
        if workers.is_main:
            print(summary(metrics, cfg.run_dir))


@contextlib.contextmanager
def run_folder(cfg: DictConfig, checkpoint_every: int, is_main: bool) -> Iterator[None]:
    """Keeps other commands out of the run's folder, and sees that no rows in it are lost unasked."""
    if not is_main:
        yield
        return
    with sole_writer(cfg.run_dir):
        if cfg.overwrite:
            resume.delete_run(pathlib.Path(cfg.run_dir))
        resume.refuse_rows(pathlib.Path(cfg.run_dir), checkpoint_every)
        yield


def described(parts: dict[str, Any]) -> str:
    """Returns a model in words: its representation and its density."""
    return f"{parts['representation']['kind']} × {parts['density']['kind']}"


def summary(metrics: dict[str, float], run_dir: str) -> str:
    """Says what came out and where it lies."""
    if not metrics:
        return f"{run_dir} was finished already; a larger train.total_steps goes on."
    shown = ", ".join(f"{name} {metrics[name]:.4g}" for name in SHOWN if name in metrics)
    known = {match[1]: value for name, value in metrics.items() if (match := PROBE.fullmatch(name))}
    best_first = sorted(known.items(), key=lambda item: -item[1])
    probes = ", ".join(f"{thing} {value:.2f}" for thing, value in best_first) or "the data have no true state"
    return (
        f"Held-out scenes: {shown}\n"
        f"What a linear probe reads out of one view's r, R²: {probes}\n"
        f"Encoder: {run_dir}/best.safetensors, curves: {run_dir}/progress.csv, pictures: {run_dir}/sheets"
    )


if __name__ == "__main__":
    main()
