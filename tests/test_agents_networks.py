"""Networks that read pictures: shifts by hand, rays in closed form, what moves in training and not in evaluation."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stable_baselines3 import PPO

from gqn_rl.agents.networks import TRUNKS, PixelExtractor, RandomShift, plucker_rays
from gqn_rl.agents.networks.shift import shifted
from gqn_rl.agents.networks.trunks import SpatialSoftmax
from gqn_rl.agents.sac import SAC
from gqn_rl.envs.cameras import Fixed
from gqn_rl.views import IMAGE, VIEWPOINT, CameraPose
from gqn_rl.wrappers import make_vec_env

CAMERA = Fixed((0.35, 0.0, 0.45), (0.0, 0.0, 0.0))
SIZE = 36
SPACE = gym.spaces.Dict(
    {
        "image": gym.spaces.Box(0, 255, (3, SIZE, SIZE), np.uint8),
        "proprioception": gym.spaces.Box(-1, 1, (2,), np.float32),
        "viewpoint": gym.spaces.Box(-1, 1, (7,), np.float32),
    }
)


def some_observations(batch=4):
    """Returns noise seen from two places, as a policy hands it to its extractor."""
    generator = torch.Generator().manual_seed(0)
    poses = [CameraPose.look_at((1.0, 0.2 * i, 1.0), (0, 0, 0)).viewpoint for i in range(batch)]
    return {
        "image": torch.rand(batch, 3, SIZE, SIZE, generator=generator),
        "proprioception": torch.zeros(batch, 2),
        "viewpoint": torch.from_numpy(np.stack(poses)),
    }


@pytest.mark.parametrize(("down", "right"), [(0, 0), (4, -4), (-3, 2)])
def test_a_shift_is_padding_by_replication_and_a_crop(down, right):
    """Reading `down` and `right` pixels further on equals `F.pad(..., mode="replicate")` cropped there."""
    pictures = torch.rand(2, 5, 9, 12)
    moved = shifted(pictures, torch.full((2, 1), down), torch.full((2, 1), right))
    padded = F.pad(pictures, (4, 4, 4, 4), mode="replicate")
    assert torch.equal(moved, padded[:, :, 4 + down : 13 + down, 4 + right : 16 + right])


def test_every_picture_moves_on_its_own_and_all_shifts_occur():
    """Of 2000 pictures of one white pixel, its 81 places are all met, about equally often; channels stay together."""
    torch.manual_seed(0)
    picture = torch.zeros(1, 2, 16, 16)
    picture[..., 8, 8] = 1
    moved = RandomShift(4)(picture.expand(2000, -1, -1, -1))
    assert torch.equal(moved[:, 0], moved[:, 1])
    counts = moved[:, 0].sum(0)[4:13, 4:13]
    assert counts.sum() == 2000 and counts.min() > 5 and counts.max() < 60


def test_evaluation_does_not_shift_and_negative_shifts_are_refused():
    """In evaluation mode the same tensor comes back; `pad` below 0 is one sentence."""
    picture = torch.rand(3, 3, 8, 8)
    assert RandomShift(4).eval()(picture) is picture
    assert RandomShift(0)(picture) is picture
    with pytest.raises(ValueError, match="`pad` must be 0 or more pixels, got -1"):
        RandomShift(-1)


def test_rays_are_lines_through_the_camera():
    """The middle ray is the line of sight; every direction has length 1 and is perpendicular to its moment o × d."""
    pose = CameraPose.look_at((1.3, -0.4, 1.1), (0.1, 0.0, 0.3))
    rays = plucker_rays(torch.from_numpy(pose.viewpoint)[None], 33, 45.0)[0]
    direction, moment = rays[:3], rays[3:]
    np.testing.assert_allclose(direction[:, 16, 16], pose.forward_w, atol=1e-6)
    np.testing.assert_allclose(direction.norm(dim=0), np.ones((33, 33)), atol=1e-6)
    np.testing.assert_allclose((direction * moment).sum(0), np.zeros((33, 33)), atol=1e-6)
    position = torch.tensor(pose.position_w, dtype=torch.float32)[:, None, None].expand_as(direction)
    np.testing.assert_allclose(torch.linalg.cross(position, direction, dim=0), moment, atol=1e-6)


def test_rays_agree_with_the_renderers_pixels():
    """A point of the world lies on the ray of the pixel that shows it: up is up and right is right in the picture."""
    pose, size = CameraPose.look_at((1.0, 0.0, 1.0), (0.0, 0.0, 0.0)), 64
    rays = plucker_rays(torch.from_numpy(pose.viewpoint)[None], size, 45.0)[0]
    edge = np.tan(np.deg2rad(45.0) / 2) * (1 - 1 / size)
    up, right = rays[:3, 0, size // 2], rays[:3, size // 2, -1]
    assert up[2] > pose.forward_w[2]  # the picture's first row looks higher
    right, right_w = right.numpy(), np.array([0.0, 1.0, 0.0])  # of a camera on +x that looks along −x
    assert right @ right_w / (right @ pose.forward_w) == pytest.approx(edge, abs=1e-3)


def test_spatial_softmax_says_where_the_mass_is():
    """Maps with all their mass in one cell give that cell's centre, right and down, ±1 at the edges."""
    network = SpatialSoftmax(3, 8, 4)
    maps = torch.full((1, 2, 4, 4), -1e9)
    maps[0, 0, 0, 3] = maps[0, 1, 2, 1] = 0
    network.maps = torch.nn.Identity()
    assert torch.allclose(network.points(maps), torch.tensor([[[0.75, -0.75], [-0.25, 0.25]]]))


