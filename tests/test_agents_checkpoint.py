"""Checkpoints and policies of agents: nothing is unpickled, nothing learnt is lost, what does not fit is named."""

import base64
import json
import logging
import os
import pathlib
import pickle
import random
import shutil
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from gqn_rl.agents import checkpoint, snapshot
from gqn_rl.agents import run_folder as files
from gqn_rl.agents.training import train as train_in
from gqn_rl.agents.training import transfer
from gqn_rl.artefacts import tensor_file
from gqn_rl.runlog import read_rows
from tests.tiny_envs import Echo

SETTINGS = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "net_arch": [4], "device": "cpu"}


def make_envs():
    return DummyVecEnv([lambda: gym.wrappers.RecordEpisodeStatistics(Echo())])


def train(folder, total_steps, **changes):
    """Trains PPO on Echo: an update every 16 steps, a checkpoint and an evaluation after each of them."""
    arguments = {
        "settings": SETTINGS, "total_steps": total_steps, "eval_every": 16, "eval_episodes": 1, "eval_seed": 0,
        "checkpoint_every": 16, "seed": 0,
    }  # fmt: skip
    return train_in(folder, "ppo", make_envs(), make_envs(), **arguments | changes)


def steps_of(folder):
    return [int(line.split(",")[0]) for line in (folder / files.EVAL_FILE).read_text().splitlines()[1:]]


def checkpoints_of(folder):
    return sorted(path.name for path in (folder / checkpoint.CHECKPOINTS).iterdir())


class Evil:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("MARK",)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(folder, 48)
    return folder


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A copy of a finished run, with the working directory beside it."""
    monkeypatch.chdir(tmp_path)
    return pathlib.Path(shutil.copytree(finished, tmp_path / "run"))


def poison(path):
    """Makes any file that is unpickled run code: a zip of Stable-Baselines3, or anything else."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as file:
            parts = {name: file.read(name) for name in file.namelist()}
        data = json.loads(parts["data"])
        data["resume_state"] = {
            ":type:": "<class 'dict'>",
            ":serialized:": base64.b64encode(pickle.dumps(Evil())).decode(),
        }
        with zipfile.ZipFile(path, "w") as file:
            for name, content in {**parts, "data": json.dumps(data).encode()}.items():
                file.writestr(name, content)
    else:
        path.write_bytes(pickle.dumps(Evil()))


def test_the_last_two_checkpoints_are_kept(finished):
    """One to continue from, and one to fall back to."""
    assert checkpoints_of(finished) == ["step-000000032.safetensors", "step-000000048.safetensors"]
    assert steps_of(finished) == [0, 16, 32, 48]


def test_a_checkpoint_holds_weights_and_optimiser_to_the_last_bit(finished, tmp_path):
    """Those of a run of the same settings, in the same tensors that its model ends with."""
    long = train(tmp_path / "long", 48, checkpoint_every=1000)
    state = long.policy.optimizer.state_dict()["state"]
    facts, tensors = tensor_file.read(
        finished / checkpoint.CHECKPOINTS / "step-000000048.safetensors",
        checkpoint._CHECKPOINT_KIND,
        snapshot.FACTS,
        "",
    )
    assert facts["counters"]["num_timesteps"] == 48 and facts["counters"]["_n_updates"] == 3
    for name, value in long.policy.state_dict().items():
        assert torch.equal(tensors[f"policy/{name}"], value)
    for index, entries in state.items():
        for key, value in entries.items():
            assert torch.equal(tensors[f"policy.optimizer/{index}/{key}"], torch.as_tensor(value)), key


