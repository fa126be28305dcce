"""The model file: what goes in comes out, and nothing else is believed."""

import json
import os
import pickle

import pytest
import safetensors.torch
import torch

from gqn_rl.checkpoint import file as model_file
from gqn_rl.checkpoint import load_map_decoder, load_model, save_model
from gqn_rl.models import SceneModelConfig
from gqn_rl.models.map_decoder import MapDecoder, MapDecoderConfig
from gqn_rl.views import POSE_CONVENTION
from tests.flat_settings import flat_config
from tests.tiny_pretraining import SIZES, tiny_model


def settings(part, **changes):
    """Returns the tiny model's settings with some of a part changed."""
    config = flat_config(**SIZES)
    return config | {part: config[part] | changes}


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
    assert metadata["kind"] == "scene model" and metadata["model"] == flat_config(**SIZES)
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
    monkeypatch.setattr("gqn_rl.checkpoint.file.POSE_CONVENTION", "x y z yaw pitch")
    with pytest.raises(ValueError, match="was trained on viewpoints 'x y z sin_yaw"):
        load_model(path)


def test_unknown_model_is_refused(path, monkeypatch):
    """A model that this version does not have is named, with those it has."""
    monkeypatch.setattr(SceneModelConfig, "to_json", lambda config: settings("density", kind="nerf"))
    save_model(path, tiny_model(), {})
    with pytest.raises(ValueError, match=r"model\.safetensors` does not fit .*nerf"):
        load_model(path)


def test_facts_are_readable_without_this_package(path):
    """The header is plain JSON in plain safetensors."""
    with safetensors.safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["gqn_rl"])
    assert json.loads(header["facts"])["image_size"] == SIZES["image_size"]


def rewritten(path, facts=None, tensors=None, text=None):
    """Writes a model's file anew with other facts or tensors and a digest that is right; returns the path."""
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["gqn_rl"])
        held = {name: file.get_tensor(name) for name in list(file.keys())}
    text = json.dumps(json.loads(header["facts"]) | (facts or {}), sort_keys=True) if text is None else text
    held = {name: value for name, value in (held | (tensors or {})).items() if value is not None}
    header |= {"facts": text, "sha256": model_file._digest(text, held)}
    path.write_bytes(safetensors.torch.save(held, {"gqn_rl": json.dumps(header)}))
    return path


def first_weight(path):
    """Returns name and value of the first weight of a file."""
    with safetensors.safe_open(path, framework="pt") as file:
        name = min(name for name in list(file.keys()) if name.startswith("model."))
        return name, file.get_tensor(name)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_numbers_are_refused_by_name(path, value):
    """One NaN or infinity in a weight, as a diverged fine-tuning leaves it, names the file and the weight."""
    name, weight = first_weight(path)
    weight.view(-1)[-1] = value
    with pytest.raises(ValueError, match=rf"model\.safetensors`: `{name[6:]}` holds NaN or infinity; fetch or train"):
        load_model(rewritten(path, tensors={name: weight}))


@pytest.mark.parametrize(
    ("statistics", "said"),
    [
        ({"r_mean": torch.full((8,), float("nan"))}, "`r_mean` holds NaN or infinity"),
        ({"r_std": torch.full((8,), float("inf"))}, "`r_std` holds NaN or infinity"),
        ({"r_std": torch.zeros(8)}, "`r_std` must be above 0 everywhere, got 0"),
        ({"r_std": -torch.ones(8)}, "`r_std` must be above 0 everywhere, got -1"),
        ({"r_std": None}, "`r_std` must be a tensor float32 \\[8\\], got NoneType"),
        ({"r_std": torch.ones(7)}, "`r_std` must be float32 \\[8\\], got float32 \\[7\\]"),
        ({"r_mean": torch.ones(8).double()}, "`r_mean` must be float32 \\[8\\], got float64 \\[8\\]"),
        ({"r_directions": torch.ones(7, 2)}, "`r_directions` must be float32 \\[8, any\\], got float32 \\[7, 2\\]"),
        ({"r_directions": torch.ones(8, 9)}, "`r_directions` \\[8, 9\\] does not fit r of shape \\[8\\]"),
        ({"r_directions": torch.ones(8, 0)}, "`r_directions` \\[8, 0\\] does not fit"),
        ({"r_directions": torch.ones(8, 2).double()}, "`r_directions` must be float32"),
    ],
)
def test_statistics_that_do_not_fit_are_refused_by_name(path, statistics, said):
    """Statistics of r are finite, of its shape and float32; a deviation of 0 would make every entry infinite."""
    tensors = {f"statistics.{name}": value for name, value in statistics.items()}
    with pytest.raises(ValueError, match=said):
        load_model(rewritten(path, tensors=tensors))


