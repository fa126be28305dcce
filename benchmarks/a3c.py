"""Environment steps per second of A3C, of ikostrikov/pytorch-a3c and of Stable-Baselines3's A2C, side by side.

    git clone https://github.com/ikostrikov/pytorch-a3c
    for repeat in 1 2 3; do
        OMP_NUM_THREADS=1 python benchmarks/a3c.py pytorch-a3c results/benchmarks/a3c.csv [setting ...]
    done

Everyone steps the same environments with networks of the same sizes, with their own optimisers and learning rates. The
environments count their own steps, the same way for all, once each of them is under way: starting costs nothing here.
A run adds its rows to the CSV; the table is of the medians of all rows. The limit is our `Learner` in processes that
share nothing and send nothing.

The peer's main.py runs as it is, with its modules `envs` (and `model`, where the network is not its own) replaced by
those below, and without its process that only evaluates. Its gradients are zeroed in place, as in the torch it was
written for; they would pile up otherwise.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import itertools
import mmap
import multiprocessing
import os
import pathlib
import platform
import runpy
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import stable_baselines3
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv
from torch import nn

import gqn_rl  # noqa: F401 (registers JacoReach)
from gqn_rl.agents.a3c import A3C
from gqn_rl.agents.a3c.learner import Learner

SECONDS, WARM_UP_S, START_S = 8.0, 1.0, 60.0
FOREVER = 10**9  # steps
WORKERS = (1, 2)


# ------------------------------------------------------------------------------------------------------- environments


class Pictures(gym.Env):
    """Random pictures [1, 42, 42] that cost next to nothing, so that it is the agent that is timed."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1, 42, 42), np.float32)
    action_space = gym.spaces.Discrete(6)

    def __init__(self) -> None:
        self._pictures = np.random.default_rng(0).random((64, 1, 42, 42), np.float32)
        self._num_steps = 0

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode of 1000 steps."""
        self._num_steps = 0
        return self._pictures[0], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Rewards one action that changes with the picture."""
        reward = float(action == self._num_steps % 6)
        self._num_steps += 1
        return self._pictures[self._num_steps % 64], reward, self._num_steps >= 1000, False, {}


class OneJointAtATime(gym.ActionWrapper):
    """Turns six joints' [back, hold, forth] into one choice of twelve, since the peer knows no other actions."""

    action_space = gym.spaces.Discrete(12)

    def action(self, action: int) -> np.ndarray:
        """Moves joint `action // 2` and holds the others."""
        joints = np.ones(6, np.int64)
        joints[action // 2] = 2 * (action % 2)
        return joints


class Counted(gym.Wrapper):
    """Counts steps in a file of eight bytes in `folder`, which appears with the first of them."""

    def __init__(self, env: gym.Env, folder: str):
        super().__init__(env)
        self._folder = folder
        self._count: memoryview[int] | None = None

    def step(self, action: Any) -> Any:
        """Steps and counts."""
        if self._count is None:
            handle, _ = tempfile.mkstemp(dir=self._folder)
            os.ftruncate(handle, 8)
            self._count = memoryview(mmap.mmap(handle, 8)).cast("q")
        self._count[0] += 1
        return self.env.step(action)


class OldGym:
    """An environment with the interface of Gym in 2018."""

    def __init__(self, env: gym.Env):
        self._env, self.observation_space, self.action_space = env, env.observation_space, env.action_space

    def seed(self, seed: int) -> None:
        """Seeds the next episode."""
        self._env.reset(seed=seed)

    def reset(self) -> np.ndarray:
        """Begins an episode."""
        return self._env.reset()[0]

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, dict[str, Any]]:
        """Takes the action as an array with one entry."""
        observation, reward, terminated, truncated, info = self._env.step(action.item())
        return observation, float(reward), terminated or truncated, info


# ----------------------------------------------------------------------------------------------------------- networks


