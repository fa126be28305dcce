"""Encoding in forked processes, as Gymnasium's asynchronous vector environments make them."""

import os
import pathlib
import subprocess
import sys

import pytest

PROGRAM = """
import functools, gymnasium, torch
from gqn_rl import CameraObservation, GQNObservationWrapper, load_encoder
wrappers = [
    functools.partial(CameraObservation, camera="moving"),
    functools.partial(GQNObservationWrapper, encoder=load_encoder("jaco")),
]
if __name__ == "__main__":
    one = gymnasium.make("gqn_rl/JacoReach-v0")
    for wrap in wrappers:
        one = wrap(one)
    seen = one.reset(seed=0)[0]["representation"]
    torch.rand(1_000_000).exp()  # OpenMP's threads have run
    assert torch.get_num_threads() == 2
    envs = gymnasium.make_vec("gqn_rl/JacoReach-v0", num_envs=2, vectorization_mode="async", wrappers=wrappers)
    many = envs.reset(seed=0)[0]["representation"]
    assert torch.get_num_threads() == 2
    torch.testing.assert_close(many[0], seen, rtol=0, atol=0.05)  # by a compiled runtime, and by torch
    print(many.shape[0])
    envs.close()
"""


@pytest.mark.slow  # imports everything in a process of its own, since a fork of this one would say little
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forked processes here")
def test_asynchronous_environments_encode_on_one_thread_and_say_the_tip(tmp_path):
    """After two OpenMP threads have run: the workers see what one environment sees, and each warns once."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    root = str(pathlib.Path(__file__).parents[1])
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": paths}
    command = [sys.executable, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr
    assert done.stderr.count("This process was forked, so it encodes on one thread") == 2
