"""Pictures show what MuJoCo draws of the model that the environment has now: pixel by pixel, whatever has changed."""

from __future__ import annotations

import copy

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from gqn_rl.envs import renderer
from gqn_rl.envs.cameras import Fixed
from gqn_rl.envs.gymnasium.scene import GymnasiumScene
from gqn_rl.envs.renderer import close_renderers, shared_renderer
from gqn_rl.envs.visual import make_option
from gqn_rl.views import CameraPose
from gqn_rl.wrappers import CameraObservation

SIZE = 48
EYE = Fixed((1.5, 1.5, 1.2), (0.0, 0.0, 0.0))
WORLD = """<mujoco>
<asset>
  <texture name="sky" type="skybox" builtin="gradient" rgb1=".3 .5 .7" rgb2="0 0 0" width="32" height="32"/>
  <texture name="grid" type="2d" builtin="checker" rgb1="1 1 1" rgb2="0 0 0" width="32" height="32"/>
  <material name="grid" texture="grid" texrepeat="4 4"/>
  <hfield name="hills" nrow="8" ncol="8" size=".4 .4 .3 .1"/>
  <mesh name="rock" vertex="0 0 0 .3 0 0 0 .3 0 0 0 .3"/>
</asset>
<worldbody>
  <light pos="0 0 3"/>
  <camera name="eye" pos="1.5 1.5 1.2" xyaxes="-1 1 0 -.44 -.44 1"/>
  <camera name="rolled" pos="0 -2 .3" xyaxes="1 0 .5 -.5 0 1"/>
  <camera name="down" pos="0 0 2" xyaxes="0 1 0 -1 0 0"/>
  <camera name="flat" pos="0 -2 .3" xyaxes="1 0 0 0 0 1" {orthographic} fovy="1.5"/>
  <camera name="shifted" pos="0 -2 .3" xyaxes="1 0 0 0 0 1" sensorsize=".02 .02" focal=".02 .02"
    principal=".005 .002" resolution="64 64"/>
  <geom name="floor" type="plane" size="1 1 .1" material="grid"/>
  <geom name="hills" type="hfield" hfield="hills" pos="-.4 0 0"/>
  <body pos=".4 .2 .2"><freejoint/><geom name="rock" type="mesh" mesh="rock" rgba="1 .5 0 1"/></body>
  <body name="mark" mocap="true" pos="0 .5 .5"><geom size=".1" rgba="0 1 0 1" contype="0" conaffinity="0"/></body>
  <body name="shell" pos="0 -.5 .3"><geom type="box" size=".15 .15 .15" rgba="0 0 1 1" group="0"/>
    <geom type="box" size=".1 .1 .1" rgba="1 0 1 1" group="3"/></body>
  <site name="goal" pos=".3 -.5 .3" size=".08" rgba="1 0 0 1"/>
</worldbody></mujoco>"""
CLOTH = """<mujoco><worldbody><light pos="0 0 3"/>
<flexcomp type="grid" count="5 5 1" spacing=".15 .15 .1" pos="0 0 .6" radius=".02" dim="2" name="cloth" rgba="0 1 0 1">
  <edge equality="true"/></flexcomp>
</worldbody></mujoco>"""


def compiled(xml=None):
    projection = 'projection="orthographic"' if hasattr(mujoco.MjModel, "cam_projection") else 'orthographic="true"'
    model = mujoco.MjModel.from_xml_string(xml or WORLD.format(orthographic=projection))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def mujocos(model, data, camera, option=None):
    """What MuJoCo's own renderer draws at our quality: no shadows, reflections, haze or multisampling."""
    model = copy.copy(model)
    model.vis.quality.shadowsize = model.vis.quality.offsamples = 0
    with mujoco.Renderer(model, SIZE, SIZE) as theirs:
        theirs.update_scene(data, camera, option)
        for flag in ("SHADOW", "REFLECTION", "HAZE"):
            theirs.scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = False
        return theirs.render()


def free_camera(pose):
    camera = mujoco.MjvCamera()
    camera.distance, camera.lookat[:] = 0.0, pose.position_w
    camera.azimuth, camera.elevation = np.degrees(pose.yaw_rad), np.degrees(pose.pitch_rad)
    return camera


