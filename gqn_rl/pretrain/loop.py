"""The pretraining loop: from views to a frozen encoder, resumable at any step to the last bit.

That is on the same number of threads (`threads=`), with the same torch, on a like processor: sums are split among
threads, and split otherwise they round otherwise.
"""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from gqn_rl.dataset import MultiViewDataset, prefetch
from gqn_rl.interrupts import StopRequest
from gqn_rl.models import SceneModel
from gqn_rl.pretrain import resume
from gqn_rl.pretrain.hardware import Workers
from gqn_rl.pretrain.objectives import Objective
from gqn_rl.pretrain.report import Report
from gqn_rl.pretrain.resume_checks import begun_with, check_begun_with
from gqn_rl.pretrain.settings import TrainSettings
from gqn_rl.pretrain.trainer import FORMAT, Trainer
from gqn_rl.progress import tqdm
from gqn_rl.runlog import Every


def train(
    model: SceneModel,
    dataset: MultiViewDataset,
    heldout: MultiViewDataset,
    *,
    run_dir: str | pathlib.Path,
    settings: TrainSettings,
    earlier: Sequence[dict[str, Any]] = (),
    workers: Workers | None = None,
    show_progress: bool = True,
    objective: Objective | None = None,
    on_begin: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Trains `model` until `settings.total_steps`, going on from the newest resume file in `run_dir`.

    Args:
        model: a scene model with freshly seeded weights, or with those that `origin.begin_from` gave it.
        dataset: training scenes.
        heldout: scenes that are only judged.
        run_dir: folder for logs, resume files, picture sheets, `best.safetensors` and `last.safetensors`.
        settings: everything about the run.
        earlier: trainings that are in the weights already, for the encoder's file; see `origin.begin_from`.
        workers: this process among several; alone on the CPU when None.
        show_progress: draw a progress bar.
        objective: what is minimised; the ELBO when None.
        on_begin: called once when it is known that the run can go on, before anything is written.

    Returns:
        The metrics of the last evaluation: empty when the run was finished before, and in processes that do not judge.

    Raises:
        ValueError: model and data do not fit, the run began with other settings, data or weights, or no resume
            file is whole.
        FloatingPointError: loss or gradient is no longer finite; the sentence names the last good resume file.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after a resume file was written.
    """
    run_dir, workers = pathlib.Path(run_dir), workers or Workers()
    _check_fit(model, dataset, settings)
    trainer = Trainer(model, settings, workers, objective)
    if workers.is_main:
        resume.clear_old(run_dir)
    if (state := resume.load_newest(run_dir)) is not None:
        if state.get("format") != FORMAT and state["step"] >= settings.total_steps:
            return {}  # an older version finished it
        check_begun_with(run_dir, state, begun_with(settings, dataset.manifest))
        _check_origin(state, earlier, run_dir)
        trainer.restore(state)
    on_begin()
    known = {"earlier": list(earlier)} | begun_with(settings, dataset.manifest)
    log_now, evaluate_now, save_now = (
        Every(n) for n in (settings.log_every, settings.eval_every, settings.checkpoint_every)
    )
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        report = stack.enter_context(
            Report(trainer.model, dataset, heldout, run_dir, settings, workers, trainer.step, earlier)
        )
        bar = stack.enter_context(_progress_bar(trainer.step, settings, show_progress and workers.is_main))
        speed = _Speed(settings.batch_size * settings.num_queries)
        steps = range(trainer.step, settings.total_steps)
        for _, batch in prefetch(lambda step: trainer.draw(dataset, step), steps):
            trainer.update(batch)
            bar.update()
            step, last = trainer.step, trainer.step == settings.total_steps
            stopping = workers.any(stop.signal_name is not None)
            logging, evaluating, saving = (last or clock(step) for clock in (log_now, evaluate_now, save_now))
            if logging or evaluating or saving or stopping:
                _check_finite(trainer, run_dir)
            speed.pause()
            if logging:
                row = trainer.take_row() | {"train/samples_per_s": speed.take()}
                report.train_row(step, row)
                bar.set_postfix_str(_glance(row))
            if evaluating:
                trainer.best = report.evaluate(step, trainer.best)
            if (saving or stopping) and workers.is_main:
                resume.save_state(run_dir, trainer.state() | known, settings.keep_checkpoints)
            if stopping and not last:
                raise KeyboardInterrupt(f"stopped at step {step}; the same command continues from there")
            speed.go_on()
    return report.latest


class _Speed:
    """Samples a second while training: evaluations and saving do not count. A sample is one predicted picture."""

    def __init__(self, samples_per_step: int):
        self._samples_per_step = samples_per_step
        self._seconds, self._num_steps = 0.0, 0
        self.go_on()

    def go_on(self) -> None:
        self._since = time.perf_counter()

    def pause(self) -> None:
        self._seconds += time.perf_counter() - self._since
        self._num_steps += 1

    def take(self) -> float:
        """Returns the mean since the last call."""
        speed = self._num_steps * self._samples_per_step / self._seconds
        self._seconds, self._num_steps = 0.0, 0
        return speed


def _check_fit(model: SceneModel, dataset: MultiViewDataset, settings: TrainSettings) -> None:
    if model.image_size != dataset.image_size:
        raise ValueError(
            f"`model.image_size` is {model.image_size}, but the pictures of `{dataset.root}` have {dataset.image_size} "
            f"pixels; set model.image_size={dataset.image_size} or generate other data."
        )
    needed = settings.max_context + settings.num_queries
    if needed > dataset.views_per_scene:
        raise ValueError(
            f"`max_context` {settings.max_context} + `num_queries` {settings.num_queries} must be at most the "
            f"{dataset.views_per_scene} views per scene of `{dataset.root}`."
        )


def _check_origin(state: dict[str, Any], earlier: Sequence[dict[str, Any]], run_dir: pathlib.Path) -> None:
    if state.get("earlier", []) != list(earlier):
        raise ValueError(
            f"The run in `{run_dir}` began from other weights than `init_from` names now; choose another `run_dir`, or "
            "give the command as it was."
        )


def _check_finite(trainer: Trainer, run_dir: pathlib.Path) -> None:
    if not trainer.is_finite():
        files = resume.resume_files(run_dir)
        last_good = f"the last good resume file is `{files[-1]}`" if files else "no resume file was written before"
        raise FloatingPointError(
            f"Loss or gradient became NaN or infinite at or before step {trainer.step}; {last_good}. "
            "The same command with `train.precision=float32` goes on from there; a lower `train.lr` or "
            "`train.grad_clip_norm=1.0` needs another `run_dir`, which `init_from` begins with the weights of this one."
        )


def _progress_bar(step: int, settings: TrainSettings, shown: bool) -> tqdm:
    return tqdm(total=settings.total_steps, initial=step, unit="step", desc="pretraining", disable=not shown)


def _glance(row: dict[str, float]) -> str:
    return f"loss {row['train/loss']:.1f}, mse {row['train/mse']:.4f}, {row['train/samples_per_s']:.0f} samples/s"