class Convolutions(BaseFeaturesExtractor):
    """The peer's four layers, 1×42×42 to 32×3×3; A2C, which has no LSTM, gets a linear layer of its size behind."""

    def __init__(self, observation_space: gym.Space, linear_size: int = 0):
        super().__init__(observation_space, linear_size or 288)
        sizes = itertools.pairwise((1, 32, 32, 32, 32))
        layers = [part for i, o in sizes for part in (nn.Conv2d(i, o, 3, stride=2, padding=1), nn.ELU())]
        end = [nn.Linear(288, linear_size), nn.ELU()] if linear_size else []
        self.layers = nn.Sequential(*layers, nn.Flatten(), *end)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Maps [B, 1, 42, 42] to features."""
        return self.layers(pictures)


class TwoTowers(nn.Module):
    """SB3's MlpPolicy behind the peer's interface; the LSTM's state passes through."""

    def __init__(self, hidden: int, num_inputs: int, action_space: gym.spaces.Discrete):
        super().__init__()
        self.critic, self.actor = (
            nn.Sequential(nn.Linear(num_inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), end)
            for end in (nn.Linear(hidden, 1), nn.Linear(hidden, int(action_space.n)))
        )

    def forward(self, inputs: tuple[torch.Tensor, Any]) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Returns value [1, 1], logits [1, A] and what was remembered."""
        state, memory = inputs
        return self.critic(state), self.actor(state), memory


# -------------------------------------------------------------------------------------------------------- contestants


@dataclasses.dataclass(frozen=True)
class Setting:
    """An environment, T, and the width of two hidden layers, or None for the peer's convolutions and LSTM."""

    env: Callable[[], gym.Env]
    n_steps: int
    hidden: int | None

    def policy(self, lstm: bool) -> tuple[str, dict[str, Any]]:
        """Returns SB3's name of the policy and its arguments."""
        if self.hidden is not None:
            return "MlpPolicy", {"net_arch": [self.hidden, self.hidden]}
        kwargs = {"features_extractor_class": Convolutions, "net_arch": []}
        if not lstm:
            return "CnnPolicy", kwargs | {"features_extractor_kwargs": {"linear_size": 256}}
        return "CnnLstmPolicy", kwargs | {"shared_lstm": True, "enable_critic_lstm": False, "lstm_hidden_size": 256}


SETTINGS = {
    "cartpole, T=5": Setting(lambda: gym.make("CartPole-v1"), 5, 64),
    "cartpole, T=20": Setting(lambda: gym.make("CartPole-v1"), 20, 64),
    "pictures, T=20": Setting(Pictures, 20, None),
    "reach, T=20": Setting(lambda: OneJointAtATime(gym.make("gqn_rl/JacoReach-v0")), 20, 256),
}


def make_env(setting: str, folder: str) -> gym.Env:
    """Makes an environment whose steps are counted in `folder`."""
    return Counted(SETTINGS[setting].env(), folder)


def our_model(setting: str, num_workers: int, folder: str, lstm: bool = True) -> A3C:
    """Builds our A3C."""
    policy, kwargs = SETTINGS[setting].policy(lstm)
    env = functools.partial(make_env, setting, folder)
    return A3C(policy, env, n_steps=SETTINGS[setting].n_steps, n_workers=num_workers, policy_kwargs=kwargs)


def train_ours(setting: str, num_workers: int, folder: str, lstm: bool = True) -> None:
    """Trains A3C, with A2C's network where `lstm` is false."""
    our_model(setting, num_workers, folder, lstm).learn(FOREVER)


def train_limit(setting: str, num_workers: int, folder: str) -> None:
    """Runs what a worker of A3C does, without a word to anyone, in `num_workers` processes."""
    for _ in range(num_workers - 1):
        if os.fork() == 0:
            break
    model = our_model(setting, 1, folder)
    torch.distributions.Distribution.set_default_validate_args(False)  # as `work` does
    settings, *others = model.worker_arguments()
    learner = Learner(cloudpickle.loads(settings), *others, seed=0)
    while True:
        learner.synchronise()
        learner.compute_gradient(learner.collect(model.n_steps), 0.01)
        learner.apply_gradient(7e-4)


def train_peer(setting: str, num_workers: int, folder: str) -> None:
    """Runs the peer's main.py."""
    root, hidden = sys.argv[1], SETTINGS[setting].hidden
    sys.path.insert(0, root)
    sys.modules["envs"] = types.SimpleNamespace(create_atari_env=lambda _: OldGym(make_env(setting, folder)))  # type: ignore
    sys.modules["test"] = types.SimpleNamespace(test=lambda *_: None)  # type: ignore
    if hidden is not None:
        sys.modules["model"] = types.SimpleNamespace(ActorCritic=functools.partial(TwoTowers, hidden))  # type: ignore
    optimizer = runpy.run_path(f"{root}/my_optim.py")["SharedAdam"]
    optimizer.zero_grad = functools.partialmethod(torch.optim.Adam.zero_grad, set_to_none=False)
    sys.modules["my_optim"] = types.SimpleNamespace(SharedAdam=optimizer)  # type: ignore
    sys.argv = ["main.py", "--num-processes", str(num_workers), "--num-steps", str(SETTINGS[setting].n_steps)]
    runpy.run_path(f"{root}/main.py", run_name="__main__")


