"""Training of a map decoder on the r of a frozen GQN, and its file.

ψ of every view is there already (`EncodedMazes`), so a step costs the decoder alone. The first half of the steps leave
the latents out: the map is then drawn from r, as nothing else is there to draw it from.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import pathlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gqn_rl.analyses.maps.evaluation import MapJudge, evaluate_maps
from gqn_rl.analyses.maps.figures import draw_sheet
from gqn_rl.analyses.maps.mazes import EncodedMazes
from gqn_rl.artefacts.files import read_bytes
from gqn_rl.checkpoint import load_map_decoder, save_model
from gqn_rl.models.likelihood import gaussian_bound
from gqn_rl.models.map_decoder import MapDecoder
from gqn_rl.models.protocols import Bound
from gqn_rl.progress import tqdm
from gqn_rl.representation import find_encoder
from gqn_rl.runlog import Every, RunLog
from gqn_rl.views import prepare_images

MAP_FILE, SHEET_FILE = "map.safetensors", "sheet.png"
"""Files of a run's folder: the decoder, written when it is finished, and what it draws of held-out mazes."""
ENCODER_DIGEST = "encoder_sha256"
JUDGE = "judge"
"""Entries of the decoder's metadata: which encoder's r it reads, and what reads walls out of its maps."""


@dataclasses.dataclass(frozen=True)
class MapSettings:
    """Settings of the training.

    Attributes:
        total_steps: optimiser steps; the first half go without latents.
        batch_size: mazes a step.
        max_context: r is the sum over 1..max_context random views of a maze, fewer where the data have fewer.
        lr, lr_end: Adam's learning rate, linearly from the first to the last step.
        sigma: standard deviation of the pixels' normal distribution, pixels in [0, 1].
        grad_clip_norm: largest norm of the gradient.
        log_every, eval_every: steps between two rows of training means and two evaluations; 0 never, but at the end.
        seed: of the batches and the noise.
    """

    total_steps: int = 6000
    batch_size: int = 64
    max_context: int = 20
    lr: float = 1e-3
    lr_end: float = 1e-4
    sigma: float = 0.5
    grad_clip_norm: float = 100.0
    log_every: int = 50
    eval_every: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("total_steps", "batch_size", "max_context"):
            if getattr(self, name) < 1:
                raise ValueError(f"`train.{name}` must be at least 1, got {getattr(self, name)}.")
        for name in ("lr", "lr_end", "sigma", "grad_clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`train.{name}` must be above 0, got {getattr(self, name)}.")
        for name in ("log_every", "eval_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"`train.{name}` must be at least 0, got {getattr(self, name)}.")


def train_map(
    decoder: MapDecoder,
    mazes: EncodedMazes,
    heldout: EncodedMazes,
    run_dir: str | pathlib.Path,
    settings: MapSettings,
    metadata: dict[str, Any],
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> dict[str, float]:
    """Trains the decoder and writes rows, a sheet and, at the end, the decoder's file; a stopped run starts again.

    Args:
        decoder: the network, trained in place.
        mazes: what it is trained on.
        heldout: other mazes, which it is judged on.
        run_dir: folder for everything that is written.
        settings: of the training.
        metadata: JSON-ready facts for the decoder's file.
        device: where to compute.
        progress: show a progress bar.

    Returns:
        The metrics of the last evaluation.
    """
    run_dir = pathlib.Path(run_dir)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    decoder.to(device).train()
    optimizer = torch.optim.Adam(decoder.parameters(), lr=settings.lr)
    judge = MapJudge.fit(mazes.maps, mazes.walls)
    evaluates, logs, total = Every(settings.eval_every), Every(settings.log_every), settings.total_steps
    metrics: dict[str, float] = {}
    with RunLog(run_dir) as log:
        for step in tqdm(range(1, total + 1), desc="training", unit="step", disable=not progress):
            r, maps = draw_batch(mazes, rng, settings.batch_size, settings.max_context)
            row = _update(decoder, optimizer, settings, step, r.to(device), maps.to(device))
            if logs(step) or step == total:
                log.log(step, {f"train/{name}": _finite(name, value, step) for name, value in row.items()})
            if evaluates(step) or step == total:
                metrics = evaluate_maps(decoder, heldout, judge)
                log.log(step, metrics)
                draw_sheet(run_dir / SHEET_FILE, decoder, heldout)
    save_model(run_dir / MAP_FILE, decoder, metadata | {"step": total, "metrics": metrics, JUDGE: judge.facts()})
    return metrics


def draw_batch(
    mazes: EncodedMazes, rng: np.random.Generator, batch_size: int, max_context: int
) -> tuple[Tensor, Tensor]:
    """Draws random mazes and sums ψ over 1..max_context random views of each.

    Returns:
        r float32 [B, *representation_shape] and the true maps, uint8 [B, H, W, 3].
    """
    chosen = rng.integers(len(mazes.psi), size=batch_size)
    num_views = rng.integers(1, min(max_context, mazes.num_views) + 1, size=batch_size)
    place = rng.permuted(np.tile(np.arange(mazes.num_views), (batch_size, 1)), axis=1)
    weight = torch.from_numpy((place < num_views[:, None]).astype(np.float32))  # [B, K], 1 for the views summed
    r = torch.einsum("bk,bk...->b...", weight, mazes.psi[torch.from_numpy(chosen)])
    return r, torch.from_numpy(mazes.maps[chosen])


def encoder_digest(encoder: str | pathlib.Path) -> str:
    """Returns the sha256 of an encoder's file."""
    return hashlib.sha256(read_bytes(find_encoder(encoder))).hexdigest()


def is_finished(run_dir: str | pathlib.Path, encoder: str | pathlib.Path) -> bool:
    """Tells whether a folder already holds the decoder of an encoder.

    Raises:
        ValueError: it holds the decoder of another encoder.
    """
    path = pathlib.Path(run_dir) / MAP_FILE
    if not path.is_file():
        return False
    load_map_for(path, encoder)
    return True


def load_map_for(path: str | pathlib.Path, encoder: str | pathlib.Path) -> tuple[MapDecoder, dict[str, Any]]:
    """Loads a map decoder and sees that it was trained on this encoder.

    Args:
        path: the decoder's file or its run's folder.
        encoder: the encoder's file, its run's folder, or the name of one that ships.

    Raises:
        ValueError: the file is missing, damaged, of another kind, or of another encoder.
    """
    path = pathlib.Path(path)
    path = path / MAP_FILE if path.is_dir() else path
    decoder, metadata = load_map_decoder(path)
    if metadata.get(ENCODER_DIGEST) != encoder_digest(encoder):
        raise ValueError(
            f"`{path}` was trained on another encoder than `{encoder}`; give the encoder '{metadata.get('encoder')}' "
            "as it was then, or train a map for this one: `python -m gqn_rl.train_map encoder=... run_dir=...`."
        )
    return decoder, metadata


def decoder_bound(decoder: MapDecoder, r: Tensor, maps: Tensor, *, sigma: float, latents: bool) -> Bound:
    """Returns the ELBO's terms of maps uint8 [B, H, W, 3]; without `latents` z is the prior's mean, without KL."""
    if latents:
        return decoder.bound(r, maps, sigma=sigma)
    none = torch.zeros(len(r), 1, device=r.device)
    return gaussian_bound(decoder.mean(r)[:, None], prepare_images(maps)[:, None], none, sigma)


def _update(
    decoder: MapDecoder, optimizer: torch.optim.Optimizer, settings: MapSettings, step: int, r: Tensor, maps: Tensor
) -> dict[str, Tensor | float]:
    """Makes step `step`, counted from 1, and returns the terms of its loss."""
    done = (step - 1) / settings.total_steps
    lr = settings.lr + (settings.lr_end - settings.lr) * done
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    bound = decoder_bound(decoder, r, maps, sigma=settings.sigma, latents=done >= 0.5)
    loss = (bound.nll + bound.kl).mean()
    loss.backward()
    nn.utils.clip_grad_norm_(decoder.parameters(), settings.grad_clip_norm)
    optimizer.step()
    return {"mse": bound.mse.mean().detach(), "kl": bound.kl.mean().detach(), "lr": lr}


def _finite(name: str, value: Tensor | float, step: int) -> float:
    if not math.isfinite(value):
        raise FloatingPointError(f"`train/{name}` is {float(value)} at step {step}; try a lower train.lr.")
    return float(value)
