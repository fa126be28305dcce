"""RoomsScene: what is drawn is what the state says, nothing overlaps, and cameras look at the objects."""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from gqn_rl.dataset import MultiViewDataset, generate
from gqn_rl.envs import make_scene
from gqn_rl.envs.rooms.cameras import OBJECT_CLEARANCE_M, RING_HEIGHT_M, RING_RADIUS_M, WALL_CLEARANCE_M
from gqn_rl.envs.rooms.model import (
    FLOOR_TEXTURES,
    OBJECT_COLOURS,
    ROOM_HALF_SIZE_M,
    SHOWN,
    SIZES_M,
    WALL_TEXTURES,
    compiled_model,
    tinted,
)
from gqn_rl.envs.rooms.scene import OBJECT_GAP_M, OBJECT_REGION_M, Room, RoomObject, RoomsScene, draw_room
from gqn_rl.envs.rooms.shapes import SHAPES, SYMMETRY
from gqn_rl.groups import register_groups
from gqn_rl.models import build_model
from gqn_rl.pretrain.data import scene_of
from gqn_rl.views import CameraPose
from tests.projection import nearest_colour, pixel, project


@pytest.fixture(scope="module")
def scene():
    return RoomsScene()


@pytest.fixture(scope="module")
def free():
    return RoomsScene(camera="free", rotate=True)


def state_of(scene) -> dict[str, float]:
    return dict(zip(scene.state_names, scene.state().tolist(), strict=True))


def drawn_points_w(scene, number: int) -> np.ndarray:
    """Returns the corners of an object's mesh where it is drawn, metres, [N, 3]."""
    model, geom = scene.model, scene.model.geom(f"object_{number}").id
    mesh = model.geom_dataid[geom]
    begin = model.mesh_vertadr[mesh]
    vertices = model.mesh_vert[begin : begin + model.mesh_vertnum[mesh]]
    return vertices @ scene.data.geom_xmat[geom].reshape(3, 3).T + scene.data.geom_xpos[geom]


def picture_of(scene, thing: RoomObject) -> np.ndarray:
    """Returns a room with one object, seen from near."""
    scene.show(Room((thing,), light_w=(0.5, -0.6, 0.62)))
    return scene.render(CameraPose.look_at((1.1, 0.3, 0.6), (0.0, 0.0, 0.3))).astype(float)


def test_shapes_stand_on_the_floor_inside_a_unit_circle():
    """Every shape's lowest point is on the floor, and none is farther than 1 from the axis or higher than 2.2."""
    assert len(SHAPES) == 7
    for points in SHAPES.values():
        assert points[:, 2].min() == pytest.approx(0, abs=0.01)
        assert np.hypot(points[:, 0], points[:, 1]).max() <= 1 + 1e-9
        assert 1.2 < points[:, 2].max() < 2.2


@pytest.mark.parametrize("turned", [False, True])
def test_objects_stand_apart_on_the_floor_inside_the_walls(scene, free, turned):
    """In 150 rooms each mesh, as drawn, stands on the floor in its circle; circles neither meet nor reach a wall."""
    one, rng = free if turned else scene, np.random.default_rng(0)
    for _ in range(150):
        one.sample(rng)
        for number, thing in enumerate(one.room.objects):
            points = drawn_points_w(one, number)
            assert points[:, 2].min() == pytest.approx(0, abs=0.005)
            assert np.linalg.norm(points[:, :2] - thing.position_w, axis=1).max() <= thing.size_m + 1e-6
            assert np.hypot(*thing.position_w) <= OBJECT_REGION_M
        for a, b in itertools.combinations(one.room.objects, 2):
            gap = np.hypot(*np.subtract(a.position_w, b.position_w)) - a.size_m - b.size_m
            assert gap >= OBJECT_GAP_M - 1e-9
        shown = [one.model.geom_group[one.model.geom(f"object_{i}").id] == SHOWN for i in range(3)]
        assert shown == [i < len(one.room.objects) for i in range(3)]
    assert OBJECT_REGION_M + max(SIZES_M) < min(ROOM_HALF_SIZE_M, RING_RADIUS_M)


def test_there_is_always_a_place_for_a_third_object():
    """Two circles smaller than the region cannot cover its edge, so drawing a place ends."""
    assert 2 * max(SIZES_M) + OBJECT_GAP_M < OBJECT_REGION_M


