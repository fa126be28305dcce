"""The command that imports, what it says, and pretraining on what it made."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf.errors import InterpolationToMissingValueError

from gqn_rl import cli, import_dataset, load_encoder
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.dataset import import_dataset as import_folder
from gqn_rl.pretrain.data import make_when_missing, open_splits
from gqn_rl.scene_evaluation import evaluate_representation
from tests.tfrecords import write_source
from tests.tiny_pretraining import IMAGE_SIZE, tiny_model

VIEWS = 5


@pytest.fixture
def source(tmp_path):
    """Files of 24 training and 6 test scenes of five 16-pixel views, one record damaged."""
    write_source(tmp_path / "source", num_train=(16, 8), num_test=(6,), num_views=VIEWS)
    path = tmp_path / "source/train/2-of-2.tfrecord"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    return tmp_path / "source"


def call(monkeypatch, capsys, folder, *arguments):
    """Gives the command in this process; returns its exit status, output and errors."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["import_dataset", *arguments])
    monkeypatch.setattr(cli, "use_threads", lambda threads: None)
    status = 0
    try:
        import_dataset.main()
    except SystemExit as end:
        status = end.code
    said = capsys.readouterr()
    return status, said.out, said.err


def test_command_imports_says_what_it_refused_and_then_has_nothing_to_do(monkeypatch, capsys, tmp_path, source):
    """Numbers, folder, file and byte of the damaged record, a progress bar; exit status 0; once more: already whole."""
    arguments = (f"source={source}", "name=jaco", "image_size=16", "num_workers=1")
    status, out, err = call(monkeypatch, capsys, tmp_path, *arguments)
    assert status == 0
    assert f"`{tmp_path}/data/imported_jaco`: 23 + 6 held-out scenes of 5 views, 29 scenes in" in out
    assert "1 record refused.\n  train/2-of-2.tfrecord at byte 0: its data fail the checksum\n" in out
    assert "importing train: 100%" in err and "importing heldout: 100%" in err
    status, out, _ = call(monkeypatch, capsys, tmp_path, *arguments)
    assert status == 0 and "already whole; 1 record refused" in out


def test_command_counts_scenes_when_their_number_is_known(monkeypatch, capsys, tmp_path, source):
    """`num_scenes` limits the import, and the progress bar then counts scenes."""
    arguments = (f"source={source}", "name=jaco", "image_size=16", "num_workers=1", "num_scenes=4", "held_out_scenes=2")
    status, out, err = call(monkeypatch, capsys, tmp_path, *arguments)
    assert status == 0 and "4 + 2 held-out scenes" in out and "no records refused" in out and "4/4" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("name=jaco",), "`source` has no value: give one with `source=...`."),
        (("source=nowhere",), "`name` has no value: give one with `name=...`."),
        (("source=nowhere", "name=jaco"), "`nowhere/train` holds none."),
        (("source=nowhere", "name=jaco", "views=3"), "there is no setting `views`"),
        (("source=source", "name=jaco", "image_size=16", "strict=true", "num_workers=1"), "`train/2-of-2.tfrecord` at"),
    ],
)
def test_mistakes_get_one_sentence(monkeypatch, capsys, tmp_path, source, arguments, message):
    """A missing or wrong setting, and damage where `strict` was asked for, end with status 1 and a sentence."""
    status, _, err = call(monkeypatch, capsys, tmp_path, *arguments)
    assert status == 1 and message in err and "Traceback" not in err


def test_config_of_imported_data_follows_from_its_name():
    """`env=imported env.dataset=x` names folder, run and scene as import_dataset does."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        made = compose("import_dataset", ["name=jaco", "source=there"])
        used = compose("pretrain", ["env=imported", "env.dataset=jaco"])
    assert used.data.root == made.root == "data/imported_jaco" and used.env.name == "imported_jaco"
    assert used.env.scene is None


def test_pretraining_asks_for_the_name_of_imported_data():
    """Folder and run follow from `env.dataset`; without it, the sentence names that setting, not what follows."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        cfg = compose("pretrain", ["env=imported"])
    with pytest.raises(InterpolationToMissingValueError) as error:
        _ = cfg.data.root
    assert cli.sentence(error.value) == "`env.dataset` has no value: give one with `env.dataset=...`."


def test_imported_data_open_at_any_size_and_are_never_rendered(tmp_path, source):
    """Picture size is the data's own; where there are none, the sentence says how they are imported."""
    import_folder(tmp_path / "data", source, name="jaco", image_size=16, progress=False)
    train, heldout = open_splits(str(tmp_path / "data"), scene_name="imported_jaco", image_size=None)
    assert train.image_size == 16 and (train.num_scenes, heldout.num_scenes) == (23, 6)
    with pytest.raises(ValueError, match="holds scenes of 'imported_jaco', not of 'jaco'"):
        open_splits(str(tmp_path / "data"), scene_name="jaco", image_size=None)
    unused = {"num_scenes": 1, "held_out_scenes": 1, "views_per_scene": 2, "seed": 0, "num_workers": 1}
    make_when_missing(str(tmp_path / "data"), None, scene_name="imported_jaco", **unused)
    with pytest.raises(ValueError, match=r"No finished data set .*`python -m gqn_rl.import_dataset source=... name"):
        make_when_missing(str(tmp_path / "none"), None, scene_name="imported_jaco", **unused)


def test_probes_are_left_out_where_there_is_no_state(tmp_path, source):
    """How r varies is measured as ever; no probe is fitted."""
    import_folder(tmp_path / "data", source, name="jaco", image_size=IMAGE_SIZE, progress=False)
    train, heldout = (MultiViewDataset(tmp_path / "data", split) for split in ("train", "heldout"))
    summary, entries = evaluate_representation(tiny_model(), train, heldout, num_scenes=8)
    assert summary.keys() == {"r/std", "r/scene_share"} and np.isfinite(list(summary.values())).all()
    assert entries == {}


@pytest.mark.slow
def test_pretraining_on_imported_data_leaves_an_encoder(tmp_path, source):
    """The two commands of the documentation, from TFRecord files to an encoder that encodes."""
    environment = os.environ | {"PYTHONPATH": str(Path(import_dataset.__file__).parents[1])}

    def give(module, *arguments):
        command = [sys.executable, "-m", f"gqn_rl.{module}", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    give("import_dataset", f"source={source}", "name=jaco", "image_size=16", "num_workers=1")
    said = give("pretrain", "env=imported", "env.dataset=jaco", "model=gqn_debug", "train.total_steps=2", "threads=1")
    assert "Training pyramid × draw on 23 scenes of data/imported_jaco" in said and "eval/psnr_1view" in said
    encoder = load_encoder(tmp_path / "runs/pretrain/imported_jaco_gqn_debug_seed0")
    assert encoder.image_size == 16 and encoder.metadata["dataset"]["scene"] == "imported_jaco"
    r = encoder.encode_views(np.zeros((2, 16, 16, 3), np.uint8), np.zeros((2, 7), np.float32))
    assert r.shape == (2, *encoder.representation_shape)
