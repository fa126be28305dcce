"""PPO, also with an LSTM, and A3C in a run folder: what they write and how they resume; when the extractor trains."""

import csv
import functools
import os
import shutil
import signal

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from gqn_rl.agents import run_folder as files
from gqn_rl.agents import training
from gqn_rl.agents.checkpoint import last_checkpoint_step
from gqn_rl.agents.networks import GQNExtractor
from gqn_rl.agents.recurrent import RecurrentPPO
from gqn_rl.agents.rollout import draw_rollout
from gqn_rl.agents.training import train as train_in
from gqn_rl.envs.cameras import Fixed
from gqn_rl.representation import random_encoder
from gqn_rl.wrappers import make_vec_env
from tests.tiny_envs import read_episodes

CAMERA = Fixed((0.35, 0.0, 0.45), (0.0, 0.0, 0.0))
SETTINGS = {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "net_arch": [8], "device": "cpu"}
NETWORK = {
    "name": "gqn", "image_size": 16, "encoder": "pyramid", "r_channels": 8, "num_steps": 1, "hidden_channels": 4,
    "canvas_channels": 4, "kernel_size": 3,
}  # fmt: skip


def train(folder, total_steps, repr="oracle", algorithm="ppo", **changes):
    """Trains on Reacher with two environments; an update every 32 steps, an evaluation every 40."""
    envs, eval_envs = (make_vec_env("Reacher-v5", repr, CAMERA, num_envs=2, size=36) for _ in range(2))
    arguments = {
        "settings": SETTINGS, "total_steps": total_steps, "eval_every": 40, "eval_episodes": 2,
        "eval_seed": 100, "checkpoint_every": 40, "seed": 0,
    }  # fmt: skip
    model = train_in(folder, algorithm, envs, eval_envs, **arguments | changes)
    envs.close()
    eval_envs.close()
    return model


def train_a3c(folder, total_steps, **changes):
    """Trains on Reacher with one worker of two environments; an evaluation and a checkpoint after every 400 steps."""
    make = functools.partial(make_vec_env, "Reacher-v5", "oracle", CAMERA, num_envs=2)
    eval_envs = make()
    arguments = {
        "settings": {"n_workers": 1, "n_steps": 2, "net_arch": [8], "ent_coef": 0.1, "annealed": ["ent_coef"]},
        "total_steps": total_steps, "eval_every": 400, "eval_episodes": 2, "eval_seed": 100,
        "checkpoint_every": 400, "seed": 0,
    }  # fmt: skip
    return train_in(folder, "a3c", make, eval_envs, **arguments | changes)


def interrupting(log, at_step):
    """Returns a `RunLog.log` that presses Ctrl-C when the evaluation of `at_step` is written."""

    def log_and_interrupt(self, step, values):
        log(self, step, values)
        if "mean_return" in values and step >= at_step:
            os.kill(os.getpid(), signal.SIGINT)

    return log_and_interrupt


class Recall(gym.Env):
    """A cue, 1 or -1, is seen in the first step alone; acting on it in the third and last step is the only reward."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cue, self.t = int(self.np_random.integers(2)), 0
        return np.array([2 * self.cue - 1, 0], np.float32), {}

    def step(self, action):
        self.t += 1
        reward = float(self.t == 3 and action == self.cue)
        return np.array([0, self.t / 3], np.float32), reward, self.t == 3, False, {}


def read(folder, name):
    with open(folder / name, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(folder, 160)
    return folder


def test_evaluations_stand_at_the_start_when_due_and_at_the_end(finished):
    """Every 40 steps rounded up to the next update: 0, 64, 96 (passes 80), 128 (passes 120), 160."""
    rows = read(finished, files.EVAL_FILE)
    assert [int(row["env_steps"]) for row in rows] == [0, 64, 96, 128, 160]
    assert all(len(row["returns"].split(";")) == 2 for row in rows)
    assert rows[0]["success_rate"] == rows[0]["final_distances"] == ""
    clocks = [float(row["wall_clock_s"]) for row in rows]
    assert clocks == sorted(clocks)


def test_the_models_can_be_loaded_by_sb3(finished):
    """best_model.zip and final_model.zip are SB3's own files; the final one has seen every step."""
    assert PPO.load(finished / "final_model.zip").num_timesteps == 160
    assert PPO.load(finished / "best_model.zip").num_timesteps in (0, 64, 96, 128, 160)
    assert files.is_finished(finished, 160) and not files.is_finished(finished, 161)


def test_progress_has_sb3s_names_in_csv_and_tensorboard(finished):
    """Who knows SB3 finds train/loss and time/total_timesteps where they are used to."""
    assert {"train/loss", "time/total_timesteps", "eval/mean_return"} <= set(read(finished, "progress.csv")[0])
    assert list((finished / "tensorboard").glob("events.*"))


