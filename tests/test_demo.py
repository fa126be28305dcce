"""The demo: end to end on the smallest scale, and what it does when a stage fails."""

import os
import signal
import sys
import threading

import pytest

from gqn_rl import demo
from gqn_rl.processes import commands
from tests.in_process import give
from tests.waiting import is_running, wait_until

SMALLEST = demo.Size(
    data=("num_scenes=8", "held_out_scenes=8", "views_per_scene=5", "num_workers=1"),
    pretrain=("model=gqn_debug", "train.total_steps=2", "threads=1", "data.num_workers=1"),
    agents=(
        "eval_every=64", "eval_episodes=2", "agent.num_envs=2", "agent.settings.n_steps=32",
        "agent.settings.batch_size=32", "agent.settings.n_epochs=1", "runtime=torch",
    ),
    steps=64,
)  # fmt: skip


@pytest.mark.slow
def test_quick_demo_makes_everything_it_names_and_does_it_once(tmp_path, monkeypatch, capfd):
    """Curves, sheet and rollouts exist; the command of an agent that was trained finds it finished."""

    def run_here(command, stop, on_line=print):
        done = give(tmp_path, command[2].removeprefix("gqn_rl."), *command[3:])
        on_line(done.stdout + done.stderr)
        return done.returncode

    monkeypatch.setattr(demo, "QUICK", SMALLEST)
    monkeypatch.setattr(demo, "run_command", run_here)
    monkeypatch.setattr(demo, "available_cores", lambda: 1)  # one after the other: they share this process
    demo.main(["--quick", "--pretrain", "--out", str(tmp_path)])
    said = capfd.readouterr().out
    assert "$ python -m gqn_rl.pretrain" in said
    named = ["figures/jaco_ppo_steps.png", "predicted_views.png"]
    named += [f"agents/jaco/{name}_moving_ppo_seed0/rollout.gif" for name in demo.REPRESENTATIONS]
    for path in named:
        assert f"{tmp_path}/{path}" in said
        assert (tmp_path / path).stat().st_size > 0
    oracle = demo.agent_command(tmp_path, "oracle", tmp_path / "pretrain", demo.QUICK)
    demo.run_side_by_side({"oracle": oracle})
    assert "is finished: 64 environment steps" in capfd.readouterr().out


def test_an_encoder_that_ships_takes_the_place_of_pretraining(tmp_path, monkeypatch, capsys):
    """With one in the package the demo says so, pretrains nothing, and hands its file to the gqn agent."""
    shipped, ran = tmp_path / "jaco.safetensors", {}
    monkeypatch.setattr(demo, "shipped_encoder", lambda: shipped)
    monkeypatch.setattr(demo, "draw_sheet", lambda path, encoder, data: ran.update(sheet=encoder))
    monkeypatch.setattr(demo, "run_side_by_side", ran.update)
    demo.main(["--quick", "--out", str(tmp_path)])
    assert "Pretraining is skipped" in capsys.readouterr().out
    assert list(ran) == ["data", "sheet", *demo.REPRESENTATIONS, "plot"]
    assert ran["sheet"] == shipped
    assert f"encoder={shipped}" in ran["gqn"]


def test_a_failing_stage_ends_the_demo_with_its_status(capfd):
    """The first line that a stage prints is still seen under its name, and the exit status is the worst one."""
    fine = [sys.executable, "-c", "print('well')"]
    broken = [sys.executable, "-c", "import sys; print('oh'); sys.exit(3)"]
    with pytest.raises(SystemExit) as exit_info:
        demo.run_side_by_side({"fine": fine, "broken": broken})
    assert exit_info.value.code == 3
    out, err = capfd.readouterr()
    assert "[fine] well" in out
    assert "[broken] oh" in out
    assert "the same command goes on from here" in err


def test_a_stage_that_a_signal_ended_is_a_failure(capfd):
    """Its negative status does not pass for less than 0; the exit status is a shell's for that signal."""
    fine, killed = ([sys.executable, "-c", code] for code in ("", "import os; os.kill(os.getpid(), 9)"))
    with pytest.raises(SystemExit) as exit_info:
        demo.run_side_by_side({"fine": fine, "killed": killed})
    assert exit_info.value.code == 137


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_and_every_command(tmp_path, monkeypatch, capfd, number):
    """Also those that were sent it by nobody else; they end first, and what waits for its turn does not begin."""
    monkeypatch.setitem(commands.HAND_ON_AFTER_S, "SIGINT", 0.1)
    marker = tmp_path / "process"
    code = f"import os, time; open({str(marker)!r}, 'w').write(f'{{os.getpid()}}.'); time.sleep(600)"
    monkeypatch.setattr(demo, "_module", lambda *_: [sys.executable, "-c", code])
    monkeypatch.setattr(demo, "shipped_encoder", lambda: pytest.fail("it went on to the next stage"))

    def stop_it():
        wait_until(lambda: marker.exists() and marker.read_text().endswith("."))
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop_it)
    thread.start()
    with pytest.raises(SystemExit) as exit_info:
        demo.main(["--out", str(tmp_path / "out")])
    thread.join()
    assert exit_info.value.code == 130 and "The same command continues" in capfd.readouterr().err
    assert not is_running(int(marker.read_text()[:-1]))


def test_the_oracle_is_trained_without_settings_that_have_no_effect(tmp_path):
    """It looks through no camera and has no encoder, so its command names neither."""
    words = demo.agent_command(tmp_path, "oracle", tmp_path / "encoder", demo.FULL)
    assert not any(word.startswith(("camera=", "encoder=")) for word in words)
    assert f"total_steps={demo.FULL.steps}" in words
