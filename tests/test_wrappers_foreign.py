"""Environments, encoders and vector environments of others, by small ones with the same surface."""

from __future__ import annotations

import pickle
import threading
import types

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from gqn_rl.envs.cameras import Fixed
from gqn_rl.envs.gymnasium.scene import GymnasiumScene
from gqn_rl.envs.renderer import shared_renderer
from gqn_rl.representation import load_encoder
from gqn_rl.views import CameraPose
from gqn_rl.wrappers import CameraObservation, GQNObservationWrapper, GQNVectorEnv
from gqn_rl.wrappers.factory import make_env, make_vec_env

EYE, SIZE = Fixed((1.0, 0.0, 0.8), (0.0, 0.0, 0.0)), 16
WORLD = """<mujoco><worldbody><light pos="0 0 3"/><camera name="front" pos="2 0 0" xyaxes="0 1 0 0 0 1"/>
<body name="ball"><joint type="slide" axis="0 1 0"/><joint type="slide" axis="1 0 0"/>
<geom size=".1" rgba="0 0 1 {alpha}"/><site name="dot" size=".1" rgba="0 1 0 {dot}"/></body>
<site name="goal" pos=".8 .8 .5" size=".1" rgba="1 0 0 1"/></worldbody></mujoco>"""
GOAL_KEYS = ["observation", "achieved_goal", "desired_goal"]


class Goals(gym.Env):
    """As gymnasium-robotics has it: Dict observations, and the goal's mark moves when a picture is prepared."""

    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    observation_space = gym.spaces.Dict({key: gym.spaces.Box(-9, 9, (3,), np.float64) for key in GOAL_KEYS})

    def __init__(self, alpha=1, dot=0):
        self.model = mujoco.MjModel.from_xml_string(WORLD.format(alpha=alpha, dot=dot))
        self.data = mujoco.MjData(self.model)
        self.goal = np.empty(0)

    def _observation(self):
        return {key: (self.goal if key == "desired_goal" else self.data.xpos[1].copy()) for key in GOAL_KEYS}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.goal = np.append(self.np_random.uniform(-0.4, 0.4, 2), 0.0)
        mujoco.mj_forward(self.model, self.data)
        return self._observation(), {}

    def step(self, action):
        self.data.qvel[:] = action
        mujoco.mj_step(self.model, self.data, 20)
        return self._observation(), 0.0, False, False, {}

    def _render_callback(self):
        self.model.site_pos[self.model.site("goal").id] = self.goal
        mujoco.mj_forward(self.model, self.data)


class Held:
    """A binding's wrapper around MuJoCo's own object."""

    def __init__(self, name, held):
        setattr(self, name, held)


class Bare(gym.Env):
    """An environment that keeps what holds its simulation to itself, as shimmy and robosuite do."""

    observation_space, action_space = gym.spaces.Box(-9, 9, (3,)), Goals.action_space

    def __init__(self, hold):
        self._env, self._inner = types.SimpleNamespace(), Goals()
        hold(self._env, self._inner)

    def reset(self, *, seed=None, options=None):
        return self._inner.reset(seed=seed)[0]["observation"].astype(np.float32), {}


def as_physics(holder, env):
    holder.physics = types.SimpleNamespace(model=Held("ptr", env.model), data=Held("ptr", env.data))


def as_sim(holder, env):
    holder.sim = types.SimpleNamespace(model=Held("_model", env.model), data=Held("_data", env.data))


class Session:
    """An encoder that holds a lock, as compiled sessions and clients do."""

    image_size, representation_shape = SIZE, (3,)

    def __init__(self):
        self.lock = threading.Lock()

    def encode_views(self, images, viewpoints):
        assert images.flags.c_contiguous and viewpoints.flags.c_contiguous
        return images.mean((1, 2), dtype=np.float32)


def test_the_goal_is_drawn_where_it_is():
    """What the environment does to its model in `render()` is done before every picture."""
    env = CameraObservation(Goals(), EYE, 64)
    places = []
    for seed in range(3):
        picture, world = env.reset(seed=seed)[0]["image"].astype(int), env.unwrapped
        np.testing.assert_allclose(world.data.site("goal").xpos, world.goal)
        rows, columns = np.nonzero((picture[..., 0] > 60) & (picture[..., 2] < 40))
        places.append((rows.mean(), columns.mean()))
        assert np.sign(columns.mean() - 31.5) == np.sign(world.goal[1])
    assert len(set(places)) == 3


def test_preparing_a_picture_leaves_the_physics_as_it_was():
    """The same actions lead to the same state, to the last bit, looked at or not."""
    seen, unseen = CameraObservation(Goals(), EYE, SIZE), Goals()
    for env in (seen, unseen):
        env.reset(seed=0)
        for _ in range(5):
            env.step(np.array([0.3, -0.2]))
    np.testing.assert_array_equal(seen.unwrapped.data.qpos, unseen.data.qpos)
    np.testing.assert_array_equal(seen.unwrapped.data.qacc_warmstart, unseen.data.qacc_warmstart)


