"""How near a predicted picture is to the true one: likelihood over its floor, PSNR and SSIM, all per picture."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

FIXED_SIGMA = 0.7
"""Pixel deviation at which likelihoods are compared, the end of the paper's schedule."""

_SSIM_WINDOW, _SSIM_SIGMA = 11, 1.5
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2
_BYTE_BITS = math.log2(255)
"""Of a density over intensities: neighbouring bytes lie 1/255 apart."""


def nll_floor(num_values: int, sigma: float) -> float:
    """Returns the negative log-likelihood of a perfect prediction of `num_values` pixel values, in nats.

    >>> round(nll_floor(64 * 64 * 3, 0.7), 1)
    6909.1
    """
    return num_values * (math.log(sigma) + 0.5 * math.log(2 * math.pi))


def excess_nll(mse: torch.Tensor, num_values: int, sigma: float = FIXED_SIGMA) -> torch.Tensor:
    """Returns the negative log-likelihood above its floor, in nats, of pictures with mean squared error `mse`."""
    return mse * num_values / (2 * sigma**2)


def bits_per_dim(nll_over_floor: torch.Tensor, num_values: int, sigma: float = FIXED_SIGMA) -> torch.Tensor:
    """Returns bits per pixel value of 8-bit pictures under a density over intensities in [0, 1]."""
    nats = nll_over_floor + nll_floor(num_values, sigma)
    return nats / (num_values * math.log(2)) + _BYTE_BITS


def mean_squared_error(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Returns the error of each picture, [..., 3, H, W] twice → [...]."""
    return (prediction - truth).square().mean(dim=(-3, -2, -1))


def psnr(mse: torch.Tensor) -> torch.Tensor:
    """Returns the peak signal-to-noise ratio in dB of intensities in [0, 1]."""
    return -10 * mse.clamp_min(1e-12).log10()


def ssim(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Returns structural similarity (Wang et al. 2004), mean over channels and positions.

    An 11×11 Gaussian window of deviation 1.5, at every position where it fits whole.

    Args:
        prediction: float [N, 3, H, W] in [0, 1], at least 11 pixels a side.
        truth: the same shape.

    Returns:
        float [N], at most 1.
    """
    N = len(prediction)
    mean_p, mean_t = _blur(prediction), _blur(truth)
    variance_p = _blur(prediction.square()) - mean_p.square()
    variance_t = _blur(truth.square()) - mean_t.square()
    covariance = _blur(prediction * truth) - mean_p * mean_t
    luminance = (2 * mean_p * mean_t + _SSIM_C1) / (mean_p.square() + mean_t.square() + _SSIM_C1)
    structure = (2 * covariance + _SSIM_C2) / (variance_p + variance_t + _SSIM_C2)
    return (luminance * structure).reshape(N, -1).mean(dim=1).clamp(max=1.0)  # float32 rounds above it


def _blur(images: torch.Tensor) -> torch.Tensor:
    """Averages under the window, [N, C, H, W] → [N, C, H - 10, W - 10], first over rows, then over columns."""
    N, C, H, W = images.shape
    offsets = torch.arange(_SSIM_WINDOW, dtype=images.dtype, device=images.device) - _SSIM_WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * _SSIM_SIGMA**2))
    window = window / window.sum()
    rows = F.conv2d(images.reshape(N * C, 1, H, W), window[None, None, :, None])
    columns = F.conv2d(rows, window[None, None, None, :])
    return columns.reshape(N, C, *columns.shape[-2:])
