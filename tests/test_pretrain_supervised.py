"""ψ trained on true positions: what it learns, what it writes, and that it goes on where it stopped."""

from __future__ import annotations

import csv
import functools
import shutil

import numpy as np
import pytest
import torch

from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.locks import sole_writer
from gqn_rl.pretrain.settings import TrainSettings
from gqn_rl.pretrain.supervised import SupervisedSettings, train_supervised
from gqn_rl.representation import load_encoder
from tests.fake_scene import FakeScene
from tests.flat_settings import build_model
from tests.in_process import give

NETWORK = {
    "name": "gqn", "image_size": 16, "encoder": "pyramid", "r_channels": 16, "num_steps": 1, "hidden_channels": 4,
    "canvas_channels": 4, "kernel_size": 3,
}  # fmt: skip


class DiscScene(FakeScene):
    """The disc's place is a position of three coordinates, and its colour never changes."""

    state_names = ("disc_x", "disc_y", "disc_z", "disc_red", "camera")

    def __init__(self):
        super().__init__(image_size=16)

    def sample_pose(self, rng):
        from gqn_rl.views import CameraPose

        return CameraPose((0.0, 0.0, 1.0), 0.0, -0.5)

    def state(self):
        return np.array([*self._disc, 0.0, 0.5, 3.0], np.float32)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    root = tmp_path_factory.mktemp("discs")
    sizes = {"num_scenes": 300, "held_out_scenes": 100, "views_per_scene": 2, "seed": 0, "num_workers": 1}
    generate(root, DiscScene, scene_name="discs", progress=False, **sizes)
    return MultiViewDataset(root, "train"), MultiViewDataset(root, "heldout")


def trained(run_dir, splits, total_steps, **changes):
    torch.manual_seed(0)
    given = {"entries": ("disc_",), "batch_size": 32, "eval_every": 50, "checkpoint_every": 20} | changes
    settings = SupervisedSettings(total_steps=total_steps, lr=3e-3, **given)
    return train_supervised(build_model(**NETWORK), *splits, run_dir=run_dir, settings=settings)


def test_positions_are_learnt_and_told_in_centimetres(tmp_path, splits):
    """A disc in 2 m × 2 m is found to some 20 cm after 150 steps; a colour and what is not asked for are left out."""
    metrics = trained(tmp_path, splits, 150)
    assert set(metrics) == {"R2/disc", "cm/disc"}
    assert metrics["R2/disc"] > 0.8 and metrics["cm/disc"] < 30
    with open(tmp_path / "progress.csv", newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [50, 100, 150]


def test_the_encoder_says_how_it_was_trained(tmp_path, splits):
    """Its file can be loaded like any other and names its objective, data and metrics."""
    trained(tmp_path, splits, 20)
    encoder = load_encoder(tmp_path)
    assert encoder.metadata["objective"] == "supervised" and encoder.metadata["dataset"]["scene"] == "discs"
    assert encoder.metadata["step"] == 20 and "R2/disc" in encoder.metadata["metrics"]


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, splits):
    """40 steps at once and 20 and 20, the learning rate falling over the same 40, end equal to the last bit."""
    trained(tmp_path / "whole", splits, 40)
    import gqn_rl.pretrain.supervised as module

    keep = module.linear
    try:
        module.linear = lambda step, start, end, num_steps: keep(step, start, end, 40)
        trained(tmp_path / "parts", splits, 20)
        trained(tmp_path / "parts", splits, 40)
    finally:
        module.linear = keep
    whole, parts = (load_encoder(tmp_path / name).module.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert trained(tmp_path / "whole", splits, 40) == {}


@pytest.mark.slow  # a model of 64 weights, by the command
def test_the_command_goes_on_with_the_settings_of_the_run_alone(tmp_path):
    """A finished folder is left alone; another seed, another holder and rows without resume files are refused."""
    sizes = {"num_scenes": 8, "held_out_scenes": 8, "views_per_scene": 6, "seed": 0, "num_workers": 1}
    generate(tmp_path / "data", functools.partial(FakeScene, 16), scene_name="rooms", progress=False, **sizes)
    words = ["env=rooms", "recipe=gqn_debug", "env.scene.image_size=16", "+model.scene.fovy_deg=50", "data.root=data"]
    words += ["supervised.entries=[disc_]", "supervised.batch_size=4", "supervised.eval_every=2", "run_dir=run"]
    words += ["supervised.checkpoint_every=1", "supervised.total_steps=2", "threads=1"]

    def command(*further):
        return give(tmp_path, "train_supervised", *words, *further)

    with sole_writer(tmp_path / "run"):
        assert "Error: `run` is in use by process" in command().stderr
    first = command()
    assert first.returncode == 0, first.stderr
    before = (tmp_path / "run/last.safetensors").read_bytes()
    assert "was finished already" in command().stdout
    other = command("seed=1", "supervised.total_steps=4")
    assert other.returncode == 1 and "was begun with other settings: seed=0 (now 1)" in other.stderr
    assert (tmp_path / "run/last.safetensors").read_bytes() == before
    shutil.rmtree(tmp_path / "run/checkpoints")
    lost = command()
    assert lost.returncode == 1 and "whose resume files are missing" in lost.stderr
    assert command("seed=1", "overwrite=true").returncode == 0


def test_entries_that_are_not_there_are_refused(tmp_path, splits):
    """With the names that there are."""
    with pytest.raises(ValueError, match="`entries` must hold beginnings of names of positions among disc_x, disc_y"):
        trained(tmp_path, splits, 20, entries=("hand_",))


@pytest.mark.parametrize(
    ("settings", "objective"),
    [
        ({"total_steps": 9, "warmup_steps": 9, "query_from_context": 1.0}, "autoencoder"),
        ({"total_steps": 9, "warmup_steps": 5, "query_from_context": 1.0}, "views"),
        ({"total_steps": 9, "warmup_steps": 9, "query_from_context": 0.3}, "views"),
    ],
)
def test_a_model_that_only_ever_redraws_its_views_is_an_autoencoder(settings, objective):
    """All queries from the context through all steps, and nothing less."""
    assert TrainSettings(**settings).objective == objective
