"""The command line `python -m gqn_rl.train_agent`: configs compose, runs are written, mistakes are one sentence."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_module

import gqn_rl
from gqn_rl.agents import run_folder as files
from gqn_rl.wrappers import REPRESENTATIONS

SMALL = [
    "total_steps=64", "eval_every=32", "eval_episodes=2", "agent.num_envs=2", "agent.settings.n_steps=16",
    "agent.settings.batch_size=16", "agent.settings.n_epochs=1", "threads=1",
]  # fmt: skip


def train_agent(tmp_path, *words):
    """Runs the command in a folder of its own."""
    command = [sys.executable, "-m", "gqn_rl.train_agent", *words]
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(gqn_rl.__file__).parents[1])}
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("camera", ["fixed", "moving", "heldout"])
@pytest.mark.parametrize("repr", REPRESENTATIONS)
def test_every_choice_composes(repr, camera):
    """The run folder is named by the choices, and pixels have their own number of epochs."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        cfg = compose("train_agent", [f"repr={repr}", f"camera={camera}", "seed=3"])
        assert cfg.run_dir == f"runs/agents/jaco/{repr}_{camera}_ppo_seed3"
        assert cfg.agent.settings.n_epochs == (20 if repr == "oracle" else 10)
        changed = compose("train_agent", [f"repr={repr}", "agent.settings.n_epochs=1"])
        assert changed.agent.settings.n_epochs == 1


@pytest.mark.slow
def test_two_runs_of_one_command_are_written_and_not_repeated(tmp_path):
    """A multirun gives each job its folder; the same command again says that both are finished."""
    words = ["-m", "repr=oracle,random_encoder", "camera=fixed", "gif=false", *SMALL]
    first = train_agent(tmp_path, *words)
    assert first.returncode == 0, first.stderr
    for repr in ("oracle", "random_encoder"):
        folder = tmp_path / "runs/agents/jaco" / f"{repr}_fixed_ppo_seed0"
        run = json.loads((folder / files.RUN_FILE).read_text())
        assert (run["repr"], run["camera"], run["action_repeat"]) == (repr, "fixed", 10)
        assert f"repr={repr}" in run["command"] and isinstance(run["random_return"], float)
        with open(folder / files.EVAL_FILE, newline="") as file:
            assert [row["env_steps"] for row in csv.DictReader(file)] == ["0", "32", "64"]
        assert {"config.yaml", "versions.json", "progress.csv", "final_model.zip"} <= {f.name for f in folder.iterdir()}
    again = train_agent(tmp_path, *words)
    assert again.returncode == 0 and again.stdout.count("is finished: 64 environment steps") == 2


@pytest.mark.slow
@pytest.mark.parametrize("served", [True, False])
def test_a3c_trains_on_an_encoder_in_each_worker_or_on_one_server(tmp_path, served):
    """The word agent=a3c changes the agent; what encodes for its workers is a setting; the folder is alike."""
    sizes = ["agent.num_envs=2", "agent.settings.n_steps=4", "total_steps=400"]
    words = ["agent=a3c", "repr=random_encoder", *sizes, "eval_every=400", "eval_episodes=2", "gif=false"]
    done = train_agent(tmp_path, *words, f"agent.encoding_server={served}")
    assert done.returncode == 0 and not done.stderr, done.stderr
    folder = tmp_path / "runs/agents/jaco/random_encoder_moving_a3c_seed0"
    with open(folder / files.EVAL_FILE, newline="") as file:
        assert [row["env_steps"] for row in csv.DictReader(file)] == ["0", "400"]
    assert (folder / "final_model.zip").exists() and (folder / "monitor/0.monitor.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("words", "message"), [
    (["repr=sound"], "Valid: gqn, oracle, pixels, random_encoder"),
    (["camera=side"], "Valid: fixed, heldout, moving"),
    (["repr=gqn", "encoder=nowhere.safetensors"], "`python -m gqn_rl.pretrain` trains one"),
])  # fmt: skip
def test_mistakes_end_in_one_sentence_and_leave_no_run(tmp_path, words, message):
    """Exit status 1, the choices or the next step on stderr, no traceback, no run folder."""
    result = train_agent(tmp_path, *words)
    assert result.returncode == 1 and message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()
