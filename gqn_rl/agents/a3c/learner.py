"""What each worker process of A3C does: steps its environments, computes gradients, and moves the shared θ."""

from __future__ import annotations

import io
import math
import pickle
import random
import warnings
from typing import Any, NamedTuple

import cloudpickle
import gymnasium as gym
import numpy as np
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.utils import explained_variance, set_random_seed
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from gqn_rl.agents.a3c.advantages import n_step_advantages
from gqn_rl.agents.a3c.batches import as_tensors, check_finite, flat_steps, stack_steps
from gqn_rl.agents.a3c.env_source import make_vectorised, pickled
from gqn_rl.agents.a3c.memory import empty_memory, memory_of, without_ended
from gqn_rl.agents.a3c.messages import Report, Settings
from gqn_rl.agents.a3c.parameters import flatten
from gqn_rl.agents.networks import RandomShift
from gqn_rl.processes import Connection

_KEPT_OF_INFOS = ("episode", "is_success", "TimeLimit.truncated")
"""Entries of `info` that reach the main process."""


def work(
    connection: Connection,
    settings: bytes,
    weights: bytes,
    theta: nn.Parameter,
    optimizer: torch.optim.Optimizer,
    seed: int,
    state: bytes | None,
) -> None:
    """Runs a worker: the body of the paper's algorithm S3, over and over, until there are no more work units.

    Before a unit's first update the next one is awaited: it says that the last report has been dealt with.
    """
    torch.distributions.Distribution.set_default_validate_args(False)  # a tenth of the time; observations are checked
    warnings.filterwarnings("ignore", "TF32 acceleration")  # torch warns of it when oneDNN is switched
    learner = Learner(cloudpickle.loads(settings), weights, theta, optimizer, seed)
    if state is not None:
        learner.restore(state)
    unit = connection.recv()
    while unit is not None:
        rollouts: list[Rollout] = []
        for num_steps in unit.rollout_lengths(learner.settings.n_steps):
            learner.synchronise()
            rollout = learner.collect(num_steps)
            losses = learner.compute_gradient(rollout, unit.ent_coef)
            if not rollouts:
                next_unit = connection.recv()
            learner.apply_gradient(unit.learning_rate)
            rollouts.append(rollout)
        connection.send(learner.report(rollouts, losses, is_last=next_unit is None))
        unit = next_unit
    learner.env.close()


class Rollout(NamedTuple):
    """T steps in N environments.

    Attributes:
        observations: array or dict of arrays, [N, T, ...].
        actions: as drawn, before clipping, [N, T, ...].
        rewards: as the environments gave them, float32 [N, T].
        targets: the same, plus γ V(s) of the state in which a time limit cut an episode short, float32 [N, T].
        dones: ends of episodes, bool [N, T].
        infos: of each step, a list of N dicts with the entries `_KEPT_OF_INFOS` alone.
        first_memory: the LSTMs' states before the first step, None for a policy without.
        last_values: V of the observation after the last step, float32 [N].
    """

    observations: Any
    actions: np.ndarray
    rewards: np.ndarray
    targets: np.ndarray
    dones: np.ndarray
    infos: list[list[dict[str, Any]]]
    first_memory: RNNStates | None
    last_values: np.ndarray


