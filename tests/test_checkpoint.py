"""The model file: what goes in comes out, and nothing else is believed."""

import json
import pickle

import pytest
import safetensors.torch
import torch

from gqn_rl.checkpoint import load_model, save_model
from gqn_rl.views import POSE_CONVENTION
from tests.tiny_pretraining import SIZES, tiny_model


@pytest.fixture
def path(tmp_path):
    """A saved model with statistics."""
    metadata = {"step": 7, "metrics": {"mse": 0.25}, "r_mean": torch.arange(8.0), "r_std": torch.ones(8)}
    save_model(tmp_path / "model.safetensors", tiny_model(), metadata)
    return tmp_path / "model.safetensors"


def test_round_trip_keeps_weights_sizes_and_metadata(path):
    """A model read back has the same weights bit by bit, the same sizes and the facts that were given."""
    model, metadata = load_model(path)
    before = tiny_model().state_dict()
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert metadata["step"] == 7 and metadata["metrics"] == {"mse": 0.25}
    assert metadata["model"]["name"] == "gqn" and SIZES.items() <= metadata["model"].items()
    assert metadata["pose_convention"] == POSE_CONVENTION and metadata["representation_shape"] == [8]
    assert torch.equal(metadata["r_mean"], torch.arange(8.0)) and torch.equal(metadata["r_std"], torch.ones(8))


def test_equal_models_make_equal_files(path, tmp_path):
    """The file is a function of its content, also for weights in channels_last order."""
    model, metadata = load_model(path)
    save_model(tmp_path / "again.safetensors", model.to(memory_format=torch.channels_last), metadata)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_saving_over_a_file_that_fails_leaves_the_old_one(path):
    """Metadata that is no JSON is refused before the file is touched."""
    before = path.read_bytes()
    with pytest.raises(TypeError, match="JSON"):
        save_model(path, tiny_model(1), {"step": object()})
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("cut", [0, 5, 1000, -1])
def test_truncated_file_is_refused_by_name(path, cut):
    """A file cut anywhere is refused with a sentence that names it."""
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"model\.safetensors` is truncated"):
        load_model(path)


def test_altered_weight_is_refused(path):
    """One flipped bit in a weight is noticed."""
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="was altered"):
        load_model(path)


def test_altered_metadata_is_refused(path):
    """One changed digit in the JSON is noticed."""
    content = path.read_bytes()
    assert content.count(rb"\"step\\\": 7") == 1
    path.write_bytes(content.replace(rb"\"step\\\": 7", rb"\"step\\\": 8"))
    with pytest.raises(ValueError, match="was altered"):
        load_model(path)


def test_foreign_files_are_refused(path):
    """Neither another package's safetensors, nor a pickle, nor nothing at all is a scene model; no pickle is run."""
    safetensors.torch.save_file({"weight": torch.ones(2)}, path, {"format": "pt"})
    with pytest.raises(ValueError, match="not a gqn_rl scene model"):
        load_model(path)
    path.write_bytes(pickle.dumps(pytest.fail))
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_model(path)
    with pytest.raises(ValueError, match="missing` is not a file"):
        load_model(path.with_name("missing"))


def test_other_pose_convention_is_refused(path, monkeypatch):
    """Viewpoints in another order would be misread, so a model trained on them is not loaded."""
    monkeypatch.setattr("gqn_rl.checkpoint.POSE_CONVENTION", "x y z yaw pitch")
    with pytest.raises(ValueError, match="was trained on viewpoints 'x y z sin_yaw"):
        load_model(path)


def test_unknown_model_is_refused(path, monkeypatch):
    """A model that this version does not have is named, with those it has."""
    monkeypatch.setattr("gqn_rl.checkpoint.model_settings", lambda model: SIZES | {"name": "nerf"})
    save_model(path, tiny_model(), {})
    with pytest.raises(ValueError, match=r"model\.safetensors` does not fit .*nerf"):
        load_model(path)


def test_facts_are_readable_without_this_package(path):
    """The header is plain JSON in plain safetensors."""
    with safetensors.safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["gqn_rl"])
    assert json.loads(header["facts"])["image_size"] == SIZES["image_size"]
