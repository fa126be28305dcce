"""The Jaco room in physical units: workspaces, state, salience, determinism."""

from __future__ import annotations

import json
import warnings

import mujoco
import numpy as np
import pytest

from gqn_rl.envs import SCENES, make_scene
from gqn_rl.envs.jaco import model as jaco_model
from gqn_rl.envs.jaco.scene import (
    HAND_AXIS_DISTANCE_M,
    HAND_HEIGHT_M,
    TARGET_AXIS_DISTANCE_M,
    TARGET_COLOURS,
    TARGET_RADIUS_M,
    JacoScene,
)
from gqn_rl.envs.jaco.states import joint_limits_rad
from gqn_rl.views import CameraPose


@pytest.fixture(scope="module")
def scene():
    return JacoScene()


def state_of(scene) -> dict[str, float]:
    return dict(zip(scene.state_names, scene.state().tolist(), strict=True))


def in_picture(pose: CameraPose, point_w: np.ndarray, fovy_deg: float) -> bool:
    """Tells whether a point projects into a square picture."""
    right = np.array([np.sin(pose.yaw_rad), -np.cos(pose.yaw_rad), 0.0])
    offset = point_w - pose.position_w
    reach = (offset @ pose.forward_w) * np.tan(np.deg2rad(fovy_deg) / 2)
    return max(abs(offset @ right), abs(offset @ np.cross(right, pose.forward_w))) < reach


def test_hand_and_target_stay_in_their_workspaces_and_no_link_below_the_floor(scene):
    """300 starts of episodes: hand and target within their rings and heights, every link at or above the floor."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene.sample_start(rng)
        for position, ring_m in ((scene.hand_w, HAND_AXIS_DISTANCE_M), (scene.target_w, TARGET_AXIS_DISTANCE_M)):
            assert ring_m[0] <= np.hypot(*position[:2]) <= ring_m[1]
        assert HAND_HEIGHT_M[0] <= scene.hand_w[2] <= HAND_HEIGHT_M[1]
        assert scene.target_w[2] == pytest.approx(TARGET_RADIUS_M)
        assert scene.data.xpos[1:, 2].min() >= 0.0


def test_random_scenes_are_moments_of_episodes():
    """200 moments: arms go where no episode starts, many to the target, but none below the floor; targets stay put."""
    scene = JacoScene(states="reaching")
    rng, heights_m, distances_m = np.random.default_rng(0), [], []
    for _ in range(200):
        scene.sample(rng)
        assert scene.data.xpos[1:, 2].min() >= 0.0
        assert TARGET_AXIS_DISTANCE_M[0] <= np.hypot(*scene.target_w[:2]) <= TARGET_AXIS_DISTANCE_M[1]
        heights_m.append(scene.hand_w[2])
        distances_m.append(np.linalg.norm(scene.target_w - scene.hand_w))
    assert np.quantile(distances_m, 0.15) < 0.1 and np.median(distances_m) > 0.3
    assert 0.0 <= min(heights_m) < HAND_HEIGHT_M[0]
    assert max(heights_m) > HAND_HEIGHT_M[1]


@pytest.mark.parametrize(
    ("states", "draw", "share"),
    [("wandering", "sample_start", 0.95), ("wandering", "sample", 0.9), ("reachable", "sample", 0.8)],
)
def test_hand_and_target_are_in_nearly_all_pretraining_views(states, draw, share):
    """Of 1000 views of 250 starts, and of 250 random scenes, in which the hand may be high up."""
    scene, rng, seen = JacoScene(states=states), np.random.default_rng(0), []
    for _ in range(250):
        getattr(scene, draw)(rng)
        for _ in range(4):
            pose = scene.sample_pose(rng)
            seen.append([in_picture(pose, point, scene.fovy_deg) for point in (scene.hand_w, scene.target_w)])
    assert (np.mean(seen, axis=0) >= share).all(), np.mean(seen, axis=0)


def test_state_names_its_entries(scene):
    """Entries by name: sines and cosines of angles, hand and target as the scene has them, colours of the palette."""
    scene.sample(np.random.default_rng(3))
    state = state_of(scene)
    angles = scene.joint_angles_rad
    assert state["sin_joint_4"] == pytest.approx(np.sin(angles[3]), abs=1e-6)
    assert state["cos_joint_6"] == pytest.approx(np.cos(angles[5]), abs=1e-6)
    assert state["finger_2"] == pytest.approx(angles[7], abs=1e-6)
    assert [state[f"hand_{a}"] for a in "xyz"] == pytest.approx(scene.hand_w.tolist(), abs=1e-6)
    assert [state[f"target_{a}"] for a in "xyz"] == pytest.approx(scene.target_w.tolist(), abs=1e-6)
    colour = tuple(round(state[f"target_{c}"], 5) for c in ("red", "green", "blue"))
    assert colour in TARGET_COLOURS.values()


def test_the_target_is_drawn_in_its_colour(scene):
    """From close by, the middle pixel is strongest and weakest in the channels in which the target's colour is."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        scene.sample(rng)
        x, y, z = scene.target_w
        if np.hypot(*(scene.hand_w[:2] - (x, y))) < 0.35:
            continue  # the hand could be in the way
        pixel = scene.render(CameraPose.look_at((x * 1.3, y * 1.3, z + 0.4), (x, y, z)))[32, 32]
        colour = [state_of(scene)[f"target_{c}"] for c in ("red", "green", "blue")]
        assert pixel[np.argmax(colour)] == pixel.max()
        assert pixel[np.argmin(colour)] == pixel.min()


