"""The navigation task in physical units, looked at through its cameras, and against both checkers."""

from __future__ import annotations

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from hydra import compose, initialize_config_module
from stable_baselines3.common.env_checker import check_env as sb3_check

import gqn_rl  # noqa: F401 (registers the task)
from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.envs import ENV_IDS, make_scene
from gqn_rl.envs.maze.layout import MazeLayout, is_connected
from gqn_rl.envs.maze.motion import is_free
from gqn_rl.envs.maze.nav import DISCRETE_ACTIONS, GOAL_DISTANCE_M, MOVE_M, TURN_RAD, MazeNavEnv
from gqn_rl.envs.maze.scene import GOAL, MazeScene
from gqn_rl.wrappers import CameraObservation

CELLS = {f"gqn_rl/MazeNav{size}-v0": cells for size, cells in (("", 7), ("-7x7", 7), ("-9x9", 9), ("-11x11", 11))}
NUMBERS = {name: number for number, name in enumerate(DISCRETE_ACTIONS)}


def named(env: MazeNavEnv, observation: np.ndarray) -> dict[str, float]:
    return dict(zip(env.observation_names, observation.tolist(), strict=True))


def to_the_goal(env: MazeNavEnv) -> None:
    """Puts the agent 0.5 m from the goal, looking at it across free space, or draws another maze."""
    env.reset()
    goal = env.scene.object_positions_w[GOAL]
    for heading in np.linspace(-np.pi, np.pi, 8, endpoint=False):
        start = goal - 0.5 * np.array([np.cos(heading), np.sin(heading)])
        if is_free(env.scene.layout, tuple(start)):
            env.body.position_w, env.body.heading_rad = tuple(start), float(heading)
            return
    raise AssertionError("nowhere beside the goal is free")


@pytest.mark.parametrize("settings", [{}, {"action": "continuous"}])
@pytest.mark.parametrize("env_id", CELLS)
@pytest.mark.filterwarnings("ignore:.*Box observation space (minimum|maximum).*infinity.*")
def test_both_checkers_pass(env_id, settings):
    """Gymnasium's and Stable-Baselines3's checks accept every size, which is the id's, and both kinds of action."""
    env = gymnasium.make(env_id, render_mode="rgb_array", **settings).unwrapped
    assert env.scene.cells == CELLS[env_id]
    gymnasium_check(env)
    sb3_check(gymnasium.make(env_id, **settings).unwrapped, warn=True)


@pytest.mark.parametrize("camera", ["moving", "fixed", "heldout"])
@pytest.mark.parametrize("env_id", CELLS)
@pytest.mark.filterwarnings("ignore:.*Box observation space (minimum|maximum).*infinity.*")
@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version.*")
def test_both_checkers_pass_with_every_camera(env_id, camera):
    """Pictures and viewpoints keep their spaces in every size."""
    gymnasium_check(CameraObservation(gymnasium.make(env_id, disable_env_checker=True), camera), skip_render_check=True)
    sb3_check(CameraObservation(gymnasium.make(env_id, disable_env_checker=True), camera), warn=True)


@pytest.mark.parametrize("cells", [7, 9, 11])
def test_no_reset_starts_in_a_wall_and_every_goal_can_be_reached(cells):
    """Of 1000 resets: the agent is free, the goal is where a body comes, all free cells are connected, none is near."""
    env = MazeNavEnv(cells)
    env.reset(seed=0)
    for _ in range(1000):
        _, info = env.reset()
        assert is_free(env.scene.layout, env.body.position_w)
        assert is_free(env.scene.layout, tuple(env.scene.object_positions_w[GOAL]))
        assert is_connected(env.scene.layout)
        assert info["distance"] > 1.5 - np.sqrt(2) * 0.2


def test_random_walks_never_enter_a_wall():
    """20 episodes of random actions of either kind: the body is free after every step."""
    for action in ("discrete", "continuous"):
        env = MazeNavEnv(action=action)
        env.reset(seed=1)
        env.action_space.seed(1)
        for _ in range(10):
            env.reset()
            for _ in range(env.episode_actions):
                env.step(env.action_space.sample())
                assert is_free(env.scene.layout, env.body.position_w)