def test_a_resumed_run_continues_from_its_checkpoint(finished, tmp_path):
    """Rows beyond the checkpoint are dropped, earlier ones stay, and the learner goes on where it was."""
    folder = tmp_path / "run"
    train(folder, 96)
    steps_saved = last_checkpoint_step(folder)
    with open(folder / files.EVAL_FILE, "a") as file:
        file.write("5000,1,9e9,0,,,1;1,\n")  # an evaluation after the last checkpoint, before the process died
    rows_before = read(folder, files.EVAL_FILE)
    model = train(folder, 160)
    rows = read(folder, files.EVAL_FILE)
    assert steps_saved == 96 and model.num_timesteps == 160
    assert [int(row["env_steps"]) for row in rows] == [0, 64, 96, 128, 160]
    assert rows[:3] == rows_before[:3]
    assert files.best_mean_return(folder) < 1e9
    assert [int(row["step"]) for row in read(folder, "progress.csv")] == sorted(
        int(row["step"]) for row in read(folder, "progress.csv")
    )


def test_the_same_seed_trains_the_same_agent(finished, tmp_path):
    """Evaluations of two runs with one seed agree to the last digit; another seed differs."""
    train(tmp_path / "same", 64)
    train(tmp_path / "other", 64, seed=1)
    returns = [
        [row["returns"] for row in read(folder, files.EVAL_FILE)[:2]]
        for folder in (finished, tmp_path / "same", tmp_path / "other")
    ]
    assert returns[0] == returns[1] != returns[2]


