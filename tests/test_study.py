"""Studies: plans from data, runs that are made once, failures, tuning apart from testing, and what is collected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import gqn_rl
from gqn_rl.groups import present_words
from gqn_rl.locks import sole_writer
from gqn_rl.study import runner
from gqn_rl.study.collect import collect
from gqn_rl.study.plan import COMMANDS, make_plan
from gqn_rl.study.runner import describe, run_study
from gqn_rl.study.state import State

AGENT = {"command": "train_agent"}
PARTS = {
    "tune": AGENT
    | {
        "cases": {"r": ["repr=gqn"], "pixels": ["repr=pixels"]},
        "settings": {"usual": [], "slow": ["lr=1"]},
        "grid": {"seed": [7, 8]},
        "folder": "tune/{case}_{setting}_seed{seed}",
    },
    "test": AGENT
    | {
        "words": ["task={{looks: random}}"],
        "cases": {"r": ["repr=gqn", "encoder={root}/{encoder}"]},
        "best_of": "tune",
        "over": {"encoder": ["a", "b"]},
        "grid": {"seed": [0]},
        "folder": "test/{case}_{encoder}_seed{seed}",
        "keep": True,
    },
}
RETURNS = {"usual": 10.0, "slow": 12.0}
STUB = """
import pathlib, sys
words = dict(word.split("=", 1) for word in sys.argv[1:])
folder = pathlib.Path(words["run_dir"]); folder.mkdir(parents=True, exist_ok=True)
with open(folder / "calls", "a") as file: file.write("x")
if "fail" in words: sys.exit("the arm is stuck")
value = 12.0 if words.get("lr") == "1" else 10.0
(folder / "eval.csv").write_text(f"env_steps,mean_return\\n0,99\\n1,{value}\\n2,{value}\\n3,{value}\\n")
(folder / "run.json").write_text("{}"); (folder / "final_model.zip").write_text("large")
"""


@pytest.fixture(autouse=True)
def stub(monkeypatch):
    """Commands are a few lines of Python that write what an agent's run would."""
    real = runner.command_line

    def command_line(run, state):
        return [sys.executable, "-c", STUB, *real(run, state)[3:]]

    monkeypatch.setattr(runner, "command_line", command_line)


def study(root, parts=PARTS):
    return make_plan("tiny", parts, root)


def test_a_plan_is_every_combination_of_what_is_varied(tmp_path):
    """2 cases × 2 settings × 2 seeds, then 2 encoders; words are filled, braces of dictionaries kept."""
    plan = study(tmp_path)
    assert len(plan.of_part("tune")) == 8 and len(plan.of_part("test")) == 2
    run = plan.of_part("tune")[3]
    assert (run.folder, run.words) == ("tune/r_slow_seed8", ("repr=gqn", "lr=1", "seed=8"))
    run = plan.of_part("test")[1]
    assert run.words == ("task={looks: random}", "repr=gqn", f"encoder={tmp_path}/b", "seed=0")
    assert {other.case for other in plan.waits_for(run)} == {"r"} and len(plan.waits_for(run)) == 4


def test_a_study_is_made_once_and_in_order(tmp_path):
    """Tests come after their tuning and have its best words; the same call again makes nothing."""
    plan, said = study(tmp_path), []
    assert run_study(plan, tmp_path, list(PARTS), say=said.append) == []
    assert [text for text in said if text.startswith("begins")][-2:] == [
        "begins: test/r_a_seed0",
        "begins: test/r_b_seed0",
    ]
    done = State(tmp_path, plan).done(plan.of_part("test")[0])
    assert done["words"][-1] == "lr=1" and done["processor_s"] >= 0
    assert run_study(plan, tmp_path, list(PARTS), say=said.append) == []
    assert (tmp_path / "test/r_a_seed0/calls").read_text() == "x"
    lines = list(describe(plan, tmp_path, list(PARTS)))
    assert lines[0].startswith("tune: 8 of 8 runs finished") and "    r: slow (usual 10, slow 12)" in lines


def test_a_failure_ends_what_needs_it_and_nothing_else(tmp_path):
    """The failed run is named with its last lines, its tests are left out, pixels are still tuned."""
    parts = json.loads(json.dumps(PARTS))
    parts["tune"]["cases"]["r"].append("fail=1")
    plan, said = study(tmp_path, parts), []
    failed = run_study(plan, tmp_path, list(parts), say=said.append)
    assert {run.case for run in failed} == {"r"} and len(failed) == 4
    text = "\n".join(said)
    assert "failed (exit status 1): tune/r_usual_seed7\n    the arm is stuck" in text
    assert "left out, for what it needs is not there: test/r_a_seed0" in text
    assert State(tmp_path, plan).chosen("tune", "pixels")["setting"] == "slow"


def test_a_log_is_not_written_through_a_link(tmp_path):
    """What a link in its place leads to stays as it was."""
    plan, precious = study(tmp_path), tmp_path / "precious"
    precious.write_text("mine")
    log = State(tmp_path, plan).folder(plan.of_part("tune")[0]) / runner.LOG_FILE
    log.parent.mkdir(parents=True, exist_ok=True)
    log.symlink_to(precious)
    with pytest.raises(OSError, match=r"log\.txt"):
        run_study(plan, tmp_path, ["tune"], say=lambda text: None)
    assert precious.read_text() == "mine"


