"""The main process's part of A3C: hands out work units, reads reports, runs callbacks, replaces lost workers."""

from __future__ import annotations

import abc
import contextlib
import math
import pathlib
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import ResultsWriter
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import FloatSchedule

from gqn_rl.agents.a3c.messages import Report, WorkUnit
from gqn_rl.interrupts import StopRequest
from gqn_rl.processes import WorkerLost, WorkerPool
from gqn_rl.wrappers.monitor import monitor_file

_LOOKAHEAD = 2  # work units a worker holds: one it works on, and one that lets it go on while its report is read
_STEPS_PER_UNIT = 100  # about: reading a report of every few steps would keep the main process busy


class SharedModel(OnPolicyAlgorithm, abc.ABC):
    """What the coordinator asks of the algorithm whose parameters the workers share.

    Attributes:
        n_workers, max_restarts, monitor_file: see `A3C`.
        worker_states: what each worker was left in, None where it is to begin anew.
        num_updates: of the parameters, so far.
    """

    n_workers: int
    max_restarts: int
    monitor_file: str | pathlib.Path | None
    worker_states: list[bytes | None]
    num_updates: int

    @abc.abstractmethod
    def worker_arguments(self) -> tuple[Any, ...]:
        """Returns what every worker is given: settings, all of the policy's weights, and what is shared."""

    @abc.abstractmethod
    def take_snapshot(self) -> None:
        """Copies the shared parameters to this process's policy, which callbacks, `predict` and `save` see."""


