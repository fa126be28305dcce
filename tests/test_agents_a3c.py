"""A3C: its gradient against plain computations, exact step counts, reproducibility, and SB3's surface."""

import copy
import csv
import functools
import io

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.monitor import Monitor, load_results
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch.nn import functional

from gqn_rl.agents.a3c import A3C, Learner, Settings, Ticket, flatten, n_step_advantages
from tests.tiny_envs import Echo, Pictures, Unpicklable, forkserver

GAMMA, ENT_COEF, VF_COEF = 0.9, 0.01, 0.5
WITHOUT_CLIPPING = {"gamma": GAMMA, "ent_coef": ENT_COEF, "vf_coef": VF_COEF, "max_grad_norm": 1e9}
GRADIENT_DESCENT = {"optimizer_class": torch.optim.SGD, "net_arch": [8]}
POLICIES = ["MlpPolicy", "MlpLstmPolicy"]


@pytest.fixture(autouse=True)
def quick_workers(monkeypatch):
    monkeypatch.setattr(torch.multiprocessing, "get_context", forkserver)


class Listener(BaseCallback):
    """Keeps what every step tells, and can end the training."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.stop_after, self.rewards, self.num_timesteps_seen = stop_after, [], []

    def _on_step(self):
        self.rewards.append(self.locals["rewards"].copy())
        self.num_timesteps_seen.append(self.model.num_timesteps)
        return self.stop_after is None or len(self.rewards) < self.stop_after


def make_learner(policy="MlpPolicy", source=Echo, **settings):
    """Makes, in this process, a worker's learner and the model that it belongs to."""
    defaults = {"n_workers": 1, "seed": 0, "policy_kwargs": {"net_arch": [8]}, **WITHOUT_CLIPPING}
    model = A3C(policy, source, **defaults | settings)
    names = [name for name in Settings.__dataclass_fields__ if name != "source"]
    told = Settings(source, **{name: getattr(model, name) for name in names})
    learner = Learner(told, weights_of(model), model._theta, model.policy.optimizer, seed=1)
    learner.synchronise()
    return model, learner


def weights_of(model):
    buffer = io.BytesIO()
    torch.save(model.policy.state_dict(), buffer)
    return buffer.getvalue()


# --- the gradient, by other means


class Steps:
    """The policy applied one step at a time with SB3's layers, remembering with LSTM cells' own modules."""

    def __init__(self, policy):
        self.policy, self.has_memory = policy, hasattr(policy, "lstm_actor")
        self.begin_episode()

    def begin_episode(self):
        self.actor_memory = self.critic_memory = None  # torch's LSTM starts from zeros

    def logits_and_value(self, observation, remember=True):
        features = torch.from_numpy(observation)[None]
        actor, critic = features, features
        if self.has_memory:
            actor, actor_memory = self.policy.lstm_actor(features, self.actor_memory)
            critic, critic_memory = self.policy.lstm_critic(features, self.critic_memory)
            if remember:
                self.actor_memory, self.critic_memory = actor_memory, critic_memory
        extractor = self.policy.mlp_extractor
        logits = self.policy.action_net(extractor.policy_net(actor))[0]
        return logits, self.policy.value_net(extractor.value_net(critic))[0, 0]


