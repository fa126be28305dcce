"""A3C as its users hold it: an algorithm of Stable-Baselines3 whose workers are processes."""

from __future__ import annotations

import dataclasses
import io
import pathlib
from collections.abc import Callable
from typing import Any, ClassVar, Self

import cloudpickle
import gymnasium as gym
import torch
from sb3_contrib.common.recurrent.policies import (
    RecurrentActorCriticCnnPolicy,
    RecurrentActorCriticPolicy,
    RecurrentMultiInputActorCriticPolicy,
)
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.type_aliases import MaybeCallback, Schedule
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from gqn_rl.agents.a3c.coordinator import Coordinator, SharedModel
from gqn_rl.agents.a3c.env_source import EnvSource, make_source, make_vectorised
from gqn_rl.agents.a3c.learner import work
from gqn_rl.agents.a3c.messages import Settings
from gqn_rl.agents.a3c.parameters import flatten, refuse_running_statistics, shared
from gqn_rl.interrupts import StopRequest
from gqn_rl.processes import WorkerPool


class A3C(SharedModel):
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
        env: a Gymnasium id, an environment or a small SB3 vector environment (every worker gets a copy), or a factory
            of either.
        learning_rate: a number, or a function of the remaining share of the training (1 to 0).
        n_steps: T, steps per rollout and update.
        gamma: discount factor.
        gae_lambda: λ of generalised advantage estimation; 1 gives the paper's n-step returns.
        ent_coef: weight of the entropy bonus, or a function of the remaining share of the training.
        vf_coef: weight of the value loss.
        max_grad_norm: largest norm of a gradient.
        rms_prop_eps: ε of RMSprop.
        use_rms_prop: RMSprop, as in the paper, else Adam; `policy_kwargs` may name another optimiser of torch.
        use_sde: generalised state-dependent exploration instead of noise of its own at every step; Box actions only.
        sde_sample_freq: steps after which its noise is drawn anew; −1 for once in a rollout.
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
        use_sde: bool = False,
        sde_sample_freq: int = -1,
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
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
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

    def set_env(self, env: EnvSource, force_reset: bool = True) -> None:
        """Changes the environment to another with the same spaces; its episodes begin anew."""
        super().set_env(env, force_reset)  # type: ignore[arg-type]
        self.worker_states = []

    def _setup_model(self) -> None:
        """Builds policy and optimiser; the optimiser works on the shared θ, the policy of this process on a copy."""
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        spaces = self.observation_space, self.action_space
        make_policy: Callable[..., ActorCriticPolicy] = self.policy_class  # type: ignore[assignment]
        self.policy = make_policy(*spaces, self.lr_schedule, use_sde=self.use_sde, **self.policy_kwargs)
        refuse_running_statistics(self.policy)
        self._copy, _ = flatten(self.policy)
        self._theta = nn.Parameter(shared(self._copy.clone()))
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
                shared(value)
        with StopRequest() as stop:
            coordinator = Coordinator(self, callback, total_timesteps, log_interval, stop)
            with WorkerPool(work, coordinator.worker_arguments, self.n_workers) as pool:
                coordinator.run(pool)
        callback.on_training_end()
        if stop.signal_name is not None:
            raise KeyboardInterrupt(stop.signal_name)
        return self

    def worker_arguments(self) -> tuple[Any, ...]:
        """Returns what every worker is given: settings, all of the policy's weights, and what is shared."""
        names = [field.name for field in dataclasses.fields(Settings) if field.name != "source"]
        settings = Settings(self.env.source, **{name: getattr(self, name) for name in names})  # type: ignore[union-attr]
        weights = io.BytesIO()
        torch.save(self.policy.state_dict(), weights)
        return cloudpickle.dumps(settings), weights.getvalue(), self._theta, self.policy.optimizer

    def take_snapshot(self) -> None:
        """Copies θ to this process's policy, which callbacks, `predict` and `save` see."""
        self._copy.copy_(self._theta.detach())