def test_goals_of_a_dict_observation_stand_beside_r():
    """`keep` hands them through both wrappers, as hindsight experience replay wants them."""
    env = GQNObservationWrapper(CameraObservation(Goals(), EYE, SIZE, keep=GOAL_KEYS), Session(), keep=GOAL_KEYS)
    observation, _ = env.reset(seed=1)
    assert set(observation) == {"representation", "viewpoint", *GOAL_KEYS} == set(env.observation_space.spaces)
    np.testing.assert_array_equal(observation["desired_goal"], env.unwrapped.goal)
    assert env.observation_space["achieved_goal"] == Goals.observation_space["achieved_goal"]


@pytest.fixture
def goals_id():
    """The id under which `Goals` is registered for one test."""
    gym.register("Goals-v0", Goals)
    yield "Goals-v0"
    del gym.registry["Goals-v0"]


@pytest.mark.parametrize("repr", ["pixels", "gqn"])
def test_the_factories_keep_goals_too(goals_id, repr):
    """`make_env` and `make_vec_env` hand them on beside pictures and beside r."""
    how = {
        "repr": repr,
        "camera": EYE,
        "size": SIZE,
        "keep": GOAL_KEYS,
        "encoder": Session() if repr == "gqn" else None,
    }
    seen = {"pixels": {"image", "viewpoint"}, "gqn": {"representation", "viewpoint"}}[repr]
    env, envs = make_env(goals_id, **how), make_vec_env(goals_id, num_envs=2, seed=5, **how)
    observation, observations = env.reset(seed=5)[0], envs.reset()
    assert set(observation) == set(observations) == set(env.observation_space.spaces) == {*GOAL_KEYS, *seen}
    np.testing.assert_array_equal(observation["desired_goal"], env.unwrapped.goal)
    np.testing.assert_array_equal(observations["desired_goal"][0], env.unwrapped.goal)
    assert (envs.step(np.ones((2, 2)))[0]["achieved_goal"][:, :2] > 0).all()


def test_the_factories_hand_the_picture_on_beside_goals(goals_id):
    """Beside r, `keep` may name the picture as before; it is not looked for among the environment's own keys."""
    env = make_env(goals_id, camera=EYE, size=SIZE, encoder=Session(), keep=["image", "desired_goal"])
    assert env.reset(seed=0)[0]["image"].shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize(("repr", "keep", "said"), [
    ("oracle", ["achieved_goal"], "has no effect with repr='oracle'"),
    ("pixels", ["image"], "own keys with repr='pixels'"),
    ("pixels", "achieved_goal", "must be a list of observation keys"),
    ("pixels", ["goal"], r"entries of the environment's observation .*got \['goal'\]"),
])  # fmt: skip
def test_the_factories_refuse_what_cannot_be_kept(goals_id, repr, keep, said):
    """One sentence each."""
    with pytest.raises(ValueError, match=said):
        make_env(goals_id, repr, EYE, size=SIZE, keep=keep)


@pytest.mark.parametrize(("keep", "said"), [
    (["goal"], r"\['achieved_goal', 'desired_goal', 'observation'\]\), got \['goal'\]"),
    ("observation", "got the string"),
])  # fmt: skip
def test_what_cannot_be_kept_is_refused(keep, said):
    """The message lists the entries there are."""
    with pytest.raises(ValueError, match=said):
        CameraObservation(Goals(), EYE, SIZE, keep=keep)


@pytest.mark.parametrize("hold", [as_physics, as_sim])
def test_model_and_data_are_found_in_physics_and_sim(hold):
    """dm_control through shimmy and robosuite keep them there; the picture is that of the bare model."""
    env = CameraObservation(Bare(hold), EYE, SIZE)
    picture, inner = env.reset(seed=0)[0]["image"], env.unwrapped._inner
    ours = shared_renderer(inner.model, SIZE, SIZE).render(inner.model, inner.data, EYE.sample(np.random.default_rng()))
    np.testing.assert_array_equal(picture, ours)
    assert CameraObservation(Bare(hold), "front", SIZE).reset(seed=0)[0]["viewpoint"][0] == 2


def test_model_and_data_can_be_given_by_a_function():
    """Where they are found nowhere, the message says so."""

    def hide(holder, env):
        holder.elsewhere = env

    with pytest.raises(ValueError, match="give `simulation`, a function from the environment to"):
        CameraObservation(Bare(hide), EYE, SIZE)

    def simulation(env):
        inner = env.unwrapped._env.elsewhere
        return inner.model, inner.data

    picture = CameraObservation(Bare(hide), EYE, SIZE, simulation=simulation).reset(seed=0)[0]["image"]
    np.testing.assert_array_equal(picture, CameraObservation(Bare(as_sim), EYE, SIZE).reset(seed=0)[0]["image"])


