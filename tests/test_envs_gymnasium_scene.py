"""GymnasiumScene: other people's environments as scenes; everything that moves is in view, and seeds repeat."""

from __future__ import annotations

import functools
import json
import math
import pathlib
import subprocess
import sys

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from hydra import compose, initialize_config_module

import gqn_rl
from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.envs import make_scene, make_task
from gqn_rl.envs.gymnasium.parts import drawn_geoms, moving_bodies
from gqn_rl.envs.gymnasium.scene import GymnasiumScene
from gqn_rl.pretrain.data import open_splits
from gqn_rl.wrappers import make_env
from tests.flat_settings import build_model
from tests.in_process import give
from tests.projection import nearest_colour, pixel, project

IDS = ("Reacher-v5", "Pusher-v5", "InvertedDoublePendulum-v5", "HalfCheetah-v5")
POLICY = "tests.tiny_policy:full_throttle"


@pytest.fixture(scope="module")
def reacher():
    return make_scene("gymnasium_Reacher-v5", id="Reacher-v5", image_size=32)


def state_of(scene) -> dict[str, float]:
    return dict(zip(scene.state_names, scene.state().tolist(), strict=True))


def command(tmp_path, module, *words):
    """Gives a command in a folder of its own."""
    return give(tmp_path, module, "env=gymnasium", *words, "threads=1")


@pytest.mark.parametrize("id", IDS)
def test_everything_that_moves_is_in_view(id):
    """The centres of all movable, drawn geoms are inside the picture in 98 % of views and use much of it."""
    scene, rng, seen = GymnasiumScene(id), np.random.default_rng(3), []
    geoms = drawn_geoms(scene.model, moving_bodies(scene.model))
    for _ in range(60):
        scene.sample(rng)
        poses = [scene.sample_pose(rng), scene.cameras["heldout"].sample(rng), scene.cameras["fixed"].sample(rng)]
        seen += [project(pose, scene.data.geom_xpos[geoms], scene.fovy_deg) for pose in poses]
    farthest = np.abs(np.array(seen)).max(axis=-1)  # NaN behind the camera counts as out of view
    assert (farthest < 1).mean() > 0.98
    assert np.quantile(farthest, 0.99) > 0.4


def test_the_dome_fits_a_world_known_by_hand(reacher):
    """Reacher's arm is 0.21 m long in the plane z = 0.01: that is the ball, and the dome is its distance in view."""
    assert reacher.ball.center_w == pytest.approx((0, 0, 0.01), abs=0.005)
    assert reacher.ball.radius_m == pytest.approx(0.22, abs=0.005)
    fits = reacher.ball.radius_m / math.sin(math.radians(22.5))
    near, far = reacher.cameras["moving"].radius_m
    assert near < fits < far and far < 1.2 * near
    assert np.linalg.norm(np.subtract(reacher.cameras["fixed"].position_w, reacher.ball.center_w)) == pytest.approx(
        fits, rel=0.01
    )


def test_the_moving_camera_never_stands_where_the_held_out_one_does(reacher):
    """Azimuths of the two do not overlap."""
    (_, moving), (heldout, end) = reacher.cameras["moving"].azimuth_deg, reacher.cameras["heldout"].azimuth_deg
    assert moving <= heldout and end - 360 <= reacher.cameras["moving"].azimuth_deg[0]


def test_model_settings_follow_from_the_dome(reacher):
    """Rays begin before the ball and end behind it, from wherever the camera stands; the longest wave spans it."""
    settings, (near, far) = reacher.model_settings, reacher.cameras["moving"].radius_m
    first, last = settings["ray_depths_m"]
    assert 0 < first <= near - reacher.ball.radius_m + 1e-3
    assert last >= far + reacher.ball.radius_m - 1e-3
    assert max(settings["ray_wavelengths_m"]) > 2 * reacher.ball.radius_m
    model = build_model("gqn", **settings, encoder="pyramid", num_steps=1, hidden_channels=16)
    assert model.config.scene.depths_m == (first, last)


def test_camera_settings_come_before_what_is_found_out():
    """A given ball is taken as it is, without rollouts; null means find out."""
    given = {"center_w": [1, 2, 3], "reach_m": 2.0, "azimuth_deg": [0, 90], "elevation_deg": None}
    scene = GymnasiumScene("Reacher-v5", camera=given)
    assert scene.ball.center_w == (1.0, 2.0, 3.0) and scene.ball.radius_m == 2.0
    assert scene.cameras["moving"].azimuth_deg == (0.0, 90.0)
    assert scene.cameras["moving"].elevation_deg == (30.0, 60.0)


