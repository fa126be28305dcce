"""ObservationSpec: one value says what an agent sees, for one environment and for several side by side."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from hydra import compose, initialize_config_module
from stable_baselines3.common.vec_env import DummyVecEnv

from gqn_rl.agents.run_environments import RunEnvironments, view_settings
from gqn_rl.envs.cameras import Fixed
from gqn_rl.representation import load_encoder, num_entries
from gqn_rl.wrappers import REPRESENTATIONS, CameraObservation, ObservationSpec

CAMERA = Fixed((0.35, 0.0, 0.45), (0.0, 0.0, 0.0))
SIZE = 16


class MeanColour:
    """ψ is the mean red, green and blue of the picture."""

    image_size, representation_shape = SIZE, (3,)

    def encode_views(self, images, viewpoints):
        return images.mean((1, 2), dtype=np.float32)


def reacher():
    return gym.make("Reacher-v5", disable_env_checker=True)


def test_one_environment_and_several_observe_the_same():
    """`wrap` and `wrap_vec`: r of the same reset, with proprioception beside it, and pictures stacked in the second."""
    spec = ObservationSpec(
        camera=CAMERA, encoder=MeanColour(), context="episode", include_viewpoint=False, keep=["image"]
    )
    one = spec.wrap(reacher())
    several = spec.wrap_vec(DummyVecEnv([lambda: CameraObservation(reacher(), **spec.of_camera())] * 2))
    several.seed(3)
    alone, beside = one.reset(seed=3)[0], several.reset()
    assert set(alone) == set(beside) == {"representation", "image"}
    for key in alone:
        np.testing.assert_array_equal(alone[key], beside[key][0])
    pixels = ObservationSpec(kind="pixels", camera=CAMERA, size=SIZE, stack=3)
    stacked = pixels.wrap_vec(DummyVecEnv([lambda: pixels.wrap(reacher())]))
    assert stacked.reset()["image"].shape == (1, SIZE, SIZE, 9)


def test_pictures_for_a_network_that_begins_with_an_encoder_have_its_size():
    """Kinds finetuned and scratch see pictures alone, as large as the encoder takes them."""
    for kind in ("finetuned", "scratch"):
        spec = ObservationSpec(kind=kind, camera=CAMERA, encoder=MeanColour())
        assert spec.learns and not spec.encodes
        assert spec.wrap(reacher()).observation_space["image"].shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize(("settings", "message"), [
    ({"kind": "sound"}, "`repr` must be one of"),
    ({"kind": "gqn"}, "`encoder` must be given with repr='gqn'"),
    ({"kind": "pixels", "stack": 0}, "`stack` must be 1, or more with repr='pixels', got 0"),
    ({"kind": "oracle", "stack": 2}, "`stack` must be 1, or more with repr='pixels', got 2"),
    ({"kind": "oracle", "context": "episode", "window": 3}, "'window'\\] have no effect with repr='oracle'"),
    ({"kind": "oracle", "keep": ["image"]}, "which sees everything"),
    ({"kind": "pixels", "keep": ["image"]}, "environment's own keys with repr='pixels'"),
    ({"encoder": MeanColour(), "keep": "image"}, "list of observation keys, got the string 'image'"),
    ({"encoder": MeanColour(), "frame": "body"}, "`frame` must be null or one of"),
])  # fmt: skip
def test_what_cannot_be_is_said_at_once(settings, message):
    """Before any environment is made."""
    with pytest.raises(ValueError, match=message):
        ObservationSpec(**settings)


def test_every_config_of_a_representation_is_a_spec():
    """Its settings of other things, such as the network or the size of ImageNet's pictures, are left to others."""
    with initialize_config_module("gqn_rl.configs", version_base="1.3"):
        for name in (
            "gqn_joints",
            "imagenet",
            "random_encoder_episode",
            "pixels_stack",
            "pixels_points",
            "oracle",
            "vae",
        ):
            settings = view_settings(compose("train_agent", [f"repr={name}"]).repr)
            spec = ObservationSpec(encoder=MeanColour(), **settings)
            assert spec.kind in REPRESENTATIONS and settings.keys() <= vars(spec).keys()


def test_conditions_change_pose_noise_task_and_scene_and_nothing_else():
    """Each on top of what the run has; all else stays."""
    spec = ObservationSpec(kind="pixels", camera=CAMERA)
    run = RunEnvironments("Reacher-v5", {"scene": {"light": 1.0, "size": 3}}, spec)
    dark = run.changed("dark", {"scene": {"light": 0.5}, "task": {"looks": "random"}})
    assert dark.env_kwargs == {"scene": {"light": 0.5, "size": 3}, "looks": "random"} and dark.spec == spec
    assert run.changed("pose", {"pose_noise": [0.1, 2.0]}).spec.pose_noise == [0.1, 2.0]
    with pytest.raises(ValueError, match=r"`conditions.odd` may change pose_noise, task or scene, got camera"):
        run.changed("odd", {"camera": "fixed"})


def test_the_number_of_features_is_that_of_the_observation():
    """An untrained encoder gets as many as the pretrained one has after projection, not as r is long."""
    encoder = load_encoder("jaco")
    space = ObservationSpec(camera="fixed", encoder=encoder).wrap(gym.make("gqn_rl/JacoReach-v0")).observation_space
    assert (num_entries(encoder),) == space["representation"].shape != encoder.representation_shape
    assert num_entries(MeanColour()) == 3
