"""The command line `python -m gqn_rl.train_agent`: configs compose, runs are written, mistakes are one sentence."""

import csv
import json
import os
import re
import warnings

import pytest
from hydra import compose, initialize_config_module

from gqn_rl.agents import run_folder as files
from gqn_rl.agents.encoders import warn_of_what_r_leaves_out
from gqn_rl.agents.run_environments import task_arguments
from gqn_rl.agents.run_facts import pretraining_cost
from gqn_rl.locks import LOCK_FILE, sole_writer
from gqn_rl.representation import load_encoder, random_encoder
from tests.in_process import give

CHOICES = [
    *("autoencoder", "gqn", "gqn_episode", "gqn_finetuned", "gqn_joints", "gqn_pixels", "gqn_window", "imagenet"),
    *("oracle", "pixels", "pixels_impala", "pixels_joints", "pixels_points", "pixels_rays", "pixels_sb3"),
    *("pixels_stack", "random_encoder", "random_encoder_episode", "supervised", "vae"),
]
SMALL = [
    "total_steps=64", "eval_every=32", "eval_episodes=2", "agent.num_envs=2", "agent.settings.n_steps=16",
    "agent.settings.batch_size=16", "agent.settings.n_epochs=1", "threads=1", "workers=0",
]  # fmt: skip


def train_agent(tmp_path, *words):
    """Gives the command in a folder of its own."""
    return give(tmp_path, "train_agent", *words)


@pytest.mark.parametrize("camera", ["fixed", "moving", "heldout"])
@pytest.mark.parametrize("repr", CHOICES)
def test_every_choice_composes(repr, camera):
    """The run folder is named by the choices, and pixels have their own number of epochs."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        cfg = compose("train_agent", [f"repr={repr}", f"camera={camera}", "seed=3"])
        assert cfg.run_dir == f"runs/agents/jaco/{repr}_{camera}_ppo_seed3"
        assert cfg.agent.settings.n_epochs == (20 if repr == "oracle" else 10)
        changed = compose("train_agent", [f"repr={repr}", "agent.settings.n_epochs=1"])
        assert changed.agent.settings.n_epochs == 1


def test_presets_are_known_representations_under_names_of_their_own():
    """Kind and context of each name; run folders, which carry the name, never mix."""
    expected = {
        "gqn": ("gqn", "current"), "gqn_episode": ("gqn", "episode"), "gqn_window": ("gqn", "window"),
        "random_encoder": ("random_encoder", "current"), "random_encoder_episode": ("random_encoder", "episode"),
        "oracle": ("oracle", None), "pixels": ("pixels", None), "pixels_stack": ("pixels", None),
        "gqn_pixels": ("gqn", "episode"), "vae": ("vae", "current"), "gqn_finetuned": ("finetuned", None),
        "gqn_joints": ("gqn", "current"), "pixels_joints": ("pixels", None), "pixels_sb3": ("pixels", None),
        "pixels_impala": ("pixels", None), "pixels_rays": ("pixels", None), "pixels_points": ("scratch", None),
        "autoencoder": ("gqn", "current"), "supervised": ("gqn", "current"), "imagenet": ("imagenet", "current"),
    }  # fmt: skip
    assert sorted(expected) == CHOICES
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        for name, (kind, context) in expected.items():
            cfg = compose("train_agent", [f"repr={name}"])
            assert (cfg.repr.name, cfg.repr.kind, cfg.repr.get("context")) == (name, kind, context)
            assert cfg.repr.get("stack", 1) == (4 if name == "pixels_stack" else 1)


def test_pixels_have_the_strong_network_and_sb3s_under_a_name_of_its_own():
    """Centred and shifted NatureCNN by default; presets differ from it by one setting; SB3's has no extractor."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        found = {n: compose("train_agent", [f"repr={n}"]).repr.get("extractor") for n in CHOICES if "pixels" in n}
    strong = {"network": "nature", "features": 256, "shift": 4, "rays": False}
    assert all(found[name] == strong for name in ("pixels", "pixels_joints", "pixels_stack", "gqn_pixels"))
    assert found["pixels_impala"] == strong | {"network": "impala"} and found["pixels_rays"] == strong | {"rays": True}
    assert found["pixels_sb3"] is None and found["pixels_points"] == {"shift": 0}


