"""MazeScene: what is drawn is the layout, every choice occurs, and no camera is in a wall or sees through one."""

from __future__ import annotations

import json
import pickle

import mujoco
import numpy as np
import pytest

from gqn_rl.envs import make_scene
from gqn_rl.envs.maze.layout import CORRIDOR, ROOM
from gqn_rl.envs.maze.model import (
    FARTHEST_DRAWN_M,
    FLOOR_TEXTURES,
    GOAL_COLOUR,
    NEAREST_DRAWN_M,
    OBJECT_COLOURS,
    OBJECTS,
    WALL_TEXTURES,
    mean_colour,
)
from gqn_rl.envs.maze.motion import BODY_RADIUS_M, is_free
from gqn_rl.envs.maze.scene import GOAL, OTHER_OBJECTS, MazeScene
from gqn_rl.envs.opengl import open_gl_context
from gqn_rl.envs.renderer import shared_renderer
from gqn_rl.views import CameraPose


@pytest.fixture(scope="module")
def scene():
    return MazeScene()


def state_of(scene) -> dict[str, float]:
    return dict(zip(scene.state_names, scene.state().tolist(), strict=True))


def sight_m(solid: np.ndarray, x: float, y: float, angles: np.ndarray) -> np.ndarray:
    """Distance to the first wall cell along level rays: from grid line to grid line, in closed form."""
    half, lines = len(solid) / 2, np.arange(len(solid) + 1)
    found = np.empty(len(angles))
    for i, direction in enumerate(np.stack([np.cos(angles), np.sin(angles)], axis=1)):
        crossings = np.concatenate([(lines - half - start) / d for start, d in zip((x, y), direction, strict=True)])
        crossings = np.sort(crossings[crossings > 0])
        middles = (crossings[:-1] + crossings[1:]) / 2
        column, row = np.floor([x + middles * direction[0] + half, y + middles * direction[1] + half]).astype(int)
        inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < len(solid))
        walled = solid[np.where(inside, column, 0), np.where(inside, row, 0)]
        found[i] = crossings[np.argmax(walled)]
    return found


def horizon_depth_m(scene: MazeScene, pose: CameraPose) -> np.ndarray:
    """What is drawn along the row above the middle of a 64×64 picture: distances along the line of sight, [64]."""
    shared = shared_renderer(scene.model, 64, 64)
    shared.render(scene.model, scene.data, pose, scene.fovy_deg)
    depth, near, far = np.empty((64, 64), np.float32), NEAREST_DRAWN_M, FARTHEST_DRAWN_M
    with open_gl_context():
        mujoco.mjr_readPixels(None, depth, shared._rect, shared._mjr)
    return near * far / (far - depth[32].astype(float) * (far - near))  # rows are read from the bottom


@pytest.mark.parametrize(("cells", "num_mazes"), [(7, 1000), (11, 200)])
def test_no_view_is_in_a_wall_or_sees_through_one(cells, num_mazes):
    """Each random view stands free, and the depth drawn along its horizon is that of the layout's first wall."""
    scene, rng = MazeScene(cells), np.random.default_rng(0)
    columns = (np.arange(64) + 0.5) / 32 - 1
    offsets = -np.arctan(columns * np.tan(np.deg2rad(scene.fovy_deg / 2)))
    for _ in range(num_mazes):
        scene.sample(rng)
        pose = scene.sample_pose(rng)
        x, y, _height = pose.position_w
        assert is_free(scene.layout, (x, y))
        expected = sight_m(scene.layout.solid, x, y, pose.yaw_rad + offsets) * np.cos(offsets)
        drawn = horizon_depth_m(scene, pose)
        jumps = np.abs(np.diff(expected, prepend=expected[0], append=expected[-1]))
        smooth = np.maximum(jumps[:-1], jumps[1:]) < 0.3  # a ray that grazes a corner may show either side of it
        assert smooth.mean() > 0.5
        np.testing.assert_allclose(drawn[smooth], expected[smooth], rtol=0.01)


def test_the_near_plane_never_reaches_a_wall(scene):
    """The corners of the nearest thing drawn are nearer to the eye than any wall is."""
    corner = np.tan(np.deg2rad(scene.fovy_deg / 2))
    assert NEAREST_DRAWN_M * np.sqrt(1 + 2 * corner**2) < BODY_RADIUS_M


