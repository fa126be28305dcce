"""Poses, viewpoints and the one conversion of pictures, against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gqn_rl.views import CameraPose, Views, prepare_images, restore_images


def test_viewpoint_is_position_then_sine_and_cosine_of_yaw_and_pitch():
    """x, y, z, sin yaw, cos yaw, sin pitch, cos pitch, in this order."""
    pose = CameraPose((1.0, 2.0, 3.0), yaw_rad=np.pi / 2, pitch_rad=-np.pi / 6)
    np.testing.assert_allclose(pose.viewpoint, [1, 2, 3, 1, 0, -0.5, np.sqrt(3) / 2], atol=1e-6)


def test_a_pose_survives_the_way_through_its_viewpoint():
    """`from_viewpoint` undoes `viewpoint`, beyond the half turn where an arcsine would fail."""
    pose = CameraPose((0.5, -1.0, 2.0), yaw_rad=2.5, pitch_rad=-0.7)
    again = CameraPose.from_viewpoint(pose.viewpoint)
    assert again.position_w == pose.position_w
    assert (again.yaw_rad, again.pitch_rad) == pytest.approx((2.5, -0.7), abs=1e-6)


def test_look_at_points_the_line_of_sight_through_the_target():
    """Going the distance along the line of sight from the position ends at the target."""
    position, target = np.array([1.0, 2.0, 3.0]), np.array([-0.5, 0.2, 0.1])
    pose = CameraPose.look_at(position, target)
    np.testing.assert_allclose(position + np.linalg.norm(target - position) * pose.forward_w, target, atol=1e-9)


def test_look_at_refuses_its_own_position():
    """A camera cannot look at where it stands."""
    with pytest.raises(ValueError, match="`target_w` must differ from `position_w`"):
        CameraPose.look_at((1, 2, 3), (1, 2, 3))


def test_pictures_become_floats_and_come_back():
    """uint8 HWC to float CHW in [0, 1] and back is the identity; channels move, rows and columns do not."""
    images = torch.arange(2 * 3 * 4 * 3, dtype=torch.uint8).view(2, 3, 4, 3)
    floats = prepare_images(images)
    assert floats.shape == (2, 3, 3, 4)
    assert floats[1, 2, 0, 3].item() == pytest.approx(images[1, 0, 3, 2].item() / 255)
    assert torch.equal(restore_images(floats), images)


@pytest.mark.parametrize("images", [torch.zeros(4, 4, 3), torch.zeros(3, 4, 4, dtype=torch.uint8)])
def test_only_uint8_hwc_pictures_are_taken(images):
    """Floats and channel-first pictures are refused by shape and type."""
    with pytest.raises(ValueError, match=r"`images` must be uint8 \[..., H, W, 3\]"):
        prepare_images(images)


def test_views_move_to_torch_unchanged():
    """NumPy views become tensors of the same values and types."""
    views = Views(np.full((1, 2, 4, 4, 3), 7, np.uint8), np.ones((1, 2, 7), np.float32)).to_torch()
    assert views.images.dtype == torch.uint8
    assert views.images.shape == (1, 2, 4, 4, 3)
    assert views.viewpoints.dtype == torch.float32
