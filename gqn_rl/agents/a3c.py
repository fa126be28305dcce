"""A3C, asynchronous advantage actor-critic (Mnih et al. 2016, arXiv:1602.01783, algorithm S3), for SB3's users.

Read from top to bottom: what a user holds (`A3C`), what each process does (`work`), then its mathematics (`Learner`,
`n_step_advantages`). `docs/a3c.md` lists every detail of the implementation with its source.

    θ    the parameters, one flat vector in shared memory, beside it the shared state of the optimiser
    θ'   a worker's own copy of θ, taken before every rollout
    T    steps of a rollout (`n_steps`)
    N    environments that a worker steps side by side (1, unless the factory makes a vector environment)

The main process (`dealer.py`) deals out tickets, each the right to make some steps with an update after every T of
them, and hears what came of it. So the step count is exact, no counter needs a lock, and a worker cannot make its
next update while the callbacks of its last ticket run: with one worker all happens in one order, always the same.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pathlib
import pickle
import random
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import cloudpickle
import gymnasium as gym
import numpy as np
import torch
from sb3_contrib.common.recurrent.policies import (
    RecurrentActorCriticCnnPolicy,
    RecurrentActorCriticPolicy,
    RecurrentMultiInputActorCriticPolicy,
)
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.type_aliases import MaybeCallback, Schedule
from stable_baselines3.common.utils import explained_variance, obs_as_tensor, set_random_seed
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from gqn_rl.agents.dealer import Dealer, Report
from gqn_rl.agents.env_source import EnvSource, Source, make_source, make_vectorised
from gqn_rl.agents.memory import empty_memory, forget, memory_of
from gqn_rl.agents.networks import RandomShift
from gqn_rl.interrupts import StopRequest
from gqn_rl.processes import Connection, WorkerPool

_TOLD_OF_STEPS = ("episode", "is_success", "TimeLimit.truncated")  # entries of `info` that reach the main process


class A3C(OnPolicyAlgorithm):
    """Asynchronous advantage actor-critic with Stable-Baselines3's surface; the defaults are those of SB3's A2C.

    Scripts need the guard `if __name__ == "__main__":`, since workers are spawned. All computation is on the CPU.

        model = A3C("MlpPolicy", "CartPole-v1", n_workers=2, seed=0)
        model.learn(100_000, progress_bar=True)
        model.save("cartpole")

    `learn` raises KeyboardInterrupt after Ctrl-C when the workers have finished what they were doing: the model is then
    whole and can be saved. A worker that fails or is killed is replaced, up to `max_restarts` times.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy", "MlpLstmPolicy", "CnnLstmPolicy", "MultiInputLstmPolicy",
            or a policy class of SB3 or sb3-contrib.
        env: a Gymnasium id, an environment, or a factory of an environment or of a small SB3 vector environment.
        learning_rate: a number, or a function of the remaining share of the training (1 to 0).
        n_steps: T, steps per rollout and update.
        gamma: discount factor.
        gae_lambda: λ of generalised advantage estimation; 1 gives the paper's n-step returns.
        ent_coef: weight of the entropy bonus, or a function of the remaining share of the training.
        vf_coef: weight of the value loss.
        max_grad_norm: largest norm of a gradient.
        rms_prop_eps: ε of RMSprop.
        use_rms_prop: RMSprop, as in the paper, else Adam; `policy_kwargs` may name another optimiser of torch.
        normalize_advantage: whether each update's advantages are standardised.
        n_workers: number of worker processes.
        max_restarts: how many workers may be replaced before `learn` gives up.
        save_env_state: whether a saved model holds the environments (pickled), to continue their episodes.
        monitor_file: CSV that every finished episode is appended to (its name should end in `.monitor.csv`).
        stats_window_size: number of episodes that the logged means run over.
        tensorboard_log: folder of TensorBoard events.
        policy_kwargs: further arguments of the policy.
        verbose: 0 is silent, 1 prints the log.
        seed: of parameters, actions and environments. With one worker it decides every bit of the result.
        device: "auto" or "cpu".
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": ActorCriticPolicy,
        "CnnPolicy": ActorCriticCnnPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
        "MlpLstmPolicy": RecurrentActorCriticPolicy,
        "CnnLstmPolicy": RecurrentActorCriticCnnPolicy,
        "MultiInputLstmPolicy": RecurrentMultiInputActorCriticPolicy,
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: EnvSource | None,
        learning_rate: float | Schedule = 7e-4,
        n_steps: int = 5,
        gamma: float = 0.99,
        gae_lambda: float = 1.0,
        ent_coef: float | Schedule = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        rms_prop_eps: float = 1e-5,
        use_rms_prop: bool = True,
        normalize_advantage: bool = False,
        n_workers: int = 2,
        max_restarts: int = 3,
        save_env_state: bool = True,
        monitor_file: str | pathlib.Path | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ):
        if str(device) not in ("auto", "cpu"):
            raise ValueError(f"`device` must be 'auto' or 'cpu', since A3C's workers share memory, got {device!r}.")
        for name, value in (("n_workers", n_workers), ("n_steps", n_steps)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        super().__init__(
            policy,
            None if env is None else self._wrap_env(env, verbose),  # type: ignore[arg-type]
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,  # type: ignore[arg-type]
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device="cpu",
            _init_setup_model=False,
            supported_action_spaces=(
                gym.spaces.Box,
                gym.spaces.Discrete,
                gym.spaces.MultiDiscrete,
                gym.spaces.MultiBinary,
            ),
        )
        self.normalize_advantage = normalize_advantage
        self.n_workers = n_workers
        self.max_restarts = max_restarts
        self.save_env_state = save_env_state
        self.monitor_file = monitor_file
        self.worker_states: list[bytes | None] = []
        self.num_updates = 0
        if use_rms_prop and "optimizer_class" not in self.policy_kwargs:
            self.policy_kwargs["optimizer_class"] = torch.optim.RMSprop
            self.policy_kwargs["optimizer_kwargs"] = {"alpha": 0.99, "eps": rms_prop_eps}
        if _init_setup_model:
            self._setup_model()

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """Makes the main process's environment, which remembers in `source` how the workers make theirs."""
        if isinstance(env, VecEnv) and hasattr(env, "source"):  # an environment that this method made
            return env
        source = make_source(env)
        envs = make_vectorised(source, verbose)
        envs.source = source  # type: ignore[attr-defined]
        return envs

    def set_env(self, env: EnvSource, force_reset: bool = True) -> None:  # type: ignore[override]
        """Changes the environment to another with the same spaces; its episodes begin anew."""
        super().set_env(env, force_reset)  # type: ignore[arg-type]
        self.worker_states = []

    def _setup_model(self) -> None:
        """Builds policy and optimiser; the optimiser works on the shared θ, the policy of this process on a copy."""
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        spaces = self.observation_space, self.action_space
        self.policy = self.policy_class(*spaces, self.lr_schedule, **self.policy_kwargs)  # type: ignore[assignment]
        _refuse_running_statistics(self.policy)
        self._copy, _ = flatten(self.policy)
        self._theta = nn.Parameter(self._copy.clone().share_memory_())
        make_optimizer: Callable[..., torch.optim.Optimizer] = self.policy.optimizer_class
        optimizer = make_optimizer([self._theta], lr=0.0, **self.policy.optimizer_kwargs)
        self._theta.grad = torch.zeros_like(self._theta)
        optimizer.step()  # creates the optimiser's state; a learning rate of 0 and no gradient leave θ as it is
        for value in optimizer.state[self._theta].values():
            if isinstance(value, torch.Tensor) and value.dim() == 0:
                value.zero_()  # and this step does not count
        self.policy.optimizer = optimizer

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_copy", "_theta"]

    @classmethod
    def load(  # type: ignore[override]
        cls, path: str | pathlib.Path | io.BufferedIOBase, env: EnvSource | None = None, **kwargs: Any
    ) -> Self:
        """Loads a model that `save` wrote, to use it or, given an environment, to train on.

        With the same environment and number of workers, training continues in the middle of the episodes that were
        under way when `learn` returned, if the environments can be pickled; `set_env` begins new ones.
        """
        return super().load(path, env, **kwargs)  # type: ignore[arg-type]

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 100,
        tb_log_name: str = "A3C",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Trains for `total_timesteps` environment steps, all workers together (rounded up to a multiple of N).

        Callbacks see every step, as if one of the workers' N environments were stepped at a time; the policy they see
        is a copy of θ that stands still while they run. `log_interval` counts updates.

        Raises:
            FloatingPointError: a gradient, reward or observation is not finite; the parameters are those before.
            ChildProcessError: more than `max_restarts` workers failed.
            KeyboardInterrupt: after Ctrl-C or SIGTERM, with the model whole.
        """
        if reset_num_timesteps:
            self.worker_states = []
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        with torch.no_grad():
            self._theta.copy_(self._copy)
        for value in self.policy.optimizer.state[self._theta].values():
            if isinstance(value, torch.Tensor):
                value.share_memory_()
        with StopRequest() as stop:
            dealer = Dealer(self, callback, total_timesteps, log_interval, stop)
            with WorkerPool(work, dealer.worker_arguments, self.n_workers) as pool:
                dealer.run(pool)
        callback.on_training_end()
        if stop.signal_name is not None:
            raise KeyboardInterrupt(stop.signal_name)
        return self

    def worker_arguments(self) -> tuple[Any, ...]:
        """Returns what every worker is given: settings, all of the policy's weights, and what is shared."""
        told = [field.name for field in dataclasses.fields(Settings) if field.name != "source"]
        settings = Settings(self.env.source, **{name: getattr(self, name) for name in told})  # type: ignore[union-attr]
        weights = io.BytesIO()
        torch.save(self.policy.state_dict(), weights)
        return cloudpickle.dumps(settings), weights.getvalue(), self._theta, self.policy.optimizer

    def take_snapshot(self) -> None:
        """Copies θ to this process's policy, which callbacks, `predict` and `save` see."""
        self._copy.copy_(self._theta.detach())


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a worker is told once; the names are those of `A3C`."""

    source: Source
    policy_class: type[ActorCriticPolicy]
    policy_kwargs: dict[str, Any]
    n_steps: int
    gamma: float
    gae_lambda: float
    vf_coef: float
    max_grad_norm: float
    normalize_advantage: bool
    save_env_state: bool


def work(
    connection: Connection,
    settings: bytes,
    weights: bytes,
    theta: nn.Parameter,
    optimizer: torch.optim.Optimizer,
    seed: int,
    state: bytes | None,
) -> None:
    """Runs a worker: the body of the paper's algorithm S3, over and over, until there are no more tickets.

    Before a ticket's first update the next ticket is awaited: it says that the last report has been dealt with.
    """
    torch.distributions.Distribution.set_default_validate_args(False)  # a tenth of the time; observations are checked
    warnings.filterwarnings("ignore", "TF32 acceleration")  # said by torch when oneDNN is switched
    learner = Learner(cloudpickle.loads(settings), weights, theta, optimizer, seed)
    if state is not None:
        learner.restore(state)
    ticket = connection.recv()
    while ticket is not None:
        rollouts: list[Rollout] = []
        for num_steps in ticket.rollout_lengths(learner.settings.n_steps):
            learner.synchronise()
            rollout = learner.collect(num_steps)
            losses = learner.compute_gradient(rollout, ticket.ent_coef)
            if not rollouts:
                next_ticket = connection.recv()
            learner.apply_gradient(ticket.learning_rate)
            rollouts.append(rollout)
        connection.send(learner.report(rollouts, losses, is_last=next_ticket is None))
        ticket = next_ticket
    learner.env.close()


class Rollout(NamedTuple):
    """T steps in N environments.

    Attributes:
        observations: array or dict of arrays, [N, T, ...].
        actions: as drawn, before clipping, [N, T, ...].
        rewards: as the environments gave them, float32 [N, T].
        targets: the same, plus γ V(s) of the state in which a time limit cut an episode short, float32 [N, T].
        dones: ends of episodes, bool [N, T].
        infos: of each step, a list of N dicts with the entries `_TOLD_OF_STEPS` alone.
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
        self.policy = settings.policy_class(*spaces, lambda _: 0.0, **settings.policy_kwargs)
        self.policy.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
        self.policy.set_training_mode(False)
        self._has_modes = any(isinstance(part, _DropoutNd | _NormBase | RandomShift) for part in self.policy.modules())
        self.copy, self.gradient = flatten(self.policy)
        theta.grad = self.gradient  # θ is shared, its gradient is this process's own
        set_random_seed(seed)
        self.env.seed(seed)
        self.observation = self.env.reset()
        self.memory = empty_memory(self.policy, self.env.num_envs)
        self._no_starts = torch.zeros(self.env.num_envs)  # of episodes: `forget` has emptied the memory already

    def synchronise(self) -> None:
        """θ' ← θ."""
        self.copy.copy_(self.theta.detach())

    @torch.no_grad()
    def collect(self, num_steps: int) -> Rollout:
        """Steps the environments `num_steps` times, on into the next episode where one ends."""
        self._set_training_mode(False)
        first_memory, observations, steps, infos_told = self.memory, [], [], []
        for _ in range(num_steps):
            observations.append(self.observation)
            with torch.backends.mkldnn.flags(enabled=self.memory is None):  # one LSTM step is four times faster without
                actions = self._act(self.observation)
            self.observation, rewards, dones, infos = self.env.step(self._within_bounds(actions))
            targets = rewards + self.settings.gamma * self._values_at_time_limits(dones, infos)
            steps.append((actions, rewards, targets, dones))
            infos_told.append([{key: info[key] for key in _TOLD_OF_STEPS if key in info} for info in infos])
            self.memory = forget(self.memory, dones)
        last_values = self._values(_tensors(self.observation), self.memory)
        actions, rewards, targets, dones = (np.stack(part, axis=1) for part in zip(*steps, strict=True))
        return Rollout(_stack(observations), actions, rewards, targets, dones, infos_told, first_memory, last_values)

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
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
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
        """Tells what came of a ticket."""
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
            return cloudpickle.dumps((self.env, self.observation, self.memory, rng))
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

    def _act(self, observation: Any) -> np.ndarray:
        """Draws actions [N, ...]; a policy with LSTMs remembers the observation."""
        _check_finite(observation)
        inputs = _tensors(observation)
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
        """Gives continuous actions, drawn as [N, A], the shape that the environment takes, and clips them."""
        space = self.env.action_space
        if not isinstance(space, gym.spaces.Box):
            return actions
        return np.clip(actions.reshape(-1, *space.shape), space.low, space.high)

    def _evaluate(self, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns values, log-probabilities of the actions, and entropies of the policy, with gradient, [N, T] each."""
        shape = rollout.dones.shape
        inputs = _tensors(_flat(rollout.observations))
        actions = torch.from_numpy(_flat(rollout.actions))
        if isinstance(self.env.action_space, gym.spaces.Box):
            actions = actions.flatten(1)
        remembered: tuple[Any, ...] = ()
        if rollout.first_memory is not None:
            starts = np.concatenate([np.zeros((shape[0], 1)), rollout.dones[:, :-1]], axis=1)
            remembered = (rollout.first_memory, torch.from_numpy(starts.astype(np.float32).ravel()))
        values, log_prob, entropy = self.policy.evaluate_actions(inputs, actions, *remembered)
        assert entropy is not None, "only squashed distributions lack a closed form, and those need gSDE"
        return values.view(shape), log_prob.view(shape), entropy.view(shape)


def n_step_advantages(
    rewards: np.ndarray, values: np.ndarray, dones: np.ndarray, last_values: np.ndarray, gamma: float, gae_lambda: float
) -> np.ndarray:
    """Returns generalised advantage estimates (Schulman et al. 2016, arXiv:1506.02438, eq. 16), float32 [N, T].

    With λ = 1 they are the paper's: the n-step return up to the rollout's end, bootstrapped there, minus V.

    Args:
        rewards: float32 [N, T].
        values: V of each step's observation, float32 [N, T].
        dones: whether the episode ended after the step, bool [N, T].
        last_values: V of the observation after the last step, float32 [N].
        gamma: discount factor.
        gae_lambda: λ.

    >>> one, none = np.ones((1, 3), np.float32), np.zeros((1, 3), bool)
    >>> n_step_advantages(one, 0 * one, none, one[:, 0], gamma=0.5, gae_lambda=1.0).tolist()
    [[1.875, 1.75, 1.5]]
    """
    advantages = np.zeros_like(values)
    later, next_values = np.zeros_like(last_values), last_values
    for t in reversed(range(values.shape[1])):
        goes_on = 1.0 - dones[:, t]
        surprise = rewards[:, t] + gamma * goes_on * next_values - values[:, t]
        later = surprise + gamma * gae_lambda * goes_on * later
        advantages[:, t], next_values = later, values[:, t]
    return advantages


def flatten(policy: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Lays the trainable parameters into one vector [P] and their gradients into another; the policy keeps views.

    Copying parameters between processes, clipping, and the optimiser's step are then one operation each.
    """
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    theta = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    gradient = torch.zeros_like(theta)
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, part, slope in zip(parameters, theta.split(sizes), gradient.split(sizes), strict=True):
        parameter.data = part.view_as(parameter)
        parameter.grad = slope.view_as(parameter)
    return theta, gradient


def _refuse_running_statistics(policy: nn.Module) -> None:
    """Refuses layers that gather statistics while they are trained: those of the workers would never come together."""
    for part in policy.modules():
        if isinstance(part, _NormBase) and part.track_running_stats:
            raise ValueError(
                f"`policy_kwargs` makes a {type(part).__name__}, whose running statistics each of A3C's workers would "
                "gather for itself: use LayerNorm or GroupNorm, or track_running_stats=False."
            )


def _tensors(observations: Any) -> Any:
    """Gives an array, or each of a dict, as a tensor."""
    return obs_as_tensor(observations, torch.device("cpu"))


def _check_finite(observations: Any) -> None:
    """Stops NaN before the policy sees it: drawing an action would fail in a way that names no cause."""
    parts = observations.values() if isinstance(observations, dict) else [observations]
    if not all(np.isfinite(part).all() for part in parts if part.dtype.kind == "f"):
        raise FloatingPointError(
            "an observation is not finite: look for NaN in what the environment returns; the parameters are those "
            "before it."
        )


def _stack(observations: list[Any]) -> Any:
    """Stacks T observations [N, ...], arrays or dicts of arrays, to [N, T, ...]."""
    if isinstance(observations[0], dict):
        return {key: np.stack([part[key] for part in observations], axis=1) for key in observations[0]}
    return np.stack(observations, axis=1)


def _flat(batch: Any) -> Any:
    """Reshapes an array, or each of a dict, from [N, T, ...] to [N * T, ...]."""
    if isinstance(batch, dict):
        return {key: _flat(value) for key, value in batch.items()}
    return batch.reshape(-1, *batch.shape[2:])
