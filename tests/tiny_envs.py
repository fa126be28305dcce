"""Tiny environments whose every number is known, a callback that listens, and workers that start in milliseconds."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback


def forkserver(*_: Any) -> Any:
    """Returns a stand-in for the "spawn" context: workers fork from one server process that has imported everything.

    They are processes with pipes, exit codes and signals like spawned ones, but start in 10 ms instead of seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gqn_rl.agents.a3c", "tests.tiny_envs", "torch._dynamo"])  # the slow imports
    return context


class Echo(gym.Env):
    """The reward is the action, so who hears the rewards can replay the episodes; nothing is random.

    Episodes last 4 steps and 3 in turn: those of 4 terminate, those of 3 are cut short by a time limit.
    """

    def __init__(self, action_space: gym.Space | None = None, ends: tuple[str, ...] = ("terminated", "truncated")):
        self.observation_space = gym.spaces.Box(-10, 10, (3,), np.float32)
        self.action_space = gym.spaces.Discrete(3) if action_space is None else action_space
        self.ends, self.episode, self.step_in_episode = ends, -1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.episode, self.step_in_episode = self.episode + 1, 0
        return self.observation(0.0), {}

    def observation(self, last_reward: float) -> np.ndarray:
        return np.array([np.sin(self.step_in_episode), np.cos(self.episode), last_reward], np.float32)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.step_in_episode += 1
        reward = float(np.sum(action))
        end = self.ends[self.episode % len(self.ends)]
        is_over = self.step_in_episode == (4 if end == "terminated" else 3)
        return self.observation(reward), reward, is_over and end == "terminated", is_over and end == "truncated", {}


class Pictures(Echo):
    """Echo with pictures of noise for observations, alone or beside a vector."""

    def __init__(self, has_vector: bool):
        super().__init__()
        image = gym.spaces.Box(0, 255, (36, 36, 3), np.uint8)
        vector = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.has_vector = has_vector
        self.observation_space = gym.spaces.Dict({"image": image, "vector": vector}) if has_vector else image

    def observation(self, last_reward: float) -> Any:
        image = self.np_random.integers(0, 256, (36, 36, 3), np.uint8)
        return {"image": image, "vector": np.full(2, 0.5, np.float32)} if self.has_vector else image


class Failing(Echo):
    """Raises an error at the 9th step; with a marker file, only in the first process that comes so far."""

    def __init__(self, marker: pathlib.Path | None = None):
        super().__init__()
        self.marker, self.num_steps = marker, 0

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.num_steps += 1
        if self.num_steps >= 9 and self.is_first():
            raise RuntimeError("the arm is stuck")
        return super().step(action)

    def is_first(self) -> bool:
        if self.marker is None:
            return True
        try:
            os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


class NotANumber(Echo):
    """Gives NaN for a reward, or in an observation, at the 9th step."""

    def __init__(self, where: str, action_space: gym.Space | None = None):
        super().__init__(action_space)
        self.where, self.num_steps = where, 0

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.num_steps += 1
        observation, reward, terminated, truncated, info = super().step(action)
        if self.num_steps == 9 and self.where == "reward":
            reward = float("nan")
        if self.num_steps == 9 and self.where == "observation":
            observation[1] = np.nan
        return observation, reward, terminated, truncated, info


class Unpicklable(Echo):
    """Holds what cannot be copied to another process."""

    def __init__(self):
        super().__init__()
        self.frames = (frame for frame in ())


class Listener(BaseCallback):
    """Keeps what every step tells, and can end the training."""

    def __init__(self, stop_after: int | None = None):
        super().__init__()
        self.stop_after, self.rewards, self.num_timesteps_seen = stop_after, [], []

    def _on_step(self) -> bool:
        self.rewards.append(self.locals["rewards"].copy())
        self.num_timesteps_seen.append(self.model.num_timesteps)
        return self.stop_after is None or len(self.rewards) < self.stop_after


def read_episodes(folder):
    """Reads the monitor file of a folder as SB3's `load_results` would, which needs pandas: arrays "r", "l" and "t"."""
    (file,) = folder.glob("*monitor.csv")
    return np.atleast_1d(np.genfromtxt(file, delimiter=",", names=True, skip_header=1))