def test_a_wrapper_with_a_camera_of_the_model_and_its_own_look_can_be_pickled():
    """A copy in another process draws the same."""
    env = CameraObservation(gym.make("HalfCheetah-v5"), "track", SIZE, visual={"geomgroup": [0]})
    again = pickle.loads(pickle.dumps(env))
    pictures = [one.reset(seed=0)[0]["image"] for one in (env, again)]
    np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize(("alpha", "dot", "has_ball"), [(1, 0, True), (0, 1, True), (0, 0, False)])
def test_what_moves_may_be_a_site(alpha, dot, has_ball):
    """PointMaze's ball is a site on a body whose geom is not drawn; where neither is, there is nothing to look at."""
    gym.register("Ball-v0", entry_point=Goals, kwargs={"alpha": alpha, "dot": dot})
    try:
        if has_ball:
            assert GymnasiumScene("Ball-v0", max_steps=2).ball.radius_m > 0.1
        else:
            with pytest.raises(ValueError, match="draws nothing that moves"):
                GymnasiumScene("Ball-v0", max_steps=2)
    finally:
        gym.registry.pop("Ball-v0")


def test_an_encoder_is_neither_copied_nor_pickled():
    """Its lock stays where it is, and the wrapper's recorded arguments hold the very object."""
    session = Session()
    env = GQNObservationWrapper(CameraObservation(Goals(), EYE, SIZE), session)
    assert env.reset(seed=0)[0]["representation"].shape == (3,)
    assert env._saved_kwargs["encoder"] is session


def test_flipped_and_turned_pictures_are_encoded():
    """Gymnasium's MuJoCo pictures are flipped views, BGR ones are turned: encoded like their copies."""
    env = gym.make("InvertedPendulum-v5", render_mode="rgb_array", width=SIZE, height=SIZE)
    env = gym.wrappers.AddRenderObservation(env, render_only=True)
    env = GQNObservationWrapper(env, Session(), viewpoint=CameraPose.look_at((2, 0, 1), (0, 0, 0)))
    assert set(env.reset(seed=0)[0]) == {"representation", "viewpoint"}
    env.close()
    encoder, rng = load_encoder("jaco"), np.random.default_rng(0)
    images = rng.integers(0, 255, (2, encoder.image_size, encoder.image_size, 3), np.uint8)
    viewpoints = np.zeros((2, 7), np.float32)
    for turned in (images[:, ::-1], images[..., ::-1], images.transpose(0, 2, 1, 3), images[::-1]):
        np.testing.assert_array_equal(
            encoder.encode_views(turned, viewpoints), encoder.encode_views(turned.copy(), viewpoints)
        )


class Counting(gym.Env):
    """Observes a bare picture whose every pixel is the number of steps since the reset; ends after the second."""

    observation_space, action_space = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros((SIZE, SIZE, 3), np.uint8), {}

    def step(self, action):
        self.t += 1
        return np.full((SIZE, SIZE, 3), self.t, np.uint8), 0.0, self.t == 2, False, {}


class Silent(gym.vector.VectorWrapper):
    """Does not say its autoreset mode; with `as_array` the last observations come as one array."""

    def __init__(self, env, as_array=False):
        super().__init__(env)
        self.metadata = {key: value for key, value in env.metadata.items() if key != "autoreset_mode"}
        self._as_array = as_array

    def step(self, actions):
        *rest, infos = self.env.step(actions)
        if self._as_array and "final_obs" in infos:
            infos["final_obs"] = np.stack(list(infos["final_obs"]))
        return *rest, infos


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_vector_environments_that_do_not_say_how_they_begin_anew(mode, as_array):
    """By hand: sums over the episodes 0, 1, 2; where `final_obs` comes, its r is that of the ended episode."""
    inner = SyncVectorEnv([Counting, Counting], autoreset_mode=mode)
    envs = GQNVectorEnv(Silent(inner, as_array), Session(), "episode", viewpoint=np.zeros(7, np.float32))
    sums, last = [float(envs.reset()[0]["representation"][0, 0])], []
    for _ in range(5):
        observation, *_, infos = envs.step(np.zeros(2, int))
        sums.append(float(observation["representation"][1, 0]))
        last += [float(infos["final_obs"][1]["representation"][0])] if "final_obs" in infos else []
    if mode == AutoresetMode.NEXT_STEP:
        assert (sums, last) == ([0, 1, 3, 0, 1, 3], [])
    else:
        assert (sums, last) == ([0, 1, 0, 1, 0, 1], [3, 3])


def test_an_unknown_autoreset_mode_is_refused():
    """The message lists those there are."""
    envs = SyncVectorEnv([Counting])
    envs.metadata = {"autoreset_mode": "sometimes"}
    with pytest.raises(ValueError, match=r"must be one of \['NextStep', 'SameStep', 'Disabled'\], got 'sometimes'"):
        GQNVectorEnv(envs, Session(), viewpoint=np.zeros(7, np.float32))
