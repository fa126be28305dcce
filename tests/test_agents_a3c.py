"""A3C's mathematics: its gradient, returns and memory against plain computations that share no code with it."""

import copy
import functools
import io
import shutil

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.nn import functional

from gqn_rl.agents.a3c import A3C
from gqn_rl.agents.a3c.advantages import n_step_advantages
from gqn_rl.agents.a3c.learner import Learner
from gqn_rl.agents.a3c.messages import Settings
from gqn_rl.agents.a3c.parameters import flatten
from tests.tiny_envs import Echo, Listener

GAMMA, ENT_COEF, VF_COEF = 0.9, 0.01, 0.5
WITHOUT_CLIPPING = {"gamma": GAMMA, "ent_coef": ENT_COEF, "vf_coef": VF_COEF, "max_grad_norm": 1e9}
GRADIENT_DESCENT = {"optimizer_class": torch.optim.SGD, "net_arch": [8]}
POLICIES = ["MlpPolicy", "MlpLstmPolicy"]

pytestmark = pytest.mark.usefixtures("quick_workers")


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


# ---------------------------------------------------------------------------------------- the gradient, by other means


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
            bootstrap = 0.0 if terminated else discount * after
            if terminated or truncated:
                break
        goal += bootstrap
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
        norms.append(learner.compute_gradient(rollout, ENT_COEF)["grad_norm"])
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
        told.append(learner.compute_gradient(learner.collect(8), ENT_COEF)["grad_norm"])
        norms.append(learner.theta.grad.norm().item())
    assert told[0] == told[1] == pytest.approx(norms[0], rel=1e-5)
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


# ---------------------------------------------------------------------------------------------------------- advantages


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
    """`normalize_advantage` changes the policy's part of the loss alone, to mean 0 and deviation 1, as in SB3's A2C."""
    _, learner = make_learner(normalize_advantage=True)
    rollout = learner.collect(8)
    losses = learner.compute_gradient(rollout, ENT_COEF)
    values, log_prob, _ = learner._evaluate(rollout)
    values = values.detach().numpy()
    last = rollout.last_values
    advantages = n_step_advantages(rollout.targets, values, rollout.dones, last, GAMMA, 1.0)
    expected = -(log_prob.detach().numpy() * (advantages - advantages.mean()) / advantages.std(ddof=1)).mean()
    assert losses["policy_loss"] == pytest.approx(expected, abs=1e-5)
    assert losses["value_loss"] == pytest.approx((advantages**2).mean(), rel=1e-5)


# ------------------------------------------------------------------------------------ ends of episodes, and the memory


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


# ------------------------------------------------------------------------------------------------------------- flatten


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


# ------------------------------------------------------------------------------------------------- what policies may be


@pytest.mark.parametrize("policy", POLICIES)
def test_continuous_actions_of_any_shape_are_those_of_their_flat_form(policy):
    """Actions [2, 3] earn, and move θ, as the same six in a row do."""
    norms, rewards = [], []
    for shape in ((2, 3), (6,)):
        box = gym.spaces.Box(-1, 1, shape, np.float32)
        _, learner = make_learner(policy, functools.partial(Echo, box))
        torch.manual_seed(0)
        rollout = learner.collect(8)
        rewards.append(rollout.rewards)
        norms.append(learner.compute_gradient(rollout, ENT_COEF)["grad_norm"])
        flat = np.clip(rollout.actions.reshape(1, 8, 6), -1, 1).sum(axis=-1)
        np.testing.assert_allclose(rollout.rewards, flat, rtol=1e-5)
    np.testing.assert_array_equal(*rewards)
    assert norms[0] == norms[1] > 0


class Normalised(BaseFeaturesExtractor):
    def __init__(self, space, **how):
        super().__init__(space, 3)
        self.norm = torch.nn.BatchNorm1d(3, **how)

    def forward(self, observations):
        return self.norm(observations)


def test_running_statistics_are_refused_by_name():
    """Those of several workers never come together; without them the layer is taken."""
    kwargs = {"features_extractor_class": Normalised}
    with pytest.raises(ValueError, match=r"BatchNorm1d, whose running statistics each of A3C's workers .* LayerNorm"):
        A3C("MlpPolicy", Echo, policy_kwargs=kwargs)
    A3C("MlpPolicy", Echo, policy_kwargs=kwargs | {"features_extractor_kwargs": {"track_running_stats": False}})


# ------------------------------------------------------------------------------------ state-dependent exploration


class Still(Echo):
    """Echo that always looks the same, with six continuous actions of bounds of their own."""

    def __init__(self):
        super().__init__(gym.spaces.Box(np.float32(-3), np.float32([1, 1, 1, 1, 1, 5]), (6,), np.float32))

    def observation(self, last_reward):
        return np.full(3, 0.5, np.float32)


@pytest.mark.parametrize(("every", "num_kept"), [(-1, 8), (4, 4), (1, 1)])
@pytest.mark.parametrize("policy", ["MlpPolicy", "MlpLstmPolicy"])
def test_state_dependent_noise_is_a_function_of_the_state_until_it_is_drawn_anew(policy, every, num_kept):
    """The same observation, and memory, gives the same action `sde_sample_freq` times, or throughout a rollout."""
    _, learner = make_learner(policy, Still, use_sde=True, sde_sample_freq=every)
    learner._act = functools.partial(_act_without_memory, learner)
    actions = learner.collect(8).actions[0]
    for first in range(0, 8, num_kept):
        assert (actions[first : first + num_kept] == actions[first]).all()
    assert len(np.unique(actions, axis=0)) == 8 // num_kept


def _act_without_memory(learner, observation):
    """Acts as at the beginning of an episode."""
    if learner.memory is not None:
        learner.memory = type(learner.memory)(*((h * 0, c * 0) for h, c in learner.memory))
    return Learner._act(learner, observation)


@pytest.mark.parametrize("squash", [False, True])
def test_state_dependent_exploration_has_the_loss_of_a2c(squash):
    """Entropy, or its estimate, and policy loss are those that SB3's A2C trains with; actions keep to their bounds."""
    settings = {"use_sde": True, "policy_kwargs": {"net_arch": [8], "squash_output": squash}}
    _, learner = make_learner(source=Still, **settings)
    rollout = learner.collect(8)
    within = learner._within_bounds(rollout.actions[0])
    assert (within >= -3).all() and (within <= [1, 1, 1, 1, 1, 5]).all()
    losses = learner.compute_gradient(rollout, ENT_COEF)
    values, log_prob, entropy = learner.policy.evaluate_actions(
        torch.from_numpy(rollout.observations[0]), torch.from_numpy(rollout.actions[0])
    )
    assert (entropy is None) == squash
    expected = log_prob.mean() if squash else -entropy.mean()
    assert losses["entropy_loss"] == pytest.approx(expected.item(), rel=1e-5)
    returns = n_step_advantages(
        rollout.targets, values.detach().numpy()[None, :, 0], rollout.dones, rollout.last_values, GAMMA, 1.0
    )
    expected = -(log_prob.detach().numpy() * returns[0]).mean()
    assert losses["policy_loss"] == pytest.approx(expected, rel=1e-4)
    assert losses["grad_norm"] > 0


def test_little_shared_memory_is_said_instead_of_a_bus_error(monkeypatch):
    """What is missing is named with the remedy, before anything is written to it."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(64, 0, 64))
    with pytest.raises(OSError, match=r"share need 0.0 MB, and /dev/shm has 0.0 MB left: .*--shm-size"):
        A3C("MlpPolicy", Echo)