def test_weights_of_another_shape_or_type_are_refused_by_name(path):
    """A weight that is missing, superfluous, of another shape or another type is named with what was expected."""
    name, weight = first_weight(path)
    whole = path.read_bytes()
    for changed, said in (
        ({name: None}, f"lacks the tensor `{name[6:]}`"),
        ({"model.surplus": weight}, "holds a tensor `surplus` that has no place"),
        ({name: weight[None]}, rf"`{name[6:]}` must be float32 \[.*\], got float32 \[1, "),
        ({name: weight.double()}, f"`{name[6:]}` must be float32 .*, got float64"),
    ):
        path.write_bytes(whole)
        with pytest.raises(ValueError, match=said):
            load_model(rewritten(path, tensors=changed))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"step": -1}, "`step` must be an integer of at least 0, got -1"),
        ({"step": "7"}, "`step` must be an integer"),
        ({"metrics": []}, "`metrics` must be an object"),
        ({"dataset": "x"}, "`dataset` must be an object, got 'x'"),
        ({"dataset": {"num_scenes": {"train": 3}}}, "`dataset.num_scenes.heldout` is missing"),
        ({"dataset": {"cameras": {"moving": 3}}}, "`dataset.cameras.moving` must be an object"),
        ({"earlier": [{"step": 1}]}, r"`earlier\[0\].dataset` is missing"),
        ({"image_size": 32}, "`image_size` is 32, but its model has 16"),
        ({"representation_shape": [9]}, r"`representation_shape` is \[9\], but its model has \[8\]"),
        ({"pose_convention": 3}, "`pose_convention` must be a text"),
        ({"model": "gqn"}, "`model` must be an object"),
        ({"kind": 3}, "`kind` must be a text"),
        ({"kind": "agent"}, "holds neither a scene model nor a map decoder, but `kind` 'agent'"),
        ({"model": settings("density", hidden_channels=30000)}, "must be float32 .*120000.*got float32"),
        (
            {"model": settings("density", num_steps=10**9, shared_cores=False)},
            r"`model.density.num_steps` must be an integer in",
        ),
        ({"model": settings("scene", image_size=2**40)}, r"`model.scene.image_size` must be an integer in"),
        ({"model": settings("density", downsample=0)}, "does not fit this version of the scene model"),
        ({"model": settings("density", hidden_channels=-4)}, "does not fit this version of the scene model"),
        ({"model": settings("density", surplus=1)}, "does not fit this version of the scene model.*surplus"),
    ],
)
def test_facts_that_no_model_could_have_are_refused_by_entry(path, facts, said):
    """A header whose digest is right but whose facts are of another kind or range is refused by file and entry."""
    with pytest.raises(ValueError, match=said) as refusal:
        load_model(rewritten(path, facts))
    assert "model.safetensors" in str(refusal.value)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"', "[" * 100_000, "{", "", '{"model": NaN}'])
def test_headers_that_are_no_object_are_refused(path, text):
    """Facts that are a list, a number, a text, nothing, broken or endlessly nested end in a sentence with the file."""
    with pytest.raises(ValueError, match=r"model\.safetensors`"):
        load_model(rewritten(path, text=text))


def test_map_decoders_are_checked_likewise(tmp_path):
    """A map decoder with NaN in a weight is refused by file and name."""
    path = tmp_path / "map.safetensors"
    sizes = {"num_steps": 1, "hidden_channels": 4, "latent_channels": 2, "canvas_channels": 4, "kernel_size": 3}
    camera = {"viewpoint": [0, 0, 3, 0, 1, -1, 0], "fovy_deg": 45.0, "ray_depths_m": [2.0, 3.0]}
    flat = {"representation_shape": [8], "ray_wavelengths_m": [1.0], "image_size": 16, "downsample": 8}
    decoder = MapDecoder(MapDecoderConfig.from_json(flat_config("map_decoder", **flat, **camera, **sizes)))
    save_model(path, decoder, {"step": 3})
    assert load_map_decoder(path)[1]["step"] == 3
    name, weight = first_weight(path)
    with pytest.raises(ValueError, match=f"`{name[6:]}` holds NaN or infinity"):
        load_map_decoder(rewritten(path, tensors={name: weight * float("nan")}))


def test_fifo_in_place_of_a_model_is_refused_at_once(tmp_path):
    """A FIFO would block its reader for ever; it is refused without being opened."""
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors` must be a file, but is a FIFO"):
        load_model(tmp_path / "model.safetensors")
