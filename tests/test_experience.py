"""Pictures and actions, counted where they are made and carried to where agents are compared."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.dataset.manifest import read_manifest, read_record, write_json
from gqn_rl.envs import make_scene
from gqn_rl.experience import Experience, pretraining_experience
from gqn_rl.pretrain.export import dataset_summary
from gqn_rl.representation import load_encoder
from gqn_rl.wrappers import untrained_encoder
from tests.fake_scene import FakeScene

ONE = {"experience": {"train": {"pictures": 100, "actions": 30}, "heldout": {"pictures": 10, "actions": 5}}, "seed": 0}
OTHER = ONE | {"seed": 1}


class ActingScene(FakeScene):
    """Takes 3 actions to get into a scene."""

    num_actions = 3


def made(root, scene, **sizes):
    settings = {"num_scenes": 5, "held_out_scenes": 2, "views_per_scene": 4, "seed": 0, "num_workers": 1}
    settings |= {"scenes_per_shard": 2, "progress": False} | sizes
    generate(root, scene, scene_name="fake", **settings)
    return read_manifest(root)


def test_the_generator_counts_what_it_made(tmp_path):
    """5 scenes of 4 views with 3 actions each are 20 pictures and 15 actions, 2 held-out ones 8 and 6."""
    manifest = made(tmp_path, ActingScene)
    assert manifest["experience"] == {
        "train": {"pictures": 20, "actions": 15}, "heldout": {"pictures": 8, "actions": 6}
    }  # fmt: skip
    assert made(tmp_path, ActingScene, num_scenes=7)["experience"]["train"] == {"pictures": 28, "actions": 21}


def test_scenes_that_are_drawn_as_they_are_cost_no_action(tmp_path):
    """Pictures alone."""
    assert made(tmp_path, FakeScene)["experience"]["train"] == {"pictures": 20, "actions": 0}


def test_what_older_shards_did_not_count_stays_unknown(tmp_path):
    """A data set that was begun before actions were counted does not pretend that there were none."""
    made(tmp_path, ActingScene)
    record = read_record(tmp_path / "train" / "00000.json")
    del record["experience"]
    write_json(tmp_path / "train" / "00000.json", record)
    counts = made(tmp_path, ActingScene, num_scenes=7)["experience"]
    assert counts == {"train": {"pictures": None, "actions": None}, "heldout": {"pictures": 8, "actions": 6}}


@pytest.mark.parametrize(("states", "least"), [("reachable", 0), ("wandering", 1)])
def test_jacos_actions_are_those_of_its_scenes(tmp_path, states, least):
    """The manifest holds the sum of what each scene counts when it is drawn again."""
    factory = functools.partial(make_scene, "jaco", image_size=16, states=states)
    counts = made(tmp_path, factory)["experience"]["train"]
    scene, total = factory(), 0
    for index in range(5):
        scene.sample(np.random.default_rng([0, 0, index]))
        total += scene.num_actions
    assert counts == {"pictures": 20, "actions": total} and total >= least


def test_an_encoder_carries_the_counts_of_its_data_on(tmp_path):
    """The summary in an encoder's file has both splits' counts; both have been experienced."""
    made(tmp_path, ActingScene)
    metadata = {"dataset": dataset_summary(MultiViewDataset(tmp_path).manifest)}
    assert pretraining_experience(metadata) == Experience(pictures=28, actions=21)


@pytest.mark.parametrize(
    ("metadata", "pictures", "actions"),
    [
        ({}, 0, 0),
        ({"dataset": ONE}, 110, 35),
        ({"dataset": ONE, "earlier": [{"dataset": OTHER}, {"dataset": ONE}]}, 220, 70),
        ({"dataset": ONE | {"after": [OTHER, {"experience": {"pictures": 1000, "actions": 1000}}]}}, 1220, 1070),
        ({"dataset": ONE | {"after": [OTHER]}, "earlier": [{"dataset": OTHER}]}, 220, 70),
        ({"experience": {"pictures": 8, "actions": 6}}, 8, 6),
        ({"dataset": {"num_scenes": {"train": 9, "heldout": 1}, "views_per_scene": 10}}, 100, None),
    ],
)
def test_every_data_set_counts_once(metadata, pictures, actions):
    """Whatever was trained on it and however often; what a data set needed first counts too; unknown stays unknown."""
    assert pretraining_experience(json.loads(json.dumps(metadata))) == (pictures, actions)


def test_the_shipped_encoder_says_its_pictures():
    """2 048 000 training pictures and those of held-out scenes; its actions were not counted when it was made."""
    pictures, actions = pretraining_experience(load_encoder("jaco").metadata)
    assert pictures is not None and pictures > 2_048_000 and actions is None


def test_an_untrained_encoder_counts_what_it_is_standardised_on():
    """512 episodes of four pictures, three actions each."""
    network = {"name": "gqn", "image_size": 16, "encoder": "pyramid", "r_channels": 8, "num_steps": 1}
    encoder = untrained_encoder(network, "gqn_rl/JacoReach-v0", "moving", seed=0)
    assert pretraining_experience(encoder.metadata) == (2048, 1536)
