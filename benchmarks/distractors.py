"""What entries that tell nothing cost PPO: reaching on a blurred true state, with entries beside it that only disturb.

    python benchmarks/distractors.py [table.csv]

The agent sees JacoReach's true state as an r of one view would tell it: hand and target in the world, blurred in every
frame by 6 and 4 cm, and three joints' angles, blurred by 0.25. Beside them stand entries that are drawn anew at every
reset and stay the same through the episode, as the colours of a room do. Everything else is `agent=ppo`'s for Jaco, but
for a learning rate that stays, or what a row's settings vary. One run each: differences below 2 are chance.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from gqn_rl.agents.speed import fast_matmul
from gqn_rl.agents.training import new_ppo
from gqn_rl.evaluate import run_episodes
from gqn_rl.wrappers import make_vec_env
from gqn_rl.writers.tables import write_rows

HAND_M, TARGET_M, ANGLE = 0.06, 0.04, 0.25
"""Standard deviations of what is added to the hand's and the target's coordinates and to sines and cosines."""
REACH_M = 0.3  # about the deviation of a coordinate of either
STEPS, EVALUATE_EVERY, EPISODES = 150_000, 50_000, 20
DISTRACTORS = (0, 4, 9, 20)
BEST = "64 environments of 32 steps, ReLU"
SETTINGS: dict[str, dict[str, Any]] = {
    BEST: {},
    "128 environments of 32 steps, ReLU": {"num_envs": 128, "batch_size": 512},
    "128 environments of 32 steps, tanh": {"num_envs": 128, "batch_size": 512, "activation": "tanh"},
    "16 environments of 64 steps, tanh": {"num_envs": 16, "n_steps": 64, "activation": "tanh", "clip_range": 0.1},
}


class Distracted(VecEnvWrapper):
    """Blurs the true state and puts `count` entries beside it that an episode keeps."""

    def __init__(self, envs: VecEnv, count: int):
        super().__init__(envs, gym.spaces.Box(-np.inf, np.inf, (12 + count,), np.float32))
        self.rng = np.random.default_rng(0)
        self.distractors = self.rng.normal(size=(envs.num_envs, count))

    def see(self, state: np.ndarray, distractors: np.ndarray) -> np.ndarray:
        """Maps true states [N, 21] and distractors [N, count] to [N, 12 + count]."""
        blur = np.repeat([ANGLE, HAND_M, TARGET_M], [6, 3, 3])
        told = np.concatenate([state[:, :6], state[:, 12:18]], axis=1) + blur * self.rng.normal(size=(len(state), 12))
        told[:, 6:] /= REACH_M
        return np.concatenate([told, distractors], axis=1).astype(np.float32)

    def reset(self) -> np.ndarray:
        """Begins all episodes."""
        return self.see(self.venv.reset(), self.distractors)

    def step_wait(self) -> Any:
        """Takes a step; where an episode ends, its last observation still has its own distractors."""
        states, rewards, dones, infos = self.venv.step_wait()
        for i in np.flatnonzero(dones):
            last = infos[i]["terminal_observation"][None]
            infos[i]["terminal_observation"] = self.see(last, self.distractors[i : i + 1])[0]
            self.distractors[i] = self.rng.normal(size=self.distractors.shape[1])
        return self.see(states, self.distractors), rewards, dones, infos


@fast_matmul()
def returns(count: int, **changes: Any) -> list[float]:
    """Trains with `count` distractors and changed settings; returns the mean returns of the evaluations."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        agent: Any = OmegaConf.to_container(compose("train_agent", ["repr=gqn"]).agent)
    num_envs = changes.pop("num_envs", agent["num_envs"])
    envs, eval_envs = (
        Distracted(make_vec_env("gqn_rl/JacoReach-v0", "oracle", num_envs=n, seed=0), count)
        for n in (num_envs, EPISODES)
    )
    model = new_ppo(envs, agent["settings"] | {"annealed": []} | changes, seed=0)
    found = []
    for _ in range(STEPS // EVALUATE_EVERY):
        model.learn(EVALUATE_EVERY, reset_num_timesteps=False)
        found.append(run_episodes(model, eval_envs, EPISODES, 1_000_000).mean_return)
    return found


def main() -> None:
    """Prints the table and writes it."""
    torch.set_num_threads(1)
    trials = [(count, BEST) for count in DISTRACTORS] + [(DISTRACTORS[-1], name) for name in SETTINGS if name != BEST]
    columns = [f"return after {step:,} steps" for step in range(EVALUATE_EVERY, STEPS + 1, EVALUATE_EVERY)]
    rows = []
    for count, name in trials:
        found = [round(value, 2) for value in returns(count, **SETTINGS[name])]
        rows.append({"distractors": count, "settings": name, **dict(zip(columns, found, strict=True))})
        print(*rows[-1].values(), sep="  ", flush=True)
    if len(sys.argv) > 1:
        write_rows(pathlib.Path(sys.argv[1]), rows)


if __name__ == "__main__":
    main()