RIVALS = [
    ["repr=pixels_rays", "camera=moving"], ["repr=pixels_points", "model@repr.model=gqn_debug", "camera=moving"],
    ["repr=random_encoder", "model@repr.model=gqn_debug", "runtime=torch"],
    ["repr=gqn", "runtime=torch", "agent=sac", "task={action: continuous}", "agent.settings.learning_starts=16"],
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("words", RIVALS)
def test_every_kind_of_rival_trains_and_says_what_it_cost(tmp_path, words):
    """The folder tells the network, and pictures and actions before it."""
    sizes = [word for word in SMALL if not word.startswith("agent.") or "agent=sac" not in words]
    done = train_agent(tmp_path, *sizes, "agent.num_envs=2", *words, "run_dir=run", "gif=false")
    assert done.returncode == 0 and not done.stderr, done.stderr
    run = json.loads((tmp_path / "run" / files.RUN_FILE).read_text())
    assert f"repr={run['repr']}" == words[0] and set(run["experience"]) == {"pictures", "actions"}
    assert (run["repr_settings"].get("extractor") is not None) == ("pixels" in run["repr"])
    assert not (tmp_path / "run" / files.REPLAY_FILE).exists()


def test_mazes_have_settings_of_their_own_the_same_for_both_ppos():
    """A longer horizon than the arm's, no more epochs for the oracle; the command line still comes first."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        plain, lstm = (compose("train_agent", ["env=maze", "repr=pixels", f"agent={a}"]) for a in ("ppo", "ppo_lstm"))
        assert lstm.agent.settings == {**plain.agent.settings, "lstm": True}
        assert lstm.run_dir == "runs/agents/maze/pixels_moving_ppo_lstm_seed0"
        assert plain.agent.settings.gamma > compose("train_agent", ["repr=pixels"]).agent.settings.gamma
        assert compose("train_agent", ["env=maze", "repr=oracle"]).agent == plain.agent
        words = ["env=maze", "agent=ppo_lstm", "agent.settings.gamma=0.5"]
        assert compose("train_agent", words).agent.settings.gamma == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["repr=pixels_stack"], ["repr=random_encoder_episode", "model@repr.model=gqn_plan", "runtime=torch"],
    ["repr=pixels", "agent=ppo_lstm"], ["repr=pixels_stack", "agent=a3c", "agent.settings.n_workers=1"],
])  # fmt: skip
def test_memory_rivals_run_in_a_maze(tmp_path, words):
    """Each leaves evaluations under its own name, and a folder that says how its observations were made."""
    sizes = [word for word in SMALL if not word.startswith(("agent.", "workers")) or "agent=a3c" not in words]
    done = train_agent(tmp_path, "env=maze", *sizes, *words, "run_dir=run", "gif=false")
    assert done.returncode == 0 and not done.stderr, done.stderr
    run = json.loads((tmp_path / "run" / files.RUN_FILE).read_text())
    assert f"repr={run['repr']}" == words[0] and (run["repr_settings"].get("stack") == 4) == ("stack" in words[0])
    with open(tmp_path / "run" / files.EVAL_FILE, newline="") as file:
        assert int(list(csv.DictReader(file))[-1]["env_steps"]) >= 64


def test_what_r_cost_is_said_of_pretrained_encoders_alone():
    """The one that ships counts steps, pictures and scenes; an untrained network and the true state cost nothing."""
    cost = pretraining_cost(load_encoder("jaco"))
    assert re.fullmatch(r"[\d,]+ steps on 2,048,000 pictures of 204,800 scenes\.", cost)
    assert pretraining_cost(None) == pretraining_cost(random_encoder(load_encoder("jaco").metadata["model"], 0)) == ""


def test_an_encoder_that_leaves_much_out_is_warned_of():
    """Of another scene, or of fewer directions than a scene needs; the one that ships says nothing."""
    encoder = load_encoder("jaco")
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        own, maze = compose("train_agent"), compose("train_agent", ["env=maze"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_what_r_leaves_out(encoder, own.env)
    with pytest.warns(UserWarning, match="`encoder` was trained on scenes of jaco, but env=maze has others"):
        warn_of_what_r_leaves_out(encoder, maze.env)
    encoder.metadata["r_directions"] = encoder.metadata["r_directions"][:, :2]
    with pytest.warns(UserWarning, match=r"has 2 features of its \d+ directions: .* perhaps a goal, is left out"):
        warn_of_what_r_leaves_out(encoder, own.env)


@pytest.mark.parametrize("word", ["task={looks: random}", "+task.looks=random"])
def test_the_task_takes_any_keyword_argument_of_the_environment(word):
    """As a whole or one by one; none by default."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        assert task_arguments(compose("train_agent", [word]).task) == {"looks": "random"}
        assert task_arguments(compose("train_agent").task) == {}


@pytest.mark.slow
def test_two_runs_of_one_command_are_written_and_not_repeated(tmp_path):
    """A multirun gives each job its folder; the same command again says that both are finished."""
    words = [
        "-m",
        "repr=oracle,random_encoder",
        "runtime=torch",
        "camera=fixed",
        "gif=false",
        *SMALL,
    ]
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
def test_a_finished_agent_is_evaluated_from_other_cameras_once(tmp_path):
    """Its own camera gives what the last evaluation gave, another camera a row of its own, once more nothing new."""
    words = ["repr=random_encoder", "model@repr.model=gqn_debug", "runtime=torch", "camera=fixed", "gif=false", *SMALL]
    for _ in range(2):
        done = train_agent(tmp_path, *words, "transfer=[fixed,heldout]")
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "runs/agents/jaco/random_encoder_fixed_ppo_seed0"
        with open(folder / files.TRANSFER_FILE, newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["camera"], row["env_steps"]) for row in rows] == [("fixed", "64"), ("heldout", "64")]
        with open(folder / files.EVAL_FILE, newline="") as file:
            assert list(csv.DictReader(file))[-1]["returns"] == rows[0]["returns"]


