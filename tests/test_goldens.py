"""What both shipped encoders and every model of format 1 answer is what it was when these answers were recorded."""

from __future__ import annotations

import json
import pathlib
import re
import tempfile

import numpy as np
import pytest
import torch

from gqn_rl.checkpoint import load_map_decoder, load_model
from gqn_rl.checkpoint.upgrades import settings_1_to_2
from gqn_rl.models import build_model
from gqn_rl.pretrain.resume import read_state
from gqn_rl.representation import load_encoder
from gqn_rl.scene_encoder import read
from gqn_rl.uncertainty import bayesian_surprise, predicted_information_gain
from gqn_rl.views import Views, prepare_images
from tests import golden

SHIPPED = ("jaco", "maze")
SCENE_MODELS = [name for name in golden.MODELS if not name.startswith("map_decoder")]
MAP_DECODERS = [name for name in golden.MODELS if name.startswith("map_decoder")]


# How the present code is asked; the answers must stay as they are.


def settings_of(name: str) -> dict:
    """Returns what makes a fresh scene model of a kind."""
    return settings_1_to_2(golden.MODELS[name])[1]


def kl_of(model, context: Views, query: Views) -> torch.Tensor:
    """Returns the KL of each query with fixed noise, [N]."""
    pictures = prepare_images(query.images)
    if not model.predicts_views:
        q = model.density.posterior(pictures.flatten(0, 1))
        return (0.5 * (q.mean.square() + (2 * q.log_std).exp() - 1) - q.log_std).sum(1)
    shape = (model.density.num_steps, query.images.shape[0], *model.density.latent_shape)
    c = model.condition(model.encode(context), query.viewpoints)
    return model.density.kl(c, pictures, noise=golden.arithmetic_noise(shape)).flatten()


def gain_of(model, r: torch.Tensor, query: Views) -> torch.Tensor | None:
    """Returns the predicted information gain; None for a model that format 1 drew without its details."""
    if not model.predicts_views or getattr(model.representation, "detail", None) is not None:
        return None
    return predicted_information_gain(model, r, query.viewpoints, 2)


def surprise_of(model, r: torch.Tensor, query: Views) -> torch.Tensor | None:
    """Returns the Bayesian surprise of queries."""
    return bayesian_surprise(model, r, query) if model.predicts_views else None


