"""Evaluation: what is summed, which episodes are run, and what is left empty."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from gqn_rl import evaluate
from gqn_rl.evaluate import Episodes, RandomAgent, action_repeat, random_return, run_episodes


class CountingEnv(gym.Env):
    """Rewards with the action for as many steps as its seed says, and reports the seed as its final distance."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Discrete(3)
    action_repeat = 10
    distance_in_metres = True

    def __init__(self, reports=True):
        self.reports = reports

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length, self.t = seed or 1, 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        info = {"distance": float(self.length), "success": self.length > 3} if self.reports else {}
        return np.zeros(1, np.float32), float(action), False, self.t >= self.length, info


class ConstantAgent:
    """Always acts 2, and remembers how often it was asked."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert deterministic
        self.asked = (state or 0) + 1
        return np.full(len(observation), 2), self.asked


def envs(num_envs, reports=True):
    return DummyVecEnv([lambda: CountingEnv(reports)] * num_envs)


@pytest.mark.parametrize("num_envs", [1, 2, 5])
def test_episode_i_starts_from_seed_plus_i_whatever_the_number_of_environments(num_envs):
    """Episodes of 2, 3, 4, 5 and 6 steps of reward 2 are each counted once and whole."""
    episodes = run_episodes(ConstantAgent(), envs(num_envs), 5, seed=2)
    np.testing.assert_array_equal(episodes.returns, [4, 6, 8, 10, 12])
    np.testing.assert_array_equal(episodes.final_distances, [2, 3, 4, 5, 6])
    np.testing.assert_array_equal(episodes.successes, [0, 0, 1, 1, 1])


class DrawingAgent:
    """Draws 0, 1 or 2 with torch, or acts 1 where it is asked for its best action."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.ones(len(observation)) if deterministic else torch.randint(3, (len(observation),)).numpy(), state


def test_drawn_actions_repeat_and_leave_the_random_state_alone():
    """The same seed draws the same, another one other actions; training goes on as if no evaluation had been."""
    before = torch.get_rng_state()
    one, again, other = (
        run_episodes(DrawingAgent(), envs(1), 1, seed, deterministic=False).returns.item() for seed in (60, 60, 61)
    )
    assert one == again != other
    assert torch.equal(torch.get_rng_state(), before)
    assert run_episodes(DrawingAgent(), envs(1), 1, 60).returns.item() == 60


def test_the_agent_gets_its_memory_back():
    """The state that `predict` returns is handed to the next call: three steps, asked three times."""
    agent = ConstantAgent()
    run_episodes(agent, envs(1), 1, seed=3)
    assert agent.asked == 3


def test_a_row_has_the_columns_of_eval_csv():
    """By hand for two episodes."""
    row = Episodes(np.array([1.0, 3.0]), np.array([0.5, 0.25]), np.array([0.0, 1.0])).row()
    assert row == {
        "mean_return": 2.0, "std_return": 1.0, "mean_final_distance": 0.375, "success_rate": 0.5,
        "returns": "1;3", "final_distances": "0.5;0.25",
    }  # fmt: skip


def test_environments_without_distance_leave_its_columns_empty():
    """No distance and no success: None, which a CSV shows as nothing."""
    row = run_episodes(ConstantAgent(), envs(2, reports=False), 2, seed=1).row()
    assert row["mean_final_distance"] is row["success_rate"] is row["final_distances"] is None
    assert row["mean_return"] == 3.0


def test_the_random_agent_repeats_with_its_seed():
    """Same seed, same return; it samples one action for each environment, of Dict observations too."""
    assert random_return(envs(4), 4, seed=9) == random_return(envs(4), 4, seed=9)
    actions, _ = RandomAgent(gym.spaces.Discrete(3), 0).predict({"image": np.zeros((6, 2, 2, 3))})
    assert actions.shape == (6,)


def test_the_action_repeat_is_what_the_environment_declares():
    """`action_repeat`, MuJoCo's `frame_skip`, or 1."""
    assert action_repeat(envs(1)) == 10
    assert action_repeat(DummyVecEnv([lambda: gym.make("Reacher-v5")])) == 2
    assert action_repeat(DummyVecEnv([lambda: gym.make("CartPole-v1")])) == 1


def test_no_episodes_are_refused():
    """The message names the setting."""
    with pytest.raises(ValueError, match="`num_episodes` must be at least 1"):
        run_episodes(ConstantAgent(), envs(1), 0, seed=0)


class ForeignEnv(CountingEnv):
    """Means something else by a distance, and says success as Stable-Baselines3 does."""

    distance_in_metres = property()

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, {"distance": np.ones(3), "is_success": info["success"]}


def test_a_distance_of_another_meaning_is_left_alone():
    """What an environment that does not say metres calls a distance stays out; `is_success` is read like `success`."""
    episodes = run_episodes(ConstantAgent(), DummyVecEnv([ForeignEnv] * 2), 4, seed=2)
    assert np.isnan(episodes.final_distances).all() and episodes.row()["mean_final_distance"] is None
    np.testing.assert_array_equal(episodes.successes, [0, 0, 1, 1])


def test_an_episode_that_never_ends_is_said(monkeypatch):
    """After the limit one sentence, with what to do."""
    monkeypatch.setattr(evaluate, "LONGEST_EPISODE", 50)
    with pytest.raises(ValueError, match=r"has not ended after 50 steps: give the environment a time limit"):
        run_episodes(ConstantAgent(), envs(2), 2, seed=50)
    assert run_episodes(ConstantAgent(), envs(2), 2, seed=49).returns.tolist() == [98, 100]
