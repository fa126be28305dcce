"""A3C as users of Stable-Baselines3 use it: exact counts, repeatable and resumable runs, callbacks, files, the log."""

import copy
import csv
import functools

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from gqn_rl.agents.a3c import A3C
from gqn_rl.agents.a3c.env_source import make_vectorised
from gqn_rl.agents.a3c.messages import WorkUnit
from tests.tiny_envs import Echo, Listener, Pictures, Unpicklable, read_episodes

POLICIES = [("MlpPolicy", {"net_arch": [16]}), ("MlpLstmPolicy", {"net_arch": [16], "lstm_hidden_size": 16})]


# --------------------------------------------------------------------------------------------------------- step counts

pytestmark = pytest.mark.usefixtures("quick_workers")


@pytest.mark.parametrize(("n_workers", "total_steps"), [(1, 1), (1, 203), (2, 307)])
def test_steps_are_counted_exactly(n_workers, total_steps):
    """`learn` makes as many steps as asked for, also between multiples of T and of a work unit, each counted once."""
    model, listener = A3C("MlpPolicy", "CartPole-v1", n_workers=n_workers, seed=0), Listener()
    model.learn(total_steps, listener)
    assert model.num_timesteps == listener.n_calls == total_steps
    assert listener.num_timesteps_seen == list(range(1, total_steps + 1))
    model.learn(7, reset_num_timesteps=False)
    assert model.num_timesteps == total_steps + 7


def test_steps_of_vector_environments_are_rounded_up():
    """With N = 2, 11 steps become 12, told two at a time."""
    model, listener = A3C("MlpPolicy", functools.partial(DummyVecEnv, [Echo, Echo]), n_workers=1, seed=0), Listener()
    model.learn(11, listener)
    assert model.num_timesteps == 12 and listener.n_calls == 6
    assert all(rewards.shape == (2,) for rewards in listener.rewards)


def test_a_vector_environment_is_copied_to_the_workers():
    """What is learnt is what a factory of it gives, bit for bit."""
    from_factory, from_envs = (
        A3C("MlpPolicy", env, n_workers=1, seed=0).learn(60)
        for env in (functools.partial(DummyVecEnv, [Echo, Echo]), DummyVecEnv([Echo, Echo]))
    )
    for ours, theirs in zip(from_factory.policy.parameters(), from_envs.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert from_envs.n_envs == 2


def test_statistics_that_stand_still_may_normalise():
    """Observations are divided by the deviations that were gathered beforehand, in the workers as here."""
    envs = VecNormalize(DummyVecEnv([Echo]), training=False, norm_reward=False)
    envs.obs_rms.mean, envs.obs_rms.var = np.zeros(3), np.full(3, 4.0)
    model = A3C("MlpPolicy", envs, n_workers=1, seed=0).learn(20)
    worker = make_vectorised(model.env.source)
    np.testing.assert_allclose(worker.reset(), [[0.0, np.cos(0) / 2, 0.0]], rtol=1e-6)


def test_a_work_unit_is_cut_into_rollouts():
    """T, T, and what remains."""
    assert WorkUnit(12, 0.1, 0.0).rollout_lengths(5) == [5, 5, 2]
    assert WorkUnit(10, 0.1, 0.0).rollout_lengths(5) == [5, 5]


def test_a_callback_that_returns_false_ends_the_training():
    """The step at which it did so is the last that counts, and no process is left."""
    model, listener = A3C("MlpPolicy", "CartPole-v1", n_workers=2, seed=0), Listener(stop_after=42)
    model.learn(100_000, listener)
    assert model.num_timesteps == listener.n_calls == 42
    assert not torch.multiprocessing.active_children()


def test_sb3s_own_callbacks_work(tmp_path):
    """EvalCallback evaluates the learnt policy and keeps the best, CheckpointCallback saves, every 200 steps."""
    model = A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=0)
    eval_env = Monitor(gym.make("CartPole-v1", max_episode_steps=20))
    evaluation = EvalCallback(eval_env, n_eval_episodes=1, eval_freq=200, log_path=tmp_path, verbose=0)
    evaluation.best_model_save_path = str(tmp_path)
    model.learn(450, [evaluation, CheckpointCallback(200, str(tmp_path), "step")])
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [200, 400]
    assert {"step_200_steps.zip", "step_400_steps.zip", "best_model.zip"} <= {path.name for path in tmp_path.iterdir()}
    assert A3C.load(tmp_path / "step_400_steps").num_timesteps == 400