def features_of(encoder, r: np.ndarray, viewpoints: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what an agent gets of sums over views, in each frame."""
    return {frame: read(encoder.readout, r, viewpoints, frame) for frame in encoder.readout.frames}


@torch.no_grad()
def answers_of_encoder(path) -> dict[str, torch.Tensor | np.ndarray]:
    """Asks a scene model everything: ψ, what an agent gets, predictions, KL."""
    model, _ = load_model(path)
    views = golden.arithmetic_views(model.image_size)
    context, query = (Views(*(part[:, k : k + 1] for part in views)) for k in (0, 1))
    answers = {"psi": model.encode_views(views), "prior_mean": model.predict(context, query.viewpoints, sample=False)}
    answers["kl"] = kl_of(model, context, query)
    r = model.encode(views)
    for name, ask in {
        "sample": lambda: model.predict(context, query.viewpoints),
        "reconstruction": lambda: model.reconstruct(context, query),
        "surprise": lambda: surprise_of(model, r, query),
        "gain": lambda: gain_of(model, r, query),
    }.items():
        torch.manual_seed(3)
        answers[name] = ask()
    encoder = load_encoder(path, runtime="torch")
    psi = encoder.encode_views(*(part.flatten(0, 1).numpy() for part in views)).reshape(4, 2, *answers["psi"].shape[2:])
    for count in (1, 2):
        features = features_of(encoder, psi[:, :count].sum(axis=1), views.viewpoints[:, 0].numpy())
        answers |= {f"features_{count}view_{frame}": value for frame, value in features.items()}
    return {name: value for name, value in answers.items() if value is not None}


@torch.no_grad()
def answers_of_map_decoder(path) -> dict[str, torch.Tensor]:
    """Draws maps of arithmetic representations, from the prior's mean and from a sample."""
    decoder, _ = load_map_decoder(path)
    r = golden.arithmetic_noise((4, *decoder.representation_shape)).abs()
    torch.manual_seed(3)
    return {"mean": decoder.draw(r), "sample": decoder.draw(r, sample=True)}


def fresh_weights(name: str) -> dict[str, torch.Tensor]:
    """Returns the weights that seed 0 gives a new model, one behind the other: what repr=random_encoder sees."""
    torch.manual_seed(0)
    model = build_model(settings_of(name))
    return {"weights": torch.cat([weight.detach().flatten() for weight in model.parameters()])}


def answers_of_files(folder: pathlib.Path) -> dict[str, dict[str, torch.Tensor | np.ndarray]]:
    """Asks both shipped encoders and a file of every kind that format 1 has."""
    found = {name: answers_of_encoder(golden.SHIPPED / f"{name}.safetensors") for name in SHIPPED}
    for name in golden.MODELS:
        path = golden.write_format_1(folder / f"{name}.safetensors", name)
        found[name] = answers_of_map_decoder(path) if name in MAP_DECODERS else answers_of_encoder(path)
    return found


def record() -> None:
    """Writes the present answers into `goldens.json`, and prints how far the values there are from those before."""
    torch.set_num_threads(1)
    path = golden.FOLDER / "goldens.json"
    recorded = json.loads(path.read_text())
    with tempfile.TemporaryDirectory() as folder:
        found = answers_of_files(pathlib.Path(folder))
    for name, answers in found.items():
        summaries = {key: golden.summary(value) for key, value in answers.items()}
        for key, now in summaries.items():
            moved = np.abs(np.subtract(now["values"], recorded["answers"][name][key]["values"])).max()
            print(f"{name:18} {key:28} {moved:.1e}")
        recorded["answers"][name] = summaries
    text = json.dumps(recorded | {"fingerprint": golden.fingerprint()}, indent=1)
    path.write_text(
        re.sub(r"\[[^\[\]]*\]", lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
    )


def check(name: str, answers: dict[str, torch.Tensor | np.ndarray]) -> None:
    """Compares answers with those recorded: all bytes on a machine like the recording's, some values elsewhere."""
    recorded = json.loads((golden.FOLDER / "goldens.json").read_text())
    known, same_machine = recorded["answers"][name], recorded["fingerprint"] == golden.fingerprint()
    assert answers.keys() == known.keys()
    for key, value in answers.items():
        now = golden.summary(value)
        assert now["shape"] == known[key]["shape"], key
        np.testing.assert_allclose(
            now["values"], known[key]["values"], rtol=golden.TOLERANCE, atol=golden.TOLERANCE, err_msg=key
        )
        assert not same_machine or now["sha256"] == known[key]["sha256"], f"{key} differs in its last bits"


@pytest.fixture(autouse=True)
def one_thread():
    """Sums are split among threads, which changes last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_encoders_answer_as_they_did(name):
    """ψ, what an agent gets, predictions and KL of eight pictures are those of the recording."""
    check(name, answers_of_encoder(golden.SHIPPED / f"{name}.safetensors"))


@pytest.mark.parametrize("name", SCENE_MODELS)
def test_files_of_format_1_answer_as_they_did(name, tmp_path):
    """A file of every kind of scene model that format 1 has loads, and its model answers as then."""
    check(name, answers_of_encoder(golden.write_format_1(tmp_path / "model.safetensors", name)))


@pytest.mark.parametrize("name", MAP_DECODERS)
def test_map_decoders_of_format_1_draw_as_they_did(name, tmp_path):
    """A file of either kind of map decoder loads and draws the maps of the recording."""
    check(name, answers_of_map_decoder(golden.write_format_1(tmp_path / "map.safetensors", name)))


@pytest.mark.parametrize("name", SCENE_MODELS)
def test_a_seed_gives_the_weights_that_it_gave(name):
    """An untrained encoder is named by its seed alone, so a run with one that goes on must get the same weights."""
    check(f"{name} fresh", fresh_weights(name))


def test_resume_files_of_format_1_are_read(tmp_path):
    """A resume file of format 1 is whole, and says at which step it was written and of which model."""
    path = tmp_path / "step-000000003.resume"
    path.write_bytes(golden.read_resume_1())
    state = read_state(path)
    assert state["step"] == 3 and state["model_settings"]["encoder"] == "pyramid"


def test_a_manifest_of_today_says_what_a_model_must_know():
    """Field of view and cameras of the pictures stand in a data set's manifest."""
    manifest = json.loads((golden.FOLDER / "manifest_1.json").read_text())
    assert manifest["scene"] == "jaco" and manifest["scene_facts"]["fovy_deg"] == 45.0
    assert manifest["image_size"] == 16 and manifest["views_per_scene"] == 2


if __name__ == "__main__":
    record()