def test_settings_freeze_once_they_are_chosen(tmp_path):
    """What tuning runs say later changes no test."""
    plan = study(tmp_path)
    run_study(plan, tmp_path, ["tune"], say=lambda text: None)
    before = State(tmp_path, plan).chosen("tune", "r")
    file = tmp_path / "tune/r_slow_seed7/eval.csv"
    file.write_text(file.read_text().replace("12", "1"))
    assert State(tmp_path, plan).chosen("tune", "r") == before
    assert before["tried"] == RETURNS and before["words"] == ["lr=1"]


def test_two_processes_share_the_work(tmp_path):
    """A run that another process is making is not begun, whatever is free is; once it is done it is not made again."""
    plan = study(tmp_path)
    state, (first, *_) = State(tmp_path, plan), plan.of_part("tune")
    begun = []

    def say(text):
        begun.append(text)
        if text.startswith("begins") and len([t for t in begun if t.startswith("begins")]) == 7:
            state.note_done(first, 1.0)  # by the other process

    with sole_writer(state.folder(first)):
        assert run_study(plan, tmp_path, ["tune"], wait_s=0.01, say=say) == []
    assert f"begins: {first.folder}" not in begun and not (tmp_path / first.folder).exists()


def test_a_run_of_other_words_is_refused(tmp_path):
    """A study whose words changed under finished runs says which word and what to do."""
    run_study(study(tmp_path), tmp_path, ["tune"], say=lambda text: None)
    parts = json.loads(json.dumps(PARTS))
    parts["tune"]["words"] = ["total_steps=5"]
    with pytest.raises(ValueError, match=r"was finished with other words .*\(total_steps=5\); give the study another"):
        run_study(study(tmp_path, parts), tmp_path, ["tune"], say=lambda text: None)


def test_small_files_are_collected_and_policies_are_not(tmp_path):
    """Of parts that name a folder, what curves are drawn from; and which settings were chosen among which."""
    plan = study(tmp_path / "runs")
    run_study(plan, tmp_path / "runs", list(PARTS), say=lambda text: None)
    assert collect(plan, tmp_path / "runs", tmp_path / "results") == {"test": 2}
    kept = sorted(str(file.relative_to(tmp_path / "results")) for file in (tmp_path / "results").rglob("*.*"))
    names = [f"test/r_{name}_seed0/{file}" for name in "ab" for file in ("eval.csv", "run.json")]
    assert kept == [*names, "tune.chosen.json"] or kept == sorted([*names, "tune.chosen.json"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"command": "dance"}, "`command` of a part must be one of generate_data, pretrain"),
        ({"colour": "red"}, "part `tune`: `colour` is not a setting; there are command, folder"),
        ({"needs": ["sleep"]}, "part `tune` needs sleep, which is not a part; there are tune, test"),
        ({"folder": "{place}"}, "part `tune`: nothing is called 'place'; there are root, case, setting, seed"),
        ({"folder": "one"}, "two runs of the study would write `one`; name what differs in `folder`"),
    ],
)
def test_mistakes_in_a_study_are_one_sentence(tmp_path, change, message):
    """What, expected and given."""
    with pytest.raises(ValueError, match=message):
        study(tmp_path, {**PARTS, "tune": PARTS["tune"] | change})


def composed(name):
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        return OmegaConf.to_container(compose("study", [f"study={name}"]), resolve=True)["study"]


@pytest.mark.parametrize("name", ["quick", "jaco", "jaco_short"])
def test_every_kind_of_run_of_the_studies_is_a_command_that_composes(tmp_path, name):
    """One run of each case with each setting: all words are settings of its command, the folder among them."""
    facts = composed(name)
    plan = make_plan(name, facts["parts"], tmp_path)
    kinds = {(run.part, run.case, run.setting): run for run in plan.runs}
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        for run in kinds.values():
            command = plan.parts[run.part].command
            cfg = compose(command, present_words([*run.words, f"{COMMANDS[command]}={tmp_path / run.folder}"]))
            assert cfg[COMMANDS[command]] == str(tmp_path / run.folder)


@pytest.mark.parametrize("name", ["quick", "jaco"])
def test_nothing_is_tuned_on_the_seeds_that_test(tmp_path, name):
    """Settings are chosen on seeds of their own."""
    plan = make_plan(name, composed(name)["parts"], tmp_path)
    tuned, tested = plan.parts["tune"], [part for part in plan.parts.values() if part.best_of]
    seeds = {seed for part in tested for seed in part.grid["seed"]}
    assert not seeds & set(tuned.grid["seed"]) and tested


@pytest.mark.slow
def test_the_command_makes_and_lists_real_runs(tmp_path):
    """Two parts of study=quick in processes of their own; the list says so, the commands of the rest are printed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(gqn_rl.__file__).parents[1])}

    def give(*words):
        call = [sys.executable, "-m", "gqn_rl.study", "study=quick", "root=study", *words]
        return subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    made = give("parts=[data,oracle]")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "oracle: 1 of 1 runs finished" in made.stdout
    commands = give("do=commands").stdout.splitlines()
    assert len(commands) == 2 + 4 + 3 and sum(line.startswith("# test/") for line in commands) == 3
    wrong = give("do=dance")
    assert wrong.returncode == 1 and "`do` must be one of run, list, commands, collect, got 'dance'" in wrong.stderr
