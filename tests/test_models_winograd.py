"""Convolutions by minimal filtering are the convolutions that they stand for, with their gradients."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gqn_rl.models import winograd
from gqn_rl.models.conv_lstm import Convolved, add_convolved, advance_cell
from gqn_rl.models.layers import MapConv
from gqn_rl.pretrain.objectives.elbo import negative_elbo
from gqn_rl.views import Views
from tests.flat_settings import build_model


def errors(size: int, channels: list[int], out_channels: int) -> tuple[list[float], list[float]]:
    """Returns how far result and gradients are from those in float64, over the largest: by `winograd`, and directly."""
    torch.manual_seed(0)
    maps = [torch.randn(6, c, size, size) for c in channels]
    weights = [torch.randn(out_channels, c, 3, 3) for c in channels]
    gradient = torch.randn(6, out_channels, size, size)

    def answers(function, dtype):
        leaves = [[one.to(dtype).requires_grad_() for one in part] for part in (maps, weights)]
        result = function(*leaves)
        return [result, *torch.autograd.grad(result, [*leaves[0], *leaves[1]], gradient.to(dtype))]

    def direct(x, w):
        return sum(F.conv2d(one, weight, padding=1) for one, weight in zip(x, w, strict=True))

    truth = answers(direct, torch.float64)
    found, usual = answers(winograd.convolve, torch.float32), answers(direct, torch.float32)
    return tuple(
        [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(some, truth, strict=True)]
        for some in (found, usual)
    )


@pytest.mark.parametrize(("size", "channels"), [(4, [32]), (8, [64]), (8, [4, 64]), (8, [64, 64, 64]), (12, [16])])
def test_result_and_gradients_are_the_convolutions(size, channels):
    """Rounding is no more than five times that of a direct convolution in float32, and never above 10⁻⁵."""
    for found, usual in zip(*errors(size, channels, 48), strict=True):
        assert found < min(1e-5, 5 * usual + 1e-6)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_any_order_in_memory_gives_the_same_result(order):
    """Maps as they come, channels last or first, and those that a convolution left behind."""
    x, layer = torch.randn(2, 32, 8, 8), MapConv(32, 32, 3)
    once = layer(x)
    torch.testing.assert_close(layer(x.contiguous(memory_format=order)), once)
    torch.testing.assert_close(layer(once), layer(once.contiguous(memory_format=order)))


def test_only_training_on_the_cpu_in_float32_goes_this_way():
    """What is asked without gradient, in another format or size, is convolved as ever, to the last bit."""
    x, layer = torch.randn(2, 32, 8, 8), MapConv(32, 32, 3)
    assert winograd.pays([x], [layer.weight])
    with torch.no_grad():
        assert not winograd.pays([x], [layer.weight])
        assert torch.equal(layer(x), nn.Conv2d.forward(layer, x))
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.pays([x], [layer.weight])
    for other in (x.double(), x.to("meta"), x[:, :, :6, :6], x[..., :4]):
        assert not winograd.pays([other], [layer.weight])
    assert not winograd.pays([x], [torch.zeros(32, 32, 5, 5)])
    assert not winograd.pays([x[:, :8]], [layer.weight[:, :8]])


def test_a_sum_of_convolutions_has_every_bias():
    """The maps that enter a core together give what their convolutions give one by one."""
    convolutions = [nn.Conv2d(c, 32, 3, padding=1, bias=bias) for c, bias in ((4, False), (32, True))]
    inputs = [Convolved(torch.randn(2, one.in_channels, 8, 8), one) for one in convolutions]
    share = torch.randn(2, 32, 8, 8)
    together = add_convolved(share, inputs)
    with torch.no_grad():
        torch.testing.assert_close(together, add_convolved(share, inputs), atol=1e-5, rtol=1e-4)


def test_the_cells_gradient_is_that_of_its_equations():
    """Finite differences agree with the gradient, and the result is the same without one."""
    torch.manual_seed(0)
    gates, cell = (torch.randn(2, c, 2, 2, dtype=torch.float64, requires_grad=True) for c in (12, 3))
    assert torch.autograd.gradcheck(advance_cell, (gates, cell))
    with torch.no_grad():
        plain = advance_cell(gates, cell)
    assert all(torch.equal(a, b) for a, b in zip(plain, advance_cell(gates, cell), strict=True))


@pytest.mark.parametrize("latents", [False, True])
def test_loss_and_gradients_of_a_model_are_the_same_to_rounding(latents, monkeypatch):
    """A GQN of points, large enough to go this way, with and without latents."""
    torch.manual_seed(0)
    model = build_model("gqn", image_size=64, encoder="points", shared_cores=True, num_steps=2, downsample=8,
                        kernel_size=3, hidden_channels=32, canvas_channels=8)  # fmt: skip
    usual = copy.deepcopy(model)
    views = Views(torch.randint(0, 256, (2, 2, 64, 64, 3), dtype=torch.uint8), torch.randn(2, 2, 7))
    noise = torch.randn(2, 4, *model.density.latent_shape)

    def gradients(one):
        loss, _ = negative_elbo(one, views, views, sigma=0.7, latents=latents, noise=noise)
        loss.backward()
        return loss.detach(), {name: weight.grad for name, weight in one.named_parameters()}

    calls, convolve = [], winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda *args: (calls.append(1), convolve(*args))[1])
    loss, found = gradients(model)
    assert len(calls) >= 4
    monkeypatch.setattr(winograd, "pays", lambda *args: False)
    expected_loss, expected = gradients(usual)
    torch.testing.assert_close(loss, expected_loss, atol=0, rtol=1e-6)
    for name, gradient in expected.items():
        if gradient is not None:
            assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-6, name