class Changing(gym.Env):
    """An environment that does something to its model at every reset from the second on, and at every step."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (1,)), gym.spaces.Discrete(2)

    def __init__(self, at_reset=None, at_step=None):
        self.model, self.data = compiled()
        self._at_reset, self._at_step, self._is_new = at_reset, at_step, True

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if not self._is_new and self._at_reset is not None:
            self._at_reset(self)
        self._is_new = False
        mujoco.mj_forward(self.model, self.data)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        if self._at_step is not None:
            self._at_step(self)
        mujoco.mj_forward(self.model, self.data)
        return np.zeros(1, np.float32), 0.0, False, False, {}


def replace(env):
    env.model, env.data = compiled(
        '<mujoco><asset><mesh name="m" vertex="0 0 0 .5 0 0 0 .5 0 0 0 .9"/></asset><worldbody><light pos="0 0 3"/>'
        '<geom type="mesh" mesh="m"/></worldbody></mujoco>'
    )


def write(name, values, index=slice(None)):
    def change(env):
        getattr(env.model, name)[index] = values

    return change


def vis(path, value):
    def change(env):
        *parents, name = path.split(".")
        place = env.model
        for parent in parents:
            place = getattr(place, parent)
        if np.ndim(value):
            getattr(place, name)[:] = value
        else:
            setattr(place, name, value)

    return change


def mocap(env):
    env.data.mocap_pos[0] = (0.5, 0.5, 0.2)


CHANGES = {
    "the whole model": replace,
    "all of a texture": write("tex_data", 77),
    "one byte of a texture": write("tex_data", 255, -1500),
    "repeats of a texture": write("mat_texrepeat", 1.0),
    "uniform texture": write("mat_texuniform", 1),
    "no texture": write("mat_texid", -1),
    "heights": write("hfield_data", np.linspace(0, 1, 64)),
    "one height": write("hfield_data", 1.0, 27),
    "extent of the hills": write("hfield_size", (0.2, 0.6, 0.5, 0.1)),
    "corner of a mesh": write("mesh_vert", (0.0, 0.0, 0.8), 3),
    "size of a plane": write("geom_size", (0.5, 0.5, 0.1), 0),
    "endless plane": write("geom_size", (0.0, 0.0, 0.1), 0),
    "size of a box": write("geom_size", 0.25, 4),
    "colour": write("geom_rgba", (0, 1, 1, 1), 3),
    "group": write("geom_group", 4, 4),
    "site": write("site_pos", (0.5, 0.5, 0.5)),
    "size of a site": write("site_size", 0.2),
    "light": write("light_pos", (2.0, 0.0, 1.0)),
    "headlight": vis("vis.headlight.diffuse", (0.0, 0.0, 0.0)),
    "slices of a sphere": vis("vis.quality.numslices", 5),
    "extent of the world": vis("stat.extent", 9.0),
    "mocap": mocap,
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_the_environment_changes_at_a_reset_is_drawn(name):
    """The second episode's picture is MuJoCo's of the model as it is then, and another than the first's."""
    env = CameraObservation(Changing(at_reset=CHANGES[name]), EYE, SIZE)
    first = env.reset(seed=0)[0]["image"]
    second = env.reset()[0]["image"]
    world = env.unwrapped
    np.testing.assert_array_equal(
        second, mujocos(world.model, world.data, free_camera(EYE.sample(np.random.default_rng())))
    )
    if name not in ("one byte of a texture", "uniform texture", "extent of the world"):
        assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", [
    "the whole model", "all of a texture", "heights", "corner of a mesh", "size of a box", "colour", "site", "mocap",
])  # fmt: skip
def test_what_the_environment_changes_within_an_episode_is_drawn(name):
    """The next step's picture shows another model, new textures, heights and shapes, and everything that moves."""
    env = CameraObservation(Changing(at_step=CHANGES[name]), EYE, SIZE)
    first = env.reset(seed=0)[0]["image"]
    second = env.step(0)[0]["image"]
    world = env.unwrapped
    np.testing.assert_array_equal(
        second, mujocos(world.model, world.data, free_camera(EYE.sample(np.random.default_rng())))
    )
    assert not np.array_equal(first, second)


def test_flexes_are_drawn_and_models_that_differ_in_them_do_not_share():
    """A cloth is MuJoCo's to the pixel, whichever model was drawn before."""
    pose = EYE.sample(np.random.default_rng())
    for xml in (CLOTH, CLOTH.replace('count="5 5 1"', 'count="4 6 1"'), CLOTH):
        model, data = compiled(xml)
        mujoco.mj_step(model, data, 20)
        mujoco.mj_forward(model, data)
        ours = shared_renderer(model, SIZE, SIZE).render(model, data, pose)
        np.testing.assert_array_equal(ours, mujocos(model, data, free_camera(pose)))
        assert (ours[..., 1].astype(int) > ours[..., 0] + 40).sum() > 30