def test_a_snapshot_gives_everything_back(tmp_path):
    """A restored model is the one that was taken: counters, optimiser, episodes and random states included."""
    model = train(tmp_path, 32)
    before = snapshot.take(model, 12.5, snapshot.RandomStates.now())
    drawn = torch.rand(3), np.random.rand(3), random.random()
    other = PPO(
        "MlpPolicy", make_envs(), seed=5, policy_kwargs={"net_arch": [4]}, device="cpu", n_steps=16, batch_size=16
    )
    snapshot.restore(other, before, "it", "help")
    after = snapshot.take(other, 12.5, snapshot.RandomStates.now())
    assert after.facts == before.facts and after.facts["episodes"]
    assert after.tensors.keys() == before.tensors.keys()
    assert all(torch.equal(after.tensors[key], value) for key, value in before.tensors.items())
    assert (
        torch.equal(torch.rand(3), drawn[0]) and (np.random.rand(3) == drawn[1]).all() and random.random() == drawn[2]
    )


def test_a_damaged_checkpoint_is_named_and_passed_over(run, caplog):
    """The older one continues, rows beyond it are made again, and the damaged file is replaced."""
    newest = run / checkpoint.CHECKPOINTS / "step-000000048.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    assert train(run, 64).num_timesteps == 64
    assert f"`{newest}` is damaged: its sha256 does not match" in caplog.text
    assert steps_of(run) == [0, 16, 32, 48, 64]
    assert checkpoints_of(run) == ["step-000000048.safetensors", "step-000000064.safetensors"]


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(path.read_bytes()[:-100]), lambda path: path.write_bytes(b""), poison,
    lambda path: (path.unlink(), path.symlink_to("unmounted/disk")), lambda path: (path.unlink(), os.mkfifo(path)),
    lambda path: shutil.copy(path.parents[1] / files.FINAL_FILE, path),
])  # fmt: skip
def test_where_no_checkpoint_is_whole_nothing_is_begun_anew(run, damage, caplog):
    """Cut, empty, foreign, dangling: both are named, one sentence ends the command, and no row is lost."""
    before = (run / files.EVAL_FILE).read_bytes(), (run / files.PROGRESS_FILE).read_bytes()
    for path in (run / checkpoint.CHECKPOINTS).iterdir():
        damage(path)
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read; .* overwrite=true"):
        train(run, 64)
    assert len(caplog.records) == 2 and all("step-0000000" in record.getMessage() for record in caplog.records)
    assert ((run / files.EVAL_FILE).read_bytes(), (run / files.PROGRESS_FILE).read_bytes()) == before
    assert not os.path.exists("MARK")


def test_rows_without_a_checkpoint_are_not_begun_anew(run):
    """A checkpoint that is missing costs no evaluation; without rows beyond the first a run begins."""
    shutil.rmtree(run / checkpoint.CHECKPOINTS)
    with pytest.raises(
        ValueError, match=r"holds a run of 48 environment steps whose checkpoint is missing; restore it"
    ):
        train(run, 64)
    assert steps_of(run) == [0, 16, 32, 48]
    (run / files.EVAL_FILE).unlink()
    with pytest.raises(ValueError, match="whose checkpoint is missing"):  # progress.csv has rows
        train(run, 64)


def test_a_run_that_is_killed_before_its_first_checkpoint_continues(run):
    """There is one of step 0, so that rows are never without."""
    for path in [*(run / checkpoint.CHECKPOINTS).iterdir(), run / files.EVAL_FILE, run / files.PROGRESS_FILE]:
        path.unlink()
    model = train(run, 0)
    assert model.num_timesteps == 0 and checkpoints_of(run) == ["step-000000000.safetensors"]
    assert train(run, 16).num_timesteps == 16 and steps_of(run) == [0, 16]


def test_nan_in_a_checkpoint_is_refused(run, caplog):
    """A file that is whole and no agent is passed over like a damaged one."""
    newest = run / checkpoint.CHECKPOINTS / "step-000000048.safetensors"
    facts, tensors = tensor_file.read(newest, checkpoint._CHECKPOINT_KIND, snapshot.FACTS, "")
    tensors["policy/action_net.bias"][0] = torch.nan
    newest.write_bytes(tensor_file.pack(checkpoint._CHECKPOINT_KIND, facts, tensors))
    train(run, 48)
    assert "`policy/action_net.bias` holds NaN or infinity" in caplog.text


