"""Monitor files that runs continue."""

import json

import pytest

from gqn_rl.envs.cameras import Fixed
from gqn_rl.wrappers import make_vec_env
from gqn_rl.wrappers.monitor import monitor_file


def finish_episodes(folder, num_steps=50):
    envs = make_vec_env("Reacher-v5", "oracle", Fixed((0.35, 0.0, 0.45), (0.0, 0.0, 0.0)), monitor_dir=folder)
    envs.reset()
    for _ in range(num_steps):
        envs.step([envs.action_space.sample()])
    envs.close()


def test_a_monitor_file_is_one_that_sb3_loads(tmp_path):
    """One header, also where a later session goes on; the clock of its rows goes forward over both."""
    finish_episodes(tmp_path)
    finish_episodes(tmp_path)
    header, names, *rows = (tmp_path / "0.monitor.csv").read_text().splitlines()
    assert header[0] == "#" and json.loads(header[1:])["t_start"] > 0 and names == "r,l,t"
    times = [float(row.split(",")[2]) for row in rows]
    assert len(rows) == 2 and times == sorted(times)


@pytest.mark.parametrize("content", ["", "#{}\n", "r,l,t\n1,2,3\n", "[" * 9000, "#null\n"])
def test_a_damaged_one_is_named_and_set_aside(tmp_path, caplog, content):
    """What is there is kept under another name, and a new file is begun."""
    path = tmp_path / "0.monitor.csv"
    path.write_text(content)
    finish_episodes(tmp_path)
    assert (tmp_path / "0.monitor.csv.damaged").read_text() == content
    assert f"`{path}`" in caplog.text and "set aside as *.damaged" in caplog.text
    assert monitor_file(path).began_s is not None and len(path.read_text().splitlines()) == 3
