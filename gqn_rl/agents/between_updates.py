"""What happens between two updates of an agent: evaluations, checkpoints, and what a user reads."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from gqn_rl.agents import run_folder as files
from gqn_rl.agents.checkpoint import save_checkpoint, save_policy
from gqn_rl.agents.replay import save_replay
from gqn_rl.agents.schedule import EvalSchedule
from gqn_rl.evaluate import Episodes
from gqn_rl.interrupts import StopRequest
from gqn_rl.processor_time import processor_seconds
from gqn_rl.runlog import RunLog, write_atomic


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a run is, and when it is looked at; steps are environment steps, of all environments together.

    Attributes:
        total_steps: the run ends after this many.
        eval_every: steps between evaluations.
        eval_first_every: likewise during the first `eval_first_steps`, while the curve is steep; None is as later.
        eval_first_steps: how long.
        eval_episodes: episodes of an evaluation.
        eval_seed: seed of an evaluation's first episode; the same every time.
        checkpoint_every: steps between checkpoints.
        eval_deterministic: whether evaluations take the best action, or draw one as in training.
        sb3_zip: whether the best and the last model are written for Stable-Baselines3 too.
    """

    total_steps: int
    eval_every: int
    eval_episodes: int
    eval_seed: int
    checkpoint_every: int
    eval_deterministic: bool = True
    sb3_zip: bool = True
    eval_first_every: int | None = None
    eval_first_steps: int = 0

    @property
    def schedule(self) -> EvalSchedule:
        """When the run is evaluated."""
        return EvalSchedule(self.eval_every, self.eval_first_every, self.eval_first_steps)


class BetweenUpdates(BaseCallback):
    """Evaluates and saves when a rollout is about to start: the policy is up to date and no data are pending."""

    def __init__(
        self,
        folder: pathlib.Path,
        evaluate: Callable[[], Episodes],
        log: RunLog,
        limits: Limits,
        stop: StopRequest,
        earlier_s: float | None,
    ):
        """Prepares for training.

        Args:
            folder: the run folder.
            evaluate: runs the evaluation's episodes.
            log: of evaluations.
            limits: when to do what.
            stop: asks for a checkpoint and the end of training.
            earlier_s: seconds of training before this session, None for a run that begins.
        """
        super().__init__()
        self._folder, self._evaluate, self._log, self._limits, self._stop = folder, evaluate, log, limits, stop
        self._earlier_s, self._is_new = earlier_s or 0.0, earlier_s is None
        self._schedule = limits.schedule

    def _on_training_start(self) -> None:
        self._evaluated_at = files.last_evaluated_step(self._folder)
        self._saved_at = self._first_step = self.model.num_timesteps
        self._best = files.best_mean_return(self._folder)
        self._started_s = time.monotonic()
        self._processor_offset_s = files.processor_seconds_until(self._folder) - processor_seconds()
        if self._is_new:  # so that a folder with rows always has a checkpoint
            self.save()

    def _on_rollout_start(self) -> None:
        step, save_every = self.model.num_timesteps, self._limits.checkpoint_every
        if self._schedule.is_due(step, self._evaluated_at):
            self._log_evaluation(step)
        if step // save_every > self._saved_at // save_every:
            self.save()
        if self._stop.signal_name is not None:
            raise KeyboardInterrupt(self._stop.signal_name)

    def _on_step(self) -> bool:
        return True

    def finish(self) -> None:
        """Evaluates and saves the final model."""
        step = self.model.num_timesteps
        if step > self._evaluated_at:
            self._log_evaluation(step)
        self.save()
        self._write_model(files.FINAL_FILE)
        (self._folder / files.REPLAY_FILE).unlink(missing_ok=True)

    @property
    def _wall_clock_s(self) -> float:
        """Seconds of training and evaluating so far, over all sessions of the run."""
        return self._earlier_s + time.monotonic() - self._started_s

    def _log_evaluation(self, step: int) -> None:
        episodes = self._evaluate()
        clocks = {
            "wall_clock_s": round(self._wall_clock_s, 3),
            "processor_s": round(self._processor_offset_s + processor_seconds(), 3),
        }
        self._log.log(step, {**clocks, **episodes.row()})
        for name, value in episodes.row().items():
            if isinstance(value, float):
                self.logger.record(f"eval/{name}", value)
        self.logger.record("eval/mean_reward", episodes.mean_return)  # as SB3's own evaluations call it
        self.logger.dump(step)
        self._evaluated_at = step
        if episodes.mean_return > self._best:
            self._best = episodes.mean_return
            self._write_model(files.BEST_FILE)
        self._report(step, episodes)

    def _report(self, step: int, episodes: Episodes) -> None:
        """Prints one line for whoever watches."""
        row = episodes.row()
        found = ", ".join(
            f"{name} {row[name]:.3g}" for name in ("mean_return", "success_rate") if row[name] is not None
        )
        steps_per_s = (step - self._first_step) / max(time.monotonic() - self._started_s, 1e-9)
        left_s = max(self._limits.total_steps - step, 0) / steps_per_s if steps_per_s > 0 else 0.0
        speed = f"{steps_per_s:.0f} steps/s" + (f", {_in_words(left_s)} left" if left_s > 0 else "")
        print(f"{step}/{self._limits.total_steps} environment steps: {found}; {speed}", flush=True)

    def save(self) -> None:
        """Writes a checkpoint."""
        if isinstance(self.model, OffPolicyAlgorithm) and self.model.replay_buffer is not None:
            save_replay(self._folder / files.REPLAY_FILE, self.model.replay_buffer)
        save_checkpoint(self._folder, self.model, self._wall_clock_s)
        self._saved_at = self.model.num_timesteps

    def _write_model(self, name: str) -> None:
        """Writes the policy, and where it is asked for the whole model as Stable-Baselines3's zip file."""
        save_policy(self._folder / name, self.model)
        if self._limits.sb3_zip:
            write_atomic(self._folder / files.zip_of(name), self.model.save)


class RunLogFormat(KVWriter):
    """Sends what SB3 logs, under SB3's names, to the run log (SB3's own CSV format would begin anew on resuming)."""

    def __init__(self, log: RunLog):
        self._log = log

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Writes one row."""
        self._log.log(step, {name: value for name, value in key_values.items() if np.isscalar(value)})

    def close(self) -> None:
        """Leaves the log to its owner."""


def _in_words(seconds: float) -> str:
    """Returns a time in the two units that say enough of it.

    >>> _in_words(42.4), _in_words(150), _in_words(9000)
    ('42 s', '2 min 30 s', '2 h 30 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