def test_skins_are_drawn_and_their_faces_count():
    """Two skins that differ in nothing but their faces have renderers of their own."""
    xml = """<mujoco><worldbody><light pos="0 0 3"/><body name="b"><freejoint/><geom size=".05"/></body></worldbody>
    <deformable><skin name="s" rgba="1 0 0 1" vertex="-.5 -.5 0 .5 -.5 0 .5 .5 0 -.5 .5 0" face="{faces}">
    <bone body="b" bindpos="0 0 0" bindquat="1 0 0 0" vertid="0 1 2 3" vertweight="1 1 1 1"/></skin>
    </deformable></mujoco>"""
    pose, red = EYE.sample(np.random.default_rng()), []
    for faces in ("0 1 2 0 2 3", "0 1 2 0 1 2"):
        model, data = compiled(xml.format(faces=faces))
        ours = shared_renderer(model, SIZE, SIZE).render(model, data, pose)
        np.testing.assert_array_equal(ours, mujocos(model, data, free_camera(pose)))
        red.append(int((ours[..., 0] > 60).sum()))
    assert red[0] > 1.5 * red[1]


def test_every_tendon_is_drawn(monkeypatch):
    """39 tendons of 15 sites are MuJoCo's to the pixel, with as little room as there may be to begin with."""
    tendons, sites = range(39), range(15)
    places = "".join(
        f'<site name="{t}_{s}" pos="{s / 15 - 0.5} {t / 39 - 0.5} 0" size=".001"/>' for t in tendons for s in sites
    )
    drawn = "".join(
        '<spatial width=".01" rgba="1 0 0 1">' + "".join(f'<site site="{t}_{s}"/>' for s in sites) + "</spatial>"
        for t in tendons
    )
    model, data = compiled(
        f"<mujoco><worldbody><geom size='.02'/>{places}</worldbody><tendon>{drawn}</tendon></mujoco>"
    )
    pose = CameraPose.look_at((0, -0.9, 1.2), (0, 0, 0))
    theirs = mujocos(model, data, free_camera(pose))
    for room in (renderer._EXTRA_GEOMS, 1 - model.ngeom - model.nsite - 3 * model.nwrap):
        monkeypatch.setattr(renderer, "_EXTRA_GEOMS", room)
        close_renderers()
        np.testing.assert_array_equal(shared_renderer(model, SIZE, SIZE).render(model, data, pose), theirs)
    close_renderers()


@pytest.mark.parametrize("visual", [
    {"geomgroup": [1, 2]}, {"geomgroup": [3]}, {"sitegroup": []}, {"contactpoint": True}, {"transparent": True},
    {"frame": 1}, {},
])  # fmt: skip
def test_what_is_drawn_can_be_chosen(visual):
    """Groups, flags and frames are MuJoCo's, chosen for the wrapper or for its camera."""
    env = CameraObservation(Changing(), EYE, SIZE, visual=visual)
    picture, world = env.reset(seed=0)[0]["image"], env.unwrapped
    camera = free_camera(EYE.sample(np.random.default_rng()))
    np.testing.assert_array_equal(picture, mujocos(world.model, world.data, camera, make_option(visual)))
    if visual and "contactpoint" not in visual:
        assert not np.array_equal(picture, mujocos(world.model, world.data, camera))


@pytest.mark.parametrize(("visual", "said"), [
    ({"geomgroups": [1]}, "`visual` takes .*'geomgroup'.*got 'geomgroups'"),
    ({"geomgroup": [6]}, "`visual.geomgroup` must be a list of the groups to draw, numbers from 0 to 5"),
    ({"geomgroup": 1}, "`visual.geomgroup` must be a list"), ({"transparent": 1}, "must be true or false"),
    ({"label": -1}, "must be a whole number of at least 0"),
])  # fmt: skip
def test_wrong_settings_of_what_is_drawn_are_refused(visual, said):
    """One sentence says what is expected."""
    with pytest.raises(ValueError, match=said):
        CameraObservation(Changing(), EYE, SIZE, visual=visual)


