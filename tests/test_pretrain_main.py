"""The command: from nothing to an encoder, its presets, and its sentences for what cannot be."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_module

import gqn_rl
from gqn_rl import load_encoder
from gqn_rl.artefacts.documents import sealed
from gqn_rl.groups import present_words, register_groups
from gqn_rl.locks import sole_writer
from gqn_rl.models import build_model
from gqn_rl.pretrain import resume
from gqn_rl.pretrain.__main__ import main, summary
from gqn_rl.pretrain.data import make_when_missing, open_splits, scene_of
from gqn_rl.pretrain.settings import TrainSettings
from tests import golden
from tests.fake_scene import FakeScene
from tests.tiny_pretraining import IMAGE_SIZE, make_data

PRESETS = (
    *("gqn_paper", "gqn_small", "gqn_points", "gqn_quick", "gqn_plan", "gqn_debug", "vae", "vae_debug", "cvae", "draw"),
)
CAMERA = {"image_size": 64, "fovy_deg": 45.0, "depths_m": [1.0, 2.5], "wavelengths_m": [2.0, 1.0]}


def configured(*overrides):
    """Composes the command's config."""
    register_groups()
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        return compose("pretrain", present_words(overrides))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_composes_and_builds(preset):
    """A preset's sizes build a model and its training settings are possible with the data that are made by default."""
    cfg = configured(f"model={preset}")
    settings = TrainSettings(**cfg.train)
    assert settings.max_context + settings.num_queries <= cfg.data.views_per_scene
    if preset != "gqn_paper":  # 60 million weights take seconds to draw
        assert build_model({**cfg.model, "scene": CAMERA}).image_size == 64


def test_paper_preset_is_the_default_of_every_setting():
    """The dataclass is the only home of these defaults, and the paper's recipe changes none."""
    cfg = configured("recipe=gqn_paper")
    assert TrainSettings(**cfg.train) == TrainSettings()
    assert set(cfg.train) == {field.name for field in dataclasses.fields(TrainSettings)}


def test_command_goes_from_nothing_to_an_encoder(tmp_path):
    """One command renders Jaco scenes, trains on them and leaves an encoder; given again, it says that it is done."""
    words = (
        "env=jaco model=gqn_debug data.num_scenes=8 data.held_out_scenes=3 data.views_per_scene=5 data.num_workers=1"
    )
    command = [sys.executable, "-m", "gqn_rl.pretrain", *words.split(), "train.total_steps=2", "threads=1"]
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(gqn_rl.__file__).parents[1])}
    process = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 120}
    first = subprocess.run(command, **process)
    assert first.returncode == 0, first.stderr
    assert "No data in data/jaco: rendering 8 training and 3 held-out scenes" in first.stdout
    folder = tmp_path / "runs" / "pretrain" / "jaco_gqn_debug_seed0"
    assert {path.name for path in folder.iterdir()} >= {"config.yaml", "versions.json", "progress.csv", "sheets"}
    encoder = load_encoder(folder)
    assert encoder.image_size == 64 and encoder.metadata["dataset"]["scene"] == "jaco"
    assert {"gl_renderer", "mujoco"} <= encoder.metadata["dataset"].keys()
    again = subprocess.run(command, **process)
    assert again.returncode == 0 and "was finished already" in again.stdout


def test_older_words_say_what_they_said():
    """`model=` chooses a recipe, flat settings find their group, cameras' settings are scene facts."""
    cfg = configured("model=gqn_small", "model.encoder=tower", "model.num_steps=3", "+model.ray_depths_m=[1.0,2.4]")
    assert cfg.model.representation.kind == "tower" and cfg.model.density.num_steps == 3
    assert cfg.model.scene.depths_m == [1.0, 2.4] and cfg.train.total_steps == 9000
    assert configured("model.detail_channels=24").model.representation.detail_channels == 24


