"""Pictures show what the geometry says, from any thread of use, and cost one set of uploads."""

from __future__ import annotations

import importlib
import multiprocessing
import pickle

import mujoco
import numpy as np
import pytest
import torch

from gqn_rl.envs import uploads
from gqn_rl.envs.opengl import candidate_backends, gl_strings, open_gl_context
from gqn_rl.envs.renderer import assets_changed, close_renderers, shared_renderer
from gqn_rl.models.config import SceneFacts
from gqn_rl.models.densities.states import RayState
from gqn_rl.views import CameraPose

BALL = """<mujoco><visual><headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/></visual>
<worldbody><body name="ball" mocap="true"><geom type="sphere" size="{size}" rgba="1 0 0 1"/></body></worldbody>
</mujoco>"""


def ball_at(position_w, size=0.05):
    model = mujoco.MjModel.from_xml_string(BALL.format(size=size))
    data = mujoco.MjData(model)
    data.mocap_pos[0] = position_w
    mujoco.mj_forward(model, data)
    return model, data


def red(image):
    return (image[:, :, 0] > 100) & (image[:, :, 1] < 50)


def test_a_ball_straight_ahead_is_in_the_middle_and_as_large_as_it_must_be():
    """Radius 0.1 m at 2 m under a 45° field of view is 64 · 0.1 / (2 · tan 22.5°) = 7.7 pixels across, 47 in area."""
    model, data = ball_at((0, 0, 0), size=0.1)
    image = shared_renderer(model, 64, 64).render(model, data, CameraPose.look_at((2, 0, 0), (0, 0, 0)))
    rows, columns = np.nonzero(red(image))
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    assert (rows.mean(), columns.mean()) == pytest.approx((31.5, 31.5), abs=0.6)
    assert len(rows) == pytest.approx(np.pi * (7.7 / 2) ** 2, rel=0.15)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 6), (5, 2), (7, 7)])
