"""The pixels' normal distribution with one deviation for all: −log N(x | mean, σ²) in nats."""

from __future__ import annotations

import math

from torch import Tensor

from gqn_rl.models.protocols import Bound


def gaussian_bound(mean: Tensor, x: Tensor, kl: Tensor, sigma: float) -> Bound:
    """Returns the bound of pictures under a normal distribution of their pixels.

    Args:
        mean: of the distribution, float32 [B, Q, 3, H, W].
        x: what was to be drawn, of the same shape.
        kl: KL of the latents, nats, [B, Q].
        sigma: standard deviation of the pixels, in [0, 1] like them.
    """
    squared_error = (mean - x.float()).square().flatten(1)  # [B, Q 3 H W]
    mse = squared_error.mean(dim=1)
    return Bound(gaussian_nll(mse, squared_error.shape[1], sigma), kl.sum(dim=1), mse)


def gaussian_nll(mse: Tensor, num_values: int, sigma: float) -> Tensor:
    """Returns −log N(x | mean, σ²) in nats for `num_values` values whose mean squared error is `mse`."""
    return num_values * (mse / (2 * sigma**2) + nll_floor_per_value(sigma))


def nll_floor_per_value(sigma: float) -> float:
    """Returns the negative log-likelihood in nats of a perfectly predicted value: log σ + ½ log 2π."""
    log_sigma = math.log2(sigma) * math.log(2)  # torch.compile keeps log2 symbolic, log would compile every σ anew
    return log_sigma + 0.5 * math.log(2 * math.pi)
