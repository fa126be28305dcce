"""CameraObservation and GQNObservationWrapper on an environment that is not ours, Gymnasium's Reacher-v5."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from gqn_rl.envs.cameras import Dome, Fixed
from gqn_rl.views import CameraPose
from gqn_rl.wrappers import CameraObservation, GQNObservationWrapper, make_env

SIZE = 16
FIXED = Fixed((0.35, 0.0, 0.45), (0.0, 0.0, 0.0))
MOVING = Dome((0.0, 0.0, 0.0), (0.5, 0.7), (0.0, 360.0), (30.0, 70.0))


class FakeEncoder:
    """ψ = (mean red, green and blue of the picture, x of the camera): enough to tell views apart."""

    representation_shape = (4,)

    def __init__(self, image_size=SIZE):
        self.image_size = image_size

    def encode_views(self, images, viewpoints):
        return np.concatenate([images.mean((1, 2)), viewpoints[:, :1]], axis=1).astype(np.float32)


class NarrowEncoder(FakeEncoder):
    """One that says which field of view it was trained on."""

    fovy_deg = 30.0


class NarrowCamera(Fixed):
    """A camera with a field of view of its own."""

    fovy_deg = 30.0


def test_an_encoder_of_another_field_of_view_is_refused():
    """The camera's own field of view counts; both numbers are named, and the right camera is taken."""
    with pytest.raises(ValueError, match=r"was trained on .* of 30°, but the pictures of the environment have 45°; "):
        GQNObservationWrapper(reacher(FIXED), NarrowEncoder())
    env = GQNObservationWrapper(reacher(NarrowCamera((0.35, 0.0, 0.45), (0.0, 0.0, 0.0))), NarrowEncoder())
    assert env.observation_space["representation"].shape == (4,)
    assert GQNObservationWrapper(PictureEnv(), NarrowEncoder(), viewpoint=np.zeros(7)) is not None  # says no camera


class PictureEnv(gym.Env):
    """Observes a bare picture whose every pixel is 10 times the number of steps since the reset."""

    observation_space = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._picture(), {}

    def step(self, action):
        self.t += 1
        return self._picture(), 0.0, False, self.t >= 3, {}

    def _picture(self):
        return np.full((SIZE, SIZE, 3), 10 * self.t, np.uint8)


def reacher(camera=MOVING, size=SIZE):
    return CameraObservation(gym.make("Reacher-v5"), camera, size)


def rollout(env, seed, num_steps=4):
    """Returns the observations of one reset and a few fixed actions."""
    observations = [env.reset(seed=seed)[0]]
    return observations + [env.step(np.array([0.5, -0.5], np.float32))[0] for _ in range(num_steps)]


def constant_viewpoint():
    return CameraPose.look_at(FIXED.position_w, FIXED.target_w)


def test_the_camera_gives_pictures_and_its_own_viewpoint():
    """The picture has the size asked for and shows something; the viewpoint is the fixed camera's."""
    observation, _ = reacher(FIXED, 24).reset(seed=0)
    assert observation["image"].shape == (24, 24, 3) and observation["image"].std() > 1
    np.testing.assert_array_equal(observation["viewpoint"], constant_viewpoint().viewpoint)


def test_a_moving_camera_moves_at_every_step_and_repeats_with_the_seed():
    """Viewpoints differ from step to step, are the same for the same seed, and others for another one."""
    env = reacher(MOVING)
    first, again, other = (np.stack([o["viewpoint"] for o in rollout(env, seed)]) for seed in (3, 3, 4))
    assert len(np.unique(first[:, 0])) == len(first)
    np.testing.assert_array_equal(first, again)
    assert not np.isin(first[:, 0], other[:, 0]).any()


def test_looking_does_not_change_the_episode():
    """The environment draws the same start whether a camera looks at it or not."""
    seen, unseen = reacher(MOVING), gym.make("Reacher-v5")
    rollout(seen, 5)
    rollout(unseen, 5)
    np.testing.assert_array_equal(seen.unwrapped.data.qpos, unseen.unwrapped.data.qpos)


