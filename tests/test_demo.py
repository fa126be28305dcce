"""The demo: end to end on the smallest scale, and what it does when a stage fails."""

import sys

import pytest

from gqn_rl import demo


@pytest.mark.slow
def test_quick_demo_makes_everything_it_names_and_does_it_once(tmp_path, capfd):
    """Curves, sheet and rollouts exist; the command of an agent that was trained finds it finished."""
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
    assert "is finished: 2048 environment steps" in capfd.readouterr().out


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


def test_the_oracle_is_trained_without_settings_that_have_no_effect(tmp_path):
    """It looks through no camera and has no encoder, so its command names neither."""
    words = demo.agent_command(tmp_path, "oracle", tmp_path / "encoder", demo.FULL)
    assert not any(word.startswith(("camera=", "encoder=")) for word in words)
    assert f"total_steps={demo.FULL.steps}" in words
