"""Trains an agent, PPO with or without an LSTM or our A3C, in a run folder that the same command continues."""

from __future__ import annotations

import pathlib
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from gqn_rl.agents import run_folder as files
from gqn_rl.agents.a3c import A3C
from gqn_rl.agents.networks import GQNExtractor, PixelExtractor
from gqn_rl.agents.recurrent import RecurrentPPO
from gqn_rl.agents.sac import SAC
from gqn_rl.agents.speed import choose_matmul, speed_up
from gqn_rl.evaluate import Episodes, run_episodes
from gqn_rl.interrupts import StopRequest
from gqn_rl.runlog import RunLog, write_atomic
from gqn_rl.views import IMAGE

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "ppo_lstm": RecurrentPPO, "sac": SAC, "a3c": A3C}
"""Agents by the names that configs call them."""


def train(
    folder: pathlib.Path,
    algorithm: str,
    envs: VecEnv | Callable[[], VecEnv],
    eval_envs: VecEnv,
    *,
    settings: Mapping[str, Any],
    total_steps: int,
    eval_every: int,
    eval_episodes: int,
    eval_seed: int,
    checkpoint_every: int,
    seed: int,
    progress: bool = False,
    eval_deterministic: bool = True,
) -> BaseAlgorithm:
    """Trains until `total_steps`, continuing from the folder's checkpoint when there is one.

    Evaluations and checkpoints fall between two updates, at the first such moment after they are due, and at the start
    and end; Ctrl-C leaves a checkpoint too. A resumed run restores weights, optimiser, counters and random states of
    the learner; the environments begin new episodes.

    Args:
        folder: the run folder.
        algorithm: one of `ALGORITHMS`.
        envs: training environments; for A3C the factory with which each worker makes its own.
        eval_envs: evaluation environments, used by nobody else.
        settings: arguments of the algorithm; `net_arch`, `activation` ("tanh" or "relu"), `lstm`, `encoder`, with
            which PPO's network begins and which learns on, `extractor`, arguments of `PixelExtractor` where pictures
            are seen, and `falling`, names of settings that fall linearly to 0, may stand beside them.
        total_steps: environment steps (actions, all environments together).
        eval_every: environment steps between evaluations.
        eval_episodes: episodes of an evaluation.
        eval_seed: seed of an evaluation's first episode; the same every time.
        checkpoint_every: environment steps between checkpoints.
        seed: of the weights, the actions and the training episodes.
        progress: whether to show SB3's progress bar.
        eval_deterministic: whether evaluations take the best action, or draw one as in training.
    """
    choose_matmul()
    check_actions(algorithm, eval_envs)
    model = _new_or_resumed(folder, ALGORITHMS[algorithm], envs, eval_envs.observation_space, settings, seed)
    start_step = model.num_timesteps
    with (
        RunLog(folder, start_step=start_step) as log,
        RunLog(folder, "eval", start_step, tensorboard=False, step_column=files.STEP_COLUMN) as eval_log,
        StopRequest() as stop,
    ):
        model.set_logger(Logger(str(folder), [_RunLogFormat(log)]))

        def evaluate() -> Episodes:
            return run_episodes(model, eval_envs, eval_episodes, eval_seed, deterministic=eval_deterministic)

        between = _BetweenUpdates(folder, evaluate, eval_log, total_steps, eval_every, checkpoint_every, stop)
        try:
            model.learn(total_steps - start_step, callback=between, reset_num_timesteps=False, progress_bar=progress)
        except KeyboardInterrupt:
            between.save()
            raise
        between.finish()
    (folder / files.REPLAY_FILE).unlink(missing_ok=True)
    return model


def check_actions(algorithm: str, envs: VecEnv) -> None:
    """Refuses environments whose actions an algorithm cannot choose."""
    if algorithm == "sac" and not isinstance(envs.action_space, gym.spaces.Box):
        raise ValueError("`agent` sac needs continuous actions: give `task={action: continuous}` or another agent.")


