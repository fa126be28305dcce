"""Looks into a pretrained scene model: pictures it predicts, what its r knows, and maps of mazes; tables and figures.

python -m gqn_rl.analyse what=view_synthesis encoder=jaco data.root=data/jaco
python -m gqn_rl.analyse what=tsne encoder=runs/pretrain/rooms vae=runs/pretrain/vae_rooms data.root=data/rooms
python -m gqn_rl.analyse what=map_accuracy encoder=runs/pretrain/maze map=runs/maps/maze data.root=data/maze
python -m gqn_rl.analyse what=uncertainty encoder=runs/pretrain/maze map=runs/maps/maze data.root=data/maze
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from gqn_rl.analyses.algebra import AlgebraSettings, algebra
from gqn_rl.analyses.common import check_data_camera, load_subject, model_label
from gqn_rl.analyses.composition import CompositionSettings, composition
from gqn_rl.analyses.consistency import ConsistencySettings, consistency
from gqn_rl.analyses.localisation import LocalisationFindingSettings, localisation
from gqn_rl.analyses.maps import analyses
from gqn_rl.analyses.maps.evaluation import MapJudge
from gqn_rl.analyses.maps.mazes import encode_mazes, new_layouts, scene_settings, true_walls
from gqn_rl.analyses.maps.training import JUDGE, load_map_for
from gqn_rl.analyses.probes import ProbesSettings, probes
from gqn_rl.analyses.surprise import SurpriseSettings, surprise
from gqn_rl.analyses.tsne import TsneSettings, tsne
from gqn_rl.analyses.turntable import TurntableSettings, turntable
from gqn_rl.analyses.view_synthesis import ViewSynthesisSettings, view_synthesis
from gqn_rl.cli import command, write_run_header
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.devices import pick_device
from gqn_rl.envs.maze.scene import MazeScene
from gqn_rl.representation import load_encoder


@command("analyse")
def main(cfg: DictConfig) -> None:
    """Runs the analysis that `what` names and prints what came out."""
    if cfg.what not in ANALYSES:
        raise ValueError(f"`what` must be one of {', '.join(sorted(ANALYSES))}, got {cfg.what!r}.")
    torch.manual_seed(cfg.seed)
    out = pathlib.Path(cfg.out)
    summary = ANALYSES[cfg.what](cfg, out)
    write_run_header(out, cfg)
    print(f"{summary}\nTables and figures: {out}")


FINDINGS: dict[str, tuple[Callable[..., str], Callable[..., Any]]] = {
    "algebra": (algebra, AlgebraSettings),
    "composition": (composition, CompositionSettings),
    "consistency": (consistency, ConsistencySettings),
    "localisation": (localisation, LocalisationFindingSettings),
    "probes": (probes, ProbesSettings),
    "surprise": (surprise, SurpriseSettings),
    "tsne": (tsne, TsneSettings),
    "turntable": (turntable, TurntableSettings),
    "view_synthesis": (view_synthesis, ViewSynthesisSettings),
}
"""Findings about any scene model, and their settings, by the name that `what=` takes."""


def finding(cfg: DictConfig, out: pathlib.Path) -> str:
    """Runs one of `FINDINGS` on the held-out scenes of a data set."""
    find, make_settings = FINDINGS[cfg.what]
    settings = make_settings(**cfg[cfg.what])  # before anything is loaded
    device = str(pick_device(cfg.device))
    rivals = [] if cfg.vae is None else [cfg.vae]
    subject = load_subject(cfg.encoder, cfg.data.root, rivals=rivals, device=device, seed=cfg.seed)
    return find(subject, out, np.random.default_rng(cfg.seed), settings)


def map_accuracy(cfg: DictConfig, out: pathlib.Path) -> str:
    """IoU of walls and PSNR of drawn maps by number of views."""
    return analyses.map_accuracy(load_map_subject(cfg), out, np.random.default_rng(cfg.seed))


def uncertainty(cfg: DictConfig, out: pathlib.Path) -> str:
    """Predicted information gain as a picture, and the three checks of what it means."""
    given: Any = OmegaConf.to_container(cfg.uncertainty)
    settings = analyses.UncertaintySettings(**given | {"view_counts": tuple(given["view_counts"])})
    return analyses.uncertainty(load_map_subject(cfg), out, np.random.default_rng(cfg.seed), settings)


ANALYSES: dict[str, Callable[[DictConfig, pathlib.Path], str]] = {
    **dict.fromkeys(FINDINGS, finding),
    "map_accuracy": map_accuracy,
    "uncertainty": uncertainty,
}
"""Analyses by the name that `what=` takes."""


def load_map_subject(cfg: DictConfig) -> analyses.MazeSubject:
    """Loads a maze GQN and its map decoder and encodes the held-out mazes."""
    device = pick_device(cfg.device)
    decoder, facts = load_map_for(cfg.map, cfg.encoder)
    encoder = load_encoder(cfg.encoder, device=str(device), standardise=False)
    model = encoder.module.model
    if not model.predicts_views:
        raise ValueError(f"`encoder` {cfg.encoder} must predict other views, got {model_label(model)}.")
    dataset = MultiViewDataset(cfg.data.root, "heldout")
    settings = scene_settings(dataset.manifest)
    check_data_camera(encoder, str(cfg.encoder), dataset)
    mazes = encode_mazes(encoder, dataset, MazeScene(**settings), cfg.num_mazes)
    judge = MapJudge.from_facts(facts[JUDGE])
    is_new = new_layouts(mazes.walls, true_walls(MultiViewDataset(cfg.data.root, "train")))
    return analyses.MazeSubject(
        model,
        dataset,
        decoder=decoder.to(device),
        judge=judge,
        mazes=mazes,
        is_new=is_new,
        fovy_deg=settings["fovy_deg"],
    )


if __name__ == "__main__":
    main()
