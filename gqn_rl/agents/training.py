"""Trains an agent, PPO with or without an LSTM or our A3C, in a run folder that the same command continues."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from gqn_rl.agents import run_folder as files
from gqn_rl.agents.a3c import A3C
from gqn_rl.agents.arguments import arguments_of
from gqn_rl.agents.between_updates import BetweenUpdates, Limits, RunLogFormat
from gqn_rl.agents.checkpoint import load_policy, load_zip, restore_newest
from gqn_rl.agents.recurrent import RecurrentPPO
from gqn_rl.agents.replay import load_replay
from gqn_rl.agents.sac import SAC
from gqn_rl.agents.speed import fast_matmul, speed_up
from gqn_rl.evaluate import Episodes, run_episodes
from gqn_rl.interrupts import StopRequest
from gqn_rl.runlog import RunLog

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "ppo_lstm": RecurrentPPO, "sac": SAC, "a3c": A3C}
"""Agents by the names that configs call them."""


@fast_matmul()
def train(
    folder: pathlib.Path,
    algorithm: str,
    envs: VecEnv | Callable[[], VecEnv],
    eval_envs: VecEnv,
    *,
    settings: Mapping[str, Any],
    seed: int,
    progress: bool = False,
    trust_zip: bool = False,
    **limits: Any,
) -> BaseAlgorithm:
    """Trains until `total_steps`, continuing from the folder's checkpoint when there is one.

    Evaluations and checkpoints fall between two updates, at the first such moment after they are due, and at the start
    and end; Ctrl-C leaves a checkpoint too. A resumed run restores weights, optimiser, counters and random states of
    the learner; the environments begin new episodes.

    Args:
        folder: the run folder, which nobody else writes to (`locks.sole_writer`).
        algorithm: one of `ALGORITHMS`.
        envs: training environments; for A3C the factory with which each worker makes its own.
        eval_envs: evaluation environments, used by nobody else.
        settings: arguments of the algorithm; `net_arch`, `activation` ("tanh" or "relu"), `lstm`, `encoder`, with
            which PPO's network begins and which learns on, `extractor`, arguments of `PixelExtractor` where pictures
            are seen, and `annealed`, names of settings that go linearly to 0 at `total_steps`, may stand beside
            them. A run that is continued with more steps has at once the value of the share of them that is left.
        seed: of the weights, the actions and the training episodes.
        progress: whether to show SB3's progress bar.
        trust_zip: see `checkpoint.restore_newest`.
        **limits: see `Limits`.

    Raises:
        ValueError: a setting is unknown, no checkpoint can be read, or the folder holds rows and no checkpoint.
    """
    check_actions(algorithm, eval_envs)
    plan = Limits(**limits)
    files.clear_leftovers(folder)
    model = _new(folder, ALGORITHMS[algorithm], envs, eval_envs.observation_space, settings, seed)
    earlier_s = restore_newest(folder, model, trust_zip=trust_zip)
    if earlier_s is None:
        files.refuse_rows(folder)
    elif isinstance(model, OffPolicyAlgorithm) and model.replay_buffer is not None:
        load_replay(folder / files.REPLAY_FILE, model.replay_buffer)
    start_step = model.num_timesteps
    if isinstance(envs, VecEnv):
        envs.seed(int(np.random.default_rng([seed, start_step]).integers(2**30)))
    with (
        RunLog(folder, start_step=start_step) as log,
        RunLog(folder, "eval", start_step, tensorboard=False, step_column=files.STEP_COLUMN) as eval_log,
        StopRequest() as stop,
    ):
        model.set_logger(Logger(str(folder), [RunLogFormat(log)]))

        def evaluate() -> Episodes:
            num_episodes, deterministic = plan.eval_episodes, plan.eval_deterministic
            return run_episodes(model, eval_envs, num_episodes, plan.eval_seed, deterministic=deterministic)

        between = BetweenUpdates(folder, evaluate, eval_log, plan, stop, earlier_s)
        todo = plan.total_steps - start_step
        try:
            model.learn(todo, callback=between, reset_num_timesteps=False, progress_bar=progress)
        except KeyboardInterrupt:
            between.save()
            raise
        between.finish()
    return model


def check_actions(algorithm: str, envs: VecEnv) -> None:
    """Refuses environments whose actions an algorithm cannot choose."""
    if algorithm == "sac" and not isinstance(envs.action_space, gym.spaces.Box):
        raise ValueError("`agent` sac needs continuous actions: give `task={action: continuous}` or another agent.")


@fast_matmul()
def transfer(
    folder: pathlib.Path,
    algorithm: str,
    envs: VecEnv,
    camera: str,
    *,
    settings: Mapping[str, Any],
    num_episodes: int,
    seed: int,
    deterministic: bool = True,
    trust_zip: bool = False,
) -> str:
    """Evaluates a finished run's model in environments seen from another camera, without training; says what came out.

    Args:
        folder: the run folder; a row is added to its `transfer.csv`.
        algorithm: one of `ALGORITHMS`.
        envs: environments seen from that camera.
        camera: its name.
        settings: as for `train`.
        num_episodes: as for `run_episodes`.
        seed: likewise.
        deterministic: likewise.
        trust_zip: see `checkpoint.load_zip`.
    """
    if (folder / files.FINAL_FILE).exists():
        source = envs if algorithm != "a3c" else lambda: envs
        settings = {**settings, **({"buffer_size": 1} if "buffer_size" in settings else {})}  # nothing is remembered
        model = _new(folder, ALGORITHMS[algorithm], source, envs.observation_space, settings, seed=0)
        load_policy(folder / files.FINAL_FILE, model)
    else:
        model = load_zip(folder / files.zip_of(files.FINAL_FILE), ALGORITHMS[algorithm], trust_zip)
    episodes = run_episodes(model, envs, num_episodes, seed, deterministic=deterministic)
    row = {files.STEP_COLUMN: files.last_evaluated_step(folder), "camera": camera, **episodes.row()}
    files.add_transfer(folder, row)
    return f"mean_return {row['mean_return']:.3g}"


def _new(
    folder: pathlib.Path,
    algorithm: type[BaseAlgorithm],
    envs: VecEnv | Callable[[], VecEnv],
    space: gym.Space,
    settings: Mapping[str, Any],
    seed: int,
) -> BaseAlgorithm:
    """Returns the untrained model that the settings describe."""
    arguments = arguments_of(settings, space)
    if algorithm is A3C:
        arguments["monitor_file"] = folder / files.MONITOR_FOLDER / "0.monitor.csv"
    model = _built(algorithm, envs, arguments, seed)
    if isinstance(model, PPO | RecurrentPPO):
        speed_up(model)
    return model


def new_ppo(envs: VecEnv, settings: Mapping[str, Any], seed: int) -> PPO:
    """Returns the untrained PPO that `train` begins with, for those who time or vary it within `fast_matmul`."""
    model = _built(PPO, envs, arguments_of(settings, envs.observation_space), seed)
    speed_up(model)
    return model


def _built(algorithm: type[Any], envs: Any, arguments: Mapping[str, Any], seed: int) -> Any:
    """Makes a new model, or says which setting it does not take."""
    try:
        return algorithm(env=envs, seed=seed, **arguments)
    except TypeError as error:
        raise ValueError(f"`agent.settings` holds what {algorithm.__name__} does not take: {error}.") from error