def test_state_is_the_room(free):
    """By colour: presence, position, size, shape and turn; then mean colours of the textures, and the light."""
    things = (
        RoomObject("triangle", "cyan", (0.3, -0.4), SIZES_M[1], yaw_rad=0.4),
        RoomObject("sphere", "red", (-0.5, 0.2), SIZES_M[2]),
    )
    free.show(Room(things, wall="cerise", floor="blue", light_w=(0.6, 0.0, 0.8)))
    expected = dict.fromkeys(free.state_names, 0.0) | {
        **{"present/cyan": 1, "position/cyan_x": 0.3, "position/cyan_y": -0.4, "size/cyan": SIZES_M[1]},
        **{"shape/cyan_triangle": 1, "turn/cyan_sin": np.sin(0.8), "turn/cyan_cos": np.cos(0.8)},
        **{"present/red": 1, "position/red_x": -0.5, "position/red_y": 0.2, "size/red": SIZES_M[2]},
        **{"shape/red_sphere": 1, "light_x": 0.6},
    }
    for surface, (_, colour) in (("wall", WALL_TEXTURES["cerise"]), ("floor", FLOOR_TEXTURES["blue"])):
        expected |= {f"{surface}_{channel}": colour[i] for i, channel in enumerate(("red", "green", "blue"))}
    assert state_of(free) == pytest.approx(expected, abs=1e-6)
    assert len(set(free.state_names)) == len(free.state_names)


def test_objects_are_drawn_where_and_in_the_colour_that_the_state_says(scene):
    """From above, the pixel at each present object's position has its colour, in 40 rooms."""
    rng, above = np.random.default_rng(1), CameraPose.look_at((0.0, -0.01, 3.5), (0.0, 0.0, 0.0))
    for _ in range(40):
        scene.sample(rng)
        state, picture = state_of(scene), scene.render(above)
        present = [colour for colour in OBJECT_COLOURS if state[f"present/{colour}"]]
        assert len(present) == len(scene.room.objects)
        for colour in present:
            place = project(above, (state[f"position/{colour}_x"], state[f"position/{colour}_y"], 0.3), scene.fovy_deg)
            assert nearest_colour(pixel(picture, place), OBJECT_COLOURS) == colour


def test_textures_have_the_mean_colour_that_the_state_names():
    """Within one step of 255, but for what is clipped."""
    for asset, colour in (*WALL_TEXTURES.values(), *FLOOR_TEXTURES.values()):
        assert tinted(asset, colour).mean(axis=(0, 1)) / 255 == pytest.approx(colour, abs=0.01)


def test_everything_occurs():
    """Within 400 rooms: one, two and three objects, every shape in every colour, every size, wall and floor."""
    rng = np.random.default_rng(2)
    rooms = [draw_room(rng) for _ in range(400)]
    things = [thing for room in rooms for thing in room.objects]
    assert {len(room.objects) for room in rooms} == {1, 2, 3}
    assert len({(thing.shape, thing.colour) for thing in things}) == 7 * 6
    assert {thing.size_m for thing in things} == set(SIZES_M)
    assert {room.wall for room in rooms} == set(WALL_TEXTURES) and {room.floor for room in rooms} == set(FLOOR_TEXTURES)
    assert {thing.yaw_rad for thing in things} == {0.0}
    assert any(a.shape == b.shape for room in rooms for a, b in itertools.combinations(room.objects, 2))
    lights = np.array([room.light_w for room in rooms])
    assert np.linalg.norm(lights, axis=1) == pytest.approx(1.0) and lights[:, 2].min() > 0.5
    assert np.abs(lights[:, :2].mean(axis=0)).max() < 0.1


def test_shapes_and_colours_look_different(scene):
    """No two shapes, and no two colours, give nearly the same picture."""
    for things in (
        [RoomObject(shape, "red") for shape in SHAPES],
        [RoomObject("sphere", colour) for colour in OBJECT_COLOURS],
    ):
        pictures = [picture_of(scene, thing) for thing in things]
        assert min(np.abs(a - b).mean() for a, b in itertools.combinations(pictures, 2)) > 1.0