# ----------------------------------------------------------------------------------------------------- reproducibility


def everything(model):
    """Returns all numbers of parameters and optimiser."""
    optimizer = model.policy.optimizer.state_dict()["state"][0]
    return [*model.policy.state_dict().values(), *(value for value in optimizer.values() if torch.is_tensor(value))]


def are_equal(model, other):
    return all(torch.equal(one, two) for one, two in zip(everything(model), everything(other), strict=True))


def test_one_worker_and_a_seed_decide_every_bit():
    """Parameters and the optimiser's state of two runs are equal; another seed gives others."""
    models = [A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=seed).learn(333) for seed in (5, 5, 6)]
    assert len(everything(models[0])) > 8
    assert are_equal(models[0], models[1]) and not are_equal(models[0], models[2])


@pytest.mark.parametrize("use_rms_prop", [True, False])
@pytest.mark.parametrize(("policy", "policy_kwargs"), POLICIES, ids=["Mlp", "MlpLstm"])
def test_a_saved_model_goes_on_as_if_it_had_never_stopped(policy, policy_kwargs, use_rms_prop, tmp_path):
    """203 steps, save, load and 203 more are 406 steps bit for bit: environment, memory, random numbers, optimiser.

    The first part must end with a whole rollout, here the 29th of 7 steps; otherwise one update sees fewer steps.
    """
    arguments = {"n_workers": 1, "seed": 1, "policy_kwargs": policy_kwargs, "use_rms_prop": use_rms_prop}
    whole = A3C(policy, "CartPole-v1", n_steps=7, **arguments).learn(406)
    A3C(policy, "CartPole-v1", n_steps=7, **arguments).learn(203).save(tmp_path / "half")
    half = A3C.load(tmp_path / "half", "CartPole-v1")
    half.learn(203, reset_num_timesteps=False)
    assert half.num_timesteps == 406 and half.num_updates == whole.num_updates
    assert are_equal(half, whole)


@pytest.mark.parametrize(("source", "saves"), [(Echo, False), (Unpicklable, True)], ids=["not wanted", "not possible"])
def test_without_the_environments_state_training_goes_on_with_new_episodes(source, saves, tmp_path):
    """The file then holds no environment, and the first episode after loading starts at its first step."""
    A3C("MlpPolicy", source, n_workers=1, seed=1, save_env_state=saves, n_steps=2).learn(2).save(tmp_path / "model")
    model = A3C.load(tmp_path / "model", source, monitor_file=tmp_path / "later.monitor.csv")
    assert model.worker_states == [None]
    model.learn(4, reset_num_timesteps=False)
    assert model.num_timesteps == 6 and read_episodes(tmp_path)["l"].tolist() == [4]


def test_pictures_go_on_in_the_middle_of_an_episode(tmp_path):
    """SB3's wrapper that puts the channels of pictures first is saved with the environment that it wraps."""
    arguments = {"policy_kwargs": {"net_arch": [8]}, "n_workers": 1, "seed": 0}
    make_env = functools.partial(Pictures, False)
    whole = A3C("CnnPolicy", make_env, **arguments).learn(10)
    A3C("CnnPolicy", make_env, **arguments).learn(5).save(tmp_path / "model")
    continued = A3C.load(tmp_path / "model", make_env).learn(5, reset_num_timesteps=False)
    for ours, theirs in zip(whole.policy.parameters(), continued.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_loaded_model_may_have_another_number_of_workers(n_workers, tmp_path):
    """States of workers that are no more are dropped, new workers begin anew."""
    A3C("MlpPolicy", Echo, n_workers=2, seed=1).learn(300).save(tmp_path / "model")
    model = A3C.load(tmp_path / "model", Echo, n_workers=n_workers)
    model.learn(300, reset_num_timesteps=False)
    assert model.num_timesteps == 600 and len(model.worker_states) == n_workers


def test_a_new_training_begins_new_episodes():
    """`learn` twice from the same parameters and with reset counters is the same as once: nothing else is left over."""
    model = A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=1)
    start = copy.deepcopy(model.get_parameters())
    model.learn(50)
    first = [value.clone() for value in everything(model)]
    model.set_parameters(start)
    model.learn(50)
    assert all(torch.equal(one, two) for one, two in zip(first, everything(model), strict=True))


