"""Command lines: errors in one sentence, exit statuses, kinds of values, threads, run headers, multirun."""

import errno
import io
import json
import logging
import os
import re
import warnings
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from gqn_rl.cli import USER_ERRORS, command, refuse_other_settings, use_threads, versions, write_run_header
from gqn_rl.command_words import present_names
from gqn_rl.machine import available_cores
from gqn_rl.sentences import sentence

CONFIG = """
defaults:
  - animal: cat
  - _self_
  - override hydra/job_logging: none
  - override hydra/hydra_logging: none
threads: null
seed: 0
rate: 0.5
flag: true
out: ???
tail: {length: 3, colour: red}
toys: {}
names: []
warmup_context: 1
run_dir: runs/seed${seed}
hydra:
  output_subdir: null
  run: {dir: "${run_dir}"}
  sweep: {dir: sweep}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Returns a function that gives a command with these overrides and returns the configs that `main` saw."""
    (tmp_path / "configs" / "animal").mkdir(parents=True)
    (tmp_path / "configs" / "trial.yaml").write_text(CONFIG)
    for animal, legs in {"cat": 4, "bird": 2}.items():
        (tmp_path / "configs" / "animal" / f"{animal}.yaml").write_text(f"legs: {legs}\nsound: moo\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # so that `threads: null` leaves the test process alone
    monkeypatch.setattr(logging.root, "handlers", logging.root.handlers[:])

    def give(*overrides, action=lambda cfg: None):
        seen = []

        def main(cfg):
            seen.append(cfg)
            action(cfg)

        monkeypatch.setattr("sys.argv", ["trial", "--config-dir", str(tmp_path / "configs"), *overrides])
        command("trial")(main)()
        return seen

    return give


def error_of(capsys, run, *overrides, status=1, **kwargs):
    """Gives the command, expects it to fail with `status`, and returns the first line of what it said."""
    with pytest.raises(SystemExit) as exit_info:
        run(*overrides, **kwargs)
    assert exit_info.value.code == status
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.splitlines()[0]


def test_main_gets_the_config_with_its_overrides(run):
    """Group choices and values arrive, and Hydra's own settings do not."""
    (cfg,) = run("seed=3", "animal=bird")
    assert (cfg.seed, cfg.animal.legs, cfg.run_dir, "hydra" in cfg) == (3, 2, "runs/seed3", False)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("animal=brid", "Error: `animal` has no choice `brid`, did you mean `bird`? Valid: bird, cat."),
        ("sede=1", "Error: there is no setting `sede`, did you mean `seed`? Valid: animal, flag, names, out,"),
        ("tail.lenght=1", "Error: there is no setting `tail.lenght`, did you mean `length`? Valid: colour, length."),
        ("toys.balls=2", "Error: `toys.balls` is not set yet: give it with a plus, `+toys.balls=...`."),
        ("seed", "Error: Error parsing override 'seed'."),
        ("seed=abc", "Error: `seed` must be an integer like 0, got 'abc'."),
        ("seed=1e5", "Error: `seed` must be an integer like 0, got 100000.0."),
        ("seed=true", "Error: `seed` must be an integer like 0, got True."),
        ("rate=fast", "Error: `rate` must be a number like 0.5, got 'fast'."),
        ("flag=3", "Error: `flag` must be a truth value like True, got 3."),
        ("animal.legs=four", "Error: `animal.legs` must be an integer like 4, got 'four'."),
        ("seed=null", "Error: `seed` must be an integer like 0, got null."),
        ("names=a", "Error: `names` must be a list in brackets, such as 'names=[a]', got 'a'."),
        ("names=null", "Error: `names` must be a list in brackets, such as 'names=[null]', got None."),
        ("animal.sound=1.5", "Error: `animal.sound` must be a text like 'moo', got 1.5. A value with special"),
        ("animal.sound=a=b", "Error: mismatched input '=' expecting <EOF>. A value with special characters stands in"),
        ("seed=1,2", "Error: Ambiguous value for argument 'seed=1,2' 1. To use it as a list, use key=[value1,value2]"),
        ("tail=3", "Error: `tail` holds several settings, give them one by one. Valid: length, colour."),
        ("threads=0", "Error: `threads` must be null (all cores) or an integer of at least 1, got 0."),
    ],
)
def test_wrong_override_is_refused_with_what_is_valid(run, capsys, override, said):
    """Every mistake in an override is one sentence, before `main` starts."""
    assert error_of(capsys, run, override).startswith(said)