class Coordinator:
    """Hands out work units during `learn`, reads reports, runs callbacks and replaces lost workers."""

    def __init__(
        self, model: SharedModel, callback: BaseCallback, total_steps: int, log_interval: int | None, stop: StopRequest
    ):
        self._model, self._callback, self._log_interval, self._stop = model, callback, log_interval, stop
        self._total_steps, self._unassigned = total_steps, total_steps - model.num_timesteps  # environment steps
        self._held: list[list[WorkUnit]] = [[] for _ in range(model.n_workers)]
        self._states = dict(enumerate(model.worker_states))
        model.worker_states = [None] * model.n_workers
        self._ent_schedule = FloatSchedule(model.ent_coef)
        self._num_restarts = 0
        self._cancelled = False
        self._seed = random.SystemRandom().getrandbits(32) if model.seed is None else model.seed

    def worker_arguments(self, index: int) -> tuple[Any, ...]:
        """Returns what a worker's process begins with: for its first one the state it was left in, if any."""
        model = self._model
        seed = np.random.SeedSequence([self._seed, index, self._num_restarts, model.num_timesteps])
        return *model.worker_arguments(), int(seed.generate_state(1)[0]), self._states.pop(index, None)

    def run(self, pool: WorkerPool) -> None:
        """Goes on until every work unit has been handed out and reported, or a callback ends it."""
        with self._episode_file() as write_episode:
            self._callback.on_rollout_start()
            self._hand_out(pool, range(len(self._held)))
            while any(self._held) and not self._cancelled:
                for index, message in pool.receive():
                    if isinstance(message, WorkerLost):
                        self._replace(pool, message)
                    elif not self._cancelled:
                        self._account(index, message, write_episode)
                        self._hand_out(pool, [index])

    def _hand_out(self, pool: WorkerPool, indices: Sequence[int]) -> None:
        """Tops up these workers' queues; one that gets None instead of a work unit finishes what it has, and ends."""
        for _ in range(_LOOKAHEAD):
            for index in indices:
                if len(self._held[index]) < _LOOKAHEAD:
                    unit = self._next_unit()
                    pool.send(index, unit)
                    self._held[index] += [unit] if unit else []

    def _next_unit(self) -> WorkUnit | None:
        if self._unassigned <= 0 or self._stop.signal_name is not None:
            return None
        model = self._model
        whole = math.ceil(_STEPS_PER_UNIT / model.n_steps) * model.n_steps
        num_steps = min(whole, math.ceil(self._unassigned / model.n_envs))
        remaining = self._unassigned / self._total_steps
        unit = WorkUnit(num_steps, model.lr_schedule(remaining), self._ent_schedule(remaining))
        self._unassigned -= num_steps * model.n_envs
        return unit

    def _account(self, index: int, report: Report, write_episode: Callable[[dict[str, float]], None]) -> None:
        """Counts a rollout's steps and shows each to the callbacks, with the policy as it is after the update."""
        model, callback, updates_before = self._model, self._callback, self._model.num_updates
        unit = self._held[index].pop(0)
        model.worker_states[index] = report.state
        model.take_snapshot()
        model.num_updates += report.num_updates
        for rewards, dones, infos in zip(report.rewards.T, report.dones.T, report.infos, strict=True):
            model.num_timesteps += model.n_envs
            model._update_info_buffer(infos, dones)
            for info in infos:
                if "episode" in info:
                    write_episode(info["episode"])
            callback.update_locals({"self": model, "rewards": rewards, "dones": dones, "infos": infos})
            if not callback.on_step():
                self._cancelled = True
                return
        callback.on_rollout_end()
        model._update_current_progress_remaining(model.num_timesteps, self._total_steps)
        if self._log_interval and model.num_updates // self._log_interval > updates_before // self._log_interval:
            self._log(report, unit)
        if self._unassigned > 0 or any(self._held):
            callback.on_rollout_start()

    def _log(self, report: Report, unit: WorkUnit) -> None:
        """Writes a row under the names that SB3 uses."""
        logger, policy = self._model.logger, self._model.policy
        for name, value in report.losses.items():
            logger.record(f"train/{name}", value)
        logger.record("train/learning_rate", unit.learning_rate)
        logger.record("train/ent_coef", unit.ent_coef)
        logger.record("train/n_updates", self._model.num_updates, exclude="tensorboard")
        if hasattr(policy, "log_std"):
            logger.record("train/std", torch.exp(policy.log_std).mean().item())
        self._model.dump_logs(self._model.num_updates)

    def _replace(self, pool: WorkerPool, lost: WorkerLost) -> None:
        """Takes back the work units of a worker that ended too early, and starts another in its place."""
        held, self._held[lost.index] = self._held[lost.index], []
        if not held:
            return  # it had been told to end
        if lost.fatal:
            raise FloatingPointError(lost.error)
        if lost.cannot_start:
            raise ChildProcessError(f"A3C {lost}")
        self._unassigned += sum(unit.num_steps for unit in held) * self._model.n_envs
        if self._stop.signal_name is not None:
            warnings.warn(f"A3C {lost}; its unfinished steps are left out.", RuntimeWarning, stacklevel=2)
            return
        self._num_restarts += 1
        if self._num_restarts > self._model.max_restarts:
            raise ChildProcessError(f"A3C {lost}\nThat is one more than `max_restarts`={self._model.max_restarts}.")
        count = f"replacement {self._num_restarts} of at most {self._model.max_restarts}"
        warnings.warn(f"A3C {lost}\nIt is replaced ({count}); what was learnt is kept.", RuntimeWarning, stacklevel=2)
        pool.start(lost.index)
        self._hand_out(pool, [lost.index])

    @contextlib.contextmanager
    def _episode_file(self) -> Iterator[Callable[[dict[str, float]], None]]:
        """Opens the monitor file, if one is asked for, and yields the function that adds an episode to it."""
        model = self._model
        if model.monitor_file is None:
            yield lambda episode: None
            return
        found = monitor_file(model.monitor_file)
        is_new = model.num_timesteps == 0 or found.began_s is None
        start_s = time.time() if is_new or found.began_s is None else found.began_s  # one clock for all its rows
        header: dict[str, float | str] = {"t_start": start_s, "env_id": str(model.env.source)}  # type: ignore[union-attr]
        writer = ResultsWriter(str(found.path), header, override_existing=is_new)
        try:
            yield lambda episode: writer.write_row(
                {"r": episode["r"], "l": episode["l"], "t": round(time.time() - start_s, 6)}
            )
        finally:
            writer.close()
