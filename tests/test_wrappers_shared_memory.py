"""Environments in worker processes: the same as in one process, seen through shared memory, and how they end."""

import functools
import os
import signal

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from gqn_rl.wrappers import SharedMemoryVecEnv, default_workers
from tests.tiny_envs import Echo, Failing, Pictures

NUM_ENVS, NUM_STEPS = 3, 12

pytestmark = pytest.mark.usefixtures("quick_workers")


def monitored(make):
    return Monitor(make())


def in_workers(make, num_workers=2, num_envs=NUM_ENVS):
    """Makes environments in worker processes."""
    env = make()
    return SharedMemoryVecEnv([make] * num_envs, num_workers, env.observation_space, env.action_space)


def trajectory(envs):
    """Everything that two resets and several episodes of drawn actions give, without times."""
    envs.action_space.seed(0)
    envs.seed(7)
    told = [envs.reset(), envs.reset_infos]
    for step in range(NUM_STEPS):
        if step == NUM_STEPS // 2:
            envs.seed(100)
            envs.set_options({"any": 1})
            told.append(envs.reset())
        action = [envs.action_space.sample() for _ in range(envs.num_envs)]
        *seen, infos = envs.step(np.array(action))
        for info in infos:
            info.get("episode", {}).pop("t", None)
        told += [seen, infos, envs.reset_infos]
    envs.close()
    return told


def assert_equal(one, other):
    """Compares nested values, arrays with their types."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert type(one) is type(other) and one == other


@pytest.mark.parametrize("make", [
    Echo, functools.partial(Echo, gym.spaces.Box(-1.0, 1.0, (2,), np.float32)), functools.partial(Pictures, True),
    functools.partial(Pictures, False),
])  # fmt: skip
def test_workers_give_what_one_process_gives_to_the_last_bit(make):
    """Observations, rewards, ends, infos and terminal observations, over resets with seeds and episodes' ends."""
    make = functools.partial(monitored, make)
    assert_equal(trajectory(in_workers(make)), trajectory(DummyVecEnv([make] * NUM_ENVS)))


def test_what_was_seen_stays_when_the_environments_go_on():
    """Observations are copies: an agent may keep them while the workers write the next ones."""
    envs = in_workers(functools.partial(Pictures, True))
    seen = envs.reset()
    before = {key: value.copy() for key, value in seen.items()}
    envs.step(np.zeros(NUM_ENVS, int))
    assert_equal(seen, before)
    envs.close()


def test_attributes_and_methods_reach_the_environments_asked_for():
    """In the order of the indices, whichever workers they are in; what is absent is said to be."""
    envs = in_workers(functools.partial(monitored, Echo))
    assert not envs.has_attr("mark")
    envs.set_attr("mark", 5, indices=[2, 0])
    assert envs.get_attr("mark", [2, 0]) == [5, 5] and envs.get_attr("step_in_episode") == [0] * NUM_ENVS
    (seen,) = envs.env_method("get_wrapper_attr", "observation_space", indices=2)
    assert seen == Echo().observation_space
    assert envs.env_is_wrapped(Monitor) == [True] * NUM_ENVS
    envs.close()


def test_a_failing_environment_is_told_with_its_reason():
    """The error names the worker and ends with what went wrong there; no process stays behind."""
    envs = in_workers(Failing)
    envs.reset()
    with pytest.raises(ChildProcessError, match=r"(?s)worker . failed.*the arm is stuck"):
        for _ in range(NUM_STEPS):
            envs.step(np.zeros(NUM_ENVS, int))
    assert envs.process_ids == []


def test_a_killed_worker_is_noticed():
    """A step that it was to take part in raises at once instead of waiting for ever."""
    envs = in_workers(Echo)
    envs.reset()
    os.kill(envs.process_ids[1], signal.SIGKILL)
    with pytest.raises(ChildProcessError, match="worker 1 was killed by SIGKILL"):
        envs.step(np.zeros(NUM_ENVS, int))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_left_to_the_main_process(number):
    """The workers go on, and end when they are closed."""
    envs = in_workers(Echo)
    envs.reset()  # they run
    for process_id in envs.process_ids:
        os.kill(process_id, number)
    envs.reset()  # a signal comes before whatever is sent after it
    assert len(envs.process_ids) == 2
    envs.close()
    envs.close()
    assert envs.process_ids == []


@pytest.mark.parametrize("num_workers", [0, 4])
def test_impossible_numbers_of_workers_are_refused(num_workers):
    """At least one worker, and no more than environments."""
    with pytest.raises(ValueError, match=r"`num_workers` must be in \[1, 3\]"):
        in_workers(Echo, num_workers)


def test_the_number_of_workers_follows_from_the_cores():
    """One a core, never more than environments; where there is one core a worker would only be in the way."""
    assert [default_workers(16, cores) for cores in (1, 2, 8, 64)] == [0, 2, 8, 16]


@pytest.mark.parametrize("indices", [-1, [-1, 0], [-3, -2, -1], [0, 0, 2], np.array([2, 0]), [], None])
def test_indices_mean_what_they_mean_for_one_process(indices):
    """Counted from the end, repeated, in any order, or as an array: as `DummyVecEnv` takes them."""
    many, one = in_workers(Echo), DummyVecEnv([Echo] * NUM_ENVS)
    for envs in (many, one):
        for index in range(NUM_ENVS):
            envs.set_attr("episode", 10 * index, indices=index)
        envs.set_attr("mark", 1)
    assert many.get_attr("episode", indices) == one.get_attr("episode", indices)
    for envs in (many, one):
        envs.env_method("reset", indices=indices)
    assert many.get_attr("episode") == one.get_attr("episode")
    many.close()


@pytest.mark.parametrize("index", [3, -4])
def test_an_environment_that_does_not_exist_is_named(index):
    """An IndexError, as of a list, and the workers go on."""
    envs = in_workers(Echo)
    with pytest.raises(IndexError, match=rf"^There is no environment {index} of 3\.$"):
        envs.get_attr("episode", index)
    assert envs.get_attr("episode") == [-1] * NUM_ENVS
    envs.close()


def test_spaces_that_are_no_arrays_are_refused():
    """Before a process is started, with what to use instead."""
    space = gym.spaces.Dict({"text": gym.spaces.Text(5)})
    with pytest.raises(ValueError, match=r"got Text at 'text'; use DummyVecEnv"):
        SharedMemoryVecEnv([Echo], 1, space, gym.spaces.Discrete(2))
    with pytest.raises(ValueError, match=r"`action_space` must be a Box.*got a Dict"):
        SharedMemoryVecEnv([Echo], 1, gym.spaces.Box(0, 1, (2,)), space)