@pytest.mark.parametrize("network", sorted(TRUNKS))
@pytest.mark.parametrize("rays", [False, True])
def test_every_entry_reaches_the_policy_and_every_weight_a_gradient(network, rays):
    """Features, proprioception and viewpoint stand side by side; no parameter is left out."""
    extractor = PixelExtractor(SPACE, network, features=16, rays=rays, fovy_deg=45.0)
    seen = extractor(some_observations())
    assert seen.shape == (4, 16 + 2 + 7) == (4, extractor.features_dim)
    seen.square().sum().backward()
    assert all(weight.grad is not None for weight in extractor.parameters())


def test_rays_move_with_their_pixels():
    """In training, picture and rays that enter the network are shifted by the same number of pixels."""
    extractor = PixelExtractor(SPACE, "nature", shift=4, rays=True, fovy_deg=45.0)
    extractor.network, observations = torch.nn.Flatten(), some_observations()
    rays = plucker_rays(observations["viewpoint"], SIZE, 45.0)
    observations["image"] = rays[:, :3] / 4 + 0.5  # what is centred again is the direction
    for mode in (True, False):
        entered = extractor.train(mode)(observations)[:, : 9 * SIZE * SIZE].reshape(4, 9, SIZE, SIZE)
        torch.testing.assert_close(entered[:, :3], entered[:, 3:6])
        assert torch.allclose(entered[:, 3:], rays) is (not mode)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"network": "vgg"}, "`network` must be one of nature, impala, spatial_softmax, got 'vgg'"),
        ({"network": "nature", "small": True}, "`network` nature reads pictures of at least 36 pixels, got 32"),
        ({"rays": True}, "`rays` need square pictures, their viewpoints and `fovy_deg`"),
    ],
)
def test_wrong_settings_are_refused(settings, sentence):
    """Each with what was expected and given."""
    size = 32 if settings.pop("small", False) else SIZE
    picture = {"image": gym.spaces.Box(0, 255, (3, size, size), np.uint8)}
    with pytest.raises(ValueError, match=sentence):
        PixelExtractor(gym.spaces.Dict({**SPACE.spaces, **picture}), **settings)


def test_stacked_frames_each_have_their_rays():
    """Two frames and two viewpoints make 6 + 12 channels, the first frame's rays first."""
    parts = {
        IMAGE: gym.spaces.Box(0, 255, (6, SIZE, SIZE), np.uint8),
        VIEWPOINT: gym.spaces.Box(-1, 1, (14,), np.float32),
    }
    extractor = PixelExtractor(gym.spaces.Dict(parts), "nature", shift=0, rays=True, fovy_deg=45.0)
    extractor.network = torch.nn.Flatten()
    one = some_observations(2)
    seen = extractor({IMAGE: one["image"].repeat(1, 2, 1, 1), VIEWPOINT: one["viewpoint"].flatten()[None].repeat(2, 1)})
    entered = seen[:, : 18 * SIZE * SIZE].reshape(2, 18, SIZE, SIZE)
    torch.testing.assert_close(entered[0, 6:].reshape(2, 6, SIZE, SIZE), plucker_rays(one["viewpoint"], SIZE, 45.0))


def count_shifts(monkeypatch, model, num_steps):
    """Returns how many batches the policy shifted and left alone while it learnt for some steps."""
    counts = {True: 0, False: 0}
    forward = RandomShift.forward

    def counted(self, pictures):
        counts[self.training] += 1
        return forward(self, pictures)

    monkeypatch.setattr(RandomShift, "forward", counted)
    model.learn(num_steps)
    return counts


def small(network="nature"):
    kwargs = {"network": network, "features": 8}
    return {"net_arch": [8], "features_extractor_class": PixelExtractor, "features_extractor_kwargs": kwargs}


def test_ppo_shifts_in_updates_and_not_in_rollouts(monkeypatch):
    """8 steps collected without a shift, then 2 epochs of 2 batches with one; one more look for the last value."""
    envs = make_vec_env("Reacher-v5", "pixels", CAMERA, num_envs=1, size=36)
    model = PPO("MultiInputPolicy", envs, n_steps=8, batch_size=4, n_epochs=2, policy_kwargs=small(), seed=0)
    assert count_shifts(monkeypatch, model, 8) == {True: 4, False: 9}
    envs.close()


def test_sac_shifts_both_observations_of_a_transition(monkeypatch):
    """An update looks five times, through actor, critic and target critic, and shifts every time; acting never does."""
    envs = make_vec_env("Reacher-v5", "pixels", CAMERA, num_envs=1, size=36)
    model = SAC(
        "MultiInputPolicy", envs, buffer_size=64, batch_size=4, learning_starts=4, policy_kwargs=small(), seed=0
    )
    counts = count_shifts(monkeypatch, model, 6)
    assert counts == {True: 2 * 5, False: 2}
    envs.close()
