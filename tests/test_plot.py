"""The plot command line, as a user calls it."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np

import gqn_rl

HEADER = "env_steps,wall_clock_s,mean_return,std_return,mean_final_distance,success_rate,returns,final_distances"


def plot(*overrides, cwd):
    """Runs `python -m gqn_rl.plot` from another directory and returns what it said."""
    command = [sys.executable, "-m", "gqn_rl.plot", *overrides]
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(gqn_rl.__file__).parents[1])}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def write_run(root, repr_name, slope):
    """Writes a run whose return grows by `slope` per evaluation."""
    folder = root / f"{repr_name}_moving_ppo_seed0"
    folder.mkdir(parents=True)
    facts = {"env": "jaco", "repr": repr_name, "camera": "moving", "agent": "ppo", "seed": 0, "random_return": 5.0}
    (folder / "run.json").write_text(json.dumps(facts | {"action_repeat": 10, "command": "train"}))
    rows = [f"{1000 * k},{k},{5 + slope * k},1,0.2,0.5,1;2,0.1;0.3" for k in np.arange(5)]
    (folder / "eval.csv").write_text("\n".join([HEADER, *rows]) + "\n")


def test_plot_draws_every_figure_and_table_and_prints_their_paths(tmp_path):
    """Relative paths mean the user's directory; each printed file is there and not empty; nothing else is left."""
    write_run(tmp_path / "runs", "oracle", 6)
    write_run(tmp_path / "runs", "gqn", 4)
    done = plot("runs=[runs/oracle_moving_ppo_seed0,runs]", "out=figures", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = ["jaco_ppo_steps.png", "jaco_ppo_steps.svg", "jaco_ppo_hours.png", "jaco_ppo_hours.svg"]
    assert done.stdout.split() == [f"figures/{name}" for name in [*names, "table.csv", "table.md"]]
    assert all((tmp_path / path).stat().st_size > 0 for path in done.stdout.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "runs"]


def test_plot_without_runs_fails_with_one_sentence_and_leaves_nothing(tmp_path):
    """No runs: exit status 1, the place is named, no traceback, no figure folder."""
    done = plot("runs=nothing_here", "out=figures", cwd=tmp_path)
    assert done.returncode == 1
    assert "found none in nothing_here" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