def test_state_is_what_is_drawn(reacher):
    """From above, the pixel at the target's position is the target's red, in most of 20 states; joints are qpos."""
    rng, hits = np.random.default_rng(5), 0
    palette = {"target": (0.9, 0.2, 0.2), "arm": (0.0, 0.4, 0.6), "tip": (0.0, 0.8, 0.6), "ground": (0.9, 0.9, 0.9)}
    for _ in range(20):
        reacher.sample(rng)
        state, qpos = state_of(reacher), reacher.data.qpos
        assert state["joint_joint0/sin"] == pytest.approx(np.sin(qpos[0]), abs=1e-6)
        assert state["joint_joint1/cos"] == pytest.approx(np.cos(qpos[1]), abs=1e-6)
        assert state["joint_target_x/m"] == pytest.approx(state["target/x"], abs=1e-6) == pytest.approx(qpos[2])
        above = gqn_rl.views.CameraPose.look_at((state["target/x"], state["target/y"] - 0.001, 0.3), (0, 0, 0.01))
        above = gqn_rl.views.CameraPose(above.position_w, math.pi / 2, -math.pi / 2)
        place = project(above, [state[f"target/{axis}"] for axis in "xyz"], reacher.fovy_deg)
        hits += nearest_colour(pixel(reacher.render_size(above, 128, 128), place), palette) == "target"
    assert hits >= 16  # the arm may lie over it


def test_free_and_unnamed_joints_have_names_and_values():
    """Ant: a free root joint with position and quaternion, bodies without a name; names are all different."""
    scene = GymnasiumScene("Ant-v5")
    assert len(set(scene.state_names)) == len(scene.state_names) == len(scene.state())
    state = state_of(scene)
    assert [state[f"joint_root/{entry}"] for entry in ("x", "y", "z", "qw")] == pytest.approx(scene.data.qpos[:4])
    assert "body4/x" in state


def test_the_same_generator_state_gives_the_same_pictures(reacher):
    """Of two scenes made apart, whatever was sampled before."""
    other = GymnasiumScene("Reacher-v5", image_size=32)
    other.sample(np.random.default_rng(9))
    pictures = []
    for scene in (reacher, other):
        rng = np.random.default_rng(1)
        scene.sample(rng)
        pictures.append((scene.render(scene.sample_pose(rng)), scene.state()))
    np.testing.assert_array_equal(pictures[0][0], pictures[1][0])
    np.testing.assert_array_equal(pictures[0][1], pictures[1][1])
    assert (
        other.describe()
        == reacher.describe()
        == json.loads(json.dumps(reacher.describe())) | {"cameras": reacher.describe()["cameras"]}
    )


def test_states_are_spread_and_independent(reacher):
    """Reacher's shoulder points everywhere, and a scene's state says nothing about the next one's."""
    rng, states = np.random.default_rng(2), []
    for _ in range(200):
        reacher.sample(rng)
        states.append(state_of(reacher))
    for entry in ("joint_joint0/sin", "joint_joint0/cos", "target/x"):
        values = np.array([state[entry] for state in states])
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.25
    assert np.std([state["joint_joint0/sin"] for state in states]) > 0.5


def test_a_policy_given_by_name_plays():
    """Full throttle turns the shoulder one way only; no steps leave the start, which random actions leave too."""
    start = GymnasiumScene("Reacher-v5", max_steps=0)
    driven = GymnasiumScene("Reacher-v5", max_steps=30, policy=POLICY)
    rng, angles = np.random.default_rng(0), []
    for _ in range(20):
        start.sample(rng)
        assert np.abs(start.data.qpos[:2]).max() <= 0.1
        driven.sample(rng)
        angles.append(driven.data.qpos[0])
    assert min(angles) > -0.15 and max(angles) > 2
    assert driven.ball == start.ball  # the dome does not depend on who plays


