"""Scenes of a data set made again."""

import json

import numpy as np
import pytest

from gqn_rl.analyses.rebuild import rebuild_scene, scene_settings, show_scene
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.dataset.manifest import MANIFEST, write_json
from tests.tiny_findings import make_scenes

SCENES = [
    ("reacher", {"id": "Reacher-v5", "max_steps": 20}),
    ("jaco", {"target_on_floor": False}),
    ("jaco", {"meshes": "full"}),
    ("maze", {"cells": 7}),
    ("rooms", {}),
    ("rooms", {"camera": "free", "rotate": True}),
    ("shepard_metzler", {"parts": 5}),
]


@pytest.mark.parametrize(("name", "settings"), SCENES, ids=[f"{name}{list(given)}" for name, given in SCENES])
def test_a_scene_is_made_again_from_the_manifest(tmp_path, name, settings):
    """With the settings it was made with, and every stored picture of it is drawn again to the last bit."""
    dataset = make_scenes(tmp_path, name, views_per_scene=2, **settings)
    assert settings.items() <= scene_settings(dataset.manifest).items()
    scene = rebuild_scene(dataset.manifest)
    show_scene(scene, dataset, 2)
    np.testing.assert_array_equal(scene.state(), dataset.states[2])


def test_another_scene_is_noticed(tmp_path):
    """A manifest with another seed, or pictures of another scene, are refused."""
    dataset = make_scenes(tmp_path, "rooms", views_per_scene=2)
    scene = rebuild_scene(dataset.manifest)
    dataset.manifest["seed"] = 1
    with pytest.raises(ValueError, match=r"Scene 0 of .* comes out otherwise than when the data were made"):
        show_scene(scene, dataset, 0)
    dataset.manifest["seed"] = 0
    dataset.viewpoints[:, 0, 0] += 0.5
    with pytest.raises(ValueError, match="comes out otherwise"):
        show_scene(scene, dataset, 0)


def test_imported_pictures_have_no_scene(tmp_path):
    """One sentence says so and names those that have one."""
    make_scenes(tmp_path, "rooms", views_per_scene=2)
    manifest = json.loads((tmp_path / MANIFEST).read_text()) | {"scene": "imported_rooms"}
    write_json(tmp_path / MANIFEST, manifest)
    with pytest.raises(ValueError, match="pictures of 'imported_rooms', whose scenes cannot be made again; expected"):
        rebuild_scene(MultiViewDataset(tmp_path, "heldout").manifest)
