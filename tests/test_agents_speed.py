"""The faster parts of PPO give what Stable-Baselines3's and torch's give."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import MultiCategoricalDistribution

from gqn_rl.agents.speed import Choices, choose_threads, fast_matmul, speed_up
from gqn_rl.views import IMAGE
from tests.tiny_envs import Echo

SIZES = [3] * 4


def test_choices_equal_sb3s_distribution():
    """Log-probability, entropy, their gradients and the likeliest actions, for any logits."""
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(0, 3, (8, 4), generator=generator).float()
    found = []
    for kind in (MultiCategoricalDistribution, Choices):
        logits = 3 * torch.randn(8, 12, generator=torch.Generator().manual_seed(1))
        logits.requires_grad_()
        distribution = kind(SIZES).proba_distribution(logits)
        (distribution.log_prob(actions) + 2 * distribution.entropy()).sum().backward()
        found.append((distribution.log_prob(actions), distribution.entropy(), logits.grad, distribution.mode()))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_choices_are_drawn_with_their_probabilities():
    """Frequencies over many draws, each choice with its own probabilities."""
    torch.manual_seed(0)
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.15, 0.8]])
    draws = Choices([3, 3]).proba_distribution(probabilities.log().flatten().expand(20_000, 6)).sample()
    assert draws.shape == (20_000, 2)
    frequencies = torch.stack([(draws == option).float().mean(dim=0) for option in range(3)], dim=1)
    torch.testing.assert_close(frequencies, probabilities, atol=0.015, rtol=0)


def test_a_policy_that_is_not_a_number_is_told():
    """Instead of actions that mean nothing."""
    with pytest.raises(FloatingPointError, match=r"lower `agent.settings.learning_rate`"):
        Choices(SIZES).proba_distribution(torch.full((1, 12), torch.nan)).sample()


def ppo(space):
    return PPO("MlpPolicy", Echo(space), n_steps=8, batch_size=4, n_epochs=2, seed=0, device="cpu")


def test_an_update_is_the_same_to_rounding():
    """From one rollout, SB3's update and the faster one arrive at the same weights."""
    models = [ppo(gym.spaces.MultiDiscrete([3, 3])) for _ in range(2)]
    models[0].learn(8)
    models[1].learn(0)
    models[1].set_parameters(copy.deepcopy(models[0].get_parameters()))
    speed_up(models[1])
    models[1].rollout_buffer = models[0].rollout_buffer
    for model in models:
        np.random.seed(0)
        model.train()
    for one, other in zip(*(model.policy.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("space", [gym.spaces.Discrete(3), gym.spaces.MultiDiscrete([2, 3])])
def test_other_actions_keep_sb3s_distribution(space):
    """A single choice, or choices among different numbers of options."""
    model = ppo(space)
    before = model.policy.action_dist
    speed_up(model)
    assert model.policy.action_dist is before and model.policy.optimizer.param_groups[0]["fused"]


def test_matrices_are_multiplied_in_float32():
    """Whichever library multiplies: bfloat16 would err a hundred times as much; afterwards torch is as it was."""
    before = torch.backends.mkldnn.matmul.fp32_precision
    one, other = torch.randn(2, 100, 300, generator=torch.Generator().manual_seed(2)).unbind()
    exact = one.double() @ other.double().T
    with fast_matmul():
        assert (one @ other.T - exact).abs().max() < 1e-5 * exact.abs().max()
    assert torch.backends.mkldnn.matmul.fp32_precision == before


@pytest.mark.parametrize(("sees", "encodes", "threads"), [("r", False, 1), ("r", True, 2), (IMAGE, False, 2)])
def test_small_networks_alone_compute_on_one_thread(restore_threads, sees, encodes, threads):
    """Who reads or encodes pictures keeps all threads."""
    torch.set_num_threads(2)
    choose_threads(gym.spaces.Dict({sees: gym.spaces.Box(0, 1, (3,))}), encodes)
    assert torch.get_num_threads() == threads