@pytest.mark.parametrize(
    ("name", "ahead", "left", "turn"),
    [
        ("forward", MOVE_M, 0, 0),
        ("back", -MOVE_M, 0, 0),
        ("turn_left", 0, 0, TURN_RAD),
        ("turn_right", 0, 0, -TURN_RAD),
        ("strafe_left", 0, MOVE_M, 0),
        ("strafe_right", 0, -MOVE_M, 0),
    ],
)
def test_actions_do_what_their_names_say(name, ahead, left, turn):
    """Each discrete action and its continuous twin, in the agent's own frame, in the middle of free space."""
    for action in ("discrete", "continuous"):
        env = MazeNavEnv(action=action)
        env.reset(seed=0)
        env.scene.layout.solid[1:-1, 1:-1] = False  # no walls but the ring
        env.body.position_w, env.body.heading_rad = (0.0, 0.0), 0.5
        env.step(NUMBERS[name] if action == "discrete" else np.array(DISCRETE_ACTIONS[name], np.float32))
        x, y = env.body.position_w
        assert x * np.cos(0.5) + y * np.sin(0.5) == pytest.approx(ahead, abs=1e-9)
        assert y * np.cos(0.5) - x * np.sin(0.5) == pytest.approx(left, abs=1e-9)
        assert env.body.heading_rad - 0.5 == pytest.approx(turn)


def test_reaching_the_goal_pays_one_and_moves_it():
    """Walking at the goal: reward 1 on the step that comes within 0.4 m, 0 before; then the goal is somewhere else."""
    env = MazeNavEnv()
    env.reset(seed=2)
    for goals in range(5):
        to_the_goal(env)
        before = env.scene.object_positions_w[GOAL].copy()
        _, reward, terminated, _, info = env.step(NUMBERS["forward"])
        assert (reward, terminated, info["goals_reached"], info["success"]) == (1.0, False, 1, True), goals
        assert info["reward_terms"] == {"goal": 1.0}
        assert info["distance"] > GOAL_DISTANCE_M
        assert not np.array_equal(env.scene.object_positions_w[GOAL], before)
        _, reward, *_, info = env.step(NUMBERS["turn_left"])
        assert (reward, info["goals_reached"], info["success"]) == (0.0, 1, True)


def test_a_goal_that_moved_is_drawn_where_it_is():
    """From above, the red of the picture follows the goal; the agent's dark mark follows the agent."""
    env = CameraObservation(MazeNavEnv(), "fixed", size=128)
    env.reset(seed=3)
    inner: MazeNavEnv = env.unwrapped
    for _ in range(5):
        to_the_goal(inner)
        picture = env.step(NUMBERS["forward"])[0]["image"].astype(float)
        red = (picture[..., 0] > 150) & (picture[..., 1:].max(axis=-1) < 80)
        mark = picture.max(axis=-1) < 35
        for pixels, (x, y) in ((red, inner.scene.object_positions_w[GOAL]), (mark, inner.body.position_w)):
            rows, columns = np.nonzero(pixels)
            np.testing.assert_allclose(
                [(columns.mean() + 0.5) / 16 - 4, 4 - (rows.mean() + 0.5) / 16], [x, y], atol=0.1
            )


def test_the_moving_camera_is_the_agents_eye():
    """Its viewpoint is the agent's pose after every step; the held-out one stands a quarter of a metre higher."""
    envs = {name: CameraObservation(MazeNavEnv(), name) for name in ("moving", "heldout")}
    for (name, env), height in zip(envs.items(), (0.5, 0.75), strict=True):
        body, observation = env.unwrapped.body, env.reset(seed=4)[0]
        for action in (0, 0, 2, 5, 1, 3):
            sin, cos = np.sin(body.heading_rad), np.cos(body.heading_rad)
            expected = [*body.position_w, height, sin, cos, 0.0, 1.0]
            assert observation["viewpoint"].tolist() == pytest.approx(expected, abs=1e-6), name
            observation = env.step(action)[0]


def test_the_own_mark_is_never_in_the_picture():
    """With and without the mark the eye sees the same, in 50 mazes."""
    env = MazeNavEnv()
    env.reset(seed=5)
    for _ in range(50):
        env.reset()
        pose = env.cameras["moving"].sample(np.random.default_rng())
        with_mark = env.scene.render(pose)
        env.model.geom_group[[env.model.geom(name).id for name in ("agent_body", "agent_nose")]] = 4
        assert np.array_equal(env.scene.render(pose), with_mark)
        env.model.geom_group[[env.model.geom(name).id for name in ("agent_body", "agent_nose")]] = 0


def test_observations_name_the_true_state():
    """Pose, goal in the world and in the agent's frame, and the layout, by name."""
    env = MazeNavEnv(9)
    observation, info = env.reset(seed=6)
    state = named(env, observation)
    assert len(set(env.observation_names)) == len(observation) == 8 + 81
    assert (state["agent_x"], state["agent_y"]) == pytest.approx(env.body.position_w, abs=1e-6)
    ahead, left = state["goal_ahead"], state["goal_left"]
    assert np.hypot(ahead, left) == pytest.approx(info["distance"], abs=1e-5)
    sin, cos = state["sin_heading"], state["cos_heading"]
    found = state["agent_x"] + ahead * cos - left * sin, state["agent_y"] + ahead * sin + left * cos
    assert found == pytest.approx((state["goal_x"], state["goal_y"]), abs=1e-5)
    assert np.array_equal(observation[8:].reshape(9, 9) == 1, env.scene.walls)