@pytest.mark.slow
@pytest.mark.parametrize("repr", ["gqn_joints", "pixels_joints", "gqn_finetuned"])
def test_agents_that_feel_or_whose_encoder_learns_are_trained_and_loaded(tmp_path, repr):
    """To the end, and again from the file: its own camera gives what the last evaluation gave."""
    done = train_agent(tmp_path, f"repr={repr}", "gif=false", *SMALL, "transfer=[moving]")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / f"runs/agents/jaco/{repr}_moving_ppo_seed0"
    returns = []
    for name in (files.EVAL_FILE, files.TRANSFER_FILE):
        with open(folder / name, newline="") as file:
            returns.append(list(csv.DictReader(file))[-1]["returns"])
    assert returns[0] == returns[1]


@pytest.mark.slow
def test_a_run_is_not_continued_on_another_part_of_r(tmp_path):
    """Which features of r the agent gets is a setting of the run as every other; the default is not the word `all`."""
    assert train_agent(tmp_path, "repr=gqn", "gif=false", *SMALL).returncode == 0
    other = train_agent(tmp_path, "repr=gqn", "gif=false", *SMALL, "total_steps=128", "repr.features=all")
    assert other.returncode == 1 and "other settings: repr.features=null (now all); give another" in other.stderr


@pytest.mark.slow
def test_a_sweep_trains_every_value(tmp_path):
    """Three learning rates leave three runs; one that cannot start ends neither the others nor a later one's start."""
    rates = ["-m", "agent.settings.learning_rate=1e-3,-1,3e-4"]
    words = ["repr=oracle", "gif=false", *SMALL]
    done = train_agent(tmp_path, *rates, *words)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-2:] == [
        "1 failed, the others are done:",
        "  job 2 (agent.settings.learning_rate=-1): Invalid learning rate: -1.0",
    ]
    folders = sorted(path for path in (tmp_path / "runs/agents/jaco").iterdir() if (path / files.FINAL_FILE).exists())
    name = "oracle_moving_ppo_seed0_learning_rate-"
    assert [folder.name for folder in folders] == [name + "0.0003", name + "0.001"]
    assert (folders[0] / files.EVAL_FILE).read_text() != (folders[1] / files.EVAL_FILE).read_text()
    failed = f"runs/agents/jaco/{name}-1"
    assert train_agent(tmp_path, *words, f"run_dir={failed}", "agent.settings.learning_rate=1e-3").returncode == 0
    other = train_agent(tmp_path, *words, f"run_dir={folders[0]}", "agent.settings.learning_rate=3e-4", "seed=1")
    assert other.returncode == 1 and "other settings: seed=0 (now 1); give another" in other.stderr
    anew = train_agent(tmp_path, *words, f"run_dir={folders[0]}", "seed=1", "overwrite=true")
    assert anew.returncode == 0 and json.loads((folders[0] / files.RUN_FILE).read_text())["seed"] == 1