def train_a2c(make: Callable[[list[Callable[[], gym.Env]]], Any], setting: str, num_envs: int, folder: str) -> None:
    """Trains SB3's A2C."""
    policy, kwargs = SETTINGS[setting].policy(lstm=False)
    env = make([lambda: Monitor(make_env(setting, folder))] * num_envs)
    A2C(policy, env, n_steps=SETTINGS[setting].n_steps, policy_kwargs=kwargs, device="cpu").learn(FOREVER)


CONTESTANTS: dict[str, Callable[[str, int, str], None]] = {
    "ours": train_ours,
    "peer": train_peer,
    "a2c dummy": functools.partial(train_a2c, DummyVecEnv),
    "a2c subproc": functools.partial(train_a2c, functools.partial(SubprocVecEnv, start_method="fork")),
    "limit": train_limit,
    "ours, no lstm": functools.partial(train_ours, lstm=False),
}


def contestants(setting: str) -> list[str]:
    """Returns who takes part: A3C without an LSTM stands beside A2C only where the others have one."""
    return [name for name in CONTESTANTS if name != "ours, no lstm" or SETTINGS[setting].hidden is None]


# ---------------------------------------------------------------------------------------------------------- measuring


def steps_per_s(contestant: str, setting: str, num_workers: int) -> float:
    """Trains in a process group of its own, which is killed once `SECONDS` have been measured."""
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("fork").Process(
            target=_in_own_group, args=(contestant, setting, num_workers, folder)
        )
        process.start()
        deadline = time.monotonic() + START_S
        try:
            while len(os.listdir(folder)) < num_workers:
                if process.exitcode is not None or time.monotonic() > deadline:
                    raise ChildProcessError(f"{contestant} did not start on {setting}.")
                time.sleep(0.1)
            time.sleep(WARM_UP_S)
            begin, before = time.perf_counter(), _count(folder)
            time.sleep(SECONDS)
            speed = (_count(folder) - before) / (time.perf_counter() - begin)
            if process.exitcode is not None:
                raise ChildProcessError(f"{contestant} ended on {setting}.")
            return speed
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()


def _in_own_group(contestant: str, setting: str, num_workers: int, folder: str) -> None:
    os.setsid()
    warnings.simplefilter("ignore")
    CONTESTANTS[contestant](setting, num_workers, folder)


def _count(folder: str) -> int:
    return sum(int.from_bytes(file.read_bytes(), sys.byteorder) for file in pathlib.Path(folder).iterdir())


def print_table(rows: list[dict[str, str]]) -> None:
    """Prints medians, how many times as fast ours is, and the gain of the second worker."""
    for setting in dict.fromkeys(row["setting"] for row in rows):
        medians = {
            (name, n): statistics.median(
                float(row["steps_per_s"])
                for row in rows
                if (row["setting"], row["contestant"], int(row["workers"])) == (setting, name, n)
            )
            for name in contestants(setting)
            for n in WORKERS
        }
        print(f"\n{setting:16}" + "".join(f"{f'{n} steps/s':>12}{'ours ÷ it':>11}" for n in WORKERS) + "   gain of 2")
        for name in contestants(setting):
            cells = [f"{medians[name, n]:12.0f}{medians['ours', n] / medians[name, n]:11.2f}" for n in WORKERS]
            print(f"  {name:14}" + "".join(cells) + f"{medians[name, 2] / medians[name, 1]:12.2f}")


def main() -> None:
    """Measures each setting once, contestants by turns, and prints the table of all that the CSV holds."""
    peer, path = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    sys.argv[1] = str(peer)
    commit = subprocess.check_output(["git", "-C", peer, "rev-parse", "--short", "HEAD"], text=True).strip()
    print(
        f"pytorch-a3c {commit}, stable-baselines3 {stable_baselines3.__version__}, torch {torch.__version__},", end=" "
    )
    print(f"gymnasium {gym.__version__}, {platform.machine()}, {len(os.sched_getaffinity(0))} cores, 1 torch thread")
    torch.set_num_threads(1)
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["setting", "contestant", "workers", "steps_per_s"])
        for setting in sys.argv[3:] or SETTINGS:
            for num_workers in WORKERS:
                for name in contestants(setting):
                    writer.writerow([setting, name, num_workers, round(steps_per_s(name, setting, num_workers), 1)])
                    file.flush()
    with path.open(newline="") as file:
        print_table(list(csv.DictReader(file)))


if __name__ == "__main__":
    main()