@pytest.mark.parametrize("shape", sorted(SYMMETRY))
def test_a_turn_shows_where_a_shape_is_not_round(scene, shape):
    """Half a part of its symmetry changes the picture, a whole part hardly."""
    still, half, whole = (
        picture_of(scene, RoomObject(shape, "red", yaw_rad=part * 2 * np.pi / SYMMETRY[shape])) for part in (0, 0.5, 1)
    )
    assert np.abs(half - still).mean() > 1.0
    assert np.abs(whole - still).mean() < 0.05


def test_turned_objects_are_turned_by_less_than_their_symmetry(free):
    """`rotate=True` turns what is not round, each by its own angle; its multiple is in the state."""
    rng, turns = np.random.default_rng(3), []
    for _ in range(60):
        free.sample(rng)
        for thing in free.room.objects:
            state, parts = state_of(free), SYMMETRY.get(thing.shape, 0)
            sine, cosine = (state[f"turn/{thing.colour}_{function}"] for function in ("sin", "cos"))
            assert np.hypot(sine, cosine) == pytest.approx(float(parts > 0), abs=1e-6)
            if parts:
                assert 0 <= thing.yaw_rad * parts < 2 * np.pi
                turns.append(thing.yaw_rad * parts)
            else:
                assert thing.yaw_rad == 0
    assert min(turns) < 0.5 and max(turns) > 5.8
    assert not any("turn" in name for name in RoomsScene().state_names)


def test_the_side_towards_the_light_is_brighter(scene):
    """A wall that faces the light is brighter than when the light comes from behind it."""
    brightness = []
    for x in (-1, 1):
        scene.show(Room((), light_w=(0.8 * x, 0.0, 0.6)))
        view = CameraPose.look_at((0.0, 0.0, 0.6), (1.0, 0.0, 0.6))  # at the wall that faces −x
        brightness.append(scene.render(view)[28:36].mean())
    assert brightness[0] > 1.1 * brightness[1]


def test_the_ring_camera_stands_on_a_circle_and_looks_at_the_middle(scene):
    """Same height and distance all around; the middle of the room is in the middle of the picture."""
    rng = np.random.default_rng(4)
    poses = [scene.sample_pose(rng) for _ in range(200)]
    places = np.array([pose.position_w for pose in poses])
    assert np.hypot(*places[:, :2].T) == pytest.approx(RING_RADIUS_M) and places[:, 2] == pytest.approx(RING_HEIGHT_M)
    assert np.abs(places[:, :2].mean(axis=0)).max() < 0.3
    centre = np.array([project(pose, (0.0, 0.0, 0.22), scene.fovy_deg) for pose in poses])
    assert np.abs(centre).max() < 1e-6


def test_the_free_camera_stands_free(free):
    """Inside the walls, at least the clearance from every object, at many heights and headings, not two alike."""
    rng, poses = np.random.default_rng(5), []
    for _ in range(100):
        free.sample(rng)
        for pose in (free.sample_pose(rng), free.sample_pose(rng)):
            assert np.abs(pose.position_w[:2]).max() <= ROOM_HALF_SIZE_M - WALL_CLEARANCE_M
            for thing in free.room.objects:
                gap = np.hypot(*np.subtract(pose.position_w[:2], thing.position_w)) - thing.size_m
                assert gap >= OBJECT_CLEARANCE_M
            poses.append(pose)
    assert len({pose.yaw_rad for pose in poses}) == len({pose.position_w[2] for pose in poses}) == len(poses)
    assert np.hypot(*np.array([pose.position_w[:2] for pose in poses]).T).min() < 0.9  # also among the objects


@pytest.mark.parametrize(("camera", "least"), [("ring", 0.95), ("free", 0.75)])
def test_objects_are_nearly_always_in_view(camera, least):
    """The share of objects whose middle is in the picture, over 200 rooms and two views of each."""
    one, rng, seen = RoomsScene(camera), np.random.default_rng(6), []
    for _ in range(200):
        one.sample(rng)
        for pose in (one.sample_pose(rng), one.sample_pose(rng)):
            middles = [(*thing.position_w, 0.8 * thing.size_m) for thing in one.room.objects]
            seen += (np.abs(project(pose, middles, one.fovy_deg)).max(axis=-1) < 1).tolist()
    assert np.mean(seen) > least