def transfer(
    folder: pathlib.Path,
    algorithm: str,
    envs: VecEnv,
    camera: str,
    *,
    num_episodes: int,
    seed: int,
    deterministic: bool = True,
) -> str:
    """Evaluates a finished run's model in environments seen from another camera, without training; says what came out.

    Args:
        folder: the run folder; a row is added to its `transfer.csv`.
        algorithm: one of `ALGORITHMS`.
        envs: environments seen from that camera.
        camera: its name.
        num_episodes: as for `run_episodes`.
        seed: likewise.
        deterministic: likewise.
    """
    model = ALGORITHMS[algorithm].load(folder / files.FINAL_FILE, device="cpu")
    episodes = run_episodes(model, envs, num_episodes, seed, deterministic=deterministic)
    row = {files.STEP_COLUMN: files.last_evaluated_step(folder), "camera": camera, **episodes.row()}
    files.add_transfer(folder, row)
    return f"mean_return {row['mean_return']:.3g}"


class _BetweenUpdates(BaseCallback):
    """Evaluates and saves when a rollout is about to start: the policy is up to date and no data are pending."""

    def __init__(
        self,
        folder: pathlib.Path,
        evaluate: Callable[[], Episodes],
        log: RunLog,
        total_steps: int,
        eval_every: int,
        save_every: int,
        stop: StopRequest,
    ):
        super().__init__()
        self._folder, self._evaluate, self._log, self._total_steps = folder, evaluate, log, total_steps
        self._eval_every, self._save_every, self._stop = eval_every, save_every, stop

    def _on_training_start(self) -> None:
        self._evaluated_at = files.last_evaluated_step(self._folder)
        self._saved_at = self._first_step = self.model.num_timesteps
        self._best = files.best_mean_return(self._folder)
        self._started_s = time.monotonic()
        self._earlier_s = vars(self.model).get("resume_state", {}).get("wall_clock_s", 0.0)

    def _on_rollout_start(self) -> None:
        step = self.model.num_timesteps
        if self._evaluated_at < 0 or step // self._eval_every > self._evaluated_at // self._eval_every:
            self._log_evaluation(step)
        if step // self._save_every > self._saved_at // self._save_every:
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
        write_atomic(self._folder / files.FINAL_FILE, self.model.save)

    @property
    def _wall_clock_s(self) -> float:
        """Seconds of training and evaluating so far, over all sessions of the run."""
        return self._earlier_s + time.monotonic() - self._started_s

    def _log_evaluation(self, step: int) -> None:
        episodes = self._evaluate()
        self._log.log(step, {"wall_clock_s": round(self._wall_clock_s, 3), **episodes.row()})
        for name, value in episodes.row().items():
            if isinstance(value, float):
                self.logger.record(f"eval/{name}", value)
        self.logger.dump(step)
        self._evaluated_at = step
        if episodes.mean_return > self._best:
            self._best = episodes.mean_return
            write_atomic(self._folder / files.BEST_FILE, self.model.save)
        self._report(step, episodes)

    def _report(self, step: int, episodes: Episodes) -> None:
        """Prints one line for whoever watches."""
        row = episodes.row()
        found = ", ".join(
            f"{name} {row[name]:.3g}" for name in ("mean_return", "success_rate") if row[name] is not None
        )
        steps_per_s = (step - self._first_step) / max(time.monotonic() - self._started_s, 1e-9)
        print(f"{step}/{self._total_steps} environment steps: {found}; {steps_per_s:.0f} steps/s", flush=True)

    def save(self) -> None:
        """Writes the checkpoint."""
        vars(self.model)["resume_state"] = {
            "wall_clock_s": self._wall_clock_s,
            "torch": torch.get_rng_state(),
            "numpy": np.random.get_state(),
            "python": random.getstate(),
        }
        if isinstance(self.model, OffPolicyAlgorithm):
            write_atomic(self._folder / files.REPLAY_FILE, self.model.save_replay_buffer)
        write_atomic(self._folder / files.CHECKPOINT_FILE, self.model.save)
        self._saved_at = self.model.num_timesteps


