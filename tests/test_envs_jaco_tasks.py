"""The further tasks of the Jaco's room, in physical units and against both checkers."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

import gqn_rl  # noqa: F401 (registers the tasks)
from gqn_rl.envs import ENV_IDS, make_task
from gqn_rl.envs.jaco.avoid import HAND_RADIUS_M, LEAST_GAP_M, JacoAvoidEnv
from gqn_rl.envs.jaco.model import OBSTACLE_RADIUS_M
from gqn_rl.envs.jaco.reach import JacoReachEnv
from gqn_rl.envs.jaco.scene import TARGET_AXIS_DISTANCE_M
from gqn_rl.envs.jaco.track import JacoTrackEnv
from gqn_rl.views import CameraPose
from gqn_rl.wrappers import make_env

TASKS = {"jaco_track": JacoTrackEnv, "jaco_avoid": JacoAvoidEnv}


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("settings", [{}, {"action": "continuous", "joints": 9, "looks": "random"}])
@pytest.mark.filterwarnings("ignore:.*Box observation space (minimum|maximum).*infinity.*")
def test_both_checkers_pass(name, settings):
    """Gymnasium's and Stable-Baselines3's checks accept the registered ids; seeds repeat whole episodes."""
    gymnasium_check(gymnasium.make(ENV_IDS[name], render_mode="rgb_array", **settings).unwrapped)
    sb3_check(TASKS[name](**settings), warn=True)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_same_encoder_sees_both_tasks(name):
    """A task's pictures and viewpoints have the spaces of JacoReach's, through each of its cameras."""
    for camera in ("fixed", "moving", "heldout"):
        task = make_task(name, {"image_size": 64}, camera)
        env, reach = (make_env(id, "pixels", camera, size=64) for id in (task.env_id, ENV_IDS["jaco"]))
        assert env.observation_space == reach.observation_space
        assert env.reset(seed=0)[0]["image"].std() > 0


@pytest.mark.parametrize("env_class", [JacoReachEnv, *TASKS.values()])
def test_observations_name_every_entry_and_the_reward_is_the_sum_of_its_terms(env_class):
    """As many names as entries; positions are the scene's; `info["reward_terms"]` adds up, whatever happens."""
    env = env_class(action="continuous")
    observation, _ = env.reset(seed=1)
    assert len(set(env.observation_names)) == len(observation) == len(env.observation_names)
    for _ in range(50):
        observation, reward, _, _, info = env.step(env.action_space.sample())
        assert reward == pytest.approx(sum(info["reward_terms"].values()))
    named = dict(zip(env.observation_names, observation.tolist(), strict=True))
    for thing in env.things:
        place = getattr(env.scene, f"{thing}_w")
        assert [named[f"{thing}_{a}"] for a in "xyz"] == pytest.approx(place.tolist(), abs=1e-6)
        assert [named[f"hand_to_{thing}_{a}"] for a in "xyz"] == pytest.approx((place - env.scene.hand_w).tolist())


def test_a_tracked_target_rolls_at_a_tenth_of_a_metre_a_second_within_its_ring():
    """20 episodes: every action moves it by 1 cm on the floor, never out of the ring but by that; headings differ."""
    env, ways = JacoTrackEnv(), []
    for seed in range(20):
        env.reset(seed=seed)
        start = before = env.scene.target_w.copy()
        for _ in range(50):
            env.step(np.ones(6, int))
            here = env.scene.target_w.copy()
            assert np.linalg.norm(here - before) == pytest.approx(0.01)
            assert here[2] == start[2]
            assert TARGET_AXIS_DISTANCE_M[0] - 0.01 <= np.hypot(*here[:2]) <= TARGET_AXIS_DISTANCE_M[1] + 0.01
            before = here
        ways.append(np.linalg.norm(here - start))
    assert 0.1 < np.median(ways) < 0.45


def test_a_hand_that_stays_sees_the_tracked_targets_distance():
    """Reward and distance follow the target's new place, the one that is observed."""
    env = JacoTrackEnv()
    env.reset(seed=2)
    observation, reward, *_, info = env.step(np.ones(6, int))
    named = dict(zip(env.observation_names, observation.tolist(), strict=True))
    distance = np.linalg.norm([named[f"hand_to_target_{a}"] for a in "xyz"])
    assert info["distance"] == pytest.approx(distance, abs=1e-6)
    assert reward == pytest.approx(np.exp(-distance / 0.2), abs=1e-6)


def test_the_obstacle_begins_near_the_way_and_free_of_both_ends():
    """100 episodes: 20 cm and more from hand and target, in most within 25 cm of the line between them."""
    env, off_way_m = JacoAvoidEnv(), []
    for seed in range(100):
        env.reset(seed=seed)
        hand, target, obstacle = env.scene.hand_w.copy(), env.scene.target_w, env.scene.obstacle_w
        assert min(np.linalg.norm(obstacle - hand), np.linalg.norm(obstacle - target)) >= LEAST_GAP_M
        way = target - hand
        share = np.clip((obstacle - hand) @ way / (way @ way), 0, 1)
        off_way_m.append(np.linalg.norm(hand + share * way - obstacle))
    assert np.quantile(off_way_m, 0.7) < 0.25


@pytest.mark.parametrize(("name", "thing"), [("jaco_track", "target"), ("jaco_avoid", "obstacle")])
def test_pictures_show_things_where_they_are_now(name, thing):
    """The model's geometry stands where the state says, after a reset and after a step."""
    env = TASKS[name]()
    env.reset(seed=0)
    for _ in range(2):
        geom = env.data.geom_xpos[env.model.geom(thing).id]
        np.testing.assert_array_equal(geom, getattr(env.scene, f"{thing}_w"))
        env.step(np.ones(6, int))


def test_touching_costs_a_quarter_an_action_and_the_episode():
    """In the obstacle the term is −0.25 and the gap negative; away from it the cost ends, success does not return."""
    env = JacoAvoidEnv()
    env.reset(seed=0)
    env.scene.place_obstacle(env.scene.hand_w + (0.0, 0.0, 0.1))
    *_, info = env.step(np.ones(6, int))
    assert info["reward_terms"]["touch"] == -0.25 and info["touched"]
    assert info["gap"] == pytest.approx(0.1 - OBSTACLE_RADIUS_M - HAND_RADIUS_M, abs=0.01)
    env.scene.place_obstacle((0.0, 0.0, 5.0))
    env.scene.place_target(env.scene.hand_w)
    *_, info = env.step(np.ones(6, int))
    assert info["reward_terms"]["touch"] == 0.0 and info["touched"] and info["distance"] < 0.1 and not info["success"]


def test_the_obstacle_is_black_and_only_where_it_is_asked_for():
    """From close by its middle pixel is dark; JacoReach's model has no such body, and shows none where data may."""
    env = JacoAvoidEnv()
    env.reset(seed=3)
    env.scene.place_obstacle((0.5, 0.0, 0.5))
    assert env.scene.render(CameraPose.look_at((1.0, 0.1, 0.9), (0.5, 0.0, 0.5)))[32, 32].max() < 60
    assert "obstacle" not in [JacoReachEnv().model.body(i).name for i in range(JacoReachEnv().model.nbody)]
    reach = JacoReachEnv(scene={"obstacle": 0.5})
    reach.reset(seed=0)
    assert reach.scene.obstacle_w[2] < 0
