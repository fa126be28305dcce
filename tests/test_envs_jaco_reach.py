"""The reaching task in physical units, and against both checkers."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

import gqn_rl  # noqa: F401 (registers the task)
from gqn_rl.envs.jaco.reach import EPISODE_ACTIONS, JacoReachEnv

ENV_ID = "gqn_rl/JacoReach-v0"


@pytest.mark.parametrize(
    "settings", [{}, {"action": "continuous"}, {"joints": 9}, {"action": "continuous", "joints": 9}]
)
@pytest.mark.filterwarnings("ignore:.*Box observation space (minimum|maximum).*infinity.*")
def test_both_checkers_pass(settings):
    """Gymnasium's and Stable-Baselines3's checks accept every variant."""
    gymnasium_check(gymnasium.make(ENV_ID, render_mode="rgb_array", **settings).unwrapped)
    sb3_check(JacoReachEnv(**settings), warn=True)


@pytest.mark.parametrize("joint", range(6))
def test_a_commanded_speed_is_reached_to_a_hundredth_of_a_radian_per_second(joint):
    """Continuous action 0.5 moves one joint at half its full speed after half a second, and no other."""
    env = JacoReachEnv(action="continuous")
    env.reset(seed=0)
    action = np.zeros(6, np.float32)
    action[joint] = 0.5
    for _ in range(5):
        env.step(action)
    before = env.scene.joint_angles_rad.copy()
    env.step(action)
    speed = (env.scene.joint_angles_rad - before)[:6] / 0.1
    expected = np.zeros(6)
    expected[joint] = 0.5 * env.model.actuator_ctrlrange[joint, 1]
    np.testing.assert_allclose(speed, expected, atol=0.01)


def test_discrete_actions_are_backward_still_and_forward():
    """0, 1 and 2 command minus full speed, rest and full speed."""
    env = JacoReachEnv()
    env.reset(seed=0)
    env.step(np.array([0, 1, 2, 1, 1, 1]))
    speeds = env.model.actuator_ctrlrange[:6, 1]
    np.testing.assert_allclose(env.data.ctrl[:6], [-speeds[0], 0, speeds[2], 0, 0, 0])


def test_reward_is_the_exponential_of_the_distance_just_reached():
    """exp(−d / 0.2 m), d from the positions in the observation returned with it; the terms in `info` add up to it."""
    env = JacoReachEnv()
    env.reset(seed=3)
    for _ in range(5):
        observation, reward, *_, info = env.step(env.action_space.sample())
    named = dict(zip(env.observation_names, observation.tolist(), strict=True))
    distance = np.linalg.norm([named[f"target_{a}"] - named[f"hand_{a}"] for a in "xyz"])
    assert info["distance"] == pytest.approx(distance, abs=1e-5)
    assert reward == pytest.approx(np.exp(-distance / 0.2), abs=1e-4)
    assert sum(info["reward_terms"].values()) == pytest.approx(reward)
    assert info["success"] == (distance < 0.1)
    assert [named[f"hand_to_target_{a}"] for a in "xyz"] == pytest.approx(
        [named[f"target_{a}"] - named[f"hand_{a}"] for a in "xyz"], abs=1e-5
    )


def test_episodes_are_truncated_after_50_actions_and_never_terminated():
    """49 steps go on, the 50th truncates."""
    env = JacoReachEnv()
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(EPISODE_ACTIONS)]
    assert not any(terminated for terminated, _ in ends)
    assert [truncated for _, truncated in ends] == [False] * 49 + [True]


@pytest.mark.parametrize(("looks", "num_colours"), [("same", 1), ("random", 6)])
def test_the_target_is_red_unless_looks_are_random(looks, num_colours):
    """40 episodes show one colour of the target, or all six; floor and walls likewise."""
    env, seen = JacoReachEnv(looks=looks), set()
    for seed in range(40):
        env.reset(seed=seed)
        seen.add(tuple(env.model.geom_rgba[env.model.geom("target").id, :3].round(2)))
    assert len(seen) == num_colours
    if looks == "same":
        red, green, blue = seen.pop()
        assert red > 2 * max(green, blue)


def test_every_episode_is_another_one_and_the_same_seed_the_same():
    """States differ between resets and agree between equal seeds."""
    env = JacoReachEnv()
    first, _ = env.reset(seed=5)
    second, _ = env.reset()
    again, _ = env.reset(seed=5)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again)


def test_observations_name_every_entry():
    """As many names as entries, for 6 and 9 joints; the fingers' angles come with 9."""
    for joints, fingers in ((6, 0), (9, 3)):
        env = JacoReachEnv(joints=joints)
        observation, _ = env.reset(seed=0)
        assert len(env.observation_names) == len(observation) == 12 + fingers + 9
        assert len(set(env.observation_names)) == len(env.observation_names)


def test_rgb_array_is_a_picture_and_no_mode_is_a_hint():
    """`render_mode="rgb_array"` returns 480×480; without a mode a warning says what to pass."""
    env = JacoReachEnv(render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (480, 480, 3)
    silent = JacoReachEnv()
    silent.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode='rgb_array'"):
        assert silent.render() is None


def test_human_mode_shows_a_window_that_closes(monkeypatch):
    """Steps update one figure, on any matplotlib backend; `close` takes it away."""
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.setattr(plt, "pause", lambda seconds: None)
    plt.switch_backend("Agg")
    env = JacoReachEnv(render_mode="human")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert plt.fignum_exists("JacoReach")
    env.close()
    assert not plt.fignum_exists("JacoReach")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action": "torque"}, "`action` must be 'discrete' or 'continuous', got 'torque'"),
        ({"joints": 7}, "`joints` must be 6"),
        ({"looks": "red"}, "`looks` must be 'same' or 'random', got 'red'"),
        ({"render_mode": "ansi"}, "`render_mode` must be None"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    """Each with what was expected and given."""
    with pytest.raises(ValueError, match=message):
        JacoReachEnv(**settings)


def test_the_floor_stops_the_arm():
    """Whatever the actions, neither hand nor links go below the floor, and a stopped arm is at rest where it was."""
    env = JacoReachEnv(action="continuous")
    env.reset(seed=0)
    stops, down = 0, np.array([0.0, 1.0, -1.0, 0.0, 0.0, 0.0])
    for _ in range(EPISODE_ACTIONS):
        before = env.data.qpos.copy()
        env.step(down)
        stops += bool((env.data.qpos == before).all() and not env.data.qvel.any())
        assert min(env.scene.hand_w[2], env.data.xpos[1:, 2].min()) >= 0.0
    assert stops