# ------------------------------------------------------------------------------------------------------- SB3's surface


def test_a_loaded_model_acts_like_the_saved_one(tmp_path):
    """`predict` of one and of several observations, with and without an environment."""
    model = A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=0).learn(60)
    model.save(tmp_path / "model")
    loaded = A3C.load(tmp_path / "model")
    batch = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    actions, _ = model.predict(batch, deterministic=True)
    assert actions.shape == (20,) and set(actions) <= {0, 1}
    assert np.array_equal(loaded.predict(batch, deterministic=True)[0], actions)
    assert loaded.predict(batch[0], deterministic=True)[0] == actions[0]
    assert are_equal(model, loaded) and loaded.n_workers == 1


def test_parameters_can_be_taken_out_and_put_in():
    """`get_parameters` of one model, set into another, make it equal, the shared θ included."""
    one, other = (A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=seed, learning_rate=0.0) for seed in (0, 1))
    one.learn(20)
    other.set_parameters(one.get_parameters())
    assert are_equal(one, other)
    other.learn(20)  # at learning rate 0: workers began with what was set
    assert all(torch.equal(p, q) for p, q in zip(one.policy.parameters(), other.policy.parameters(), strict=True))


def test_other_spaces_are_refused(tmp_path):
    """A model cannot be loaded with an environment that it was not made for."""
    A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=0).save(tmp_path / "model")
    with pytest.raises(ValueError, match="spaces do not match"):
        A3C.load(tmp_path / "model", Echo)


def test_an_lstm_policy_predicts_with_its_state():
    """`predict` returns the memory, and an episode's start empties it."""
    model = A3C("MlpLstmPolicy", Echo, n_workers=1, seed=0, policy_kwargs={"lstm_hidden_size": 6})
    observation = np.ones(3, np.float32)
    _, state = model.predict(observation)
    assert [part.shape for part in state] == [(1, 1, 6)] * 2
    _, later = model.predict(observation, state)
    _, again = model.predict(observation, later, episode_start=np.ones(1, bool))
    assert not np.array_equal(later[0], state[0]) and np.array_equal(again[0], state[0])


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Box(-1, 1, (2,), np.float32),
        gym.spaces.Discrete(3),
        gym.spaces.MultiDiscrete([3, 2]),
        gym.spaces.MultiBinary(2),
    ],
    ids=lambda space: type(space).__name__,
)
@pytest.mark.parametrize(("policy", "policy_kwargs"), POLICIES, ids=["Mlp", "MlpLstm"])
def test_every_kind_of_action_is_learnt(policy, policy_kwargs, space):
    """The echo rewards the largest action: a few hundred steps raise the mean reward."""
    source = functools.partial(Echo, space)
    arguments = {"n_steps": 8, "learning_rate": 0.01, "policy_kwargs": policy_kwargs, "gamma": 0.5}
    model, listener = A3C(policy, source, n_workers=1, seed=0, **arguments), Listener()
    model.learn(800, listener)
    rewards = np.concatenate(listener.rewards)
    assert rewards[-200:].mean() > rewards[:200].mean() + 0.1
    action, _ = model.predict(np.zeros(3, np.float32), deterministic=True)
    assert space.contains(action if action.shape else int(action))


@pytest.mark.parametrize(
    ("policy", "has_vector"),
    [("CnnPolicy", False), ("MultiInputPolicy", True), ("CnnLstmPolicy", False), ("MultiInputLstmPolicy", True)],
)
def test_pictures_and_dictionaries_are_observations_too(policy, has_vector):
    """Every policy alias trains on the observations it is for, and the parameters move."""
    source = functools.partial(Pictures, has_vector)
    kwargs = {"lstm_hidden_size": 8} if "Lstm" in policy else {}
    model = A3C(policy, source, n_workers=1, seed=0, policy_kwargs=kwargs)
    before = [value.clone() for value in model.policy.parameters()]
    model.learn(15)
    assert model.num_timesteps == 15
    assert all(not torch.equal(old, new) for old, new in zip(before, model.policy.parameters(), strict=True))