def test_the_same_generator_state_gives_the_same_pictures():
    """Room, pose and picture are functions of the seed alone, in any scene and after any history."""
    seen = []
    for history in (0, 3):
        one = RoomsScene("free", rotate=True)
        for seed in range(history):
            one.sample(np.random.default_rng(seed))
        rng = np.random.default_rng(42)
        one.sample(rng)
        seen.append((one.state(), one.render(one.sample_pose(rng)), one.render(one.sample_pose(rng))))
    for first, second in zip(*seen, strict=True):
        assert np.array_equal(first, second)


def test_scenes_share_a_compiled_model_and_not_their_rooms(scene):
    """Drawing one room anew leaves the picture of another as it was; nothing is compiled for it."""
    other, model = RoomsScene(), scene.model
    scene.sample(np.random.default_rng(0))
    pose = scene.sample_pose(np.random.default_rng(1))
    before = scene.render(pose)
    other.sample(np.random.default_rng(2))
    assert not np.array_equal(other.render(pose), before)
    assert np.array_equal(scene.render(pose), before)
    assert scene.model is model and compiled_model.cache_info().misses == 1


def test_a_pickled_scene_is_the_same_room(free):
    """After a round trip: same state, same pose from the same generator, same picture."""
    free.sample(np.random.default_rng(3))
    twin, pose = pickle.loads(pickle.dumps(free)), free.sample_pose(np.random.default_rng(4))
    assert twin.sample_pose(np.random.default_rng(4)) == pose
    assert np.array_equal(twin.state(), free.state()) and np.array_equal(twin.render(pose), free.render(pose))


def test_variants_describe_themselves_differently(scene, free):
    """So that a data set of one is never continued with another; all facts are JSON."""
    facts = [json.loads(json.dumps(one.describe())) for one in (scene, free, RoomsScene("free"))]
    assert facts[0] != facts[1] != facts[2] != facts[0]
    assert facts[1]["cameras"]["moving"]["kind"] == "free" and facts[1]["rotate"] is True


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"camera": "orbit"}, "`camera` must be 'ring' or 'free', got 'orbit'"),
        ({"rotate": "yes"}, "`rotate` must be true or false, got 'yes'"),
        ({"image_size": 0}, "`image_size` must be at least 1 pixel, got 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    """With what was expected and given."""
    with pytest.raises(ValueError, match=message):
        make_scene("rooms", **settings)


def test_rooms_that_cannot_be_are_refused():
    """Four objects, two of one colour, by which the state knows them, and what there is no texture or mesh of."""
    for colours in (("red", "green", "blue", "cyan"), ("red", "red")):
        with pytest.raises(ValueError, match="at most 3 objects, no two of one colour"):
            Room(tuple(RoomObject("box", colour) for colour in colours))
    with pytest.raises(ValueError, match=r"`shape` must be one of \['box', .*'triangle'\], got 'cube'"):
        RoomObject("cube", "red")
    with pytest.raises(ValueError, match=r"`floor` must be one of \['yellow', 'white', 'blue'\], got 'red'"):
        Room((), floor="red")


@pytest.mark.parametrize(
    "words", [["env=rooms"], ["env=rooms", "env.scene.camera=free", "env.scene.rotate=true"], ["env=shepard_metzler"]]
)
def test_configs_make_scenes_data_and_models(tmp_path, words):
    """What `env=` composes to makes the scene, a small data set of it, and a model that knows its field of view."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        register_groups()
        cfg = compose("pretrain", ["recipe=gqn_small", *words])
    one = make_scene(cfg.env.name, **cfg.env.scene)
    numbers = {"num_scenes": 3, "held_out_scenes": 1, "views_per_scene": 2, "seed": 0, "num_workers": 1}
    made = generate(tmp_path, lambda: one, scene_name=cfg.env.name, **numbers, progress=False)
    data = MultiViewDataset(tmp_path)
    assert made == 8 and data.state_names == one.state_names and np.ptp(data.states, axis=0).max() > 0
    model = build_model({**cfg.model, "scene": scene_of(data.manifest, "data")})
    assert model.config.scene.fovy_deg == one.fovy_deg
    assert model.config.scene.depths_m == one.DEPTHS_M
