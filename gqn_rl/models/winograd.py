"""3×3 convolutions of small maps with a quarter of the multiplications, by Winograd's minimal filtering.

For the training step on a CPU in float32, which spends most of its time in such convolutions. A tile of 4×4 outputs
takes 36 products a pair of channels instead of 144 (Lavin and Gray 2016, F(4×4, 3×3)): 6×6 linear combinations of the
inputs, every one multiplied by a linear combination of the kernel, and 4×4 linear combinations of the products. Points
of interpolation other than the customary 0, ±1, ±2 keep rounding as small as a direct convolution's.

Maps lie in memory with the axes s, s, N, C, so that all of this is products of matrices.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

TILE, KERNEL = 4, 3
"""Outputs on a side of a tile; side of the kernel."""
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
"""Where polynomials are interpolated, beside infinity."""
SPOTS = len(POINTS) + 1
"""Products on a side of a tile."""
SIZES, LEAST_CHANNELS = (4, 8), 32
"""Cells on a side of maps, and channels on either side, with which the combinations cost less than they spare."""


def minimal_filter() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns A [4, 6], G [6, 3], B [6, 6]: A ((G g) · (B x)) are the 4 correlations of 6 values x with 3 weights g."""
    a, g, b = np.zeros((TILE, SPOTS)), np.zeros((SPOTS, KERNEL)), np.zeros((SPOTS, SPOTS))
    for spot, point in enumerate(POINTS):
        others = [other for other in POINTS if other != point]
        a[:, spot] = point ** np.arange(TILE)
        g[spot] = point ** np.arange(KERNEL) / np.prod([point - other for other in others])
        b[spot, :-1] = np.polynomial.polynomial.polyfromroots(others)
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.polynomial.polynomial.polyfromroots(POINTS)
    return a, g, b


def pays(maps: Sequence[Tensor], weights: Sequence[Tensor]) -> bool:
    """Tells whether a step that trains is quicker by `convolve`."""
    x, channels, (out_channels, _, *kernel) = maps[0], sum(one.shape[1] for one in maps), weights[0].shape
    trains = torch.is_grad_enabled() and not torch.compiler.is_compiling()
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    fits = kernel == [KERNEL, KERNEL] and x.shape[-2] == x.shape[-1] and x.shape[-1] in SIZES
    return trains and plain and fits and min(channels, out_channels) >= LEAST_CHANNELS