@pytest.mark.parametrize("cells", [7, 9, 11])
def test_the_top_view_agrees_with_the_layout(cells):
    """In 50 mazes every wall cell is dark and every free cell light, in a picture of 8 pixels a cell."""
    scene, rng = MazeScene(cells), np.random.default_rng(0)
    for _ in range(50):
        scene.sample(rng)
        top = scene.top_view(8 * (cells + 1))[4:-4, 4:-4]
        brightness = np.median(top.reshape(cells, 8, cells, 8, 3).mean(axis=-1), axis=(1, 3))
        assert np.array_equal(brightness < 90, scene.walls)


def test_rooms_and_corridors_show_their_floors_from_above(scene):
    """Three quarters and more of an area's cells have its floor's mean colour; objects cover some of the others."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        scene.sample(rng)
        top = scene.top_view()[4:-4, 4:-4].reshape(7, 8, 7, 8, 3)
        colours = np.median(top, axis=(1, 3))
        for area in set(scene.layout.areas.flat) - {0}:
            floor = mean_colour(FLOOR_TEXTURES[scene.textures[area, "floor"]])
            shown = colours[scene.layout.areas == area] / 255
            assert (np.abs(shown - floor).max(axis=1) < 0.15).mean() > 0.75


def test_the_goal_is_the_only_red_thing(scene):
    """From above, strongly red pixels lie at the goal and nowhere else; no texture and no other colour is red."""

    def is_red(colour):
        red, green, blue = np.moveaxis(np.asarray(colour, float), -1, 0)
        return (red > 0.6) & (green < 0.3) & (blue < 0.3)

    assert is_red(GOAL_COLOUR)
    assert not any(is_red(colour) for colour in OBJECT_COLOURS.values())
    assert not any(is_red(mean_colour(texture)) for texture in (*WALL_TEXTURES, *FLOOR_TEXTURES))
    rng = np.random.default_rng(5)
    for _ in range(50):
        scene.sample(rng)
        rows, columns = np.nonzero(is_red(scene.top_view(128) / 255))
        x, y = scene.object_positions_w[GOAL]
        np.testing.assert_allclose((columns.mean() + 0.5) / 16 - 4, x, atol=0.06)
        np.testing.assert_allclose(4 - (rows.mean() + 0.5) / 16, y, atol=0.06)
        assert np.hypot(np.ptp(rows), np.ptp(columns)) < 12


def test_objects_lie_in_cells_of_their_own_and_have_three_colours(scene):
    """Free cells, all different; colours of the palette, all different; the eye is above all of them."""
    rng = np.random.default_rng(6)
    for _ in range(100):
        scene.sample(rng)
        cells = {tuple(np.floor(np.array(place) + 0.5)) for place in scene.object_positions_w.values()}
        assert len(cells) == len(OBJECTS) == 4
        assert cells <= {tuple(cell) for cell in scene.layout.free_cells_w}
        state = state_of(scene)
        colours = {tuple(round(state[f"{name}_{c}"], 2) for c in ("red", "green", "blue")) for name in OTHER_OBJECTS}
        assert len(colours) == 3
        assert colours <= set(OBJECT_COLOURS.values())
    assert max(2 * height for _, _, height in OBJECTS.values()) < 0.5 - NEAREST_DRAWN_M


def test_every_texture_and_every_colour_occurs(scene):
    """Within 300 mazes each wall and floor texture is seen in corridors and in rooms, each colour on each object."""
    rng, textures, colours = np.random.default_rng(7), set(), set()
    for _ in range(300):
        scene.sample(rng)
        textures |= {(area, kind, number) for (area, kind), number in scene.textures.items()}
        state = state_of(scene)
        colours |= {(name, *(round(state[f"{name}_{c}"], 2) for c in ("red", "green"))) for name in OTHER_OBJECTS}
        for kind in ("wall", "floor"):
            assert scene.textures[CORRIDOR, kind] != scene.textures[ROOM, kind]
    assert len(textures) == 2 * (len(WALL_TEXTURES) + len(FLOOR_TEXTURES))
    assert len(colours) == len(OTHER_OBJECTS) * len(OBJECT_COLOURS)


def test_textures_look_different():
    """No two textures of walls, and no two of floors, have nearly the same mean colour."""
    for pool in (WALL_TEXTURES, FLOOR_TEXTURES):
        colours = [mean_colour(texture) for texture in pool]
        assert min(np.linalg.norm(a - b) for i, a in enumerate(colours) for b in colours[:i]) > 0.08


def test_state_begins_with_the_layout_and_names_the_rest(scene):
    """Walls row by row from the north, then positions and colours as the scene has them."""
    scene.sample(np.random.default_rng(8))
    state = state_of(scene)
    assert np.array_equal(scene.state()[:49].reshape(7, 7) == 1, scene.walls)
    assert state["wall_2_5"] == scene.walls[2, 5]
    assert (state["goal_x"], state["goal_y"]) == pytest.approx(tuple(scene.object_positions_w[GOAL]), abs=1e-6)
    floor = mean_colour(FLOOR_TEXTURES[scene.textures[ROOM, "floor"]])
    assert [state[f"room_floor_{c}"] for c in ("red", "green", "blue")] == pytest.approx(floor.tolist(), abs=1e-6)
    assert len(set(scene.state_names)) == len(scene.state_names) == len(scene.state())


def test_the_same_generator_state_gives_the_same_pictures():
    """Maze, pose, picture and top view are functions of the seed alone, in any scene and after any history."""
    seen = []
    for history in (0, 3):
        scene = MazeScene()
        for seed in range(history):
            scene.sample(np.random.default_rng(seed))
        rng = np.random.default_rng(42)
        scene.sample(rng)
        seen.append((scene.state(), scene.render(scene.sample_pose(rng)), scene.top_view()))
    for one, other in zip(*seen, strict=True):
        assert np.array_equal(one, other)


def test_a_maze_can_be_seen_300_times(scene):
    """300 poses of one maze: all different, all free, level and at eye height; pictures come from all over."""
    rng = np.random.default_rng(9)
    scene.sample(rng)
    poses = [scene.sample_pose(rng) for _ in range(300)]
    assert len({pose.position_w for pose in poses}) == 300
    assert {(pose.position_w[2], pose.pitch_rad) for pose in poses} == {(0.5, 0.0)}
    assert all(is_free(scene.layout, pose.position_w[:2]) for pose in poses)
    visited = {tuple(np.floor(np.array(pose.position_w[:2]) + 0.5)) for pose in poses}
    assert len(visited) > 0.9 * len(scene.layout.free_cells_w)
    assert len({scene.render(pose).tobytes() for pose in poses}) == 300


def test_scenes_of_one_process_do_not_share_their_mazes():
    """Drawing one maze anew leaves the picture of another as it was, though they share a renderer."""
    one, other = MazeScene(), MazeScene()
    one.sample(np.random.default_rng(0))
    pose = one.sample_pose(np.random.default_rng(1))
    before = one.render(pose)
    other.sample(np.random.default_rng(2))
    assert not np.array_equal(other.render(pose), before)
    assert np.array_equal(one.render(pose), before)


def test_a_pickled_scene_is_the_same_maze(scene):
    """After a round trip: same state, same pose from the same generator, same picture."""
    scene.sample(np.random.default_rng(3))
    twin = pickle.loads(pickle.dumps(scene))
    pose = scene.sample_pose(np.random.default_rng(4))
    assert twin.sample_pose(np.random.default_rng(4)) == pose
    assert np.array_equal(twin.state(), scene.state())
    assert np.array_equal(twin.render(pose), scene.render(pose))


def test_the_held_out_camera_is_where_no_pretraining_camera_is(scene):
    """It stands higher; the overhead camera looks straight down with north up."""
    rng = np.random.default_rng(0)
    assert scene.cameras["heldout"].sample(rng).position_w[2] == 0.75
    assert scene.cameras["fixed"].sample(rng) == CameraPose((0.0, 0.0, 30.0), np.pi / 2, -np.pi / 2)


def test_description_is_json_and_names_cameras_and_size(scene):
    """The manifest learns the cameras, the field of view, the number of cells and MuJoCo's version."""
    facts = json.loads(json.dumps(scene.describe()))
    assert {"cameras", "fovy_deg", "gl_renderer", "mujoco", "cells"} <= facts.keys()
    assert {name: camera["kind"] for name, camera in facts["cameras"].items()} == {
        "moving": "anywhere",
        "heldout": "anywhere",
        "fixed": "overhead",
    }


@pytest.mark.parametrize("cells", [3, 8])
def test_even_and_tiny_mazes_are_refused(cells):
    """With what was expected and given."""
    with pytest.raises(ValueError, match=f"`cells` must be odd and at least 5, such as 7, 9 or 11, got {cells}"):
        make_scene("maze", cells=cells)