def plain_loss(policy, env, actions):
    """Replays `actions` and returns the terms of A3C's loss, summed over the steps of one environment."""
    steps, terms, trace = Steps(policy), [], []
    observation, _ = env.reset()
    for action in actions:
        logits, value = steps.logits_and_value(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        after = steps.logits_and_value(observation, remember=False)[1].item()
        trace.append((logits, value, int(action), reward, terminated, truncated, after))
        if terminated or truncated:
            observation, _ = env.reset()
            steps.begin_episode()
    for t, (logits, value, action, *_) in enumerate(trace):
        goal, discount = 0.0, 1.0
        for _, _, _, reward, terminated, truncated, after in trace[t:]:
            goal, discount = goal + discount * reward, discount * GAMMA
            if terminated or truncated:
                break
        goal += 0.0 if terminated else discount * after
        log_probs = functional.log_softmax(logits, dim=0)
        entropy = -(log_probs.exp() * log_probs).sum()
        advantage = goal - value.item()
        terms.append(-log_probs[action] * advantage - ENT_COEF * entropy + VF_COEF * (goal - value) ** 2)
    return torch.stack(terms).sum()


@pytest.mark.parametrize("num_envs", [1, 2])
@pytest.mark.parametrize("policy", POLICIES)
def test_one_update_is_the_gradient_of_a_plain_computation(policy, num_envs):
    """θ before − θ after, of a process run by gradient descent with lr 1, is the gradient got step by step.

    The 13 steps hold a termination (no bootstrap), two time limits (γ V of the last observation), memory emptied at
    each, and an unfinished episode, whose value is taken at the rollout's end.
    """
    source = Echo if num_envs == 1 else functools.partial(DummyVecEnv, [Echo, Echo])
    arguments = {"n_workers": 1, "n_steps": 13, "learning_rate": 1.0, "seed": 3, **WITHOUT_CLIPPING}
    model = A3C(policy, source, policy_kwargs=GRADIENT_DESCENT, **arguments)
    before, listener = copy.deepcopy(model.policy), Listener()
    model.learn(13 * num_envs, listener)
    actions = np.stack(listener.rewards).astype(int)  # Echo's rewards are the actions, [13, N]
    assert model.num_updates == 1 and actions.shape == (13, num_envs) and np.unique(actions).size > 1
    losses = [plain_loss(before, Echo(), actions[:, i]) for i in range(num_envs)]
    parameters = list(before.parameters())
    gradient = torch.autograd.grad(sum(losses) / actions.size, parameters)
    for name, old, slope, new in zip(
        dict(before.named_parameters()), parameters, gradient, model.policy.parameters(), strict=True
    ):
        torch.testing.assert_close(old - new, slope, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: name + text)
    assert sum(slope.abs().sum() for slope in gradient) > 0.1


def assert_same_norms(norms):
    assert np.allclose(norms, norms[0], rtol=1e-5)


def test_gradients_of_the_same_rollout_are_the_same_each_time():
    """With θ at rest, nothing of one gradient is left in the next."""
    _, learner = make_learner()
    rollout = learner.collect(8)
    norms, gradients = [], []
    for _ in range(3):
        norms.append(learner.compute_gradient(rollout)["grad_norm"])
        gradients.append(learner.theta.grad.clone())
    assert_same_norms(norms)
    assert torch.equal(gradients[0], gradients[2])


def test_the_widely_copied_sharing_of_gradients_fails_the_same_assertion():
    """Handing gradients over once, and zeroing only the shared optimiser's, lets the local ones add up: 1, 2, 3."""
    shared = torch.nn.Linear(3, 1)
    local, optimizer = copy.deepcopy(shared), torch.optim.SGD(shared.parameters(), lr=0.0)
    norms = []
    for _ in range(3):
        optimizer.zero_grad()  # since torch 2.0 this takes the shared parameters' gradients away: they are None
        local(torch.ones(5, 3)).sum().backward()  # adds to the local gradients, which nobody empties
        for mine, common in zip(local.parameters(), shared.parameters(), strict=True):
            if common.grad is None:
                common.grad = mine.grad
        norms.append(torch.cat([common.grad.flatten() for common in shared.parameters()]).norm().item())
        optimizer.step()
    with pytest.raises(AssertionError):
        assert_same_norms(norms)
    assert np.allclose(np.divide(norms, norms[0]), [1, 2, 3])


def test_the_norm_is_clipped_and_the_one_before_it_is_told():
    """`grad_norm` is what it was before clipping to `max_grad_norm`."""
    told, norms = [], []
    for max_grad_norm in (1e9, 0.01):
        _, learner = make_learner(max_grad_norm=max_grad_norm)
        told.append(learner.compute_gradient(learner.collect(8))["grad_norm"])
        norms.append(learner.theta.grad.norm().item())
    assert told[0] == told[1] == pytest.approx(norms[0], rel=1e-5)
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


# --- advantages


def test_n_step_returns_by_hand():
    """γ ½, rewards 1 2 4, end after the second step, value 8 after the last: returns 1 + ½ 2, 2, 4 + ½ 8, minus V."""
    rewards, values = np.array([[1, 2, 4]], np.float32), np.array([[0.5, 1, 2]], np.float32)
    dones, last_values = np.array([[False, True, False]]), np.array([8], np.float32)
    advantages = n_step_advantages(rewards, values, dones, last_values, gamma=0.5, gae_lambda=1.0)
    assert advantages.tolist() == [[1.5, 1.0, 6.0]] and advantages.dtype == np.float32


@pytest.mark.parametrize("gae_lambda", [0.0, 0.7, 1.0])
def test_advantages_are_the_sum_that_defines_them(gae_lambda):
    """A_t = Σ (γλ)^k δ_{t+k} up to the end of the episode, in each of several environments by itself."""
    rng, gamma = np.random.default_rng(0), 0.9
    rewards, values = rng.normal(size=(2, 4, 7)).astype(np.float32)
    dones, last_values = rng.random((4, 7)) < 0.3, rng.normal(size=4).astype(np.float32)
    advantages = n_step_advantages(rewards, values, dones, last_values, gamma, gae_lambda)
    for i in range(4):
        for t in range(7):
            expected = 0.0
            for k in range(t, 7):
                after = last_values[i] if k == 6 else values[i, k + 1]
                surprise = rewards[i, k] + gamma * after * (not dones[i, k]) - values[i, k]
                expected += (gamma * gae_lambda) ** (k - t) * surprise
                if dones[i, k]:
                    break
            assert advantages[i, t] == pytest.approx(expected, abs=1e-5)


def test_standardised_advantages_have_the_gradient_of_standardised_advantages():
    """`normalize_advantage` changes the policy's part of the loss alone, to mean 0 and spread 1 of the advantages."""
    _, learner = make_learner(normalize_advantage=True)
    rollout = learner.collect(8)
    losses = learner.compute_gradient(rollout)
    values, log_prob, _ = learner._evaluate(rollout)
    values = values.detach().numpy()
    last = rollout.last_values
    advantages = n_step_advantages(rollout.targets, values, rollout.dones, last, GAMMA, 1.0)
    expected = -(log_prob.detach().numpy() * (advantages - advantages.mean()) / advantages.std()).mean()
    assert losses["policy_loss"] == pytest.approx(expected, abs=1e-5)
    assert losses["value_loss"] == pytest.approx((advantages**2).mean(), rel=1e-5)


# --- ends of episodes, and the memory


@pytest.mark.parametrize("num_envs", [1, 2])
@pytest.mark.parametrize("policy", POLICIES)
def test_only_a_time_limit_is_bootstrapped(policy, num_envs):
    """A terminated episode's last target is its reward; one cut short adds γ V(last observation), as remembered."""
    source = Echo if num_envs == 1 else functools.partial(DummyVecEnv, [Echo, Echo])
    _, learner = make_learner(policy, source)
    rollout = learner.collect(7)  # 4 steps that terminate, 3 that are cut short
    added = rollout.targets - rollout.rewards
    assert rollout.dones.nonzero()[1].tolist() == [3, 6] * num_envs
    assert not added[:, :6].any() and added[:, 6].all()
    for i in range(num_envs):
        env, steps = Echo(), Steps(learner.policy)
        env.episode = 0
        observation, _ = env.reset()
        for action in rollout.actions[i, 4:]:
            steps.logits_and_value(observation)
            observation, *_ = env.step(action)
        assert added[i, 6] == pytest.approx(GAMMA * steps.logits_and_value(observation)[1].item(), abs=1e-6)


def test_memory_is_kept_within_an_episode_and_emptied_at_its_end():
    """Of two environments in different places, only the one whose episode ended forgets."""
    late = functools.partial(Echo, ends=("terminated",))
    soon = functools.partial(Echo, ends=("truncated",))
    _, learner = make_learner("MlpLstmPolicy", functools.partial(DummyVecEnv, [late, soon]))
    learner.collect(3)
    for part in (*learner.memory.pi, *learner.memory.vf):
        assert part[:, 0].any() and not part[:, 1].any()
    learner.collect(1)
    for part in (*learner.memory.pi, *learner.memory.vf):
        assert not part[:, 0].any() and part[:, 1].any()


def test_a_rollout_begins_with_the_memory_that_the_last_one_left():
    """Log-probabilities of two rollouts in a row are those of one long walk through the episode."""
    _, learner = make_learner("MlpLstmPolicy")
    rollouts = [learner.collect(2), learner.collect(2)]
    steps = Steps(learner.policy)
    for rollout in rollouts:
        _, log_prob, _ = learner._evaluate(rollout)
        for t in range(2):
            logits, _ = steps.logits_and_value(rollout.observations[0, t])
            expected = functional.log_softmax(logits, dim=0)[int(rollout.actions[0, t])]
            torch.testing.assert_close(log_prob[0, t], expected)


# --- flatten


def test_flatten_leaves_the_policy_as_it_was():
    """Outputs are the same bits, and the vector holds every parameter."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    inputs, before = torch.ones(5, 3), copy.deepcopy(net)
    theta, gradient = flatten(net)
    assert torch.equal(net(inputs), before(inputs))
    assert torch.equal(theta, torch.nn.utils.parameters_to_vector(before.parameters()))
    assert gradient.shape == theta.shape and not gradient.any()


def test_parameters_and_gradients_are_views_of_the_vectors():
    """What is written into the vector is what the policy computes with; backward writes into the other one."""
    net = torch.nn.Linear(3, 1)
    theta, gradient = flatten(net)
    theta.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert net(torch.ones(1, 3)).item() == 10.0
    net(torch.tensor([[5.0, 6.0, 7.0]])).backward()
    assert gradient.tolist() == [5.0, 6.0, 7.0, 1.0]


def test_frozen_parameters_stay_out_of_the_vector():
    """What does not want a gradient is neither shared nor moved."""
    net = torch.nn.Linear(3, 1)
    net.bias.requires_grad_(False)
    theta, _ = flatten(net)
    assert theta.tolist() == net.weight.flatten().tolist()
    assert net.bias.grad is None


# --- step counts


@pytest.mark.parametrize(("n_workers", "total_steps"), [(1, 1), (1, 203), (2, 307)])
def test_steps_are_counted_exactly(n_workers, total_steps):
    """`learn` makes as many steps as asked for, also between multiples of T and of a ticket, each told once."""
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


def test_a_ticket_is_cut_into_rollouts():
    """T, T, and what remains."""
    assert Ticket(12, 0.1).rollout_lengths(5) == [5, 5, 2]
    assert Ticket(10, 0.1).rollout_lengths(5) == [5, 5]


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


# --- reproducibility


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
@pytest.mark.parametrize("policy", POLICIES)
def test_a_saved_model_goes_on_as_if_it_had_never_stopped(policy, use_rms_prop, tmp_path):
    """203 steps, save, load and 203 more are 406 steps bit for bit: environment, memory, random numbers, optimiser.

    The first part must end with a whole rollout, here the 29th of 7 steps; otherwise one update sees fewer steps.
    """
    arguments = {"n_workers": 1, "seed": 1, "policy_kwargs": {"net_arch": [8]}, "use_rms_prop": use_rms_prop}
    whole = A3C(policy, "CartPole-v1", n_steps=7, **arguments).learn(406)
    A3C(policy, "CartPole-v1", n_steps=7, **arguments).learn(203).save(tmp_path / "half")
    half = A3C.load(tmp_path / "half", "CartPole-v1")
    half.learn(203, reset_num_timesteps=False)
    assert half.num_timesteps == 406 and half.num_updates == whole.num_updates
    assert are_equal(half, whole)


def test_a_new_training_begins_new_episodes():
    """`learn` twice from the same parameters and with reset counters is the same as once: nothing else is left over."""
    model = A3C("MlpPolicy", "CartPole-v1", n_workers=1, seed=1)
    start = copy.deepcopy(model.get_parameters())
    model.learn(50)
    first = [value.clone() for value in everything(model)]
    model.set_parameters(start)
    model.learn(50)
    assert all(torch.equal(one, two) for one, two in zip(first, everything(model), strict=True))


# --- SB3's surface


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
@pytest.mark.parametrize("policy", POLICIES)
def test_every_kind_of_action_is_learnt(policy, space):
    """The echo rewards the largest action: a few hundred steps raise the mean reward."""
    source = functools.partial(Echo, space)
    arguments = {"n_steps": 8, "learning_rate": 0.01, "policy_kwargs": {"net_arch": [16]}, "gamma": 0.5}
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


# --- the log


def test_the_log_has_sb3s_names_and_the_schedule_its_values(tmp_path):
    """Losses, episodes and clocks under the names of SB3; the learning rate falls with the remaining share."""
    model = A3C("MlpPolicy", "CartPole-v1", lambda left: 0.001 * left, n_workers=1, seed=0)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(400, log_interval=20)
    with open(tmp_path / "progress.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    train = ["policy_loss", "value_loss", "entropy_loss", "explained_variance", "grad_norm", "learning_rate"]
    names = {*(f"train/{name}" for name in train), "rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps"}
    assert all(np.isfinite(float(rows[-1][name])) for name in names)
    assert [int(row["time/total_timesteps"]) for row in rows] == [100, 200, 300, 400]
    assert np.allclose([float(row["train/learning_rate"]) for row in rows], [0.001, 0.00075, 0.0005, 0.00025])


def test_the_monitor_file_is_one_of_sb3s(tmp_path):
    """Every episode of all workers is in it once; continued training appends to it."""
    file = tmp_path / "run.monitor.csv"
    model = A3C("MlpPolicy", Echo, n_workers=2, seed=0, monitor_file=file)
    listener = Listener()
    model.learn(70, listener)
    results = load_results(str(tmp_path))
    assert set(results["l"]) == {3, 4} and results["l"].sum() <= 70
    assert len(results) in (19, 20)  # 35 steps each, or a ticket more for one: two episodes in 7 steps
    model.learn(70, listener, reset_num_timesteps=False)
    assert len(load_results(str(tmp_path))) > len(results)


# --- bad input


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"device": "cuda"}, "`device` must be 'auto' or 'cpu', since A3C's workers share memory, got 'cuda'"),
        (
            {"env": DummyVecEnv([Echo])},
            "`env` must be a Gymnasium id, an environment, or a factory, .* got DummyVecEnv",
        ),
        (
            {"env": lambda: VecNormalize(DummyVecEnv([Echo]))},
            "`env` must not use `VecNormalize`, since each worker would normalise",
        ),
        ({"env": Unpicklable()}, "`env` cannot be copied to the workers .*generator.* factory"),
        ({"env": 7}, "`env` must be a Gymnasium id, an environment, or a factory, .* got int"),
        ({"n_workers": 0}, "`n_workers` must be at least 1, got 0"),
        ({"n_steps": 0}, "`n_steps` must be at least 1, got 0"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(arguments, sentence):
    """Whatever a user may get wrong is told at once, and not by a worker."""
    with pytest.raises(ValueError, match=sentence):
        A3C("MlpPolicy", **{"env": Echo} | arguments)
