"""Rounds that an agent collects by itself: states are noted, drawn again for pictures, and counted."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from stable_baselines3 import PPO

from gqn_rl.agents.met_states import meet_states
from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.envs import make_scene
from gqn_rl.envs.jaco.met import MetStates, load_met_states
from gqn_rl.envs.jaco.scene import JacoScene
from gqn_rl.experience import pretraining_experience
from gqn_rl.pretrain.export import dataset_summary
from gqn_rl.wrappers import make_vec_env


@pytest.fixture(name="file", scope="module")
def met_file(tmp_path_factory):
    """States that an untrained agent on the true state meets in JacoAvoid."""
    envs = make_vec_env("gqn_rl/JacoAvoid-v0", "oracle", num_envs=2)
    states = meet_states(PPO("MlpPolicy", envs, seed=0, device="cpu"), envs, 60, seed=3)
    envs.close()
    path = tmp_path_factory.mktemp("met") / "met_states.npz"
    MetStates(states, {"pictures": 1060, "actions": 1060}).save(path)
    return path


def test_random_scenes_are_the_states_that_were_met(file):
    """Arm, target and obstacle of every scene stand in the file, in colours of their own; scenes differ."""
    scene, rng, rows = JacoScene(states=str(file), obstacle=1.0), np.random.default_rng(0), set()
    met = load_met_states(file).states
    for _ in range(30):
        scene.sample(rng)
        same = np.flatnonzero((np.abs(met - scene.snapshot()) < 1e-12).all(axis=1))
        assert len(same)
        rows.add(int(same[0]))
    assert len(rows) > 10 and len(met) == 60


def test_a_scene_without_an_obstacle_leaves_it_out(file):
    """The same states can be shown in a room that has none."""
    scene = JacoScene(states=str(file))
    scene.sample(np.random.default_rng(0))
    assert scene.state().shape == (len(JacoScene.state_names),)


def test_the_agents_experience_is_counted_once_for_all_scenes(file, tmp_path):
    """What it took to meet the states stands beside the pictures that were made of them."""
    factory = functools.partial(make_scene, "jaco", image_size=16, states=str(file))
    sizes = {"num_scenes": 4, "held_out_scenes": 2, "views_per_scene": 3, "seed": 0, "num_workers": 1}
    generate(tmp_path, factory, scene_name="jaco", progress=False, **sizes)
    metadata = {"dataset": dataset_summary(MultiViewDataset(tmp_path).manifest)}
    assert pretraining_experience(metadata) == (1060 + 18, 1060)
    assert pretraining_experience({**metadata, "earlier": [metadata]}) == (1060 + 18, 1060)


def test_what_holds_no_states_is_refused(tmp_path):
    """Missing, of another kind, or of another shape: one sentence that names the file."""
    with pytest.raises(ValueError, match=r"no\.npz`, which holds no states that an agent has met"):
        JacoScene(states=str(tmp_path / "no.npz"))
    np.savez(tmp_path / "other.npz", colour=np.ones(3))
    with pytest.raises(ValueError, match=r"other\.npz`, which holds no states"):
        JacoScene(states=str(tmp_path / "other.npz"))
    MetStates(np.zeros((5, 3)), {}).save(tmp_path / "narrow.npz")
    with pytest.raises(ValueError, match=r"narrow\.npz` must hold finite states \[N, 15\], has \(5, 3\)"):
        JacoScene(states=str(tmp_path / "narrow.npz"))


def test_an_environment_that_cannot_tell_its_state_is_refused():
    """Gymnasium's own have no snapshot."""
    envs = make_vec_env("Reacher-v5", "oracle", num_envs=1)
    with pytest.raises(ValueError, match="`met_states` must be 0 with this environment"):
        meet_states(PPO("MlpPolicy", envs, device="cpu"), envs, 5, seed=0)
    envs.close()