def convolve(maps: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Adds maps [N, C, s, s], padded with zeros and convolved with weights [O, C, 3, 3]: [N, O, s, s]."""
    if len(maps) == 1:
        return _apply(maps[0], weights[0])
    joined = torch.cat([one.permute(2, 3, 0, 1) for one in maps], dim=-1)
    return _apply(_from_pixels(joined), torch.cat(list(weights), dim=1))


def transform_kernel(weight: Tensor) -> Tensor:
    """Turns the weight [O, C, 3, 3] of a convolution into what spots are multiplied by, [36, C, O]."""
    out_channels, channels = weight.shape[:2]
    flat = weight.permute(2, 3, 1, 0).reshape(KERNEL**2, channels * out_channels)
    return (_kernel_matrix() @ flat).view(SPOTS**2, channels, out_channels)


def _apply(x: Tensor, weight: Tensor) -> Tensor:
    """Convolves one map with one weight."""
    result: Tensor = _Convolve.apply(x, transform_kernel(weight))
    return result


class _Convolve(torch.autograd.Function):
    """The convolution as products of matrices, and their transposes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        """Maps x [N, C, s, s] and kernel [36, C, O] to [N, O, s, s]."""
        spots = _into_spots(x)
        ctx.save_for_backward(spots, kernel)
        ctx.num_maps, ctx.size = len(x), x.shape[-1]
        return _out_of_spots(torch.bmm(spots, kernel), ctx.num_maps, ctx.size)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Returns gradients to both."""
        spots, kernel = ctx.saved_tensors
        products = _out_of_spots_transposed(grad)
        to_x = to_kernel = None
        if ctx.needs_input_grad[0]:
            to_x = _into_spots_transposed(torch.bmm(products, kernel.transpose(1, 2)), ctx.num_maps, ctx.size)
        if ctx.needs_input_grad[1]:
            to_kernel = torch.bmm(spots.transpose(1, 2), products)
        return to_x, to_kernel


def _to_pixels(x: Tensor) -> Tensor:
    """Returns x [N, C, s, s] as [s, s, N, C]; what lies in this order already is not copied."""
    return x.permute(2, 3, 0, 1).contiguous()


def _from_pixels(pixels: Tensor) -> Tensor:
    """The inverse of `_to_pixels`, never copied."""
    return pixels.permute(2, 3, 0, 1)


@functools.cache
def _matrices(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns, for lines of `size` cells: into spots [6 tiles, size], out of a tile's [4, 6], out of all's, transposed.

    Rows and columns of the last, [6 tiles, size], are those of the first.
    """
    a, _, b = minimal_filter()
    tiles = size // TILE
    into, spread = np.zeros((SPOTS, tiles, size + 2)), np.zeros((SPOTS, tiles, size))
    for tile in range(tiles):
        into[:, tile, TILE * tile : TILE * tile + SPOTS] = b
        spread[:, tile, TILE * tile : TILE * (tile + 1)] = a.T
    lines = into[:, :, 1:-1].reshape(-1, size), a, spread.reshape(-1, size)  # beside the map are zeros
    first, second, third = (torch.from_numpy(line).float() for line in lines)
    return first, second, third


@functools.cache
def _kernel_matrix() -> Tensor:
    """Returns [36, 9], from a kernel's weights, row by row, to spots, column by column."""
    _, g, _ = minimal_filter()
    return torch.from_numpy(np.einsum("xj,yi->xyij", g, g).reshape(SPOTS**2, KERNEL**2)).float()


def _into_spots(x: Tensor) -> Tensor:
    """Returns combinations of the cells under each tile, [36, tiles² N, C]."""
    n, c, size, _ = x.shape
    into, _, _ = _matrices(size)
    rows = (into @ _to_pixels(x).view(size, -1)).view(len(into), size, n * c)
    both = torch.bmm(into.expand(len(into), -1, -1), rows).view(*(SPOTS, size // TILE) * 2, n, c)
    return both.permute(2, 0, 1, 3, 4, 5).reshape(SPOTS**2, -1, c)


def _into_spots_transposed(grad: Tensor, n: int, size: int) -> Tensor:
    """The transpose of `_into_spots`."""
    into, _, _ = _matrices(size)
    both = grad.view(SPOTS, SPOTS, size // TILE, size // TILE, -1).permute(1, 2, 0, 3, 4)
    rows = torch.bmm(into.t().expand(len(into), -1, -1), both.reshape(len(into), len(into), -1))
    return _from_pixels((into.t() @ rows.view(len(into), -1)).view(size, size, n, -1))


def _out_of_spots(products: Tensor, n: int, size: int) -> Tensor:
    """Maps products [36, tiles² N, O] to maps [N, O, s, s]."""
    _, out, _ = _matrices(size)
    columns = products.view(SPOTS, -1, n * products.shape[-1]).transpose(0, 1)  # [6 tiles², 6, N O]
    rows = torch.bmm(out.expand(len(columns), -1, -1), columns).view(SPOTS, size // TILE, -1)
    return _from_pixels(torch.matmul(out, rows.transpose(0, 1)).view(size, size, n, -1))


def _out_of_spots_transposed(grad: Tensor) -> Tensor:
    """The transpose of `_out_of_spots`."""
    channels, size = grad.shape[1:3]
    _, out, spread = _matrices(size)
    columns = _to_pixels(grad).view(size * size // TILE, TILE, -1).transpose(0, 1).reshape(TILE, -1)
    columns = (out.t() @ columns).view(SPOTS, size, -1)
    return torch.matmul(spread, columns).view(SPOTS**2, -1, channels)