def test_the_same_generator_state_gives_the_same_picture():
    """Scene, pose and picture are functions of the seed alone, in any scene object and after any history."""
    pictures = []
    for history in (0, 3):
        scene = JacoScene()
        for seed in range(history):
            scene.sample(np.random.default_rng(seed))
        rng = np.random.default_rng(42)
        scene.sample(rng)
        pictures.append((scene.state(), scene.render(scene.sample_pose(rng))))
    assert np.array_equal(pictures[0][0], pictures[1][0])
    assert np.array_equal(pictures[0][1], pictures[1][1])


def test_scenes_of_one_process_do_not_share_their_worlds():
    """Drawing one scene anew leaves the picture of another as it was."""
    one, other = JacoScene(), JacoScene()
    one.sample(np.random.default_rng(0))
    pose = one.sample_pose(np.random.default_rng(1))
    before = one.render(pose)
    other.sample(np.random.default_rng(2))
    assert not np.array_equal(other.render(pose), before)
    assert np.array_equal(one.render(pose), before)


def test_a_floating_target_leaves_the_floor():
    """`target_on_floor=False` spreads the target's height over its range."""
    scene, rng = JacoScene(target_on_floor=False), np.random.default_rng(0)
    heights = []
    for _ in range(100):
        scene.sample(rng)
        heights.append(scene.target_w[2])
    assert min(heights) < 0.2
    assert max(heights) > 0.5


@pytest.mark.parametrize("size", [32, 96])
def test_pictures_have_the_size_asked_for(size):
    """Any size renders."""
    scene, rng = JacoScene(image_size=size), np.random.default_rng(0)
    scene.sample(rng)
    assert scene.render(scene.sample_pose(rng)).shape == (size, size, 3)


def test_description_is_json_and_names_renderer_and_version(scene):
    """The manifest learns the cameras, the field of view, the renderer and MuJoCo's version."""
    facts = json.loads(json.dumps(scene.describe()))
    assert {"cameras", "fovy_deg", "gl_vendor", "gl_renderer", "mujoco", "target_on_floor"} <= facts.keys()


@pytest.mark.parametrize("name", sorted(SCENES))
def test_every_scene_keeps_the_protocol(name):
    """Each registered scene draws, poses, renders, and has a finite state entry for each name."""
    scene, rng = make_scene(name), np.random.default_rng(0)
    scene.sample(rng)
    assert scene.render(scene.sample_pose(rng)).shape == (scene.image_size, scene.image_size, 3)
    assert scene.state().shape == (len(scene.state_names),)
    assert scene.state().dtype == np.float32
    assert np.isfinite(scene.state()).all()
    scene.close()


def test_unknown_scenes_are_refused_with_the_known_ones():
    """`make_scene` lists what there is."""
    with pytest.raises(ValueError, match=r"`env` must be one of \[.*'jaco'"):
        make_scene("atari")


def moments(states, number=300, **settings):
    """Draws scenes; returns the scene, hands and targets [n, 3], joint angles [n, 9] and actions [n]."""
    scene, rng = JacoScene(states=states, **settings), np.random.default_rng(0)
    rows = []
    for _ in range(number):
        scene.sample(rng)
        assert scene.data.xpos[scene._links, 2].min() >= 0.0 and scene.hand_w[2] >= 0.0
        rows.append((scene.hand_w.copy(), scene.target_w.copy(), scene.joint_angles_rad.copy(), scene.num_actions))
    return scene, *map(np.array, zip(*rows, strict=True))