@pytest.mark.parametrize(("change", "said"), [
    ({"counters": {"num_timesteps": -1}}, "`counters.num_timesteps` must be an integer of at least 0, got -1"),
    ({"episodes": [[1.0]]}, "`episodes[0]` must be a list of 3"),
    ({"learning_rates": {}}, "holds the state of another optimiser"),
])  # fmt: skip
def test_facts_of_another_kind_are_refused(run, caplog, change, said):
    """Each entry is checked before it is believed."""
    newest = run / checkpoint.CHECKPOINTS / "step-000000048.safetensors"
    facts, tensors = tensor_file.read(newest, checkpoint._CHECKPOINT_KIND, snapshot.FACTS, "")
    newest.write_bytes(tensor_file.pack(checkpoint._CHECKPOINT_KIND, facts | change, tensors))
    train(run, 48)
    assert said in caplog.text


def test_no_file_of_a_run_folder_can_run_code(run):
    """Every file that could be unpickled is poisoned: continuing and looking from another camera open none of them."""
    for path in [*run.glob("*.zip"), *run.glob("*.pkl")]:
        poison(path)
    assert train(run, 64).num_timesteps == 64
    how = {"settings": SETTINGS, "num_episodes": 1, "seed": 0}
    assert transfer(run, "ppo", make_envs(), "side", **how).startswith("mean_return")
    assert not os.path.exists("MARK")
    poison(run / "final_model.zip")
    PPO.load(run / "final_model.zip")
    assert os.path.exists("MARK"), "the poison works"


def test_a_policy_is_the_same_after_it_was_read(run):
    """Its own camera gives what the last evaluation gave."""
    how = {"settings": SETTINGS, "num_episodes": 1, "seed": 0}
    transfer(run, "ppo", make_envs(), "own", **how)
    last, row = (read_rows(run / name)[-1] for name in (files.EVAL_FILE, files.TRANSFER_FILE))
    assert {**last, **row} == {**last, "camera": "own"} and row["env_steps"] == "48" and row["returns"]


def test_a_run_of_an_earlier_version_is_continued_only_where_it_is_trusted(run, tmp_path):
    """Its zip files run code, so the first answer is a sentence; with `trust_zip` it goes on where it was."""
    model = train(tmp_path / "new", 48)
    states = {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()}
    vars(model)["resume_state"] = {"wall_clock_s": 7.0} | states
    model.save(run / checkpoint.OLD_CHECKPOINT)
    shutil.rmtree(run / checkpoint.CHECKPOINTS)
    (run / files.FINAL_FILE).unlink()
    assert files.is_finished(run, 48)
    with pytest.raises(
        ValueError, match=r"checkpoint\.zip` is of an earlier version.*trust_zip=true if it is your own"
    ):
        train(run, 64)
    how = {"settings": SETTINGS, "num_episodes": 1, "seed": 0}
    with pytest.raises(ValueError, match=r"final_model\.zip` is of an earlier version"):
        transfer(run, "ppo", make_envs(), "side", **how)
    transfer(run, "ppo", make_envs(), "side", **how, trust_zip=True)
    continued, direct = train(run, 64, trust_zip=True), train(tmp_path / "new", 64)
    for key, value in direct.policy.state_dict().items():
        assert torch.equal(continued.policy.state_dict()[key], value)
    assert steps_of(run) == [0, 16, 32, 48, 64] and train(run, 80).num_timesteps == 80


def test_leftovers_of_a_killed_process_are_cleared(run):
    """Unfinished files go, in every folder of the run; a user's own files stay."""
    left = [run / ".run.json.17.tmp", run / checkpoint.CHECKPOINTS / ".step-000000064.safetensors.99.tmp"]
    for path in [*left, run / "notes.tmp", run / ".mine.tmp"]:
        path.write_bytes(b"1")
    train(run, 64)
    assert not any(path.exists() for path in left)
    assert (run / "notes.tmp").exists() and (run / ".mine.tmp").exists()


