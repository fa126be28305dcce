"""Building blocks against closed forms and against PyTorch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import distributions, nn

from gqn_rl.models.conv_lstm import ConvLSTM
from gqn_rl.models.densities.cores import Canvas
from gqn_rl.models.layers import ConstantMapConv, Gaussian, gaussian_kl


def random_gaussian(seed: int) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(torch.randn(5, 2, 3, 3, generator=generator), torch.randn(5, 2, 3, 3, generator=generator))


def test_kl_is_that_of_torch_distributions():
    """The closed form, with log standard deviations (not log variances), agrees with PyTorch's."""
    q, p = random_gaussian(0), random_gaussian(1)
    expected = distributions.kl_divergence(
        distributions.Normal(q.mean, q.log_std.exp()), distributions.Normal(p.mean, p.log_std.exp())
    )
    torch.testing.assert_close(gaussian_kl(q, p), expected.flatten(1).sum(1))


def test_kl_of_a_distribution_to_itself_is_zero_and_of_a_shift_is_half_its_square():
    """KL(N(m + 1, 1) ‖ N(m, 1)) = ½ nat for each of the 18 values."""
    zero = Gaussian(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3))
    assert gaussian_kl(zero, zero).item() == 0.0
    assert gaussian_kl(Gaussian(zero.mean + 1, zero.log_std), zero).item() == pytest.approx(9.0)


def test_sample_uses_the_standard_deviation():
    """A draw is mean + exp(log_std) · noise: with log_std = log 3 and noise 2, 6 above the mean."""
    gaussian = Gaussian(torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 3.0).log())
    assert gaussian.sample(torch.full((1, 1, 1, 1), 2.0)).item() == pytest.approx(7.0)


def test_what_a_seed_draws_does_not_depend_on_memory_order():
    """Each element gets the same noise whether channels or rows lie side by side in memory."""
    drawn = []
    for order in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        mean = torch.zeros(2, 3, 4, 4).contiguous(memory_format=order)
        drawn.append(Gaussian(mean, torch.zeros(2, 3, 4, 4)).sample())
    assert torch.equal(*drawn)


@pytest.mark.parametrize(("kernel_size", "map_size"), [(3, 8), (5, 8), (5, 16), (5, 5), (5, 3), (3, 1), (1, 4)])
def test_constant_map_convolution_is_the_convolution_of_the_broadcast_vector(kernel_size, map_size):
    """Computing only the k×k different outputs changes nothing, borders included."""
    layer = ConstantMapConv(4, 6, kernel_size, map_size)
    vector = torch.randn(2, 4)
    broadcast = vector[:, :, None, None].expand(-1, -1, map_size, map_size)
    torch.testing.assert_close(layer(vector), layer.conv(broadcast), atol=1e-6, rtol=1e-5)


def test_lstm_keeps_its_cell_when_it_forgets_and_admits_nothing():
    """Gates by hand: forget open, admit shut, so the cell stays and hidden = σ(emit) · tanh(cell), in this order."""
    core = ConvLSTM(hidden_channels=1, kernel_size=3)
    nn.init.zeros_(core.hidden_to_gates.weight)
    nn.init.zeros_(core.hidden_to_gates.bias)
    gates = torch.tensor([100.0, -100.0, 0.0, 5.0]).view(1, 4, 1, 1)  # forget, admit, emit, candidate
    hidden, cell = core(gates, [], hidden=torch.zeros(1, 1, 1, 1), cell=torch.full((1, 1, 1, 1), 0.7))
    assert cell.item() == pytest.approx(0.7)
    assert hidden.item() == pytest.approx(0.5 * torch.tanh(torch.tensor(0.7)).item())


def test_lstm_replaces_its_cell_when_it_forgets_all_and_admits_all():
    """Gates by hand: forget shut, admit open, so the cell is tanh(candidate)."""
    core = ConvLSTM(hidden_channels=1, kernel_size=1)
    nn.init.zeros_(core.hidden_to_gates.weight)
    nn.init.zeros_(core.hidden_to_gates.bias)
    gates = torch.tensor([-100.0, 100.0, 100.0, 0.3]).view(1, 4, 1, 1)
    hidden, cell = core(gates, [], hidden=torch.zeros(1, 1, 1, 1), cell=torch.full((1, 1, 1, 1), 9.0))
    assert cell.item() == pytest.approx(torch.tanh(torch.tensor(0.3)).item())
    assert hidden.item() == pytest.approx(torch.tanh(cell).item())


def test_canvas_reads_as_if_it_had_been_painted():
    """Painting u by a transposed convolution, then η_g or a patch convolution, gives what weight products give."""
    hidden, channels, d, side = 6, 4, 4, 3
    canvas = Canvas(hidden, channels, d)
    drawn, reader = torch.randn(2, hidden, side, side), torch.randn(5, channels, d * d)
    delta = canvas.delta.permute(2, 0, 1).unflatten(2, (d, d))  # [hidden, channels, d, d]
    painted = nn.functional.conv_transpose2d(drawn, delta, stride=d)
    torch.testing.assert_close(canvas.render(drawn), canvas.eta(painted), atol=1e-5, rtol=1e-4)
    seen = nn.functional.conv2d(painted, reader.unflatten(2, (d, d)), stride=d)
    torch.testing.assert_close(canvas.read(drawn, reader), seen, atol=1e-4, rtol=1e-4)