# ------------------------------------------------------------------------------------------------------------- the log


def test_the_log_has_sb3s_names_and_the_schedule_its_values(tmp_path):
    """Losses, episodes and clocks under the names of SB3; learning rate and entropy bonus fall with what remains."""
    falling = {"learning_rate": lambda left: 0.001 * left, "ent_coef": lambda left: 0.01 * left}
    model = A3C("MlpPolicy", "CartPole-v1", **falling, n_workers=1, seed=0)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(400, log_interval=20)
    with open(tmp_path / "progress.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    train = ["policy_loss", "value_loss", "entropy_loss", "explained_variance", "grad_norm", "learning_rate"]
    names = {*(f"train/{name}" for name in train), "rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps"}
    assert all(np.isfinite(float(rows[-1][name])) for name in names)
    assert [int(row["time/total_timesteps"]) for row in rows] == [100, 200, 300, 400]
    assert np.allclose([float(row["train/learning_rate"]) for row in rows], [0.001, 0.00075, 0.0005, 0.00025])
    assert np.allclose([float(row["train/ent_coef"]) for row in rows], [0.01, 0.0075, 0.005, 0.0025])


def test_tensorboard_gets_a_folder_for_each_training(tmp_path):
    """As with SB3: A3C_1, A3C_2, and a name of one's own."""
    model = A3C("MlpPolicy", Echo, n_workers=1, seed=0, tensorboard_log=str(tmp_path))
    model.learn(5, log_interval=1)
    model.learn(5, log_interval=1)
    model.learn(5, log_interval=1, tb_log_name="again")
    assert {file.parent.name for file in tmp_path.glob("*/events.*")} == {"A3C_1", "A3C_2", "again_1"}


@pytest.mark.parametrize("name", ["run.monitor.csv", "run"])
def test_the_monitor_file_is_one_of_sb3s(tmp_path, name):
    """Every episode of all workers is in it once; continued training appends to it, later in time."""
    model = A3C("MlpPolicy", Echo, n_workers=2, seed=0, monitor_file=tmp_path / name)
    model.learn(400)
    first = read_episodes(tmp_path)
    assert set(first["l"]) == {3, 4} and 400 - 2 * 3 <= first["l"].sum() <= 400  # two may be unfinished
    model.learn(400, reset_num_timesteps=False)
    both = read_episodes(tmp_path)
    assert len(both) > len(first) and both["r"][: len(first)].tolist() == first["r"].tolist()
    assert model.learn(7) and len(read_episodes(tmp_path)) <= 2  # a new training begins a new file


def test_a_monitor_file_named_later_is_complete(tmp_path):
    """Continued training writes the header when the file is new."""
    model = A3C("MlpPolicy", Echo, n_workers=1, seed=0).learn(7)
    model.monitor_file = tmp_path / "later.monitor.csv"
    model.learn(7, reset_num_timesteps=False)
    assert read_episodes(tmp_path)["l"].tolist() == [4, 3]


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"device": "cuda"}, "`device` must be 'auto' or 'cpu', since A3C's workers share memory, got 'cuda'"),
        (
            {"env": lambda: VecNormalize(DummyVecEnv([Echo]))},
            "`env` must not gather statistics .`VecNormalize`., since each worker would .* `training = False`",
        ),
        ({"env": DummyVecEnv([Unpicklable])}, "`env` cannot be copied to the workers .*generator.* factory"),
        ({"env": Unpicklable()}, "`env` cannot be copied to the workers .*generator.* factory"),
        ({"env": 7}, "`env` must be a Gymnasium id, an environment, a vector environment or a factory .* got int"),
        ({"n_workers": 0}, "`n_workers` must be at least 1, got 0"),
        ({"n_steps": 0}, "`n_steps` must be at least 1, got 0"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(arguments, sentence):
    """Whatever a user may get wrong is told at once, and not by a worker."""
    with pytest.raises(ValueError, match=sentence):
        A3C("MlpPolicy", **{"env": Echo} | arguments)