def test_scene_facts_are_the_manifests():
    """A manifest of an older version says the field of view; depths are filled in as the configs of then had them."""
    manifest = json.loads((golden.FOLDER / "manifest_1.json").read_text())
    assert scene_of(manifest, "data") == {
        "image_size": 16, "fovy_deg": 45.0, "depths_m": [1.0, 2.4], "wavelengths_m": [2.0, 1.0, 0.5]
    }  # fmt: skip
    assert scene_of(manifest, "data", {"depths_m": [1, 3]})["depths_m"] == [1, 3]
    with pytest.raises(ValueError, match=r"`data.root` data have .* of view of 45°, but 60° is asked for"):
        scene_of(manifest, "data", {"fovy_deg": 60.0})


def test_data_of_another_field_of_view_are_refused(tmp_path):
    """What is asked for and what the pictures have are both named."""
    make_data(tmp_path)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["scene_facts"]["fovy_deg"] = 45.0
    path.write_text(json.dumps(sealed(manifest)))
    with pytest.raises(ValueError, match="of view of 45°, but 60° is asked for"):
        open_splits(str(tmp_path), scene_name="fake", image_size=16, scene_settings={"fovy_deg": 60})


def test_data_of_another_scene_or_size_are_refused(tmp_path):
    """The sentence names the folder, what it holds and what was asked for."""
    make_data(tmp_path)
    with pytest.raises(ValueError, match="holds scenes of 'fake', not of 'jaco'"):
        open_splits(str(tmp_path), scene_name="jaco", image_size=IMAGE_SIZE)
    with pytest.raises(ValueError, match=r"holds pictures of 16 pixels, `env.scene.image_size` is 64"):
        open_splits(str(tmp_path), scene_name="fake", image_size=64)


def test_finished_data_are_used_as_they_are(tmp_path, capsys):
    """Data that exist are neither made again nor grown, whatever number of scenes the config has."""
    make_data(tmp_path)
    sizes = {"num_scenes": 10**9, "held_out_scenes": 1, "views_per_scene": 2, "seed": 1, "num_workers": 1}
    make_when_missing(str(tmp_path), FakeScene, scene_name="fake", **sizes)
    assert capsys.readouterr().out == ""
    train, _ = open_splits(str(tmp_path), scene_name="fake", image_size=IMAGE_SIZE)
    assert train.num_scenes == 48


def test_summary_shows_what_is_there():
    """Metrics of interest with their values, and only those."""
    probes = {"probe/wall_R2_1view": 0.25, "probe/hand_R2_1view": 0.5, "probe/hand_R2_4view": 0.75}
    text = summary({"eval/mse_1view": 0.01234, "eval/kl": 3.0} | probes, "runs/x")
    assert "eval/mse_1view 0.01234\n" in text and "R²: hand 0.50, wall 0.25\n" in text and "kl" not in text


def test_a_run_folder_belongs_to_one_command_at_a_time(tmp_path, monkeypatch, capsys, restore_threads):
    """The second is refused by name, before it makes data; nothing that was not there stays."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pretrain", "model=gqn_debug", "run_dir=mine/run", "threads=1"])
    with sole_writer(tmp_path / "mine" / "run"), pytest.raises(SystemExit):
        main()
    assert f"Error: `mine/run` is in use by process {os.getpid()} " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_rows_are_not_lost_when_resume_files_are(tmp_path):
    """A folder whose resume files are gone is refused; rows before a first one, and a run that was deleted, are not."""
    (tmp_path / "progress.csv").write_text("step,loss\n5,1.0\n10,0.5\n")
    (tmp_path / "notes").touch()
    resume.refuse_rows(tmp_path, checkpoint_every=10)
    with pytest.raises(ValueError, match=r"holds a run of 10 steps whose resume files are missing: .* overwrite=true"):
        resume.refuse_rows(tmp_path, checkpoint_every=9)
    path = resume.save_state(tmp_path, {"step": 10}, keep=1)
    resume.refuse_rows(tmp_path, checkpoint_every=9)
    resume.delete_run(tmp_path)
    resume.refuse_rows(tmp_path, checkpoint_every=1)
    assert not path.exists() and (tmp_path / "notes").exists()