def test_a_camera_of_the_mjcf_file_is_found_by_name():
    """HalfCheetah's tracking camera follows the body, and its pose is read from the physics."""
    env = CameraObservation(gym.make("HalfCheetah-v5"), "track", 16)
    observation, _ = env.reset(seed=0)
    np.testing.assert_allclose(observation["viewpoint"][:3], env.unwrapped.data.camera("track").xpos, rtol=1e-5)


def test_unknown_cameras_and_environments_without_mujoco_are_refused():
    """The message lists the cameras there are."""
    with pytest.raises(ValueError, match=r"cameras .*fixed.*got 'side'"):
        CameraObservation(gym.make("gqn_rl/JacoReach-v0"), "side")
    with pytest.raises(ValueError, match="must have a MuJoCo `model`"):
        CameraObservation(gym.make("CartPole-v1"), FIXED)
    with pytest.raises(ValueError, match="`size` must be at least 1"):
        reacher(size=0)


@pytest.mark.parametrize(("context", "expected"), [
    ("current", [0, 10, 20, 30]), ("window", [0, 10, 30, 50]), ("episode", [0, 10, 30, 60]),
])  # fmt: skip
def test_r_is_the_sum_over_the_context_and_a_reset_clears_it(context, expected):
    """By hand: pictures 0, 10, 20, 30; a window of two frames; the second episode repeats the first."""
    env = GQNObservationWrapper(PictureEnv(), FakeEncoder(), context, window=2, viewpoint=constant_viewpoint())
    for _ in range(2):
        seen = [env.reset()[0]] + [env.step(0)[0] for _ in range(3)]
        assert [float(o["representation"][0]) for o in seen] == expected


def test_a_callable_viewpoint_is_asked_at_every_step():
    """An environment that gives no viewpoint can be asked for it."""
    env = GQNObservationWrapper(
        PictureEnv(), FakeEncoder(), viewpoint=lambda env: np.full(7, env.unwrapped.t, np.float32)
    )
    env.reset()
    observation, *_ = env.step(0)
    np.testing.assert_array_equal(observation["viewpoint"], np.ones(7))
    assert observation["representation"][3] == 1


def test_keys_are_left_out_or_kept_as_asked():
    """`include_viewpoint=False` drops the viewpoint, `keep` hands the picture through."""
    env = GQNObservationWrapper(reacher(), FakeEncoder(), include_viewpoint=False, keep=["image"])
    observation, _ = env.reset(seed=0)
    assert set(observation) == set(env.observation_space.spaces) == {"representation", "image"}


