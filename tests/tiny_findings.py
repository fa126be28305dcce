"""Small data sets and models for tests of the findings."""

import functools

import numpy as np
import torch

from gqn_rl.analyses.common import Subject
from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.envs import make_scene
from tests.flat_settings import build_model
from tests.tiny_pretraining import IMAGE_SIZE, tiny_model


def make_scenes(root, name, held_out_scenes=3, views_per_scene=5, **settings):
    """Makes a data set of a real scene in pictures of 16 pixels; returns its held-out split."""
    sizes = {"num_scenes": 12, "held_out_scenes": held_out_scenes, "views_per_scene": views_per_scene}
    factory = functools.partial(make_scene, name, image_size=IMAGE_SIZE, **settings)
    generate(root, factory, scene_name=name, seed=0, num_workers=1, progress=False, **sizes)
    return MultiViewDataset(root, "heldout")


def tiny_subject(dataset, seed=0, **changes):
    """A small untrained GQN and a small VAE on a data set."""
    torch.manual_seed(seed)
    vae = build_model("vae", image_size=IMAGE_SIZE, code_size=6, features=8).eval()
    return Subject(tiny_model(seed, **changes).eval(), dataset, "GQN", {"VAE": vae}, progress=False)


def rng(seed=0):
    return np.random.default_rng(seed)
