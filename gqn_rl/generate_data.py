"""Makes a multi-view data set. The same command continues an interrupted one; a larger `num_scenes` extends it.

python -m gqn_rl.generate_data env=jaco
python -m gqn_rl.generate_data env=gymnasium env.id=Reacher-v5
python -m gqn_rl.generate_data num_scenes=2000 held_out_scenes=200 num_workers=2 root=data/small
"""

from __future__ import annotations

import functools
import logging
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gqn_rl.cli import command
from gqn_rl.dataset import generate
from gqn_rl.envs import make_scene


@command("generate_data")
def main(cfg: DictConfig) -> None:
    """Makes the data set that the config asks for."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    start = time.monotonic()
    num_frames = generate(
        cfg.root,
        functools.partial(make_scene, cfg.env.name, **(settings["env"]["scene"] or {})),
        scene_name=cfg.env.name,
        num_scenes=cfg.num_scenes,
        held_out_scenes=cfg.held_out_scenes,
        views_per_scene=cfg.views_per_scene,
        seed=cfg.seed,
        num_workers=cfg.num_workers,
        scenes_per_shard=cfg.scenes_per_shard,
        overwrite=cfg.overwrite,
    )
    seconds = time.monotonic() - start
    done = f"{num_frames} frames in {seconds:.0f} s, {num_frames / seconds:.0f}/s" if num_frames else "already whole"
    size = f"{cfg.num_scenes} + {cfg.held_out_scenes} held-out scenes of {cfg.views_per_scene} views"
    print(f"`{Path(cfg.root).resolve()}`: {size}, {done}.")


if __name__ == "__main__":
    main()
