"""A data set and a scene model that are small enough to train in a test."""

import functools

from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.pretrain.settings import TrainSettings
from tests.fake_scene import FakeScene
from tests.helpers.models import IMAGE_SIZE, TINY_GQN, tiny_gqn

__all__ = ["IMAGE_SIZE", "SIZES", "make_data", "tiny_model", "tiny_settings"]

SIZES = {"name": "gqn", **TINY_GQN, "shared_cores": True}


def make_data(root):
    """Makes 48 training and 12 held-out scenes of 5 views of 16 pixels; returns both splits."""
    sizes = {"num_scenes": 48, "held_out_scenes": 12, "views_per_scene": 5, "seed": 0, "num_workers": 1}
    generate(root, functools.partial(FakeScene, IMAGE_SIZE), scene_name="fake", progress=False, **sizes)
    return MultiViewDataset(root), MultiViewDataset(root, "heldout")


def tiny_model(seed=0, **changes):
    """Builds a GQN of some thousand weights."""
    return tiny_gqn(seed, **({"shared_cores": True} | changes))


def tiny_settings(**changes):
    """Ten steps with a warm-up of four, float32, nothing on the way but rows."""
    settings = {
        "total_steps": 10,
        "batch_size": 4,
        "max_context": 3,
        "lr": 1e-3,
        "sigma_steps": 8,
        "warmup_steps": 4,
        "query_from_context": 1.0,
        "precision": "float32",
        "log_every": 2,
        "eval_every": 0,
        "checkpoint_every": 3,
        "eval_scenes": 8,
        "probe_scenes": 32,
    }
    return TrainSettings(**(settings | changes))