def test_a_checkpoint_restores_the_random_states(finished, tmp_path):
    """Two resumptions of one checkpoint end with identical weights."""
    weights = []
    for name in ("one", "two"):
        shutil.copytree(finished, tmp_path / name)
        weights.append(train(tmp_path / name, 224).policy.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_run_with_an_lstm_continues_from_its_checkpoint(tmp_path):
    """RecurrentPPO goes on where it was, random states and all: two resumptions end with identical weights."""
    settings = {key: value for key, value in SETTINGS.items() if key != "net_arch"}
    settings |= {"lstm": True, "net_arch": [8], "policy_kwargs": {"lstm_hidden_size": 8}}
    weights = []
    train(tmp_path / "one", 64, algorithm="ppo_lstm", settings=settings)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for name in ("one", "two"):
        model = train(tmp_path / name, 96, algorithm="ppo_lstm", settings=settings)
        assert isinstance(model, RecurrentPPO) and model.num_timesteps == 96
        weights.append(model.policy.state_dict())
        assert [int(row["env_steps"]) for row in read(tmp_path / name, files.EVAL_FILE)] == [0, 64, 96]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.slow
def test_the_lstm_recalls_what_ppo_cannot_know(tmp_path):
    """The cue is out of sight when it counts: PPO is right half the time, RecurrentPPO with its state always."""
    reached = {}
    for algorithm, steps in (("ppo", 2_000), ("ppo_lstm", 6_000)):
        settings = {"n_steps": 48, "batch_size": 96, "n_epochs": 10, "learning_rate": 3e-3, "net_arch": [16]}
        settings |= {"device": "cpu", "lstm": algorithm == "ppo_lstm"}
        model = train_in(
            tmp_path / algorithm, algorithm, DummyVecEnv([Recall] * 8), DummyVecEnv([Recall] * 40), settings=settings,
            total_steps=steps, eval_every=steps, eval_episodes=40, eval_seed=0, checkpoint_every=steps, seed=0,
        )  # fmt: skip
        assert model.num_timesteps >= steps
        reached[algorithm] = float(read(tmp_path / algorithm, files.EVAL_FILE)[-1]["mean_return"])
    assert reached["ppo_lstm"] == 1.0 and 0.2 < reached["ppo"] < 0.8


@pytest.mark.slow
def test_a3c_leaves_the_same_folder_and_continues_in_it(tmp_path):
    """A factory in place of environments; evaluations when due, one monitor file, the checkpoint continues."""
    assert train_a3c(tmp_path, 400).num_timesteps == 400
    model = train_a3c(tmp_path, 800)
    assert model.num_timesteps == 800 and model.num_updates == 200
    assert [int(row["env_steps"]) for row in read(tmp_path, files.EVAL_FILE)] == [0, 400, 800]
    progress = [row for row in read(tmp_path, "progress.csv") if row["train/ent_coef"]]
    assert all(float(row["train/ent_coef"]) < 0.06 for row in progress) and float(progress[-1]["time/fps"]) > 0
    assert files.is_finished(tmp_path, 800) and read_episodes(tmp_path / files.MONITOR_FOLDER)["l"].sum() >= 700


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint(tmp_path, monkeypatch):
    """PPO and A3C alike stop between two updates, say so by KeyboardInterrupt, and continue later."""
    for name, run, step in (("ppo", train, 64), ("a3c", train_a3c, 400)):
        folder = tmp_path / name

        monkeypatch.setattr(training.RunLog, "log", interrupting(training.RunLog.log, step))
        with pytest.raises(KeyboardInterrupt):
            run(folder, 2000)
        monkeypatch.undo()
        saved = last_checkpoint_step(folder)
        assert not (folder / files.FINAL_FILE).exists()
        assert step <= saved < 2000
        assert run(folder, saved + 200).num_timesteps >= saved + 200


def test_unknown_ppo_settings_are_named(tmp_path):
    """SB3's own complaint, as one sentence."""
    with pytest.raises(ValueError, match=r"`agent.settings`.*'n_step'"):
        train(tmp_path, 32, settings={"n_step": 4})


@pytest.mark.parametrize(("name", "kind"), [("relu", torch.nn.ReLU), ("tanh", torch.nn.Tanh)])
def test_the_activation_is_the_one_that_is_named(name, kind):
    """Between all layers of SB3's policy; an unknown one is refused with those that are known."""
    envs = DummyVecEnv([Recall])
    policy = training.new_ppo(envs, {"activation": name, "net_arch": [8, 8], "device": "cpu"}, seed=0).policy
    layers = [*policy.mlp_extractor.policy_net, *policy.mlp_extractor.value_net]
    assert sum(isinstance(layer, kind) for layer in layers) == 4 and len(layers) == 8
    with pytest.raises(ValueError, match=r"`agent.settings.activation` must be one of relu, tanh, got 'sine'"):
        training.new_ppo(envs, {"activation": "sine"}, seed=0)


def test_a_rollout_shows_the_outside_and_the_agents_view(tmp_path):
    """One row of panels for the oracle, two where the agent has a camera; one frame a step."""
    from PIL import Image

    from gqn_rl.evaluate import RandomAgent

    for repr, height in (("oracle", 240), ("pixels", 480)):
        kwargs = {"render_mode": "rgb_array"}
        envs = make_vec_env("gqn_rl/JacoReach-v0", repr, "fixed", num_envs=2, env_kwargs=kwargs)
        draw_rollout(tmp_path / "rollout.gif", RandomAgent(envs.action_space, 0), envs, seed=0)
        with Image.open(tmp_path / "rollout.gif") as gif:
            assert gif.size == (480, height) and gif.n_frames == 49
        envs.close()


@pytest.mark.parametrize("freeze", [True, False])
def test_the_extractor_trains_the_encoder_only_when_it_is_not_frozen(freeze):
    """After an update ψ's weights have moved, or not one bit; the caller's encoder never changes."""
    encoder = random_encoder(NETWORK, seed=0)
    envs = make_vec_env("Reacher-v5", "pixels", CAMERA, num_envs=2, size=16)
    policy_kwargs = {
        "features_extractor_class": GQNExtractor, "features_extractor_kwargs": {"encoder": encoder, "freeze": freeze},
        "net_arch": [8],
    }  # fmt: skip
    model = PPO("MultiInputPolicy", envs, n_steps=8, batch_size=16, n_epochs=1, policy_kwargs=policy_kwargs)
    psi = model.policy.features_extractor.psi
    before = {name: value.clone() for name, value in psi.state_dict().items()}
    model.learn(16)
    moved = [name for name, value in psi.state_dict().items() if not torch.equal(value, before[name])]
    assert (moved == []) if freeze else any("encoder" in name for name in moved)
    assert all(torch.equal(value, before[name]) for name, value in encoder.module.state_dict().items())


def test_the_extractors_features_are_the_encoders():
    """(ψ, v) as `encode_views` gives them, through SB3's own preprocessing of pictures."""
    encoder = random_encoder(NETWORK, seed=0)
    envs = make_vec_env("Reacher-v5", "pixels", CAMERA, num_envs=2, size=16, seed=0)
    policy_kwargs = {"features_extractor_class": GQNExtractor, "features_extractor_kwargs": {"encoder": encoder}}
    policy = PPO("MultiInputPolicy", envs, n_steps=8, batch_size=16, policy_kwargs=policy_kwargs).policy
    observation = envs.reset()
    with torch.no_grad():
        features = policy.extract_features(policy.obs_to_tensor(observation)[0], policy.pi_features_extractor)
    psi = encoder.encode_views(observation["image"], observation["viewpoint"])
    np.testing.assert_allclose(features, np.concatenate([psi, observation["viewpoint"]], axis=1), atol=1e-5)


def test_the_extractor_refuses_pictures_of_another_size():
    """The message says both sizes."""
    space = gym.spaces.Dict({"image": gym.spaces.Box(0, 255, (3, 24, 24), np.uint8)})
    with pytest.raises(ValueError, match=r"16x16 pixels, but the observation has \(3, 24, 24\)"):
        GQNExtractor(space, random_encoder(NETWORK, seed=0))


def test_what_falls_follows_the_total_steps_of_now(tmp_path):
    """Continued to 160 instead of 96 steps, the learning rate is again the share of 160 that is left."""
    settings = SETTINGS | {"learning_rate": 0.01, "annealed": ["learning_rate"]}
    train(tmp_path, 96, settings=settings)
    train(tmp_path, 160, settings=settings)
    rows = [
        (int(row["step"]), float(row["train/learning_rate"]))
        for row in read(tmp_path, "progress.csv")
        if row["train/learning_rate"]
    ]
    left = {32: 1 - 32 / 96, 64: 1 - 64 / 96, 96: 0.0, 128: 1 - 128 / 160, 160: 0.0}
    assert dict(rows) == pytest.approx({step: 0.01 * share for step, share in left.items() if step in dict(rows)})
    assert {96, 128} <= set(dict(rows))
