"""SharedMemoryVecEnv: environments in a few worker processes, whose observations and actions are in shared memory."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import CloudpickleWrapper, DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from gqn_rl.machine import import_triton_before_opengl
from gqn_rl.processes import Connection, SharedBytes, WorkerLost, WorkerPool

_SEEN, _LAST, _ACTIONS = "seen", "terminal_observation", "actions"
_STEP, _RESET, _CALL = "step", "reset", "call"

_ARRAY_SPACES = (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)
_ALIGNMENT = 64
"""Bytes: where an array begins, so that none shares a line of the processor's cache with another."""

_Memory = Mapping[str, dict[str | None, np.ndarray]]
"""Arrays [num_envs, ...] in shared memory, by what they hold and by the observation's keys; None for a bare array."""


class SharedMemoryVecEnv(VecEnv):
    """Stable-Baselines3's vector environment on `num_workers` spawned processes, each with an equal share.

    Gives what `DummyVecEnv` gives, and what is in `wrap`. Workers write what they see to shared memory; pipes carry
    rewards, ends and infos alone. Workers compute on one thread, leave Ctrl-C and SIGTERM to this process and end
    with it; one that fails or is killed raises a ChildProcessError that says why.

    Args:
        env_fns: make the environments; they reach the workers by cloudpickle.
        num_workers: number of processes, at most one for each environment.
        observation_space: of one environment, as `wrap` leaves it: a Box, or a Dict of them.
        action_space: of one environment: a Box, Discrete, MultiDiscrete or MultiBinary.
        wrap: what each worker wraps its own vector environment in, such as `GQNVecEnv`; it reaches them by cloudpickle.
    """

    def __init__(
        self,
        env_fns: Sequence[Callable[[], gym.Env]],
        num_workers: int,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        wrap: Callable[[VecEnv], VecEnv] | None = None,
    ):
        num_envs = len(env_fns)
        if not 1 <= num_workers <= num_envs:
            raise ValueError(
                f"`num_workers` must be in [1, {num_envs}], one for each environment at most, got {num_workers}."
            )
        if isinstance(action_space, gym.spaces.Dict):
            raise ValueError("`action_space` must be a Box, Discrete, MultiDiscrete or MultiBinary, got a Dict.")
        spaces = {_SEEN: observation_space, _LAST: observation_space, _ACTIONS: action_space}
        memory = SharedBytes(_num_bytes(spaces, num_envs))
        self._memory = _arrays(spaces, memory, num_envs)
        self._shares = np.array_split(np.arange(num_envs), num_workers)
        self._worker_of = {int(i): worker for worker, share in enumerate(self._shares) for i in share}
        arguments = [
            (CloudpickleWrapper(([env_fns[i] for i in share], wrap)), int(share[0]), num_envs, spaces, memory)
            for share in self._shares
        ]
        self._pool = WorkerPool(_work, arguments.__getitem__, num_workers)
        self._pool.__enter__()
        try:
            super().__init__(num_envs, observation_space, action_space)
        except BaseException:
            self.close()
            raise

    def step_async(self, actions: np.ndarray) -> None:
        """Lets all workers begin."""
        self._memory[_ACTIONS][None][:] = actions
        self._tell_all(_STEP, [None] * len(self._shares))

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Waits for all workers and copies what they saw."""
        rewards, dones, infos, reset_infos = (
            list(itertools.chain(*parts)) for parts in zip(*self._answers(), strict=True)
        )
        self.reset_infos = reset_infos
        for i in np.flatnonzero(dones):
            infos[i][_LAST] = self._copied(_LAST, i)
        return self._copied(_SEEN), np.array(rewards, np.float32), np.array(dones, bool), infos

    def reset(self) -> Any:
        """Begins an episode in every environment, with the seeds and options that were set."""
        self._tell_all(
            _RESET, [([self._seeds[i] for i in share], [self._options[i] for i in share]) for share in self._shares]
        )
        self.reset_infos = list(itertools.chain(*self._answers()))
        self._reset_seeds()
        self._reset_options()
        return self._copied(_SEEN)

    def close(self) -> None:
        """Ends the workers; a second call does nothing."""
        self._pool.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Returns what `render()` gives for each environment, None where they draw no arrays."""
        if self.render_mode != "rgb_array":
            return [None] * self.num_envs
        return self.env_method("render")

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute of the environments."""
        return self._call("get_attr", indices, attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of the environments."""
        self._call("set_attr", indices, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of the environments."""
        return self._call("env_method", indices, method_name, *method_args, **method_kwargs)

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Tells which environments are wrapped with `wrapper_class`."""
        return self._call("env_is_wrapped", indices, wrapper_class)

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the workers that run."""
        return self._pool.process_ids

    def _call(self, method: str, indices: VecEnvIndices, *args: Any, **kwargs: Any) -> list[Any]:
        """Lets the workers call a method of their `DummyVecEnv`; returns what it gave for each of `indices`."""
        asked = [self._checked(i) for i in self._get_indices(indices)]
        mine = [[i - int(share[0]) for i in asked if i in share] for share in self._shares]
        self._tell_all(_CALL, [(method, args, kwargs | {"indices": share}) for share in mine])
        answers = self._answers()
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        given = [iter(answer or [None] * len(share)) for answer, share in zip(answers, mine, strict=True)]
        return [next(given[self._worker_of[i]]) for i in asked]

    def _checked(self, index: int) -> int:
        """Returns the number of an environment, which may be counted from the end as that of a list."""
        if not -self.num_envs <= index < self.num_envs:
            raise IndexError(f"There is no environment {index} of {self.num_envs}.")
        return int(index) % self.num_envs

    def _tell_all(self, name: str, payloads: Sequence[Any]) -> None:
        """Sends each worker its order."""
        for worker, payload in enumerate(payloads):
            self._pool.send(worker, (name, payload))

    def _answers(self) -> list[Any]:
        """Waits until every worker has answered.

        Raises:
            ChildProcessError: one of them has failed or was killed.
        """
        answers: dict[int, Any] = {}
        while len(answers) < len(self._shares):
            for worker, answer in self._pool.receive(awaited=[i for i in range(len(self._shares)) if i not in answers]):
                if isinstance(answer, WorkerLost):
                    self.close()
                    raise ChildProcessError(f"Environments are lost: {answer}")
                answers[worker] = answer
        return [answers[worker] for worker in range(len(self._shares))]

    def _copied(self, name: str, index: Any = ...) -> Any:
        """Returns a copy of the observations that stand in shared memory now, of all environments or of one."""
        parts = {key: array[index].copy() for key, array in self._memory[name].items()}
        return parts.get(None, parts)


def default_workers(num_envs: int, num_cores: int, draws: bool = True) -> int:
    """Returns how many workers step `num_envs` environments best: one a core, none where there is one core alone.

    None either where no pictures are drawn: such a step costs less than to ask a worker for it.
    """
    return min(num_envs, num_cores) if draws and num_cores > 1 else 0


def _work(
    connection: Connection,
    begin: CloudpickleWrapper,
    first: int,
    num_envs: int,
    spaces: Mapping[str, gym.Space[Any]],
    memory: SharedBytes,
) -> None:
    """Steps the environments `first`, `first + 1`, … until the pipe closes."""
    env_fns, wrap = begin.var
    import_triton_before_opengl()  # the environments may draw by themselves
    share = _Share(DummyVecEnv(env_fns), wrap, first, _arrays(spaces, memory, num_envs))
    orders: dict[str, Callable[[Any], Any]] = {_STEP: share.step, _RESET: share.reset, _CALL: share.call}
    with contextlib.suppress(EOFError):
        while True:
            name, payload = connection.recv()
            connection.send(orders[name](payload))


class _Share:
    """A worker's environments, whose observations are written where the main process reads them."""

    def __init__(self, envs: DummyVecEnv, wrap: Callable[[VecEnv], VecEnv] | None, first: int, memory: _Memory):
        self._envs, self._wrapped = envs, envs if wrap is None else wrap(envs)
        mine = slice(first, first + envs.num_envs)
        self._seen, self._last, self._actions = (
            {key: array[mine] for key, array in memory[name].items()} for name in (_SEEN, _LAST, _ACTIONS)
        )

    def step(self, _: None) -> tuple[list[float], list[bool], list[dict[str, Any]], list[dict[str, Any]]]:
        """Takes the actions in shared memory; returns rewards, ends, infos and those of resets."""
        seen, rewards, dones, infos = self._wrapped.step(self._actions[None])
        _write(self._seen, ..., seen)
        for i in np.flatnonzero(dones):
            _write(self._last, i, infos[i].pop(_LAST))
        return rewards.tolist(), dones.tolist(), infos, self._envs.reset_infos

    def reset(self, begins: tuple[list[int | None], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Begins episodes with seeds and options; returns the infos."""
        self._envs._seeds, self._envs._options = begins
        _write(self._seen, ..., self._wrapped.reset())
        return self._envs.reset_infos

    def call(self, order: tuple[str, tuple[Any, ...], dict[str, Any]]) -> Any:
        """Calls a method of `DummyVecEnv`; what it raises is returned, for the main process to raise."""
        method, args, kwargs = order
        try:
            return getattr(self._envs, method)(*args, **kwargs)
        except Exception as error:
            return error


def _write(memory: Mapping[str | None, np.ndarray], index: Any, seen: Any) -> None:
    """Writes observations, of all environments or of one, to shared memory."""
    for key, array in memory.items():
        array[index] = seen if key is None else seen[key]


def _parts(space: gym.Space[Any]) -> dict[str | None, gym.Space[Any]]:
    """Returns the spaces whose values are arrays, by the keys of a Dict; None for a bare one.

    Raises:
        ValueError: there are others.
    """
    is_dict = isinstance(space, gym.spaces.Dict)
    parts: Mapping[Any, gym.Space[Any]] = space.spaces if is_dict else {None: space}  # type: ignore[attr-defined]
    for key, part in parts.items():
        if not isinstance(part, _ARRAY_SPACES):
            where = "" if key is None else f" at {key!r}"
            raise ValueError(
                f"SharedMemoryVecEnv takes Box, Discrete, MultiDiscrete and MultiBinary spaces, or a Dict of them, got "
                f"{type(part).__name__}{where}; use DummyVecEnv, or flatten it with gymnasium's FlattenObservation."
            )
    return dict(parts)


def _num_bytes(spaces: Mapping[str, gym.Space[Any]], num_envs: int) -> int:
    """Returns how much memory holds what is exchanged."""
    return sum(num for _, _, _, num in _layout(spaces, num_envs))


def _layout(
    spaces: Mapping[str, gym.Space[Any]], num_envs: int
) -> Iterator[tuple[str, str | None, gym.Space[Any], int]]:
    """Yields what lies in shared memory one after the other: name, key, space and bytes."""
    for name, space in spaces.items():
        for key, part in _parts(space).items():
            assert part.shape is not None and part.dtype is not None
            num_bytes = num_envs * math.prod(part.shape) * part.dtype.itemsize
            yield name, key, part, -(-num_bytes // _ALIGNMENT) * _ALIGNMENT


def _arrays(spaces: Mapping[str, gym.Space[Any]], memory: SharedBytes, num_envs: int) -> _Memory:
    """Looks at shared memory as arrays."""
    found: dict[str, dict[str | None, np.ndarray]] = {name: {} for name in spaces}
    offset = 0
    for name, key, part, num_bytes in _layout(spaces, num_envs):
        assert part.shape is not None
        shape = (num_envs, *part.shape)
        array = np.frombuffer(memory.memory, part.dtype, math.prod(shape), offset).reshape(shape)
        found[name][key] = array
        offset += num_bytes
    return found