@pytest.mark.slow
def test_a_second_command_in_the_same_folder_is_refused(tmp_path):
    """In one sentence that names the first, which ends as if it had been alone."""
    with sole_writer(tmp_path / "run"):
        second = train_agent(tmp_path, "repr=oracle", "run_dir=run", *SMALL)
        assert second.returncode == 1 and "Traceback" not in second.stderr
        said = "Error: `run` is in use by process " + str(os.getpid()) + " on "
        assert second.stderr.startswith(said) and "wait until that has ended, or choose another folder" in second.stderr
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK_FILE]


@pytest.mark.slow
def test_a3c_trains_on_an_encoder_in_each_worker(tmp_path):
    """The word agent=a3c changes the agent; the folder is alike."""
    sizes = ["agent.num_envs=2", "agent.settings.n_steps=4", "total_steps=400"]
    words = ["agent=a3c", "repr=random_encoder", *sizes, "eval_every=400", "eval_episodes=2", "gif=false"]
    done = train_agent(tmp_path, *words)
    assert done.returncode == 0 and not done.stderr, done.stderr
    folder = tmp_path / "runs/agents/jaco/random_encoder_moving_a3c_seed0"
    with open(folder / files.EVAL_FILE, newline="") as file:
        assert [row["env_steps"] for row in csv.DictReader(file)] == ["0", "400"]
    assert (folder / "final_model.zip").exists() and (folder / "monitor/0.monitor.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("words", "message"), [
    (["repr=sound"], "Valid: autoencoder, gqn, gqn_episode"),
    (["env=rooms"], "one of ['jaco', 'jaco_avoid', 'jaco_track', 'maze'], got 'rooms'."),
    (["camera=side"], "Valid: fixed, heldout, moving"),
    (["repr=gqn_finetuned", "agent=a3c"], "repr=gqn_finetuned needs agent=ppo or sac"),
    (["repr=oracle", "agent=sac"], "`agent` sac needs continuous actions: give `task={action: continuous}`"),
    (["repr=autoencoder"], "has objective=views, but repr=autoencoder stands for one with objective=autoencoder"),
    (["repr=pixels_joints", "repr.proprioception=[elbow]"], "`proprioception` must hold beginnings of names of"),
    (["repr=gqn", "encoder=nowhere.safetensors"], "`python -m gqn_rl.pretrain` trains one"),
    (
        ["repr=gqn", "+env.scene.fovy_deg=60"],
        "`encoder` jaco was trained on a vertical field of view of 45°, but the cameras of this task have 60°; "
        "choose another encoder, or env.scene.fovy_deg=45.",
    ),
    (["repr=gqn", "agent=a3c", "agent.encoding_server=true"], "`agent.encoding_server` has been removed: "),
    (["repr=oracle", "eval_every=0"], "`eval_every` must be an integer of at least 1, got 0."),
    (["repr=oracle", "eval_every=null"], "`eval_every` must be an integer like 20000, got null."),
    (["repr=oracle", "agent.settings.net_arch=64"], "a list in brackets, such as 'agent.settings.net_arch=[64]'"),
    (["repr=oracle", "transfer=moving"], "`transfer` must be a list in brackets, such as 'transfer=[moving]', got"),
    (["repr=oracle", "task=3"], "`task` must be keyword arguments of the environment, such as {looks: random}, got 3."),
    (["repr=oracle", "task={looks: bright}"], "`looks` must be 'same' or 'random', got 'bright'."),
    (["repr=oracle", "+task.lokos=random"], "`gqn_rl/JacoReach-v0` cannot be made: "),
])  # fmt: skip
def test_mistakes_end_in_one_sentence_and_leave_no_run(tmp_path, words, message):
    """Exit status 1, the choices or the next step on stderr, no traceback, no run folder."""
    result = train_agent(tmp_path, *words)
    assert result.returncode == 1 and message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()
