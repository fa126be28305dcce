"""The density "vae": one picture becomes a code, and the code becomes the same picture again.

Kingma and Welling's variational auto-encoder (2014), which the GQN paper compares with. Its encoder is the trunk of the
representation `gated`, its code as wide as that one's r, and likelihood and its deviation are the GQN's, so that what
differs is what is asked of the network: to redraw a view instead of predicting another.

Legend: x picture, z code, q(z | x) posterior, p(z) = N(0, 1) prior, N pictures, D entries of the code.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from gqn_rl.models.config import IMAGE_SIZE_MULTIPLE, SceneFacts
from gqn_rl.models.layers import Gaussian, centre, gaussian_kl, strided_trunk
from gqn_rl.models.likelihood import gaussian_bound
from gqn_rl.models.protocols import Bound, Condition, ConditionShape
from gqn_rl.models.registry import register_density

_START_CHANNELS = 128


@dataclasses.dataclass(frozen=True)
class VaeConfig:
    """Settings of the density "vae".

    Attributes:
        code_size: D.
        features: width of the fully connected layers on both sides of the code.
    """

    kind: str = "vae"
    code_size: int = 256
    features: int = 512

    def __post_init__(self) -> None:
        if self.code_size < 1 or self.features < 1:
            raise ValueError(
                f"`code_size` and `features` must be at least 1, got {self.code_size} and {self.features}."
            )


class Vae(nn.Module):
    """An unconditioned variational auto-encoder; of a condition only the number of queries is read.

    Attributes:
        code_size: D.
    """

    def __init__(self, config: VaeConfig, condition: ConditionShape, scene: SceneFacts):
        super().__init__()
        if condition.constant is not None:
            raise ValueError(
                "`density` 'vae' knows neither r nor the viewpoint: it needs `representation` 'code', whose r is its "
                "code; 'draw' with num_steps=1 is the conditional one."
            )
        features, self.code_size = config.features, config.code_size
        self.trunk = strided_trunk(scene.image_size, features)
        self.head = nn.Sequential(
            *(nn.LayerNorm(features), nn.Linear(features, features), nn.ReLU()),
            nn.Linear(features, 2 * config.code_size),
        )
        self.decoder = _decoder(scene.image_size, config)

    def posterior(self, x: Tensor) -> Gaussian:
        """Returns q(z | x) of pictures [N, 3, H, W]: mean and log_std float32 [N, D]."""
        mean, log_std = self.head(self.trunk(centre(x))).float().chunk(2, dim=1)
        return Gaussian(mean, log_std)

    def decode(self, z: Tensor) -> Tensor:
        """Returns the mean of p(x | z) for codes [N, D]: float32 [N, 3, H, W] in about [0, 1]."""
        return self.decoder(z).float() / 4 + 0.5  # undoes `centre`

    def bound(self, c: Condition, x: Tensor, *, sigma: float, noise: Tensor | None = None) -> Bound:
        """Returns the ELBO's terms; `noise` is [B Q, D]."""
        q = self.posterior(x.flatten(0, 1))
        mean = self.decode(q.sample(noise)).unflatten(0, x.shape[:2])
        return gaussian_bound(mean, x, gaussian_kl(q, _prior(q)).unflatten(0, x.shape[:2]), sigma)

    def kl(self, c: Condition, x: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Returns KL(q ‖ N(0, 1)) of each picture in nats, float32 [B, Q]."""
        q = self.posterior(x.flatten(0, 1))
        return gaussian_kl(q, _prior(q)).unflatten(0, x.shape[:2])

    def sample(self, c: Condition, *, noise: Tensor | None = None) -> Tensor:
        """Decodes codes from N(0, 1): pictures of nowhere in particular, float32 [B, Q, 3, H, W]."""
        shape = c.viewpoints.shape[:2]
        if noise is None:
            noise = torch.randn(shape.numel(), self.code_size, device=c.viewpoints.device)
        return self.decode(noise).unflatten(0, shape)

    def mean(self, c: Condition) -> Tensor:
        """Decodes the code 0 for every query."""
        shape = c.viewpoints.shape[:2]
        return self.decode(c.viewpoints.new_zeros(shape.numel(), self.code_size)).unflatten(0, shape)

    def reconstruct(self, c: Condition, x: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Redraws the pictures with codes from the posterior: float32 [B, Q, 3, H, W]."""
        return self.decode(self.posterior(x.flatten(0, 1)).sample(noise)).unflatten(0, x.shape[:2])


def _decoder(image_size: int, config: VaeConfig) -> nn.Sequential:
    """Returns the mirror image of `strided_trunk`: codes [N, D] to [N, 3, H, W]."""
    side = image_size // IMAGE_SIZE_MULTIPLE
    return nn.Sequential(
        *(nn.Linear(config.code_size, config.features), nn.ReLU()),
        *(nn.Linear(config.features, _START_CHANNELS * side**2), nn.Unflatten(1, (_START_CHANNELS, side, side))),
        *(nn.GroupNorm(8, _START_CHANNELS), nn.ReLU()),
        *(_double(_START_CHANNELS, 128), nn.GroupNorm(8, 128), nn.ReLU()),
        *(_double(128, 64), nn.GroupNorm(8, 64), nn.ReLU()),
        *(_double(64, 32), nn.ReLU()),
        _double(32, 3),
    )


def _double(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """Returns a convolution to maps of twice the size."""
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1)


def _prior(q: Gaussian) -> Gaussian:
    """Returns the standard normal over codes shaped as those of `q`."""
    zeros = torch.zeros_like(q.mean)
    return Gaussian(zeros, zeros)


register_density(Vae, VaeConfig())
