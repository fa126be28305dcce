"""Trains a decoder that draws mazes from above out of a frozen GQN's r; a finished folder is left as it is.

python -m gqn_rl.train_map encoder=runs/pretrain/maze data.root=data/maze
python -m gqn_rl.train_map encoder=runs/pretrain/maze run_dir=runs/maps/soft train.sigma=1.0
"""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gqn_rl.analyses.common import check_data_camera
from gqn_rl.analyses.maps.mazes import encode_mazes, scene_settings
from gqn_rl.analyses.maps.training import (
    ENCODER_DIGEST,
    MAP_FILE,
    SHEET_FILE,
    MapSettings,
    encoder_digest,
    is_finished,
    train_map,
)
from gqn_rl.cli import command, refuse_other_settings, write_run_header
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.devices import pick_device
from gqn_rl.envs.maze.cameras import OVERHEAD_HEIGHT_M
from gqn_rl.envs.maze.model import WALL_HEIGHT_M
from gqn_rl.envs.maze.scene import MazeScene
from gqn_rl.locks import sole_writer
from gqn_rl.models import SceneFacts
from gqn_rl.models.densities.steps import DrawConfig
from gqn_rl.models.map_decoder import MapDecoder, MapDecoderConfig
from gqn_rl.representation import load_encoder
from gqn_rl.views import VIEWPOINT_SIZE

SHOWN = ("eval/wall_iou_1view", "eval/wall_iou_4view", "eval/wall_iou_16view", "eval/wall_iou_constant")
"""Metrics printed at the end, where they exist."""


MAY_CHANGE = ("encoder", "data.root", "device", "threads", "overwrite", "run_dir")
"""Settings that decide nothing of what is learnt, or that are compared by what they lead to."""


@command("train_map")
def main(cfg: DictConfig) -> None:
    """Encodes the data's views, draws their true maps, and trains the decoder."""
    with sole_writer(cfg.run_dir):
        if not cfg.overwrite:
            refuse_other_settings(cfg.run_dir, cfg, MAY_CHANGE)
            if is_finished(cfg.run_dir, cfg.encoder):
                file = f"{cfg.run_dir}/{MAP_FILE}"
                print(f"`{cfg.run_dir}` is finished: {file}. Another run_dir=... trains another map decoder.")
                return
        train_in(cfg)


def train_in(cfg: DictConfig) -> None:
    """Trains the decoder from the beginning; a run that was stopped starts again."""
    settings, device = MapSettings(seed=cfg.seed, **cfg.train), pick_device(cfg.device)
    encoder = load_encoder(cfg.encoder, device=str(device), standardise=False)
    splits = {name: MultiViewDataset(cfg.data.root, name) for name in ("heldout", "train")}
    manifest = splits["train"].manifest
    scene = MazeScene(**scene_settings(manifest))
    check_data_camera(encoder, str(cfg.encoder), splits["train"])
    torch.manual_seed(cfg.seed)
    representation = encoder.module.model.representation
    decoder = new_decoder(scene, encoder.representation_shape, cfg.decoder, representation.is_ground_plan)
    write_run_header(cfg.run_dir, cfg)
    print(f"Training a map decoder on r of {cfg.encoder}, into {cfg.run_dir}.")
    heldout = encode_mazes(encoder, splits["heldout"], scene, cfg.eval_mazes)
    mazes = encode_mazes(encoder, splits["train"], scene, cfg.num_mazes)
    facts = {"encoder": str(cfg.encoder), ENCODER_DIGEST: encoder_digest(cfg.encoder), "seed": cfg.seed}
    facts["dataset"] = {key: manifest[key] for key in ("scene", "scene_facts", "seed", "num_scenes")}
    metrics = train_map(decoder, mazes, heldout, cfg.run_dir, settings, facts, device)
    print(
        "Held-out mazes: " + ", ".join(f"{name} {metrics[name]:.4g}" for name in SHOWN if name in metrics) + "\n"
        f"Decoder: {cfg.run_dir}/{MAP_FILE}, curves: {cfg.run_dir}/progress.csv, maps: {cfg.run_dir}/{SHEET_FILE}"
    )


def new_decoder(
    scene: MazeScene, representation_shape: tuple[int, ...], sizes: DictConfig, r_is_plan: bool
) -> MapDecoder:
    """Returns an untrained decoder for the scene's camera from above; its rays end between wall tops and floor."""
    overhead = scene.overhead
    depths = (OVERHEAD_HEIGHT_M - WALL_HEIGHT_M, OVERHEAD_HEIGHT_M)
    plain: Any = OmegaConf.to_container(sizes)
    wavelengths = tuple(plain.pop("ray_wavelengths_m"))
    facts = SceneFacts(scene.image_size, VIEWPOINT_SIZE, overhead.fovy_deg, depths, wavelengths)
    density = DrawConfig(shared_cores=True, initial_state="zeros" if r_is_plan else "rays", **plain)
    viewpoint = tuple(overhead.pose.viewpoint.tolist())
    return MapDecoder(MapDecoderConfig(facts, representation_shape, viewpoint, r_is_plan, density))


if __name__ == "__main__":
    main()
