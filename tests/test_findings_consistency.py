"""Consistency of digit cubes: what is counted, what chance is, and that one latent a scene is what makes it."""

import numpy as np
import pytest
import torch

from gqn_rl.analyses.consistency import ConsistencySettings, bounds, chance_agreement, row_of
from gqn_rl.analyses.cube_questions import DigitReader, ask, cube_of
from gqn_rl.envs.digit_cube.scene import DigitCubeScene
from gqn_rl.models import build_model
from gqn_rl.views import prepare_images
from tests.tiny_findings import make_scenes, rng

SIZE = 32


@pytest.fixture(name="asked", scope="module")
def asked_fixture():
    scene = DigitCubeScene("corners", image_size=SIZE)
    reader = DigitReader.trained(scene, np.random.default_rng(1), 250)
    return scene, reader, ask(scene, np.random.default_rng(0), 60)


def test_chance_is_the_agreement_of_different_scenes():
    """By hand: of six pairs of different scenes, two agree; a reader that always says 8 agrees by chance alone."""
    assert chance_agreement(np.array([1, 2, 3]), np.array([2, 1, 3])) == pytest.approx(2 / 6)
    assert chance_agreement(np.full(5, 8), np.full(5, 8)) == 1.0
    draws = np.random.default_rng(0).integers(10, size=(2, 2000))
    assert chance_agreement(*draws) == pytest.approx(0.1, abs=0.01)


def test_one_guess_for_both_sides_agrees_and_two_guesses_do_not(asked, monkeypatch):
    """Drawn from one other cube, both sides agree in nearly all scenes; from two other cubes, as often as chance."""
    _, reader, questions = asked
    for same, others in ((True, (1, 1)), (False, (1, 2))):
        pictures = questions.query.images.copy()
        for index, face in enumerate(questions.faces):  # of other cubes about which the same was asked
            alike = np.flatnonzero(questions.faces == face)
            place = int(np.flatnonzero(alike == index)[0])
            for side, other in enumerate(others):
                pictures[index, side] = questions.query.images[alike[(place + other) % len(alike)], side]

        def drawn(model, r, viewpoints, sample, pictures=pictures):
            images = pictures if viewpoints.shape[1] == 2 else questions.known.images
            return prepare_images(torch.as_tensor(images))

        monkeypatch.setattr("gqn_rl.analyses.consistency.draw", drawn)
        monkeypatch.setattr("gqn_rl.analyses.consistency.encode", lambda model, context: None)
        monkeypatch.setattr("gqn_rl.analyses.consistency.bounds", lambda *arguments: {})
        row = row_of(None, questions, reader, rng(), ConsistencySettings())
        assert row["seen_face_right"] > 0.85 and row["chance"] == pytest.approx(0.1, abs=0.06)
        assert (row["same_digit"] > 0.85) is same and (row["above_chance"] < 0.15) is not same


def test_latents_of_a_scene_are_paid_once(asked):
    """With constant heads, the KL a picture falls with the number of pictures as 1 / Q; the rest is a picture's own."""
    _, _, questions = asked
    torch.manual_seed(0)
    model = build_model(
        {
            "scene": {"image_size": SIZE, "fovy_deg": 45.0, "depths_m": [1.2, 2.6], "wavelengths_m": [2.0, 1.0]},
            "representation": {"kind": "pyramid", "r_channels": 8},
            "density": {"kind": "global_latent", "num_steps": 1, "latent_size": 2, "hidden_size": 8,
                        "hidden_channels": 8, "canvas_channels": 4},
        }
    )  # fmt: skip
    torch.nn.init.zeros_(model.density.posterior_head.weight)
    torch.nn.init.zeros_(model.density.prior_head.weight)
    model.density.prior_head.bias.data = torch.zeros(4)
    model.density.posterior_head.bias.data = torch.tensor([0.0, 0.0, -30.0, -30.0])
    kl = 2 * (30.0 - 0.5)
    torch.nn.init.zeros_(model.density.renderer.canvas.delta)
    model.density.renderer.canvas.eta.bias.data = torch.full((3,), 0.5)
    found = bounds(model, questions, 0.7)
    squared = (questions.corners.images.astype(float) / 255 - 0.5) ** 2 / (2 * 0.7**2)
    for count in (1, 2, 4):
        nll = squared[:, :count].sum() / len(squared) / count
        assert found[f"nats_a_picture_{count}"] == pytest.approx(nll + kl / count, rel=1e-3)


def test_only_digit_cubes_are_asked_about(tmp_path):
    """Other data are refused with the command that makes these."""
    rooms = make_scenes(tmp_path / "rooms", "rooms")
    with pytest.raises(ValueError, match=r"expected digit cubes; `python -m gqn_rl\.generate_data env=digit_cube`"):
        cube_of(rooms.manifest)
    cubes = make_scenes(tmp_path / "cubes", "digit_cube", camera="corners")
    assert cube_of(cubes.manifest).camera == "corners" and cube_of(cubes.manifest).image_size == 16
    with pytest.raises(ValueError, match=r"`consistency\.num_scenes` must be positive, got 0"):
        ConsistencySettings(num_scenes=0)