def test_settings_of_a_run_cannot_change_under_way(run):
    """All that differ are named as on the command line; what an earlier version did not write is not compared."""
    asked = {"seed": 0, "told": None, "agent_settings": {"name": "ppo", "settings": {"gamma": 0.9, "n_steps": 4}}}
    files.begin_run(run, asked)
    files.check_settings(run, asked | {"scene": {"image_size": 64}})
    other = {"name": "ppo", "settings": {"gamma": 0.5, "n_steps": 4, "ent_coef": 0.1}}
    with pytest.raises(ValueError) as refused:
        files.check_settings(run, {"seed": 1, "told": "all", "agent_settings": other})
    assert (
        "was begun with other settings: seed=0 (now 1), repr.features=null (now all), agent.settings.gamma=0.9 (now "
        "0.5), agent.settings.ent_coef=null (now 0.1); give another `run_dir`, or begin anew with overwrite=true."
    ) in str(refused.value)


def test_a_run_of_an_earlier_version_goes_on_under_the_names_of_now(run):
    """Its `falling` is `annealed`, its places are positions; another value is refused under the present name."""
    old = {"told": "places", "agent_settings": {"name": "ppo", "settings": {"gamma": 0.9, "falling": ["ent_coef"]}}}
    files.begin_run(run, old)
    now = {"told": "places", "agent_settings": {"name": "ppo", "settings": {"gamma": 0.9, "annealed": ["ent_coef"]}}}
    files.check_settings(run, now)
    with pytest.raises(ValueError, match=r"repr.features=positions \(now all\)"):
        files.check_settings(run, now | {"told": "all"})


def test_a_start_that_failed_binds_nobody(tmp_path):
    """Until something has been learnt a folder takes other settings, and nothing of the failed start stays."""
    files.begin_run(tmp_path, {"seed": 0})
    files.add_to_run(tmp_path, {"random_return": 3.0})
    assert files.read_run(tmp_path) == {"seed": 0, "random_return": 3.0}
    train(tmp_path, 0)
    files.check_settings(tmp_path, {"seed": 1})
    files.begin_run(tmp_path, {"seed": 1})
    assert files.read_run(tmp_path) == {"seed": 1}


def test_a_run_is_deleted_without_what_is_not_its_own(run, tmp_path):
    """The user's files stay, and so does what a linked folder leads to."""
    (run / "notes.txt").write_text("mine")
    (run / "tensorboard" / "mine.txt").write_text("mine")
    files.delete(run)
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert left == {"notes.txt", "tensorboard/mine.txt"}
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "0.monitor.csv").write_text("theirs")
    (run / files.MONITOR_FOLDER).symlink_to(outside)
    with pytest.raises(ValueError, match="is a link"):
        files.delete(run)
    assert (outside / "0.monitor.csv").exists()


@pytest.mark.parametrize(("name", "content", "said"), [
    (files.RUN_FILE, "[]", "it must be an object"), (files.RUN_FILE, "[" * 5000, "must nest at most"),
    (files.EVAL_FILE, "x,y\n1,2\n", "has no numbers in a column `env_steps`"),
    (files.EVAL_FILE, "env_steps,mean_return\nnan,1\n", "holds NaN or infinity in its column `env_steps`"),
    (files.PROGRESS_FILE, "x\n1\n", "has no numbers in a column `step`"),
])  # fmt: skip
def test_files_that_are_something_else_are_named(run, name, content, said):
    """One sentence with the file, the entry and what to do, and nothing is written."""
    (run / name).write_text(content)
    with pytest.raises(ValueError) as refused:
        files.check_settings(run, {"seed": 0})
    assert str(run / name) in str(refused.value) and said in str(refused.value)
    assert "overwrite=true" in str(refused.value)


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.WARNING)