@pytest.mark.parametrize(("states", "knows"), [("reachable", False), ("wandering", False), ("reaching", True)])
def test_only_reaching_knows_where_the_target_is(states, knows):
    """Hands are nearer to their own targets than to those of other scenes where a controller headed there, else not."""
    _, hands, targets, _, _ = moments(states)
    own = np.linalg.norm(targets - hands, axis=1)
    others = np.linalg.norm(np.roll(targets, 1, axis=0) - hands, axis=1)
    near = [(distances < 0.15).mean() for distances in (own, others)]
    assert (near[0] > near[1] + 0.1) == knows


def test_reachable_states_are_all_that_the_joints_can_reach():
    """Every joint meets both ends of its range and the hand all sides and heights; it takes no action to get there."""
    scene, hands, _, angles, actions = moments("reachable", 600)
    low, high = joint_limits_rad(scene.model)
    reached = (angles.max(0) - angles.min(0)) / (high - low)
    assert (reached > 0.9).all()
    assert hands[:, 2].min() < 0.1 and hands[:, 2].max() > 1.0
    assert (np.abs(hands[:, :2]).max(0) > 0.6).all()
    assert not actions.any()


@pytest.mark.parametrize("states", ["wandering", "reaching"])
def test_actions_are_counted(states):
    """Scenes that are moments of episodes cost 0 to 50 actions each, 25 on average."""
    actions = moments(states)[-1]
    assert actions.min() < 5 and actions.max() == 50 and actions.mean() == pytest.approx(25, abs=3)


def test_an_obstacle_is_there_in_the_share_of_scenes_that_was_asked_for():
    """A third of 300; the state tells its place where it is there, and nothing else changes for those without."""
    scene, rng, there = JacoScene(obstacle=1 / 3), np.random.default_rng(0), []
    for _ in range(300):
        scene.sample(rng)
        state = state_of(scene)
        there.append(state["obstacle"])
        place = scene.obstacle_w if state["obstacle"] else np.zeros(3)
        assert [state[f"obstacle_{a}"] for a in "xyz"] == pytest.approx(place.tolist(), abs=1e-6)
        assert state["obstacle"] == 0 or 0.2 <= np.hypot(*place[:2]) <= 0.65
    assert np.mean(there) == pytest.approx(1 / 3, abs=0.06)
    assert "obstacle" not in JacoScene().state_names


def test_a_manifest_tells_states_and_obstacle_but_for_those_that_older_ones_leave_out():
    """What the scene is made anew from is there; a data set of before can be continued with states=reaching."""
    new, old = JacoScene(states="reachable", obstacle=0.5).describe(), JacoScene(states="reaching").describe()
    assert (new["states"], new["obstacle"]) == ("reachable", 0.5)
    assert old["postures"] == "moments of episodes, half of them reaching" and not {"states", "obstacle"} & old.keys()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"states": "dancing"}, "`states` must be one of reachable, wandering, reaching, got 'dancing'"),
        ({"obstacle": 1.5}, r"`obstacle` must be a share in \[0, 1\], got 1.5"),
    ],
)
def test_wrong_scene_settings_are_refused(settings, message):
    """Each with what was expected and given."""
    with pytest.raises(ValueError, match=message):
        JacoScene(**settings)


def test_light_darkens_the_picture_and_nothing_else():
    """With 0.6 of the light a picture is darker, its scene the same; another scene's lamps stay as they were."""
    usual, dark = JacoScene(), JacoScene(light=0.6)
    pictures = []
    for scene in (usual, dark, JacoScene()):
        rng = np.random.default_rng(0)
        scene.sample(rng)
        pictures.append(scene.render(scene.sample_pose(rng)).astype(float))
    assert np.array_equal(usual.state(), dark.state()) and np.array_equal(pictures[0], pictures[2])
    assert 0.5 < pictures[1].mean() / pictures[0].mean() < 0.85
    assert dark.describe()["light"] == 0.6 and "light" not in usual.describe()


def test_releases_of_mujoco_that_move_the_arm_otherwise_are_named(monkeypatch):
    """Before 3.5 a warning says that returns are not comparable; from then on there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(mujoco, "__version__", "3.5.0")
        jaco_model._warn_of_old_physics()
        monkeypatch.setattr(mujoco, "__version__", "3.3.4")
        with pytest.raises(UserWarning, match=r"With MuJoCo 3\.3\.4 the arm speeds up more slowly"):
            jaco_model._warn_of_old_physics()


def test_joints_have_the_limits_of_kinovas_files():
    """Radians, as in the files; MuJoCo 3.3.0 reads what is attached in the unit of what it is attached to."""
    model = jaco_model.compiled_model("full")
    assert model.joint("arm_joint_2").range.tolist() == [0.820305, 5.462881]
    assert model.joint("arm_hand_finger_1").range.tolist() == [0.15, 1.35]