@pytest.mark.parametrize("cells", [7, 11])
def test_episodes_are_truncated_at_their_limit_and_never_terminated(cells):
    """30 actions a cell of a side: all but the last go on."""
    env = MazeNavEnv(cells)
    env.reset(seed=0)
    ends = [env.step(NUMBERS["forward"])[2:4] for _ in range(30 * cells)]
    assert not any(terminated for terminated, _ in ends)
    assert [truncated for _, truncated in ends] == [False] * (30 * cells - 1) + [True]


@pytest.mark.parametrize("camera", ["moving", "fixed"])
def test_the_same_seed_gives_the_same_maze_and_pictures(camera):
    """Two environments with one seed and the same actions see the same, step by step; the next maze is another."""
    envs = [CameraObservation(gymnasium.make("gqn_rl/MazeNav-v0"), camera) for _ in range(2)]
    first, twin = (env.reset(seed=7)[0] for env in envs)
    assert np.array_equal(first["image"], twin["image"])
    for action in (0, 0, 2, 0, 4):
        one, other = (env.step(action) for env in envs)
        assert np.array_equal(one[0]["image"], other[0]["image"])
        assert one[1] == other[1]
    assert not np.array_equal(envs[0].reset()[0]["image"], first["image"])


def test_a_pickled_environment_goes_on_where_it_was():
    """Its copy sees the same pictures, earns the same, and draws the same next maze."""
    env = CameraObservation(gymnasium.make("gqn_rl/MazeNav-v0"), "moving")
    env.reset(seed=8)
    env.step(0)
    twin = pickle.loads(pickle.dumps(env))
    for action in (0, 2, 0, 3, 5):
        one, other = env.step(action), twin.step(action)
        assert np.array_equal(one[0]["image"], other[0]["image"])
        assert np.array_equal(one[0]["viewpoint"], other[0]["viewpoint"])
    assert np.array_equal(env.reset()[0]["image"], twin.reset()[0]["image"])


def test_rgb_array_shows_the_eye_and_the_map_and_no_mode_is_a_hint():
    """Two pictures side by side; without a mode a warning says what to pass."""
    env = MazeNavEnv(render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (480, 960, 3)
    assert np.array_equal(picture[:, 480:], env.scene.top_view(480))
    silent = MazeNavEnv()
    silent.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode='rgb_array'"):
        assert silent.render() is None


def test_the_config_makes_scene_and_task_of_one_size():
    """What `env=maze env.scene.cells=9` gives to data and to agents: the same cells, the same pictures."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        cfg = compose("generate_data", ["env=maze", "env.scene.cells=9", "env.scene.image_size=32"])
    settings = dict(cfg.env.scene)
    scene, env = make_scene(cfg.env.name, **settings), gymnasium.make(ENV_IDS[cfg.env.name], scene=settings)
    assert env.unwrapped.scene.cells == scene.cells == 9
    assert env.unwrapped.scene.image_size == scene.image_size == 32
    assert env.unwrapped.fovy_deg == scene.fovy_deg


def test_data_of_mazes_holds_what_the_scene_shows(tmp_path):
    """A data set of 2 + 1 mazes with 40 views: free places at eye height, and the layout at the state's beginning."""
    generate(
        tmp_path,
        MazeScene,
        scene_name="maze",
        num_scenes=2,
        held_out_scenes=1,
        views_per_scene=40,
        seed=0,
        num_workers=1,
        progress=False,
    )
    data = MultiViewDataset(tmp_path, "train")
    for number, state in enumerate(data.states):
        layout = MazeLayout(1 - state[:49].reshape(7, 7).astype(int))
        views = data.views(np.array([number]), np.arange(40)[None])
        assert views.images.shape == (1, 40, 64, 64, 3)
        assert all(is_free(layout, tuple(viewpoint[:2].astype(float))) for viewpoint in views.viewpoints[0])
        assert set(views.viewpoints[0, :, 2].tolist()) == {0.5}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action": "torque"}, "`action` must be 'discrete' or 'continuous', got 'torque'"),
        ({"render_mode": "human"}, "`render_mode` must be None or 'rgb_array', got 'human'"),
        ({"cells": 6}, "`cells` must be odd"),
        ({"cells": 9, "scene": {"cells": 7}}, "`scene.cells` must be `cells`, 9, got 7"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    """Each with what was expected and given."""
    with pytest.raises(ValueError, match=message):
        MazeNavEnv(**settings)
