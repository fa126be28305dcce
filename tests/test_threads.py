"""Threads that encode: one for a few pictures, whatever torch's number is, and that number is left as it was."""

import concurrent.futures

import numpy as np
import pytest
import torch

from gqn_rl.imagenet import EfficientNetLite0, ImageNetEncoder
from gqn_rl.runtimes.onnx_file import random_views
from gqn_rl.scene_encoder import SceneEncoder
from gqn_rl.threads import SMALL_BATCH, computing_with
from tests.tiny_pretraining import IMAGE_SIZE, SIZES, tiny_model


def encoders():
    """Every kind of encoder that torch computes, small."""
    torch.manual_seed(0)
    return SceneEncoder(tiny_model(), {"model": SIZES}), ImageNetEncoder(16, weights=EfficientNetLite0().state_dict())


@pytest.mark.parametrize("encoder", encoders(), ids=lambda encoder: type(encoder).__name__)
@pytest.mark.parametrize(("count", "expected"), [(1, 1), (SMALL_BATCH, 1), (SMALL_BATCH + 1, 3)])
def test_torch_encodes_a_few_pictures_on_one_thread(encoder, count, expected, restore_threads):
    """Up to `SMALL_BATCH` pictures: one thread; more: torch's. Afterwards torch has as many as before."""
    used = []
    hook = encoder.module.register_forward_pre_hook(lambda *_: used.append(torch.get_num_threads()))
    torch.set_num_threads(3)
    encoder.encode_views(*random_views(encoder.image_size, count))
    hook.remove()
    assert (used, torch.get_num_threads()) == ([expected], 3)


def test_an_encoder_that_fails_leaves_the_threads_as_they_were(restore_threads):
    """An error inside gives torch its number back."""
    torch.set_num_threads(2)
    with pytest.raises(RuntimeError, match="inside"), computing_with(1):
        raise RuntimeError("inside")
    assert torch.get_num_threads() == 2


def test_other_threads_of_the_program_keep_their_number(restore_threads):
    """While one thread encodes on one, a second one that computes on two goes on with two."""
    torch.set_num_threads(2)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2
        with computing_with(1):
            assert (torch.get_num_threads(), pool.submit(torch.get_num_threads).result()) == (1, 2)
        assert pool.submit(torch.get_num_threads).result() == 2


def test_one_thread_and_several_encode_the_same():
    """A picture has the same features alone and among many."""
    encoder = SceneEncoder(tiny_model(), {"model": SIZES})
    images, viewpoints = random_views(IMAGE_SIZE, SMALL_BATCH + 1)
    alone = encoder.encode_views(images[:1], viewpoints[:1])
    np.testing.assert_allclose(encoder.encode_views(images, viewpoints)[:1], alone, atol=1e-5)
