"""The batched twins give exactly what separately wrapped environments give, terminal observations included."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from gqn_rl.envs.cameras import Dome
from gqn_rl.models.readout import Readout
from gqn_rl.models.representations.ground_plan import PlanGeometry
from gqn_rl.scene_encoder import read
from gqn_rl.views import REPRESENTATION, VIEWPOINT
from gqn_rl.wrappers import CameraObservation, GQNObservationWrapper, GQNVecEnv, GQNVectorEnv, make_vec_env
from gqn_rl.wrappers.untrained import random_views

SIZE, NUM_ENVS, NUM_STEPS = 16, 3, 9
CAMERA = Dome((0.0, 0.0, 0.0), (0.5, 0.7), (0.0, 360.0), (30.0, 70.0))
CONTEXTS = pytest.mark.parametrize("context", ["current", "window", "episode"])


class FakeEncoder:
    """ψ = (mean red, green and blue of the picture, x of the camera); counts its forward passes."""

    image_size, representation_shape, num_calls = SIZE, (4,), 0

    def encode_views(self, images, viewpoints):
        self.num_calls += 1
        return np.concatenate([images.mean((1, 2)), viewpoints[:, :1]], axis=1).astype(np.float32)


def camera_env(episode_steps):
    """Returns Reacher seen by a moving camera, with episodes of a length of their own."""
    return CameraObservation(gym.make("Reacher-v5", max_episode_steps=episode_steps), CAMERA, SIZE)


def wrapped_env(episode_steps, context):
    return GQNObservationWrapper(camera_env(episode_steps), FakeEncoder(), context, window=2)


LENGTHS = (2, 3, 5)


def actions():
    return np.random.default_rng(0).uniform(-1, 1, (NUM_STEPS, NUM_ENVS, 2)).astype(np.float32)


def assert_same(one, other):
    """Compares observations key by key."""
    assert set(one) == set(other)
    for key in one:
        np.testing.assert_allclose(one[key], other[key], rtol=1e-5, atol=1e-5)


@CONTEXTS
def test_the_sb3_twin_equals_wrapped_environments(context):
    """twin(VecEnv) == VecEnv(wrapper) over several episodes, with one forward pass a step."""
    encoder = FakeEncoder()
    twin = GQNVecEnv(DummyVecEnv([functools.partial(camera_env, n) for n in LENGTHS]), encoder, context, window=2)
    apart = DummyVecEnv([functools.partial(wrapped_env, n, context) for n in LENGTHS])
    assert twin.observation_space == apart.observation_space
    twin.seed(7)
    apart.seed(7)
    assert_same(twin.reset(), apart.reset())
    num_ends = 0
    for action in actions():
        one, other = twin.step(action), apart.step(action)
        assert_same(one[0], other[0])
        for reward, info in ((1, 3), (2, 3)):
            np.testing.assert_array_equal(one[reward], other[reward])
            assert len(one[info]) == NUM_ENVS
        for i in np.flatnonzero(one[2]):
            assert_same(one[3][i]["terminal_observation"], other[3][i]["terminal_observation"])
            num_ends += 1
    assert num_ends == 8
    assert encoder.num_calls == 1 + NUM_STEPS


@CONTEXTS
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_gymnasium_twin_equals_wrapped_environments(context, mode):
    """The same in every autoreset mode; with DISABLED the ended environments are reset by mask."""
    twin = GQNVectorEnv(
        SyncVectorEnv([functools.partial(camera_env, n) for n in LENGTHS], autoreset_mode=mode),
        FakeEncoder(), context, window=2,
    )  # fmt: skip
    apart = SyncVectorEnv([functools.partial(wrapped_env, n, context) for n in LENGTHS], autoreset_mode=mode)
    assert twin.single_observation_space == apart.single_observation_space
    assert_same(twin.reset(seed=7)[0], apart.reset(seed=7)[0])
    for action in actions():
        one, other = twin.step(action), apart.step(action)
        assert_same(one[0], other[0])
        ended = one[2] | one[3]
        np.testing.assert_array_equal(ended, other[2] | other[3])
        if mode == AutoresetMode.SAME_STEP:
            for i in np.flatnonzero(ended):
                assert_same(one[4]["final_obs"][i], other[4]["final_obs"][i])
        if mode == AutoresetMode.DISABLED and ended.any():
            resets = [envs.reset(options={"reset_mask": ended.copy()})[0] for envs in (twin, apart)]
            assert_same(*resets)


def test_observations_are_not_overwritten_by_later_steps():
    """What a rollout buffer keeps by reference stays as it was."""
    twin = GQNVecEnv(DummyVecEnv([functools.partial(camera_env, 5)]), FakeEncoder(), "episode")
    first = twin.reset()
    copy = first[REPRESENTATION].copy()
    twin.step(np.zeros((1, 2), np.float32))
    np.testing.assert_array_equal(first[REPRESENTATION], copy)


def test_vector_environments_differ_by_repr_alone(tmp_path):
    """The same seed starts the same episodes for every representation, and Monitor writes one file each."""
    spaces, rewards = {}, []
    for repr in ("oracle", "pixels", "gqn"):
        envs = make_vec_env(
            "Reacher-v5", repr, CAMERA, FakeEncoder(), num_envs=2, seed=3, size=SIZE, monitor_dir=tmp_path / repr
        )
        envs.reset()
        rewards.append(envs.step(np.zeros((2, 2), np.float32))[1])
        spaces[repr] = envs.observation_space
        envs.close()
        assert len(list((tmp_path / repr).glob("*.monitor.csv"))) == 2
    np.testing.assert_array_equal(rewards[0], rewards[1])
    np.testing.assert_array_equal(rewards[0], rewards[2])
    assert spaces["oracle"].shape == (10,)
    assert set(spaces["pixels"]) == {"image", "viewpoint"} and set(spaces["gqn"]) == {"representation", "viewpoint"}


def test_a_stack_holds_the_newest_views_of_this_episode_last_ones_too():
    """Pictures and viewpoints, oldest first, zeros before the episode; the terminal observation is stacked likewise."""
    settings = {"num_envs": 2, "seed": 3, "size": SIZE, "env_kwargs": {"max_episode_steps": 4}}
    plain, stacked = (make_vec_env("Reacher-v5", "pixels", CAMERA, **settings, stack=n) for n in (1, 3))
    width = {"image": 3, "viewpoint": 7}
    assert {key: space.shape[-1] for key, space in stacked.observation_space.items()} == {"image": 9, "viewpoint": 21}
    first, seen = plain.reset(), stacked.reset()
    history = [{key: np.zeros_like(value) for key, value in first.items()}] * 2 + [first]
    for step in range(1, 7):
        action = np.full((2, 2), 0.5, np.float32)
        (one, _, dones, infos), (seen, _, _, stacked_infos) = plain.step(action), stacked.step(action)
        assert dones.all() == (step == 4)
        for key in width if step == 4 else ():
            last = [*(view[key][1] for view in history[-2:]), infos[1]["terminal_observation"][key]]
            np.testing.assert_array_equal(stacked_infos[1]["terminal_observation"][key], np.concatenate(last, axis=-1))
        if step == 4:
            history = [{key: np.zeros_like(value) for key, value in one.items()}] * 2
        history.append(one)
        for key in width:
            np.testing.assert_array_equal(seen[key], np.concatenate([view[key] for view in history[-3:]], axis=-1))


@pytest.mark.parametrize("words", [{"repr": "oracle", "stack": 2}, {"repr": "pixels", "stack": 0}])
def test_a_stack_without_effect_is_refused(words):
    """Only pictures are stacked, and never fewer than one."""
    with pytest.raises(ValueError, match="`stack` must be 1, or more with repr='pixels'"):
        make_vec_env("Reacher-v5", camera=CAMERA, **words)


@pytest.mark.slow
@pytest.mark.parametrize(("device", "encodes_here"), [("cpu", False), ("cuda", True)])
def test_workers_see_what_one_process_sees(device, encodes_here):
    """Spawned workers render and encode the same, ends of episodes too; an encoder on a GPU is left in this process."""
    told, encoders = [], []
    for num_workers in (0, 2):
        encoder = FakeEncoder()
        encoder.device = device
        words = {"num_workers": num_workers, "context": "episode", "env_kwargs": {"max_episode_steps": 2}}
        envs = make_vec_env("Reacher-v5", "gqn", CAMERA, encoder, num_envs=3, seed=3, **words)
        seen = [envs.reset()]
        for _ in range(3):
            observation, _, dones, infos = envs.step(np.zeros((3, 2), np.float32))
            seen += [observation, *(infos[i]["terminal_observation"] for i in np.flatnonzero(dones))]
        envs.close()
        told.append(seen)
        encoders.append(encoder)
    assert [len(seen) for seen in told] == [7, 7]
    for one, other in zip(*told, strict=True):
        assert_same(one, other)
    assert (encoders[1].num_calls > 0) == encodes_here


def test_random_views_are_varied_and_repeatable():
    """The asked number of scenes and views, the same for the same seed, none twice."""
    one, two = (
        random_views("Reacher-v5", CAMERA, size=SIZE, num_scenes=5, views_per_scene=2, seed=1) for _ in range(2)
    )
    np.testing.assert_array_equal(one.images, two.images)
    assert one.images.shape == (5, 2, SIZE, SIZE, 3) and one.viewpoints.shape == (5, 2, 7)
    assert len(np.unique(one.viewpoints.reshape(10, -1), axis=0)) == 10


class PlanEncoder(FakeEncoder):
    """Stands for an encoder whose r is a plan of 8 m."""

    readout = Readout(PlanGeometry(8.0))

    def __init__(self):
        self.representation_shape = (2, 4, 4)

    def encode_views(self, images, viewpoints):
        """Returns a plan that differs between squares and between pictures."""
        squares = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
        return squares * images.mean(axis=(1, 2, 3), dtype=np.float32)[:, None, None, None] / 255


@pytest.mark.parametrize("frame", [None, "camera", "world"])
def test_a_plan_is_turned_to_the_camera_unless_the_world_frame_is_asked_for(frame):
    """Twin and wrapper agree; the camera's frame is the world's plan as the encoder's reading turns it."""
    env = GQNObservationWrapper(camera_env(50), PlanEncoder(), context="episode", frame=frame)
    world = GQNObservationWrapper(camera_env(50), PlanEncoder(), context="episode", frame="world")
    twin = GQNVecEnv(DummyVecEnv([lambda: camera_env(50)]), PlanEncoder(), context="episode", frame=frame)
    twin.seed(3)
    batch, (one, _), (whole, _) = twin.reset(), env.reset(seed=3), world.reset(seed=3)
    for action in actions()[:5, 0]:
        assert_same({key: value[0] for key, value in batch.items()}, one)
        expected = whole[REPRESENTATION]
        if frame != "world":
            expected = read(Readout(PlanGeometry(8.0)), expected[None], whole[VIEWPOINT][None], "camera")[0]
        np.testing.assert_allclose(one[REPRESENTATION], expected, rtol=1e-5, atol=1e-6)
        batch = twin.step(action[None])[0]
        one, whole = env.step(action)[0], world.step(action)[0]


def test_a_frame_that_cannot_be_is_refused():
    """The camera's frame needs a plan, and frames have names."""
    with pytest.raises(ValueError, match="`frame` 'camera' needs an encoder whose r has a geometry"):
        GQNObservationWrapper(camera_env(50), FakeEncoder(), frame="camera")
    with pytest.raises(ValueError, match="`frame` must be null or one of"):
        GQNObservationWrapper(camera_env(50), PlanEncoder(), frame="body")