def test_an_episode_that_terminates_is_followed_by_another():
    """Random actions topple the pendulum within a few steps; 50 steps later it stands again in some states."""
    scene, rng = GymnasiumScene("InvertedPendulum-v5"), np.random.default_rng(0)
    angles = []
    for _ in range(40):
        scene.sample(rng)
        angles.append(abs(scene.data.qpos[1]))
    assert max(angles) <= 0.2  # it terminates beyond


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"id": "CartPole-v1"}, "must have a MuJoCo `model` and `data`"),
        ({"id": "Nope-v1"}, "`env.id` 'Nope-v1' cannot be made"),
        ({"id": "no_such_package:Nope-v1"}, "No module named 'no_such_package'"),
        ({"id": "Reacher-v5", "kwargs": {"nonsense": 1}}, "cannot be made with {'nonsense': 1}"),
        ({"id": "Reacher-v5", "policy": "tests.tiny_policy"}, "`policy` must be `package.module:function`"),
        ({"id": "Reacher-v5", "policy": "tests.tiny_policy:nothing"}, "has no attribute 'nothing'"),
        ({"id": "Reacher-v5", "policy": "tests.tiny_policy:NO_FUNCTION"}, "must be a function"),
        ({"id": "Reacher-v5", "max_steps": -1}, "`max_steps` must be at least 0"),
        ({"id": "Reacher-v5", "camera": {"reach_m": -1.0}}, "`camera.reach_m` must be above 0"),
    ],
)
def test_what_cannot_be_is_one_sentence(settings, message):
    """Each names the setting and what was given."""
    with pytest.raises(ValueError, match=message):
        GymnasiumScene(**settings)


class Still(gym.Env):
    """A world in which nothing moves."""

    observation_space = action_space = gym.spaces.Box(-1, 1, (1,))
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
    data = mujoco.MjData(model)


def test_a_world_in_which_nothing_moves_is_refused():
    """There would be nothing to know."""
    gym.register("gqn_rl_tests/Still-v0", Still)
    with pytest.raises(ValueError, match="no body that moves"):
        GymnasiumScene("gqn_rl_tests/Still-v0")


def test_workers_make_the_same_data_as_one_process(tmp_path):
    """Scenes are rebuilt from name and settings in each worker, with their policy, to the same bits."""
    sizes = {"num_scenes": 4, "held_out_scenes": 2, "views_per_scene": 3, "seed": 0, "scenes_per_shard": 2}
    name = "gymnasium_Reacher-v5"
    factory = functools.partial(make_scene, name, id="Reacher-v5", image_size=16, policy=POLICY)
    for workers in (1, 2):
        generate(tmp_path / str(workers), factory, scene_name=name, num_workers=workers, progress=False, **sizes)
    one, two = (MultiViewDataset(tmp_path / folder, "train") for folder in "12")
    views = [data.views(np.arange(4), np.tile(np.arange(3), (4, 1))) for data in (one, two)]
    np.testing.assert_array_equal(views[0].images, views[1].images)
    np.testing.assert_array_equal(one.states, two.states)
    assert one.manifest["scene_facts"]["model_settings"]["fovy_deg"] == 45.0


def test_agents_look_through_the_cameras_of_the_data(reacher):
    """The same dome; pictures of the agent's environment are the scene's, of the same state and pose."""
    task = make_task("any", {"id": "Reacher-v5", "image_size": 32}, "moving")
    assert task.camera == reacher.cameras["moving"] and task.env_id == "Reacher-v5"
    assert task.model_settings == reacher.model_settings
    env = make_env(task.env_id, "pixels", task.camera, size=32, env_kwargs=task.env_kwargs)
    observation, _ = env.reset(seed=4)
    reacher.data.qpos[:] = env.unwrapped.data.qpos
    mujoco.mj_forward(reacher.model, reacher.data)
    pose = gqn_rl.views.CameraPose.from_viewpoint(observation["viewpoint"])
    difference = reacher.render(pose).astype(int) - observation["image"]
    assert np.abs(difference).mean() < 0.5  # the pose went through float32
    env.close()


def test_a_task_refuses_a_camera_that_is_not_there():
    """The names are listed."""
    with pytest.raises(ValueError, match=r"must be one of \['fixed', 'moving', 'heldout'\]"):
        make_task("any", {"id": "Reacher-v5"}, "side")


