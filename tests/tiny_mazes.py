"""The smallest mazes as a data set, a GQN for their pictures, and maps that are painted instead of drawn."""

import functools

import numpy as np
import torch

from gqn_rl.analyses.maps.mazes import EncodedMazes
from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.envs import make_scene
from gqn_rl.models.map_decoder import MapDecoder, MapDecoderConfig
from tests.flat_settings import flat_config
from tests.helpers import models

CELLS, IMAGE_SIZE, VIEWS = 5, 32, 6
SCENE = {"cells": CELLS, "image_size": IMAGE_SIZE}
DECODER_SIZES = {
    "num_steps": 2, "hidden_channels": 8, "latent_channels": 2, "canvas_channels": 4, "downsample": 4,
    "ray_wavelengths_m": [6.0, 3.0],
}  # fmt: skip
DARK, LIGHT = 40, 200


def make_maze_data(root):
    """Makes 12 training and 4 held-out mazes; returns both splits."""
    sizes = {"num_scenes": 12, "held_out_scenes": 4, "views_per_scene": VIEWS, "seed": 3, "num_workers": 1}
    generate(root, functools.partial(make_scene, "maze", **SCENE), scene_name="maze", progress=False, **sizes)
    return MultiViewDataset(root), MultiViewDataset(root, "heldout")


def tiny_gqn(**changes):
    sizes = {"image_size": IMAGE_SIZE, "shared_cores": True, "hidden_channels": 8, "downsample": 8}
    return models.tiny_gqn(**(sizes | changes)).eval()


def tiny_decoder(r_channels=8, image_size=IMAGE_SIZE):
    torch.manual_seed(0)
    viewpoint = [0.0, 0.0, 30.0, 1.0, 0.0, -1.0, 0.0]
    camera = {"viewpoint": viewpoint, "fovy_deg": 11.4, "ray_depths_m": [29.0, 30.0]}
    sizes = {"representation_shape": [r_channels], "image_size": image_size, **DECODER_SIZES}
    return MapDecoder(MapDecoderConfig.from_json(flat_config("map_decoder", **camera, **sizes)))


def paint(walls, size=IMAGE_SIZE):
    """Paints maps of walls [N, n, n], a ring of half a cell around them: uint8 [N, size, size, 3]."""
    cells = walls.shape[-1]
    ringed = np.pad(walls, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    nearest = np.floor((np.arange(size) + 0.5) * (cells + 1) / size + 0.5).astype(int)
    dark = ringed[:, nearest[:, None], nearest[None]]
    return np.repeat(np.where(dark, DARK, LIGHT).astype(np.uint8)[..., None], 3, axis=-1)


def random_walls(count, cells=CELLS, seed=0):
    return np.random.default_rng(seed).random((count, cells, cells)) < 0.4


def known_mazes(walls, psi, viewpoints=None):
    """Mazes [N, n, n] whose ψ [N, K, C] is given; viewpoints stand in the middle where none are."""
    psi = torch.as_tensor(np.asarray(psi), dtype=torch.float32)
    if viewpoints is None:
        viewpoints = np.zeros((*psi.shape[:2], 7), np.float32)
    return EncodedMazes(psi, np.asarray(viewpoints, np.float32), paint(walls), walls)


class PaintingDecoder:
    """Stands in for a map decoder: r has a number for each cell, and where it is positive there is wall."""

    def __init__(self, cells=CELLS):
        self.viewpoint, self.training, self.cells = torch.zeros(7), False, cells

    def draw(self, r, sample=False):
        painted = paint((r > 0).reshape(-1, self.cells, self.cells).numpy())
        return torch.from_numpy(painted).movedim(-1, 1) / 255

    def train(self, mode=True):
        self.training = mode
        return self

    def eval(self):
        return self.train(False)
