"""The plot command line, as a user calls it."""

import json

import numpy as np

from tests.in_process import give

HEADER = "env_steps,wall_clock_s,mean_return,std_return,mean_final_distance,success_rate,returns,final_distances"


def plot(*overrides, cwd):
    """Gives `python -m gqn_rl.plot` in another directory and returns what it said."""
    return give(cwd, "plot", *overrides)


def write_run(root, repr_name, slope):
    """Writes a run whose return grows by `slope` per evaluation; returns its folder."""
    folder = root / f"{repr_name}_moving_ppo_seed0"
    folder.mkdir(parents=True)
    facts = {"env": "jaco", "repr": repr_name, "camera": "moving", "agent": "ppo", "seed": 0, "random_return": 5.0}
    (folder / "run.json").write_text(json.dumps(facts | {"action_repeat": 10, "command": "train"}))
    rows = [f"{1000 * k},{k},{5 + slope * k},1,0.2,0.5,1;2,0.1;0.3" for k in np.arange(5)]
    (folder / "eval.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return folder


def test_plot_draws_every_figure_and_table_and_prints_their_paths(tmp_path):
    """Relative paths mean the user's directory; each printed file is there and not empty; nothing else is left."""
    write_run(tmp_path / "runs", "oracle", 6)
    write_run(tmp_path / "runs", "gqn", 4)
    done = plot("runs=[runs/oracle_moving_ppo_seed0,runs]", "out=figures", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = ["jaco_ppo_steps.png", "jaco_ppo_steps.svg"]
    assert done.stdout.split() == [f"figures/{name}" for name in [*names, "table.csv", "table.md"]]
    assert all((tmp_path / path).stat().st_size > 0 for path in done.stdout.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "runs"]


def test_plot_draws_over_hours_where_it_is_asked_to_and_knows_no_third_axis(tmp_path):
    """Both axes give two figures; an unknown one is a sentence that names those there are, before anything is drawn."""
    write_run(tmp_path / "runs", "oracle", 6)
    done = plot("runs=runs", "out=figures", "axes=[env_steps,hours]", cwd=tmp_path)
    assert done.stdout.split()[2:4] == ["figures/jaco_ppo_hours.png", "figures/jaco_ppo_hours.svg"]
    wrong = plot("runs=runs", "out=other", "axes=[days]", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr
    assert "`axes` must be a list of env_steps, pictures, actions, hours, processor_hours, got days" in wrong.stderr
    assert not (tmp_path / "other").exists()


def test_plot_without_runs_fails_with_one_sentence_and_leaves_nothing(tmp_path):
    """No runs: exit status 1, the place is named, no traceback, no figure folder."""
    done = plot("runs=nothing_here", "out=figures", cwd=tmp_path)
    assert done.returncode == 1
    assert "found none in nothing_here" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_plot_draws_runs_behind_and_writes_the_zero_shot_table(tmp_path):
    """One agent over those of two places: 9 from another camera, between 5 and their oracle's 29, is score 16.7."""
    write_run(tmp_path / "theirs", "oracle", 8)
    write_run(tmp_path / "others", "gqn", 1)
    mine = write_run(tmp_path / "mine", "gqn", 4)
    columns = HEADER.replace("wall_clock_s", "camera")
    (mine / "transfer.csv").write_text(f"{columns}\n4000,heldout,9,1,0.2,0.5,9;9,0.1;0.3\n")
    done = plot("runs=mine", "background=[theirs,others]", "out=figures", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stdout
    assert done.stdout.split()[-1] == "figures/transfer.csv"
    assert "jaco,ppo,moving,gqn,heldout,1,66.66" in (tmp_path / "figures/transfer.csv").read_text()
    assert "| moving | gqn | 1 | 66.7 | 16.7 | 25% |" in (tmp_path / "figures/table.md").read_text()
    assert "oracle,1," not in (tmp_path / "figures/table.csv").read_text()


def test_plot_never_writes_into_a_runs_own_folder(tmp_path):
    """Its transfer.csv has the name of a file that is written: the folder is named and left as it was."""
    mine = write_run(tmp_path, "gqn", 4)
    done = plot(f"runs={mine}", f"out={mine}", cwd=tmp_path)
    assert done.returncode == 1
    assert "`out` must not be a run's folder" in done.stderr
    assert sorted(path.name for path in mine.iterdir()) == ["eval.csv", "run.json"]


def test_nothing_is_written_through_a_link(tmp_path):
    """A link where a figure or a table belongs is replaced, and what it led to stays as it was."""
    write_run(tmp_path / "runs", "oracle", 6)
    precious, out = tmp_path / "precious", tmp_path / "figures"
    precious.write_text("mine")
    out.mkdir()
    names = ("table.csv", "table.md", "jaco_ppo_steps.png", "jaco_ppo_steps.svg")
    for name in names:
        (out / name).symlink_to(precious)
    done = plot("runs=runs", "out=figures", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert precious.read_text() == "mine"
    assert all((out / name).is_file() and not (out / name).is_symlink() for name in names)