def test_a_scene_and_its_task_draw_the_same_groups():
    """`GymnasiumScene(visual=...)` hands its choice to its cameras, and so to whoever looks through them."""
    gym.register("Grouped-v0", entry_point=Changing)
    try:
        scene = GymnasiumScene("Grouped-v0", max_steps=0, image_size=SIZE, visual={"geomgroup": [3]})
        pose = scene.cameras["fixed"].sample(np.random.default_rng(0))
        scene.sample(np.random.default_rng(0))
        env = CameraObservation(gym.make("Grouped-v0"), scene.cameras["fixed"], SIZE)
        seen = env.reset(seed=0)[0]["image"]
    finally:
        gym.registry.pop("Grouped-v0")
    option = make_option({"geomgroup": [3]})
    np.testing.assert_array_equal(scene.render(pose), mujocos(scene.model, scene.data, free_camera(pose), option))
    np.testing.assert_array_equal(seen, scene.render(pose))
    assert scene.settings["visual"] == {"geomgroup": [3]}
    assert scene.cameras["fixed"].describe()["visual"] == {"geomgroup": [3]}


@pytest.mark.filterwarnings("ignore:`camera`")
@pytest.mark.parametrize("camera", ["eye", "rolled", "down", "flat", "shifted", 0, 4])
def test_cameras_of_the_model_are_drawn_as_mujoco_draws_them(camera):
    """By name or number: field of view, roll, a view from above, orthographic projection and principal point."""
    env = CameraObservation(Changing(), camera, SIZE)
    picture, world = env.reset(seed=0)[0]["image"], env.unwrapped
    np.testing.assert_array_equal(picture, mujocos(world.model, world.data, camera))


@pytest.mark.parametrize(("camera", "said"), [
    ("rolled", "is rolled by 27°, which is drawn, but which a viewpoint does not say"), ("flat", "is orthographic"),
    ("shifted", "has its principal point off the middle"),
])  # fmt: skip
def test_what_a_viewpoint_does_not_say_is_warned_of(camera, said):
    """One sentence, at the reset."""
    with pytest.warns(UserWarning, match=said):
        CameraObservation(Changing(), camera, SIZE).reset(seed=0)


def test_a_camera_that_looks_straight_down_has_the_yaw_of_its_upper_edge():
    """Seen with that yaw, the picture is the same: down, with -x towards the upper edge."""
    env = CameraObservation(Changing(), "down", SIZE)
    observation, world = env.reset(seed=0)[0], env.unwrapped
    pose = env.camera.pose(world.model, world.data)
    assert np.degrees([abs(pose.yaw_rad), pose.pitch_rad]) == pytest.approx([180, -90], abs=0.01)
    again = shared_renderer(world.model, SIZE, SIZE).render(world.model, world.data, pose)
    assert np.abs(again.astype(int) - observation["image"]).mean() < 1


@pytest.mark.parametrize("camera", [-1, 5, True])
def test_numbers_of_cameras_that_are_not_there_are_refused(camera):
    """The message says which there are."""
    with pytest.raises(ValueError, match="`camera` must be a number from 0 to 4 in this model"):
        CameraObservation(Changing(), camera)


def test_a_model_without_the_camera_is_refused_when_it_comes():
    """The environment may compile another model at a reset."""
    env = CameraObservation(Changing(at_reset=replace), "eye", SIZE)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"`camera` must be one of the model's cameras \(\[\]\)"):
        env.reset()


def test_old_uploads_are_freed(monkeypatch):
    """With room for two, three textures leave two renderers; the first is drawn right when it comes again."""
    monkeypatch.setattr(renderer, "MAX_RENDERERS", 2)
    close_renderers()
    models = [compiled() for _ in range(3)]
    pose, pictures = EYE.sample(np.random.default_rng()), []
    for number, (model, data) in enumerate(models):
        model.tex_data[:] = 80 * number
        pictures.append(shared_renderer(model, SIZE, SIZE).render(model, data, pose))
        assert len(renderer._renderers) <= 2
    held = shared_renderer(*models[0][:1], SIZE, SIZE)
    for (model, data), picture in zip(models, pictures, strict=True):
        np.testing.assert_array_equal(shared_renderer(model, SIZE, SIZE).render(model, data, pose), picture)
        assert len(renderer._renderers) == 2
    np.testing.assert_array_equal(held.render(*models[0], pose), pictures[0])
    monkeypatch.setattr(renderer, "MAX_BYTES", 1)
    shared_renderer(models[0][0], SIZE + 1, SIZE)
    assert len(renderer._renderers) == 1
