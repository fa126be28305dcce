"""What makes PPO faster and leaves what it learns as it is: the same numbers to rounding, from better calls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import MultiCategoricalDistribution
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor

from gqn_rl.views import IMAGE

_TRIAL_SIZE = 64
"""Rows, columns and depth of the product that the libraries are compared on."""
_LARGEST_ERROR = 1e-5
"""Of a product's entries, relative to the largest, from a library that computes in float32; bfloat16 errs by 1e-3."""


class Choices(MultiCategoricalDistribution):
    """SB3's distribution of several choices among equally many options, all of them computed in one go.

    A policy of six choices spends a sixth of an update in SB3's loop over them. Draws come from torch's random state
    in another order than SB3's.
    """

    def proba_distribution(self, action_logits: Tensor) -> Choices:
        """Takes logits [B, num_choices * num_options]."""
        self._log_probs = action_logits.unflatten(1, (len(self.action_dims), -1)).log_softmax(dim=-1)
        return self

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns log p of actions [B, num_choices]: [B]."""
        return self._log_probs.gather(-1, actions.long().unsqueeze(-1)).sum(dim=(1, 2))

    def entropy(self) -> Tensor:
        """Returns the entropy in nats, [B]."""
        return -(self._log_probs.exp() * self._log_probs).sum(dim=(1, 2))

    def sample(self) -> Tensor:
        """Draws actions [B, num_choices]: the largest of log p plus Gumbel noise is an exact draw.

        Raises:
            FloatingPointError: log p is not a number.
        """
        if self._log_probs.isnan().any():
            raise FloatingPointError(
                "The policy gives values that are not numbers; lower `agent.settings.learning_rate`."
            )
        return (self._log_probs - torch.empty_like(self._log_probs).exponential_().log()).argmax(dim=-1)

    def mode(self) -> Tensor:
        """Returns the likeliest actions, [B, num_choices]."""
        return self._log_probs.argmax(dim=-1)


def speed_up(model: OnPolicyAlgorithm) -> None:
    """Gives a PPO `Choices` where its actions are such, and lets Adam update all parameters in one call."""
    space = model.action_space
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1 and len(set(space.nvec.tolist())) == 1:
        model.policy.action_dist = Choices(space.nvec.tolist())
    optimiser = model.policy.optimizer
    if isinstance(optimiser, torch.optim.Adam):
        for group in optimiser.param_groups:
            group["fused"] = True


def choose_threads(observation_space: spaces.Space, encodes: bool) -> None:
    """Keeps torch to one thread where all it computes here are small networks, which several threads slow down.

    Args:
        observation_space: of the policy; one that sees pictures keeps all threads.
        encodes: whether this process encodes pictures too.
    """
    if not encodes and IMAGE not in getattr(observation_space, "spaces", ()):
        torch.set_num_threads(1)


@contextlib.contextmanager
def fast_matmul() -> Iterator[None]:
    """A context in which oneDNN may multiply matrices, as `_choose_matmul` finds; afterwards it is as it was before."""
    onednn: Any = torch.backends.mkldnn
    before = onednn.matmul.fp32_precision
    _choose_matmul(onednn)
    try:
        yield
    finally:
        onednn.matmul.fp32_precision = before


def _choose_matmul(onednn: Any) -> None:
    """Lets oneDNN multiply float32 matrices on CPUs where it computes in float32, else leaves that to MKL.

    On AMD's CPUs MKL takes twice as long. Torch offers oneDNN for float32 only together with the leave to round to
    bfloat16, of which oneDNN makes use on some CPUs alone: so a product is tried, and the leave withdrawn if it errs.
    """
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(_TRIAL_SIZE, _TRIAL_SIZE, generator=generator) for _ in range(2))
    exact = one.double() @ other.double()
    onednn.matmul.fp32_precision = "bf16"
    error = (one @ other - exact).abs().max() / exact.abs().max()
    if error > _LARGEST_ERROR:
        onednn.matmul.fp32_precision = "none"
