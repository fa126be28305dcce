"""A3C learns: CartPole, Pendulum, and a cue to be remembered, which an LSTM solves and a feed-forward policy cannot.

    python -m benchmarks.learning                                     # everything, three seeds each
    python -m benchmarks.learning pendulum memory_lstm --seeds 0 1    # some of it
    python -m benchmarks.learning --plot                              # only the figure again

Each run writes `<task>_<policy>_seed<i>.csv`, a curve of the deterministic policy's mean return of 50 episodes, and a
row of `summary.csv`, the same of 100 other episodes at the end. Two workers; the learning rate falls linearly to 0.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from gqn_rl.agents.a3c import A3C

NUM_WORKERS = 2
NUM_POINTS = 20  # of a curve
CURVE_EPISODES, FINAL_EPISODES = 50, 100
EVAL_ENVS = 10  # stepped side by side
CURVE_SEED, FINAL_SEED = 1_000_000, 2_000_000  # of evaluation environments
NUM_CUES = 4
DELAYS = (4, 12)  # steps between cue and answer, both included


class RepeatCue(gym.Env):
    """One of four cues is shown in the first observation; after 4 to 12 steps it must be given as the action.

    Observations are float32 [5]: the cue, one-hot, then 1 when the answer is due. The reward is 1 for a right answer
    and 0 for everything else. The observation that asks for the answer is always the same, and actions before it change
    nothing: whatever a policy without memory does, it is right once in four episodes.
    """

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1.0, (NUM_CUES + 1,), np.float32)
        self.action_space = gym.spaces.Discrete(NUM_CUES)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Draws cue and delay, and shows the cue."""
        super().reset(seed=seed)
        self._cue = int(self.np_random.integers(NUM_CUES))
        self._steps_left = int(self.np_random.integers(DELAYS[0], DELAYS[1] + 1))
        return self._observation(self._cue), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Shows nothing until the answer is due; the step with the answer ends the episode."""
        if self._steps_left == 0:
            return self._observation(), float(action == self._cue), True, False, {}
        self._steps_left -= 1
        return self._observation(NUM_CUES if self._steps_left == 0 else None), 0.0, False, False, {}

    def _observation(self, bright: int | None = None) -> np.ndarray:
        observation = np.zeros(NUM_CUES + 1, np.float32)
        if bright is not None:
            observation[bright] = 1.0
        return observation


def with_small_rewards(env: gym.Env) -> gym.Env:
    """Brings Pendulum's rewards, from -16 to 0, to [-1, 1]."""
    return gym.wrappers.TransformReward(env, lambda reward: (reward + 8.0) / 8.0)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is learnt, by which policy, and how.

    Attributes:
        task: its name in files and figures.
        env: a Gymnasium id or a class; returns are those before `wrapper` changes rewards.
        policy: name of a policy of A3C.
        num_steps: environment steps of all workers together.
        settings: arguments of A3C other than the learning rate.
        learning_rate: at the start.
        envs_per_worker: environments that a worker steps side by side.
        wrapper: around each environment.
    """

    task: str
    env: str | type[gym.Env]
    policy: str
    num_steps: int
    settings: dict[str, Any]
    learning_rate: float
    envs_per_worker: int = 1
    wrapper: Callable[[gym.Env], gym.Env] | None = None

    def make(self, num_envs: int, seed: int | None = None) -> VecEnv:
        """Makes environments that are stepped side by side."""
        return make_vec_env(self.env, num_envs, seed, wrapper_class=self.wrapper)


MEMORY = {
    "task": "memory",
    "env": RepeatCue,
    "num_steps": 400_000,
    "learning_rate": 3e-3,
    "envs_per_worker": 4,
}
MEMORY_SETTINGS = {"n_steps": 16, "gae_lambda": 0.0, "ent_coef": 0.01, "use_rms_prop": False}
"""λ is 0 since earlier actions have no part in the reward: with λ near 1 its noise reaches them all."""
EXPERIMENTS = {
    "cartpole": Experiment(
        task="cartpole",
        env="CartPole-v1",
        policy="MlpPolicy",
        num_steps=400_000,
        settings={"n_steps": 20, "use_rms_prop": False},
        learning_rate=1e-3,
    ),
    "pendulum": Experiment(
        task="pendulum",
        env="Pendulum-v1",
        policy="MlpPolicy",
        num_steps=2_500_000,
        settings={"n_steps": 16, "gamma": 0.95, "gae_lambda": 0.95, "use_rms_prop": False},
        learning_rate=1e-3,
        envs_per_worker=8,
        wrapper=with_small_rewards,
    ),
    "memory_lstm": Experiment(
        policy="MlpLstmPolicy", settings={**MEMORY_SETTINGS, "policy_kwargs": {"lstm_hidden_size": 64}}, **MEMORY
    ),
    "memory_mlp": Experiment(policy="MlpPolicy", settings=MEMORY_SETTINGS, **MEMORY),
}


class Curve(BaseCallback):
    """Evaluates the deterministic policy at evenly spaced steps and writes each point to a CSV at once.

    Args:
        experiment: what is being learnt.
        path: of the CSV.
    """

    def __init__(self, experiment: Experiment, path: Path):
        super().__init__()
        self._env = experiment.make(EVAL_ENVS, CURVE_SEED)
        self._every = experiment.num_steps // NUM_POINTS
        self._path, self._num_points = path, 0

    def _on_training_start(self) -> None:
        self._start_s = time.perf_counter()
        self._path.write_text("env_steps,wall_clock_s,mean_return\n")
        self._add_point()

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._num_points * self._every:
            self._add_point()
        return True

    def _add_point(self) -> None:
        wall_clock_s = time.perf_counter() - self._start_s
        mean_return, _ = evaluate_policy(self.model, self._env, CURVE_EPISODES)
        with self._path.open("a") as file:
            file.write(f"{self.num_timesteps},{wall_clock_s:.1f},{mean_return:.3f}\n")
        self._num_points += 1


def run(name: str, seed: int, out: Path) -> None:
    """Trains once and writes curve and summary."""
    experiment = EXPERIMENTS[name]
    model = A3C(
        experiment.policy,
        functools.partial(experiment.make, experiment.envs_per_worker),
        learning_rate=LinearSchedule(experiment.learning_rate, 0.0, 1.0),
        n_workers=NUM_WORKERS,
        seed=seed,
        **experiment.settings,
    )
    start_s = time.perf_counter()
    path = out / f"{experiment.task}_{experiment.policy}_seed{seed}.csv"
    model.learn(experiment.num_steps, Curve(experiment, path))
    wall_clock_s = time.perf_counter() - start_s
    mean, std = evaluate_policy(model, experiment.make(EVAL_ENVS, FINAL_SEED), FINAL_EPISODES)
    row = {
        "task": experiment.task,
        "policy": experiment.policy,
        "seed": str(seed),
        "env_steps": str(model.num_timesteps),
        "wall_clock_s": f"{wall_clock_s:.0f}",
        "mean_return": f"{mean:.2f}",
        "std_return": f"{std:.2f}",
        "command": f"python -m benchmarks.learning {name} --seeds {seed}",
    }
    summarise(out / "summary.csv", row)
    print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def summarise(path: Path, row: dict[str, str]) -> None:
    """Puts a row into the summary, in place of an earlier one of the same command."""
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    rows = sorted(
        [*(other for other in rows if other["command"] != row["command"]), row], key=lambda row: row["command"]
    )
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def plot(out: Path) -> None:
    """Draws the curves in `out`, a panel per task and a line per seed."""
    titles = {"cartpole": "CartPole-v1", "pendulum": "Pendulum-v1", "memory": "Repeat a cue after 4 to 12 steps"}
    goals = {"cartpole": 475.0, "pendulum": -200.0, "memory": 0.95}
    figure, axes = plt.subplots(1, len(titles), figsize=(11, 3.2), layout="constrained")
    for axis, (task, title) in zip(axes, titles.items(), strict=True):
        for color, policy in (("C0", "MlpPolicy"), ("C1", "MlpLstmPolicy")):
            for i, path in enumerate(sorted(out.glob(f"{task}_{policy}_seed*.csv"))):
                steps, _, returns = np.loadtxt(path, delimiter=",", skiprows=1, unpack=True)
                axis.plot(steps / 1000, returns, color=color, linewidth=1, label=None if i else policy)
        axis.axhline(goals[task], color="0.6", linestyle="--", linewidth=0.8)
        axis.set(title=title, xlabel="thousand environment steps")
        axis.legend(frameon=False, loc="best")
    axes[0].set_ylabel("mean return of 50 episodes")
    figure.savefig(out / "learning.png", dpi=120)


def main() -> None:
    """Runs what is asked for, then draws all curves there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", default=list(EXPERIMENTS), metavar="experiment", help=", ".join(EXPERIMENTS)
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("results/a3c"))
    parser.add_argument("--plot", action="store_true", help="only draw the figure")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in EXPERIMENTS:
            parser.error(f"`experiment` must be one of {', '.join(EXPERIMENTS)}, got {name!r}.")
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in [] if arguments.plot else arguments.names:
        for seed in arguments.seeds:
            run(name, seed, arguments.out)
    plot(arguments.out)


if __name__ == "__main__":
    main()