def test_a_ball_on_a_cells_ray_is_drawn_in_that_cell(row, column):
    """The rays that the model computes from a viewpoint are the renderer's: top row first, left column first."""
    pose = CameraPose((1.0, -0.7, 0.9), yaw_rad=2.2, pitch_rad=-0.5)
    scene = SceneFacts(64, fovy_deg=45.0, depths_m=(1.5, 2.0), wavelengths_m=(1.0,))
    rays = RayState((4,), (8, 8, 8), scene)
    model, data = ball_at(rays.points(torch.as_tensor(pose.viewpoint)[None])[0, 0, :, row, column].double().numpy())
    rows, columns = np.nonzero(red(shared_renderer(model, 64, 64).render(model, data, pose)))
    assert (rows.mean() // 8, columns.mean() // 8) == (row, column)


def test_a_wider_field_of_view_makes_things_smaller():
    """Twice the tangent of the half angle, half the size."""
    model, data = ball_at((0, 0, 0), size=0.2)
    pose, shared = CameraPose.look_at((2, 0, 0), (0, 0, 0)), shared_renderer(model, 64, 64)
    wide_deg = float(np.rad2deg(2 * np.arctan(2 * np.tan(np.deg2rad(22.5)))))
    areas = [red(shared.render(model, data, pose, fovy)).sum() for fovy in (45.0, wide_deg)]
    assert areas[0] / areas[1] == pytest.approx(4.0, rel=0.15)


def test_models_with_the_same_assets_share_a_renderer_and_others_do_not():
    """Colours and positions of the model drawn count, not those of the model the renderer was made for."""
    (model, data), (other, other_data) = ball_at((0, 0, 0)), ball_at((0, 0, 0))
    other.geom_rgba[0] = 0, 1, 0, 1
    shared = shared_renderer(model, 32, 32)
    assert shared_renderer(other, 32, 32) is shared
    assert shared_renderer(other, 48, 32) is not shared
    pose = CameraPose.look_at((1, 0, 0), (0, 0, 0))
    assert shared.render(model, data, pose)[16, 16].argmax() == 0
    assert shared.render(other, other_data, pose)[16, 16].argmax() == 1


def test_renderers_of_two_sizes_do_not_disturb_each_other():
    """Drawing with one between two pictures of the other leaves these identical."""
    model, data = ball_at((0, 0.1, 0))
    pose = CameraPose.look_at((1, 0, 0.3), (0, 0, 0))
    small, large = shared_renderer(model, 32, 32), shared_renderer(model, 80, 64)
    first = small.render(model, data, pose)
    assert large.render(model, data, pose).shape == (80, 64, 3)
    assert np.array_equal(first, small.render(model, data, pose))


def test_the_callers_model_keeps_its_quality_settings():
    """Turning shadows and multisampling off happens on a copy."""
    model, data = ball_at((0, 0, 0))
    before = model.vis.quality.shadowsize, model.vis.quality.offsamples, model.vis.global_.offwidth
    shared_renderer(model, 40, 40).render(model, data, CameraPose.look_at((1, 0, 0), (0, 0, 0)))
    assert (model.vis.quality.shadowsize, model.vis.quality.offsamples, model.vis.global_.offwidth) == before


def test_a_new_renderer_follows_after_closing_all():
    """`close_renderers` frees them, and the next picture is the same."""
    model, data = ball_at((0, 0, 0))
    pose = CameraPose.look_at((1, 0, 0), (0, 0, 0))
    before = shared_renderer(model, 32, 32).render(model, data, pose)
    close_renderers()
    assert np.array_equal(before, shared_renderer(model, 32, 32).render(model, data, pose))


def test_a_renderer_is_not_carried_into_another_process():
    """Pickling one says what to do instead."""
    model, _ = ball_at((0, 0, 0))
    with pytest.raises(TypeError, match="call `shared_renderer` in the new one"):
        pickle.dumps(shared_renderer(model, 32, 32))


def render_in_child(queue):
    model, data = ball_at((0, 0, 0))
    queue.put(shared_renderer(model, 32, 32).render(model, data, CameraPose.look_at((1, 0, 0), (0, 0, 0))))


def test_a_spawned_process_draws_the_same_picture():
    """Each process opens a context of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=render_in_child, args=(queue,))
    child.start()
    theirs = queue.get(timeout=60)
    child.join(timeout=60)
    model, data = ball_at((0, 0, 0))
    ours = shared_renderer(model, 32, 32).render(model, data, CameraPose.look_at((1, 0, 0), (0, 0, 0)))
    assert child.exitcode == 0
    assert np.array_equal(ours, theirs)


def test_backends_follow_mujoco_gl(monkeypatch):
    """A set MUJOCO_GL is the only candidate; a wrong one is refused; unset, something that is installed is tried."""
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert candidate_backends() == ["osmesa"]
    monkeypatch.setenv("MUJOCO_GL", "direct3d")
    with pytest.raises(OSError, match="`MUJOCO_GL` must be one of"):
        candidate_backends()
    monkeypatch.delenv("MUJOCO_GL")
    assert set(candidate_backends()) <= {"egl", "osmesa", "glfw"}


def test_open_gl_says_who_renders():
    """Vendor and renderer are non-empty words for the manifest and the doctor."""
    assert all(gl_strings())


def test_a_picture_needs_pixels():
    """A size of zero is refused."""
    model, _ = ball_at((0, 0, 0))
    with pytest.raises(ValueError, match="at least one pixel"):
        shared_renderer(model, 0, 64)


def test_a_renderer_made_while_another_context_is_current_draws_all_the_same():
    """Another library may have made its own OpenGL context current; ours does not upload into that."""
    model, data = ball_at((0, 0, 0))
    pose = CameraPose.look_at((1, 0, 0), (0, 0, 0))
    before = shared_renderer(model, 64, 64).render(model, data, pose)
    close_renderers()
    theirs = importlib.import_module(f"mujoco.{open_gl_context().backend}").GLContext(32, 32)
    theirs.make_current()
    after = shared_renderer(model, 64, 64).render(model, data, pose)
    theirs.free()
    assert np.array_equal(before, after)


def test_a_models_assets_are_compared_once(monkeypatch):
    """Only the first picture of a model, and the first after `assets_changed`, pay for reading its meshes."""
    model, _ = ball_at((0, 0, 0))
    first = shared_renderer(model, 32, 32)
    compared = []
    monkeypatch.setattr(uploads.Uploads, "are_of", lambda self, model: compared.append(model) or True)
    assert shared_renderer(model, 32, 32) is first and not compared
    assets_changed(model)
    shared_renderer(model, 32, 32)
    assert compared


def test_models_with_coarser_primitives_have_a_renderer_of_their_own():
    """A sphere's slices are uploaded, not drawn from the model each time."""
    (model, _), (coarse, _) = ball_at((0, 0, 0)), ball_at((0, 0, 0))
    coarse.vis.quality.numslices = 8
    assert shared_renderer(coarse, 32, 32) is not shared_renderer(model, 32, 32)
