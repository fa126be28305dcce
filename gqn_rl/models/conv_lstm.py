"""The convolutional LSTM of the recurrent densities: what enters a core, the sum of it, and the step of its cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gqn_rl.models import winograd


class ConvLSTM(nn.Module):
    """A convolutional LSTM core whose input arrives already summed to gate pre-activations.

    Keeping the input's convolutions outside lets those over constant inputs run once instead of at every step.
    """

    def __init__(self, hidden_channels: int, kernel_size: int):
        super().__init__()
        self.hidden_to_gates = nn.Conv2d(hidden_channels, 4 * hidden_channels, kernel_size, padding=kernel_size // 2)

    def forward(
        self, constant: Tensor, inputs: Sequence[Convolved], hidden: Tensor | None, cell: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Advances one step.

        Args:
            constant: what the gates' pre-activations get from inputs that stay the same, [N, 4 hidden, s, s].
            inputs: what changes with the step.
            hidden: [N, hidden, s, s]; None stands for zeros, whose convolution is its bias.
            cell: [N, hidden, s, s].

        Returns:
            The new hidden and cell maps, in this order.
        """
        if hidden is None:
            assert self.hidden_to_gates.bias is not None
            gates = add_convolved(constant, inputs) + self.hidden_to_gates.bias.to(constant.dtype)[:, None, None]
        else:
            gates = add_convolved(constant, [*inputs, Convolved(hidden, self.hidden_to_gates)])
        return advance_cell(gates, cell)


def advance_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Maps pre-activations of the gates [N, 4 C, s, s] and cells [N, C, s, s] to new hidden and cell maps."""
    if gates.requires_grad and gates.dtype == cell.dtype and not torch.compiler.is_compiling():
        hidden, cell = _AdvanceCell.apply(gates, cell)
        return hidden, cell
    forget, admit, emit, candidate = gates.chunk(4, dim=1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(admit) * torch.tanh(candidate)
    return torch.sigmoid(emit) * torch.tanh(cell), cell


class _AdvanceCell(torch.autograd.Function):
    """`advance_cell` with a gradient that is written where the gates' belongs, instead of put together from parts."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Returns hidden and cell."""
        opened, size = torch.empty_like(gates), 3 * cell.shape[1]
        torch.sigmoid(gates[:, :size], out=opened[:, :size])
        torch.tanh(gates[:, size:], out=opened[:, size:])
        forget, admit, emit, candidate = opened.chunk(4, dim=1)
        new = (forget * cell).add_(admit * candidate)
        shown = torch.tanh(new)
        ctx.save_for_backward(opened, cell, shown)
        return emit * shown, new

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, to_hidden: Tensor, to_cell: Tensor) -> tuple[Tensor, Tensor]:
        """Returns gradients to gates and cell."""
        opened, cell, shown = ctx.saved_tensors
        forget, admit, emit, candidate = opened.chunk(4, dim=1)
        to_cell = torch.ops.aten.tanh_backward(to_hidden * emit, shown).add_(to_cell)
        to_gates = torch.empty_like(opened)
        to_forget, to_admit, to_emit, to_candidate = to_gates.chunk(4, dim=1)
        for part, gate, to_output in (
            (to_forget, forget, to_cell * cell),
            (to_admit, admit, to_cell * candidate),
            (to_emit, emit, to_hidden * shown),
        ):
            torch.ops.aten.sigmoid_backward.grad_input(to_output, gate, grad_input=part)
        torch.ops.aten.tanh_backward.grad_input(to_cell * admit, candidate, grad_input=to_candidate)
        return to_gates, to_cell * forget


class Convolved(NamedTuple):
    """A map [N, C, s, s] and the convolution, stride 1 and padded with zeros to keep its size, that it enters by."""

    map: Tensor
    convolution: nn.Conv2d


def add_convolved(share: Tensor, inputs: Sequence[Convolved]) -> Tensor:
    """Adds convolved maps to a share of their sum, [N, O, s, s]; training on the CPU, by one convolution for all."""
    weights = [one.convolution.weight for one in inputs]
    maps, biases = [one.map for one in inputs], [one.convolution.bias for one in inputs]
    if inputs and winograd.pays(maps, weights):
        share = winograd.convolve(maps, weights) + share
        return sum((bias[:, None, None] for bias in biases if bias is not None), share)
    return sum((convolution(one) for one, convolution in inputs), share)