class _RunLogFormat(KVWriter):
    """Sends what SB3 logs, under SB3's names, to the run log (SB3's own CSV format would begin anew on resuming)."""

    def __init__(self, log: RunLog):
        self._log = log

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Writes one row."""
        self._log.log(step, {name: value for name, value in key_values.items() if np.isscalar(value)})

    def close(self) -> None:
        """Leaves the log to its owner."""


def _new_or_resumed(
    folder: pathlib.Path,
    algorithm: type[BaseAlgorithm],
    envs: VecEnv | Callable[[], VecEnv],
    space: gym.Space,
    settings: Mapping[str, Any],
    seed: int,
) -> BaseAlgorithm:
    """Returns the checkpoint's model with the random states it had, or a new one; either way with fresh episodes."""
    checkpoint = folder / files.CHECKPOINT_FILE
    arguments = arguments_of(settings, space)
    if algorithm is A3C:
        arguments["monitor_file"] = folder / files.MONITOR_FOLDER / "0.monitor.csv"
    if checkpoint.exists():
        model = algorithm.load(checkpoint, env=envs, device=arguments.get("device", "auto"))  # type: ignore[arg-type]
        if isinstance(model, OffPolicyAlgorithm):
            model.load_replay_buffer(folder / files.REPLAY_FILE, truncate_last_traj=False)
        state = vars(model)["resume_state"]
        torch.set_rng_state(state["torch"])
        np.random.set_state(state["numpy"])
        random.setstate(state["python"])
    else:
        model = _built(algorithm, envs, arguments, seed)
    if isinstance(model, PPO | RecurrentPPO):
        speed_up(model)
    if isinstance(envs, VecEnv):
        envs.seed(int(np.random.default_rng([seed, model.num_timesteps]).integers(2**30)))
    return model


def new_ppo(envs: VecEnv, settings: Mapping[str, Any], seed: int) -> PPO:
    """Returns the untrained PPO that `train` begins with, for those who time or vary it."""
    choose_matmul()
    model = _built(PPO, envs, arguments_of(settings, envs.observation_space), seed)
    speed_up(model)
    return model


def _built(algorithm: type[Any], envs: Any, arguments: Mapping[str, Any], seed: int) -> Any:
    """Makes a new model, or says which setting it does not take."""
    try:
        return algorithm(env=envs, seed=seed, **arguments)
    except TypeError as error:
        raise ValueError(f"`agent.settings` holds what {algorithm.__name__} does not take: {error}.") from error


def arguments_of(settings: Mapping[str, Any], space: gym.Space) -> dict[str, Any]:
    """Turns the settings of a config into arguments of an algorithm that sees observations of `space`."""
    settings = dict(settings)
    policy = "MultiInput" if isinstance(space, gym.spaces.Dict) else "Mlp"
    policy += "LstmPolicy" if settings.pop("lstm", False) else "Policy"
    policy_kwargs: dict[str, Any] = {}
    if "net_arch" in settings:
        policy_kwargs["net_arch"] = list(settings.pop("net_arch"))
    if "activation" in settings:
        policy_kwargs["activation_fn"] = _activation(settings.pop("activation"))
    if "encoder" in settings:
        policy_kwargs["features_extractor_class"] = GQNExtractor
        shift = (settings.pop("extractor", None) or {}).get("shift", 0)
        policy_kwargs["features_extractor_kwargs"] = {
            "encoder": settings.pop("encoder"),
            "freeze": False,
            "shift": shift,
        }
    elif (extractor := settings.pop("extractor", None)) and IMAGE in getattr(space, "spaces", ()):
        policy_kwargs["features_extractor_class"] = PixelExtractor
        policy_kwargs["features_extractor_kwargs"] = dict(extractor)
    if policy_kwargs:
        settings["policy_kwargs"] = policy_kwargs
    for name in settings.pop("falling", ()):
        settings[name] = LinearSchedule(settings[name], 0.0, 1.0)
    return {"policy": policy, **settings}


def _activation(name: str) -> type[torch.nn.Module]:
    """Returns the activation function that a config names."""
    known = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
    if name not in known:
        raise ValueError(f"`agent.settings.activation` must be one of {', '.join(known)}, got {name!r}.")
    return known[name]