@pytest.mark.parametrize(("make", "message"), [
    (lambda: GQNObservationWrapper(reacher(size=24), FakeEncoder()), "16x16 pixels, but the environment gives 24x24"),
    (lambda: GQNObservationWrapper(PictureEnv(), FakeEncoder()), "observes no viewpoint; give `viewpoint`"),
    (lambda: GQNObservationWrapper(reacher(), FakeEncoder(), viewpoint=np.zeros(7)), "already observes one"),
    (lambda: GQNObservationWrapper(reacher(), FakeEncoder(), viewpoint=lambda env: np.zeros(7)), "already observes"),
    (lambda: GQNObservationWrapper(PictureEnv(), FakeEncoder(), viewpoint=[1.0, 2.0]), r"shape \(7,\)"),
    (lambda: GQNObservationWrapper(gym.make("CartPole-v1"), FakeEncoder()), "`CameraObservation` first"),
    (lambda: GQNObservationWrapper(reacher(), FakeEncoder(), "all"), "`context` must be one of"),
    (lambda: GQNObservationWrapper(reacher(), FakeEncoder(), "window", window=0), "`window` must be at least 1"),
    (lambda: GQNObservationWrapper(reacher(), FakeEncoder(), keep=["speed"]), "`keep` must name keys"),
    (lambda: GQNObservationWrapper(reacher(), "nowhere.safetensors"), "is no encoder"),
    (lambda: make_env("Reacher-v5", "sound", FIXED), "`repr` must be one of"),
    (lambda: make_env("Reacher-v5", "gqn", FIXED), "`encoder` must be given with repr='gqn'"),
    (lambda: make_env("Reacher-v5", "pixels", FIXED, proprioception=["sin_"]), "no `observation_names`"),
])  # fmt: skip
def test_mistakes_are_named(make, message):
    """Each mistake is one clear ValueError."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("repr", ["pixels", "gqn"])
def test_proprioception_is_part_of_the_true_state_and_of_nothing_else(repr):
    """The joints as the oracle has them, beside the picture or r; hand and target are not told."""
    names = make_env("gqn_rl/JacoReach-v0", "oracle").unwrapped.observation_names
    joints = [i for i, name in enumerate(names) if name.startswith(("sin_", "cos_"))]
    assert 0 < len(joints) < len(names)
    words = {"camera": "moving", "encoder": FakeEncoder(), "size": SIZE, "proprioception": ["sin_", "cos_"]}
    env = make_env("gqn_rl/JacoReach-v0", repr, **words)
    check_env(env, skip_render_check=True)
    told, seen = (e.reset(seed=5)[0] for e in (make_env("gqn_rl/JacoReach-v0", "oracle"), env))
    np.testing.assert_array_equal(seen["proprioception"], told[joints])
    assert set(seen) == {"proprioception", "viewpoint", "image" if repr == "pixels" else "representation"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("repr", ["oracle", "pixels", "gqn"])
@pytest.mark.parametrize(("env_id", "camera"), [("Reacher-v5", MOVING), ("gqn_rl/JacoReach-v0", "moving")])
def test_both_env_checkers_accept_every_chain(env_id, camera, repr):
    """Gymnasium's and Stable-Baselines3's checkers find nothing to complain about."""
    env = make_env(env_id, repr, camera, FakeEncoder(64), size=64)
    check_env(env, skip_render_check=True)
    check_env_sb3(env)


@pytest.mark.parametrize("env_id", ["Reacher-v5", "gqn_rl/JacoReach-v0"])
def test_chains_can_be_pickled_also_after_rendering(env_id):
    """The copy goes on to give the same observations."""
    env = make_env(env_id, "gqn", MOVING, FakeEncoder())
    before = env.reset(seed=1)[0]
    after = pickle.loads(pickle.dumps(env)).reset(seed=1)[0]
    np.testing.assert_array_equal(before["representation"], after["representation"])


def test_a_wrong_pose_is_told_and_the_picture_is_of_the_right_one():
    """2 cm and 2°: the deviation over episodes is that, the error stays through each, pictures are those without."""
    exact, wrong = (make_env("gqn_rl/JacoReach-v0", "pixels", "fixed", pose_noise=n) for n in ((0.0, 0.0), (0.02, 2.0)))
    errors = []
    for seed in range(150):
        (one, _), (other, _) = exact.reset(seed=seed), wrong.reset(seed=seed)
        right, told = (CameraPose.from_viewpoint(seen["viewpoint"]) for seen in (one, other))
        errors.append([*np.subtract(told.position_w, right.position_w), told.yaw_rad - right.yaw_rad])
        errors[-1].append(told.pitch_rad - right.pitch_rad)
        if seed < 3:
            assert np.array_equal(one["image"], other["image"])
            later = wrong.step(wrong.action_space.sample())[0]
            assert np.array_equal(later["viewpoint"], other["viewpoint"])
    errors = np.array(errors)
    errors[:, 3] = np.angle(np.exp(1j * errors[:, 3]))
    np.testing.assert_allclose(errors.std(axis=0), [0.02] * 3 + [np.deg2rad(2.0)] * 2, rtol=0.2)
    assert np.abs(errors.mean(axis=0)).max() < 0.01


def test_pose_noise_is_two_deviations():
    """Metres and degrees, none below 0."""
    with pytest.raises(ValueError, match="`pose_noise` must be two deviations of at least 0, metres and degrees"):
        make_env("gqn_rl/JacoReach-v0", "pixels", "fixed", pose_noise=(0.02, -1.0))