class Learner:
    """A worker's environments, its copy θ' of the parameters, and the gradient it computes from them."""

    def __init__(
        self, settings: Settings, weights: bytes, theta: nn.Parameter, optimizer: torch.optim.Optimizer, seed: int
    ):
        self.settings, self.theta, self.optimizer = settings, theta, optimizer
        self.env = make_vectorised(settings.source)
        spaces = self.env.observation_space, self.env.action_space
        self.policy = settings.policy_class(*spaces, lambda _: 0.0, use_sde=settings.use_sde, **settings.policy_kwargs)
        self.policy.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
        self.policy.set_training_mode(False)
        self._has_modes = any(isinstance(part, _DropoutNd | _NormBase | RandomShift) for part in self.policy.modules())
        self.copy, self.gradient = flatten(self.policy)
        theta.grad = self.gradient  # θ is shared, its gradient is this process's own
        set_random_seed(seed)
        self.env.seed(seed)
        self.observation = self.env.reset()
        self.memory = empty_memory(self.policy, self.env.num_envs)
        self._no_starts = torch.zeros(self.env.num_envs)  # of episodes: `without_ended` has emptied the memory already

    def synchronise(self) -> None:
        """θ' ← θ."""
        self.copy.copy_(self.theta.detach())

    @torch.no_grad()
    def collect(self, num_steps: int) -> Rollout:
        """Steps the environments `num_steps` times, on into the next episode where one ends."""
        self._set_training_mode(False)
        first_memory, observations, steps, kept_infos = self.memory, [], [], []
        for step in range(num_steps):
            self._explore_anew(step)
            observations.append(self.observation)
            with torch.backends.mkldnn.flags(enabled=self.memory is None):  # one LSTM step is four times faster without
                actions = self._act(self.observation)
            self.observation, rewards, dones, infos = self.env.step(self._within_bounds(actions))
            targets = rewards + self.settings.gamma * self._values_at_time_limits(dones, infos)
            steps.append((actions, rewards, targets, dones))
            kept_infos.append([{key: info[key] for key in _KEPT_OF_INFOS if key in info} for info in infos])
            self.memory = without_ended(self.memory, dones)
        last_values = self._values(as_tensors(self.observation), self.memory)
        actions, rewards, targets, dones = (np.stack(part, axis=1) for part in zip(*steps, strict=True))
        return Rollout(
            stack_steps(observations), actions, rewards, targets, dones, kept_infos, first_memory, last_values
        )

    def compute_gradient(self, rollout: Rollout, ent_coef: float) -> dict[str, float]:
        """Sets the gradient of the loss −log π · A − ent_coef · H + vf_coef · (R − V)², all means over the rollout.

        Raises:
            FloatingPointError: a reward or the gradient is not finite.
        """
        settings = self.settings
        self._set_training_mode(True)
        values, log_prob, entropy = self._evaluate(rollout)
        before = values.detach().numpy()
        advantages = n_step_advantages(
            rollout.targets, before, rollout.dones, rollout.last_values, settings.gamma, settings.gae_lambda
        )
        returns = torch.from_numpy(advantages + before)
        if settings.normalize_advantage and advantages.size > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)
        policy_loss = -(log_prob * torch.from_numpy(advantages)).mean()
        entropy_loss = -entropy.mean()
        value_loss = nn.functional.mse_loss(values, returns)
        loss = policy_loss + ent_coef * entropy_loss + settings.vf_coef * value_loss
        self.gradient.zero_()  # in place: the policy's gradients and that of θ are all views of this vector
        loss.backward()
        norm = nn.utils.clip_grad_norm_([self.theta], settings.max_grad_norm).item()
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"the gradient is not finite (norm {norm}): look for NaN in rewards and observations, or lower "
                "`learning_rate`; the parameters are those before it."
            )
        return {
            "policy_loss": policy_loss.item(),
            "entropy_loss": entropy_loss.item(),
            "value_loss": value_loss.item(),
            "grad_norm": norm,
            "explained_variance": float(explained_variance(before.ravel(), returns.numpy().ravel())),
        }

    def apply_gradient(self, learning_rate: float) -> None:
        """Lets the optimiser move θ, without a lock: another worker may do so at the same moment (the paper, §4)."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()

    def report(self, rollouts: list[Rollout], losses: dict[str, float], is_last: bool) -> Report:
        """Tells what came of a work unit."""
        rewards, dones = (
            np.concatenate(parts, axis=1) for parts in zip(*((r.rewards, r.dones) for r in rollouts), strict=True)
        )
        infos = [info for rollout in rollouts for info in rollout.infos]
        return Report(rewards, dones, infos, len(rollouts), losses, self.state() if is_last else None)

    def state(self) -> bytes | None:
        """Returns everything but θ that the next rollout depends on, None when the environments cannot be pickled."""
        if not self.settings.save_env_state:
            return None
        rng = (random.getstate(), np.random.get_state(), torch.get_rng_state())
        try:
            return pickled((self.env, self.observation, self.memory, rng))
        except Exception:  # an environment may refuse in any way
            return None

    def restore(self, state: bytes) -> None:
        """Goes back to what `state` returned."""
        self.env.close()
        self.env, self.observation, self.memory, rng = pickle.loads(state)
        random.setstate(rng[0])
        np.random.set_state(rng[1])
        torch.set_rng_state(rng[2])

    def _set_training_mode(self, training: bool) -> None:
        """Tells dropout, batch normalisation and random shifts what the policy is used for, if it has any."""
        if self._has_modes:
            self.policy.set_training_mode(training)

    def _explore_anew(self, step: int) -> None:
        """Draws the noise of state-dependent exploration, if it is used and this step of the rollout is one for it."""
        every = self.settings.sde_sample_freq
        if self.settings.use_sde and (step == 0 or (every > 0 and step % every == 0)):
            self.policy.reset_noise(self.env.num_envs)

    def _act(self, observation: Any) -> np.ndarray:
        """Draws actions [N, ...]; a policy with LSTMs remembers the observation."""
        check_finite(observation)
        inputs = as_tensors(observation)
        if self.memory is None:
            return self.policy.get_distribution(inputs).get_actions().numpy()
        if self.policy.lstm_critic is None:  # the critic remembers nothing of its own
            distribution, state = self.policy.get_distribution(inputs, self.memory.pi, self._no_starts)
            self.memory = RNNStates(state, state)
            return distribution.get_actions().numpy()
        actions, _, _, self.memory = self.policy(inputs, self.memory, self._no_starts)
        return actions.numpy()

    def _values(self, inputs: Any, memory: RNNStates | None) -> np.ndarray:
        """Returns V of observations, given as tensors, float32 [N]."""
        remembered = () if memory is None else (memory.vf, self._no_starts[: memory.vf[0].shape[1]])
        return self.policy.predict_values(inputs, *remembered).numpy()[:, 0]

    def _values_at_time_limits(self, dones: np.ndarray, infos: list[dict[str, Any]]) -> np.ndarray:
        """Returns V of the last observations of episodes that a time limit cut short, 0 elsewhere, float32 [N]."""
        values = np.zeros(len(dones), np.float32)
        for i in np.flatnonzero(dones).tolist():
            if infos[i].get("TimeLimit.truncated", False):
                last, _ = self.policy.obs_to_tensor(infos[i]["terminal_observation"])
                values[i] = self._values(last, memory_of(self.memory, i))[0]
        return values

    def _within_bounds(self, actions: np.ndarray) -> np.ndarray:
        """Gives continuous actions, drawn as [N, A], the shape that the environment takes, and clips or scales them."""
        space = self.env.action_space
        if not isinstance(space, gym.spaces.Box):
            return actions
        actions = actions.reshape(-1, *space.shape)
        if self.policy.squash_output:
            return self.policy.unscale_action(actions)
        return np.clip(actions, space.low, space.high)

    def _evaluate(self, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns values, log-probabilities of the actions, and entropies of the policy, with gradient, [N, T] each."""
        shape = rollout.dones.shape
        inputs = as_tensors(flat_steps(rollout.observations))
        actions = torch.from_numpy(flat_steps(rollout.actions))
        if isinstance(self.env.action_space, gym.spaces.Box):
            actions = actions.flatten(1)
        remembered: tuple[Any, ...] = ()
        if rollout.first_memory is not None:
            starts = np.concatenate([np.zeros((shape[0], 1)), rollout.dones[:, :-1]], axis=1)
            remembered = (rollout.first_memory, torch.from_numpy(starts.astype(np.float32).ravel()))
        values, log_prob, entropy = self.policy.evaluate_actions(inputs, actions, *remembered)
        if entropy is None:  # a squashed distribution has no closed form: the estimate by its samples
            entropy = -log_prob
        return values.view(shape), log_prob.view(shape), entropy.view(shape)
