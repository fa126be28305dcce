"""EncodedMazes: the data set's mazes again, from above, and every view's ψ."""

import numpy as np
import pytest
import torch

from gqn_rl.analyses.maps import mazes
from gqn_rl.analyses.maps.mazes import encode_mazes, new_layouts, scene_settings, true_maps, true_walls
from gqn_rl.envs.maze.scene import MazeScene
from gqn_rl.scene_encoder import SceneEncoder
from tests.tiny_mazes import CELLS, IMAGE_SIZE, SCENE, VIEWS, make_maze_data, random_walls, tiny_gqn
from tests.tiny_pretraining import make_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_maze_data(tmp_path_factory.mktemp("mazes"))


def test_mazes_come_out_again(data):
    """For both splits, map i is the top view of the maze whose views and state are the data set's number i."""
    for dataset in data:
        scene = MazeScene(**SCENE)
        maps, walls = true_maps(dataset, scene, 4, progress=False), true_walls(dataset)
        assert np.array_equal(scene.top_view(), maps[3]) and np.array_equal(scene.walls, walls[3])
        assert maps.shape == (4, IMAGE_SIZE, IMAGE_SIZE, 3) and walls.shape == (dataset.num_scenes, CELLS, CELLS)
    assert scene_settings(data[0].manifest) == SCENE | {"fovy_deg": 80.0}


def test_another_simulator_is_noticed(data):
    """A maze that comes out otherwise than in the data set is refused by its number."""
    dataset = data[1]
    before = dataset.states[2].copy()
    dataset.states[2, 0] = 1 - dataset.states[2, 0]
    try:
        with pytest.raises(ValueError, match=r"Maze 2 of .* comes out otherwise than when the data were made"):
            true_maps(dataset, MazeScene(**SCENE), 4, progress=False)
    finally:
        dataset.states[2] = before


def test_other_scenes_are_refused(tmp_path):
    """Data without walls are no mazes."""
    dataset, _ = make_data(tmp_path)
    with pytest.raises(ValueError, match=r"scenes of 'fake', whose state has no walls"):
        true_walls(dataset)
    with pytest.raises(ValueError, match=r"`data\.root` holds scenes of 'fake', expected mazes"):
        scene_settings(dataset.manifest)


def test_representation_is_the_models_own(data):
    """ψ in memory, summed over views, is the r that the GQN itself makes of these views."""
    model, dataset = tiny_gqn(), data[1]
    encoded = encode_mazes(SceneEncoder(model, {}, standardise=False), dataset, MazeScene(**SCENE), progress=False)
    views = dataset.views(np.arange(4), np.tile(np.arange(3), (4, 1))).to_torch()
    with torch.inference_mode():
        torch.testing.assert_close(encoded.representation(3), model.encode(views))
    assert encoded.num_views == VIEWS
    assert torch.equal(encoded.representation(2, slice(1, 3)), encoded.psi[1:3, :2].sum(1))


def test_what_does_not_fit_into_memory_is_refused(data, monkeypatch):
    """The sentence says how many mazes fit."""
    monkeypatch.setattr(mazes, "MOST_BYTES", 5 * VIEWS * 8 * 4)
    with pytest.raises(ValueError, match="use at most 5 mazes of this encoder"):
        mazes.encode_views(SceneEncoder(tiny_gqn(), {}), data[0], 12, progress=False)


def test_layouts_that_were_seen_are_not_new():
    """A layout is new when it differs from every known one in at least a cell."""
    known = random_walls(5)
    other = known[2].copy()
    other[0, 0] ^= True
    assert new_layouts(np.stack([known[3], other]), known).tolist() == [False, True]
