"""What a run writes for people: rows, picture sheets and encoder files, all by the first process alone."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gqn_rl import scene_evaluation as evaluation
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.models import SceneModel
from gqn_rl.pretrain.export import export_encoder
from gqn_rl.pretrain.hardware import Workers
from gqn_rl.pretrain.pictures import picture_sheet
from gqn_rl.pretrain.settings import TrainSettings
from gqn_rl.representation import BEST_FILE, LAST_FILE
from gqn_rl.runlog import RunLog
from gqn_rl.writers.pictures import write_png

SHEETS = "sheets"
SHEET_SCENES, SHEET_CONTEXT = 8, 3
"""Rows of a picture sheet and context views in each."""


class Report:
    """The written side of one run; in processes other than the first, nothing happens.

    Attributes:
        latest: metrics of the last evaluation.
    """

    def __init__(
        self,
        model: SceneModel,
        train: MultiViewDataset,
        heldout: MultiViewDataset,
        run_dir: pathlib.Path,
        settings: TrainSettings,
        workers: Workers,
        start_step: int,
        earlier: Sequence[dict[str, Any]] = (),
    ):
        self.latest: dict[str, float] = {}
        self._earlier = earlier
        self._model, self._train, self._heldout = model, train, heldout
        self._run_dir, self._settings, self._workers = run_dir, settings, workers
        self._logs: list[RunLog] = []
        if workers.is_main:
            self._progress = RunLog(run_dir, start_step=start_step)
            self._probes = RunLog(run_dir, "probes", start_step=start_step, tensorboard=False)
            self._logs = [self._progress, self._probes]

    def train_row(self, step: int, row: dict[str, float]) -> None:
        """Logs a row of training means."""
        if self._workers.is_main:
            self._progress.log(step, row)

    def evaluate(self, step: int, best: float) -> float:
        """Judges the model on held-out scenes, logs, draws a sheet and writes the encoder files.

        Returns:
            The best score so far; a model that reaches a new one also becomes `best.safetensors`.
        """
        if not self._workers.is_main:
            return best
        self._model.eval()
        self._log_metrics(step)
        self._draw_sheet(step)
        score = evaluation.score(self._model, self.latest)
        paths = [self._run_dir / LAST_FILE] + [self._run_dir / BEST_FILE] * (score < best)
        export_encoder(
            paths,
            self._model,
            self._train,
            step=step,
            metrics=self.latest,
            earlier=self._earlier,
            objective=self._settings.objective,
            device=self._workers.device,
        )
        self._model.train()
        return min(score, best)

    def _log_metrics(self, step: int) -> None:
        settings, device = self._settings, self._workers.device
        self.latest = evaluation.evaluate_pictures(self._model, self._heldout, settings.eval_scenes, device)
        summary, entries = evaluation.evaluate_representation(
            self._model, self._train, self._heldout, settings.probe_scenes, device
        )
        self.latest |= summary
        self._progress.log(step, self.latest)
        self._probes.log(step, entries)

    def _draw_sheet(self, step: int) -> None:
        heldout = self._heldout
        scenes = np.arange(min(SHEET_SCENES, heldout.num_scenes))
        num_context = min(SHEET_CONTEXT, self._settings.max_context, heldout.views_per_scene - 1)
        context, query = evaluation.fixed_views(heldout, scenes, num_context)
        device = self._workers.device
        sheet = picture_sheet(self._model, context.to_torch(device), query.to_torch(device))
        write_png(self._run_dir / SHEETS / f"step-{step:09d}.png", sheet)
        self._progress.image(step, "sheet", sheet)

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *_: object) -> None:
        for log in self._logs:
            log.close()