def test_right_kinds_of_values_pass(run):
    """A float may be given as an integer, and null where it means something."""
    (cfg,) = run("rate=2", "threads=null", "tail.length=5", "+toys.balls=2", "warmup_context=null")
    assert (cfg.rate, cfg.threads, cfg.tail.length, cfg.toys.balls) == (2, None, 5, 2)


@pytest.mark.parametrize(
    "path", ["data/lr=0.1", "data/jaco (1)", "data/été", "data/a,b", "2024", "it's", "a\\b", "a:b"]
)
def test_paths_are_taken_as_they_are(run, path):
    """Whatever a folder is called, Hydra's grammar notwithstanding; the setting is a text."""
    (cfg,) = run(f"run_dir={path}")
    assert cfg.run_dir == path


def test_colons_of_ids_do_not_come_into_folders(run, tmp_path):
    """A dash stands for each, but in a folder that is there already, and in one that the user names."""
    words = "tail.colour=my_package:MyEnv-v0", "out=runs/${tail.colour}"
    assert run(*words)[0].out == "runs/my_package-MyEnv-v0"
    (tmp_path / "runs" / "my_package:MyEnv-v0").mkdir(parents=True)
    assert run(*words)[0].out == "runs/my_package:MyEnv-v0"


@pytest.mark.parametrize("word", ["run_dir=~/x", "run_dir='~/x'"])
def test_the_tilde_is_the_home_folder(run, monkeypatch, word):
    """Quoted or not; no folder is called ~."""
    monkeypatch.setenv("HOME", "/home/me")
    assert run(word)[0].run_dir == "/home/me/x"


def test_help_says_what_the_command_does(monkeypatch, capsys):
    """What a module's docstring says, the settings with their comments, and the choices of groups."""
    from gqn_rl import train_agent
    from gqn_rl.pretrain import __main__ as pretrain

    for module, said in ((train_agent, "Trains an agent on one"), (pretrain, "Pretrains a scene model on pictures")):
        monkeypatch.setattr("sys.argv", ["command", "--help"])
        module.main()
        text = capsys.readouterr().out
        assert text.startswith(said) and "__main__" not in text and "seed: 0" in text
        assert "gymnasium, imported, jaco" in text and "override hydra" not in text


def test_a_console_that_is_not_utf8_shows_what_it_can(run, monkeypatch):
    """A character that it does not have becomes a question mark, not the end of the command."""
    console = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", console)
    run(action=lambda cfg: print("3 × 2"))
    console.flush()
    assert console.buffer.getvalue() == b"3 ? 2\n"


def test_value_error_is_one_sentence(run, capsys):
    """What `main` refuses is said plainly."""

    def refuse(cfg):
        raise ValueError(f"`seed` must not be {cfg.seed}.")

    assert error_of(capsys, run, action=refuse) == "Error: `seed` must not be 0."


def test_missing_value_names_the_setting(run, capsys):
    """A mandatory setting that has no value is named when `main` reads it."""
    assert error_of(capsys, run, action=lambda cfg: cfg.out) == "Error: `out` has no value: give one with `out=...`."


def test_missing_file_is_named(run, capsys):
    """An error of the operating system names the file."""
    said = error_of(capsys, run, action=lambda cfg: Path("no/such/file").read_text())
    assert said == "Error: No such file or directory at `no/such/file`."


def test_full_disk_says_what_to_do():
    """ENOSPC becomes advice, whatever was written."""
    said = sentence(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "data/00000.npy"))
    assert said == "the disk is full at `data/00000.npy`: free some room and give the same command again."


def test_interrupt_ends_with_130(run, capsys):
    """Ctrl-C is no error."""

    def interrupt(cfg):
        raise KeyboardInterrupt

    assert error_of(capsys, run, action=interrupt, status=130).startswith("Interrupted.")


def test_bug_keeps_its_traceback(run):
    """An exception that no user can cause is not hidden."""

    def bug(cfg):
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        run(action=bug)


