"""A3C when something goes wrong: failing and killed workers, NaN, Ctrl-C, and a main process that is killed."""

import functools
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import gymnasium as gym
import pytest
import torch

from gqn_rl.agents.a3c import A3C
from tests.tiny_envs import Failing, Listener, NotANumber
from tests.waiting import LIMIT_S, is_running, wait_until


class KillOne(Listener):
    """Kills a worker at the 30th step."""

    def _on_step(self):
        if self.n_calls == 30:
            os.kill(torch.multiprocessing.active_children()[0].pid, signal.SIGKILL)
        return super()._on_step()


class Complain(Listener):
    def _on_step(self):
        raise LookupError("the callback's own error")


def is_finite(model):
    return all(torch.isfinite(part).all() for part in (*model.policy.parameters(), model._theta))


def test_a_worker_that_fails_is_told_and_replaced(quick_workers, tmp_path):
    """The warning holds worker, exit code and error; training goes on to the exact number of steps."""
    model, listener = A3C("MlpPolicy", functools.partial(Failing, tmp_path / "marker"), seed=0), Listener()
    expected = (
        r"(?s)A3C worker [01] failed \(exit code 1\):\n.*RuntimeError: the arm is stuck\nIt is replaced \(repl.* 1 of"
    )
    with pytest.warns(RuntimeWarning, match=expected) as told:
        model.learn(307, listener)
    assert len(told) == 1
    assert model.num_timesteps == listener.n_calls == 307
    assert not torch.multiprocessing.active_children()


def test_workers_that_keep_failing_end_the_training(quick_workers):
    """One more than `max_restarts` is an error with the reason, the model is whole and no process is left."""
    model = A3C("MlpPolicy", Failing, n_workers=1, max_restarts=1, seed=0)
    with pytest.warns(RuntimeWarning), pytest.raises(ChildProcessError, match=r"(?s)the arm is stuck.*max_restarts`=1"):
        model.learn(300)
    assert is_finite(model) and not torch.multiprocessing.active_children()


def test_a_killed_worker_is_told_and_replaced(quick_workers):
    """Kill -9, as by the kernel when memory runs out, costs a warning and not a step."""
    model, listener = A3C("MlpPolicy", "CartPole-v1", n_workers=2, seed=0), KillOne()
    with pytest.warns(RuntimeWarning, match=r"A3C worker [01] was killed by SIGKILL \(exit code -9\)\nIt is replaced"):
        model.learn(1003, listener)
    assert model.num_timesteps == listener.n_calls == 1003


@pytest.mark.parametrize("space", [gym.spaces.Discrete(3), gym.spaces.Box(-1, 1, (2,))], ids=["Discrete", "Box"])
@pytest.mark.parametrize(("where", "sentence"), [("reward", "gradient"), ("observation", "an observation")])
def test_nan_ends_the_training_before_it_reaches_the_parameters(quick_workers, where, sentence, space):
    """The error says where to look, no worker is replaced, and parameters are finite and can be trained further."""
    model = A3C("MlpPolicy", functools.partial(NotANumber, where, space), n_workers=1, seed=0)
    with pytest.raises(FloatingPointError, match=f"^(the )?{sentence} is not finite.*look for NaN"):
        model.learn(100)
    assert is_finite(model) and not torch.multiprocessing.active_children()
    model.learn(5)
    assert model.num_timesteps == 5 and is_finite(model)


def test_an_error_in_a_callback_ends_the_workers(quick_workers):
    """The error arrives as it is."""
    model = A3C("MlpPolicy", "CartPole-v1", n_workers=2, seed=0)
    with pytest.raises(LookupError, match="own error"):
        model.learn(1000, Complain())
    assert not torch.multiprocessing.active_children()


# --------------------------------------------------------------------------- signals, to a program with spawned workers

PROGRAM = textwrap.dedent("""
    import multiprocessing, sys
    from gqn_rl.agents.a3c import A3C

    def tell_workers(local_variables, _):
        if local_variables["self"].num_timesteps == 1:
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)

    if __name__ == "__main__":
        model = A3C("MlpPolicy", "CartPole-v1", n_workers=2, seed=0)
        try:
            model.learn(10**9, tell_workers)
        except KeyboardInterrupt as stop:
            model.save(sys.argv[1])
            print(stop, model.num_timesteps, len(multiprocessing.active_children()))
""")


@pytest.fixture
def program(tmp_path):
    """A training program in a session of its own, and the process ids of its workers, when it has made a first step."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    root = pathlib.Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(file), str(tmp_path / "model.zip")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment)
    try:
        yield process, [int(word) for word in process.stdout.readline().split()]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def shared_memory_of(process_ids):
    return [file for number in process_ids for file in pathlib.Path("/dev/shm").glob(f"torch_{number}_*")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_leaves_a_model_that_can_be_saved(program, tmp_path, number):
    """As a terminal sends Ctrl-C, and a cluster SIGTERM: KeyboardInterrupt, `save` works, the workers are gone."""
    process, workers = program
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=LIMIT_S)
    name, num_timesteps, num_children = output.split()
    assert (name, num_children, process.returncode) == (number.name, "0", 0)
    assert len(workers) == 2 and not any(map(is_running, workers))
    assert A3C.load(tmp_path / "model.zip").num_timesteps == int(num_timesteps) > 0
    assert not shared_memory_of([process.pid, *workers])


def test_a_killed_program_leaves_nothing_behind(program):
    """After kill -9 of the main process its workers notice and end, and no shared memory stays."""
    process, workers = program
    assert len(workers) == 2 and all(map(is_running, workers))
    process.kill()
    wait_until(lambda: not any(map(is_running, workers)))
    assert not shared_memory_of([process.pid, *workers])