@pytest.mark.parametrize("config", ["generate_data", "pretrain", "train_agent"])
def test_folders_carry_the_id(config):
    """No two environments in one folder."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        cfg = compose(config, ["env=gymnasium", "env.id=Reacher-v5"], return_hydra_config=True)
    folders = {"generate_data": "root", "pretrain": "data.root", "train_agent": "run_dir"}
    value = functools.reduce(lambda node, key: node._get_node(key), folders[config].split("."), cfg)._value()
    assert "${env.name}" in value and cfg.env.name == "gymnasium_Reacher-v5"
    assert cfg.env.scene.id == "Reacher-v5"


def test_agents_without_an_encoder_are_told_the_command(tmp_path):
    """None ships for a foreign environment."""
    done = command(tmp_path, "train_agent", "env.id=Reacher-v5", "repr=gqn")
    assert done.returncode == 1 and "python -m gqn_rl.pretrain env=gymnasium env.id=Reacher-v5" in done.stderr
    done = command(tmp_path, "generate_data")
    assert done.returncode == 1 and "give one with `env.id=...`" in done.stderr


@pytest.mark.slow
def test_from_command_to_curve(tmp_path):
    """Data and encoder in one command; agents on every representation; each with its film, which needs no display."""
    id = "env.id=InvertedPendulum-v5"
    small = "data.num_scenes=8 data.held_out_scenes=3 data.views_per_scene=5 data.num_workers=1 train.total_steps=2"
    for model in ("gqn_debug", "vae_debug"):
        done = command(tmp_path, "pretrain", id, f"model={model}", *small.split())
        assert done.returncode == 0, done.stderr
    assert "model=gqn_debug" not in done.stdout and "gymnasium_InvertedPendulum-v5" in done.stdout
    agent = ["total_steps=64", "eval_every=32", "eval_episodes=2", "agent.num_envs=2", "agent.settings.n_steps=16"]
    agent += ["agent.settings.batch_size=16", "agent.settings.n_epochs=1", "runtime=torch"]
    folder = "runs/pretrain/gymnasium_InvertedPendulum-v5_{}_debug_seed0"
    for repr in ("oracle", "pixels", "gqn", "vae", "random_encoder"):
        encoder = [f"encoder={folder.format(repr)}"] if repr in ("gqn", "vae") else []
        done = command(tmp_path, "train_agent", id, f"repr={repr}", *encoder, *agent)
        assert done.returncode == 0, done.stderr
        assert "but the encoder was trained" not in done.stderr
    done = command(tmp_path, "train_agent", id, "repr=gqn", "env.scene.camera.reach_m=2.0", "run_dir=other",
                   f"encoder={folder.format('gqn')}", *agent)  # fmt: skip
    assert done.returncode == 0 and "but the encoder was trained on pictures from" in done.stderr
    runs = list((tmp_path / "runs" / "agents" / "gymnasium_InvertedPendulum-v5").iterdir())
    assert len(runs) == 5 and all((run / "eval.csv").is_file() and (run / "rollout.gif").is_file() for run in runs)


def test_data_of_other_settings_are_not_trained_on(tmp_path):
    """Data tell their environment's settings; what is left to be found out does not count."""
    name, sizes = "gymnasium_Reacher-v5", {"num_scenes": 2, "held_out_scenes": 1, "views_per_scene": 2, "seed": 0}
    settings = {"id": "Reacher-v5", "image_size": 16, "max_steps": 3, "camera": {"reach_m": 0.3, "center_w": None}}
    factory = functools.partial(make_scene, name, **settings)
    generate(tmp_path, factory, scene_name=name, num_workers=1, progress=False, **sizes)
    open_splits(str(tmp_path), scene_name=name, image_size=16, scene_settings=settings)
    for other in (
        {"id": "Pusher-v5"},
        {"max_steps": 4},
        {"camera": {"reach_m": 0.2}},
        {"kwargs": {"xml_file": "mine.xml"}},
    ):
        with pytest.raises(ValueError, match=f"was made with env.scene.{next(iter(other))}="):
            open_splits(str(tmp_path), scene_name=name, image_size=16, scene_settings=settings | other)


def test_bold_reacher_moves_as_reacher_does(tmp_path):
    """The example's model has the same observations and rewards, and what moves weighs more in its pictures."""
    path = tmp_path / "bold.xml"
    script = pathlib.Path(gqn_rl.__file__).parents[1] / "examples" / "bold_reacher.py"
    subprocess.run([sys.executable, script, path], check=True)
    thin, bold = gym.make("Reacher-v5"), gym.make("Reacher-v5", xml_file=str(path))
    (before, _), (after, _) = thin.reset(seed=0), bold.reset(seed=0)
    np.testing.assert_array_equal(before, after)
    thin.action_space.seed(0)
    for _ in range(30):
        action = thin.action_space.sample()
        (one, reward, *_), (two, same_reward, *_) = thin.step(action), bold.step(action)
        np.testing.assert_allclose(one, two, atol=1e-12)
        assert reward == pytest.approx(same_reward)
    scene, rng = GymnasiumScene("Reacher-v5", {"xml_file": str(path)}, image_size=32), np.random.default_rng(0)
    weights = []
    for world in (scene, GymnasiumScene("Reacher-v5", image_size=32)):
        pose, pictures = world.cameras["fixed"].sample(rng), []
        for _ in range(20):
            world.sample(rng)
            pictures.append(world.render(pose) / 255)
        weights.append(np.var(pictures, axis=0).mean())
    assert weights[0] > 2 * weights[1]