def test_tracebacks_can_be_asked_for(run, monkeypatch):
    """With HYDRA_FULL_ERROR=1 a user's error is raised too, and the variable stays as it was."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def refuse(cfg):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run(action=refuse)
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def test_variable_for_tracebacks_does_not_leak(run):
    """After a command the environment is as before."""
    run()
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_multirun_runs_every_combination(run):
    """`-m` sweeps over values and group choices."""
    seen = run("-m", "seed=1,2", "animal=cat,bird")
    assert sorted((cfg.seed, cfg.animal.legs) for cfg in seen) == [(1, 2), (1, 4), (2, 2), (2, 4)]


def test_one_failing_job_does_not_end_a_multirun(run, capsys):
    """The jobs after it run; each failure is said under its job, and at the end all of them once more, status 1."""
    done = []

    def refuse_two(cfg):
        if cfg.seed in (2, 3):
            raise ValueError(f"`seed` must not be {cfg.seed}.")
        done.append(cfg.seed)

    with pytest.raises(SystemExit) as exit_info:
        run("-m", "seed=1,2,3,4", "animal=cat", action=refuse_two)
    assert exit_info.value.code == 1 and done == [1, 4]
    told = capsys.readouterr()
    assert told.out.splitlines() == [f"Job {i} (seed={i}):" for i in (1, 2, 3, 4)]
    assert told.err.splitlines() == [
        "Error in job 2 (seed=2): `seed` must not be 2.",
        "Error in job 3 (seed=3): `seed` must not be 3.",
        "2 failed, the others are done:",
        "  job 2 (seed=2): `seed` must not be 2.",
        "  job 3 (seed=3): `seed` must not be 3.",
    ]


def test_a_bug_in_one_job_keeps_its_traceback_and_the_others_run(run, capsys):
    """Whatever ends a job, it ends that job alone."""

    def bug_in_one(cfg):
        if cfg.seed == 1:
            raise KeyError("bug")
        print("done", cfg.seed)

    with pytest.raises(SystemExit) as exit_info:
        run("-m", "seed=1,2", action=bug_in_one)
    told = capsys.readouterr()
    assert exit_info.value.code == 1 and "done 2" in told.out
    assert "Traceback" in told.err and told.err.splitlines()[-1] == "  job 1 (seed=1): 'bug'"


def test_interrupt_ends_all_jobs(run, capsys):
    """Ctrl-C is meant for the command, not for one job."""
    begun = []

    def interrupt(cfg):
        begun.append(cfg.seed)
        raise KeyboardInterrupt

    assert error_of(capsys, run, "-m", "seed=1,2", action=interrupt, status=130).startswith("Interrupted.")
    assert begun == [1]


@pytest.mark.parametrize(
    ("words", "folders"),
    [
        (["seed=1,2"], ["runs/seed1", "runs/seed2"]),
        (["rate=0.5,1e-3", "seed=3"], ["runs/seed3_rate-0.5", "runs/seed3_rate-0.001"]),
        (["rate=0.5,1", "seed=1,2"], [f"runs/seed{s}_rate-{r}" for r in ("0.5", "1") for s in (1, 2)]),
        (["animal=cat,bird"], ["runs/seed0_animal-cat", "runs/seed0_animal-bird"]),
        (["run_dir=a,b"], ["a", "b"]),
        (["run_dir=a", "seed=1,2"], ["a_seed-1", "a_seed-2"]),
        (["run_dir=a${seed}", "seed=1,2"], ["a1", "a2"]),
        (["+toys.balls=1,2"], ["runs/seed0_balls-1", "runs/seed0_balls-2"]),
        (["tail.colour=red,blue", "+toys.colour=red"], ["runs/seed0_colour-red", "runs/seed0_colour-blue"]),
    ],
)
def test_jobs_of_a_multirun_have_folders_of_their_own(run, words, folders):
    """A folder says what its job varies, once; what the name says already and what is the same for all stays out."""
    assert [cfg.run_dir for cfg in run("-m", *words)] == folders


def test_values_that_no_folder_can_be_called_get_a_hash(run):
    """Slashes, brackets and spaces become dashes; the hash keeps apart what then looks alike."""
    first, second = (cfg.run_dir for cfg in run("-m", "tail.colour=a/b,a\\ b"))
    assert first.startswith("runs/seed0_colour-a-b_") and second.startswith("runs/seed0_colour-a-b_")
    assert first != second and "/" not in first.removeprefix("runs/")


def test_one_run_keeps_its_folder(run):
    """Without -m the folder is what the config says, whatever was overridden."""
    (cfg,) = run("rate=1", "animal=bird")
    assert cfg.run_dir == "runs/seed0"


def test_threads_are_shared_among_the_processes_of_torchrun(restore_threads, monkeypatch):
    """Two processes on one machine get half of its cores each, at least one."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    use_threads(None)
    assert torch.get_num_threads() == max(1, available_cores() // 2)


def test_threads_given_win_over_the_environment(restore_threads, monkeypatch):
    """A number in the config is what torch uses."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    use_threads(2)
    assert torch.get_num_threads() == 2


def test_a_folder_of_other_settings_is_refused(tmp_path):
    """Those that differ are named with both values; some may change, and what an earlier version lacks is not asked."""
    asked = OmegaConf.create({"seed": 1, "train": {"lr": 0.1, "steps": 5}, "threads": 1, "views": [1, 2]})
    refuse_other_settings(tmp_path, asked)
    write_run_header(tmp_path, asked)
    other = OmegaConf.merge(asked, {"threads": 2, "new": 3})
    refuse_other_settings(tmp_path, other, ["threads"])
    with pytest.raises(ValueError) as refused:
        refuse_other_settings(tmp_path, OmegaConf.merge(asked, {"seed": 2, "train": {"lr": 0.2}, "views": [1]}))
    said = "seed=1 (now 2), train.lr=0.1 (now 0.2), views=[1, 2] (now [1]); give another `run_dir`, or begin anew with"
    assert said in str(refused.value)


@pytest.mark.parametrize("content", [b"seed: [", b"- 1\n", b"\xff\xfe", b"a: ${b}\n  c: 1", b"[" * 100_000, b""])
def test_settings_that_cannot_be_read_are_refused_in_one_sentence(tmp_path, content):
    """A damaged `config.yaml` says nothing about what the run was begun with."""
    (tmp_path / "config.yaml").write_bytes(content)
    if not content:  # holds no setting to compare
        return refuse_other_settings(tmp_path, OmegaConf.create({"seed": 1}))
    with pytest.raises(ValueError, match=r"config.yaml` must hold settings; restore it, or give another `run_dir`\.$"):
        refuse_other_settings(tmp_path, OmegaConf.create({"seed": 1}))


def test_references_in_the_settings_of_a_run_are_not_followed(tmp_path, monkeypatch):
    """They could name an environment variable; what is written stands for itself."""
    monkeypatch.setenv("SECRET", "hidden")
    (tmp_path / "config.yaml").write_text("seed: ${oc.env:SECRET}\n")
    with pytest.raises(ValueError) as refused:
        refuse_other_settings(tmp_path, OmegaConf.create({"seed": 1}))
    assert "hidden" not in str(refused.value) and "seed=${oc.env:SECRET} (now 1)" in str(refused.value)


def test_commands_that_a_job_starts_say_sentences_too(run):
    """The variable by which Hydra raises its errors does not reach them, nor does it stay behind."""
    seen = []
    run(action=lambda cfg: seen.append(os.environ.get("HYDRA_FULL_ERROR")))
    assert seen == [None] and "HYDRA_FULL_ERROR" not in os.environ


def test_run_header_is_resolved_and_names_versions(tmp_path):
    """A run folder holds the config without interpolations and the versions in use."""
    write_run_header(tmp_path / "run", OmegaConf.create({"seed": 1, "run_dir": "runs/${seed}"}))
    assert OmegaConf.load(tmp_path / "run" / "config.yaml") == {"seed": 1, "run_dir": "runs/1"}
    found = json.loads((tmp_path / "run" / "versions.json").read_text())
    assert found == versions()
    assert torch.__version__.startswith(found["torch"])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files", "data/train/00900.images.npy"), "ulimit -n 8192"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "smaller batches or fewer workers"),
        (MemoryError("Unable to allocate 9 TiB"), "the memory is full (Unable to allocate 9 TiB): free some"),
        (MemoryError(), "the memory is full: free some"),
    ],
)
def test_small_limits_are_a_sentence_with_a_remedy(error, said):
    """A low limit of open files, and memory that is full, say what helps."""
    assert isinstance(error, USER_ERRORS) and said in sentence(error)


@pytest.mark.parametrize(("config", "older", "now"), [
    ("train_agent", "repr.told=places", "repr.features=positions"),
    ("train_agent", "repr.told=all", "repr.features=all"),
    ("train_agent", "++agent.settings.falling=[ent_coef]", "++agent.settings.annealed=[ent_coef]"),
    ("export", "told=places", "features=positions"),
    ("plot", "behind=[a,b]", "background=[a,b]"),
])  # fmt: skip
def test_older_names_of_settings_are_taken_with_a_warning_that_names_the_new_one(config, older, now):
    """In the command that had them; another command's word stays as it is, in silence."""
    with pytest.warns(FutureWarning, match=re.escape(f"`{older}` is called `{now}` now")):
        assert present_names(["seed=1", older], config) == ["seed=1", now]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert present_names([older, now], "pretrain") == [older, now]
        assert present_names([now], config) == [now]
