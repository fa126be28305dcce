"""VAE: the rival without viewpoints. One picture becomes a code, and the code becomes the same picture again.

Kingma and Welling's variational auto-encoder (2014), which the GQN paper compares with. Its encoder is the trunk of the
GQN's `gated` encoder, its code as wide as that one's r, and likelihood and its deviation are the GQN's, so that what
differs is what is asked of the network: to redraw a view instead of predicting another.

Legend: x picture, z code, q(z | x) posterior, p(z) = N(0, 1) prior, N pictures, D entries of the code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gqn_rl.models.encoders import centre, strided_trunk
from gqn_rl.models.gqn import IMAGE_SIZE_MULTIPLE, negative_elbo, pictures_of
from gqn_rl.models.layers import Gaussian, gaussian_kl
from gqn_rl.models.scene_model import SceneModel
from gqn_rl.views import Views

_START_CHANNELS = 128


class VAE(SceneModel):
    """An unconditioned variational auto-encoder that answers as a scene model; viewpoints are never read.

    ψ of a view is the mean of q(z | x). r is their sum, as of every scene model; agents take that of the present view.
    The loss is the negative ELBO of the query pictures, to which the context adds nothing. A view from elsewhere cannot
    be predicted, since the code does not know where a picture was taken from: `predict` says that the picture will look
    like one of those given and redraws them. That judges how alike views of a scene are; `reconstruct` judges the VAE.

    Args:
        image_size: H = W, a multiple of 16.
        code_size: D.
        features: width of the fully connected layers on both sides of the code.
    """

    predicts_views = False

    def __init__(self, image_size: int = 64, code_size: int = 256, features: int = 512):
        super().__init__()
        if image_size % IMAGE_SIZE_MULTIPLE or image_size < 1:
            raise ValueError(f"`image_size` must be a multiple of {IMAGE_SIZE_MULTIPLE}, got {image_size}.")
        if code_size < 1 or features < 1:
            raise ValueError(f"`code_size` and `features` must be at least 1, got {code_size} and {features}.")
        self.config: dict[str, Any] = {"image_size": image_size, "code_size": code_size, "features": features}
        self.image_size = image_size
        self.representation_shape = (code_size,)
        self.trunk = strided_trunk(image_size, features)
        self.head = nn.Sequential(
            *(nn.LayerNorm(features), nn.Linear(features, features), nn.ReLU()), nn.Linear(features, 2 * code_size)
        )
        self.decoder = _decoder(image_size, code_size, features)

    def posterior(self, views: Views) -> Gaussian:
        """Returns q(z | x) of every picture of views [B, K, ...]: mean and log_std float32 [B K, D]."""
        mean, log_std = self.head(self.trunk(centre(pictures_of(views)))).float().chunk(2, dim=1)
        return Gaussian(mean, log_std)

    def decode(self, z: Tensor) -> Tensor:
        """Returns the mean of p(x | z) for codes [N, D]: float32 [N, 3, H, W] in about [0, 1]."""
        return self.decoder(z).float() / 4 + 0.5  # undoes `centre`

    def encode_views(self, views: Views) -> Tensor:
        """Returns the posterior's mean of each view, [B, K, D]."""
        return self.posterior(views).mean.unflatten(0, views.images.shape[:2])

    def encode(self, views: Views) -> Tensor:
        """Returns the sum of the views' codes, float32 [B, D]; for one view it is its code."""
        return self.encode_views(views).sum(dim=1)

    def loss(
        self,
        context: Views,
        query: Views,
        *,
        sigma: float,
        latents: bool = True,
        kl_weight: float = 1.0,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the negative ELBO of the query pictures in nats per picture, and its terms.

        Args:
            context: not read; the GQN's loss needs it.
            query: views [B, Q, ...] to redraw.
            sigma: standard deviation of the pixels' normal distribution, pixels in [0, 1].
            latents: False puts z at the posterior's mean, no KL: an auto-encoder without noise.
            kl_weight: weight of the KL; 1 is the ELBO.
            noise: standard normal [B Q, D] of the posterior, drawn when not given.

        Returns:
            The scalar to minimise, and "nll", "kl" (nats per picture) and "mse" (per pixel channel) without gradient.
        """
        q = self.posterior(query)
        z = q.sample(noise) if latents else q.mean
        kl = gaussian_kl(q, _prior(q)).mean() if latents else torch.zeros((), device=z.device)
        return negative_elbo(self.decode(z), pictures_of(query), kl, sigma, kl_weight)

    def predict(self, context: Views, query_viewpoints: Tensor, sample: bool = True) -> Tensor:
        """Redraws the context for every query viewpoint, whatever that is: float32 [B, Q, 3, H, W].

        What the VAE can say of another view is the mixture of the context's posteriors, (1/K) Σ_k q(z | x_k).

        Args:
            context: views [B, K, ...].
            query_viewpoints: [B, Q, V]; only Q is read.
            sample: draw a view of the context and a code of its posterior; else decode the mean of all K codes.
        """
        (batch, num_views), num_queries = context.images.shape[:2], query_viewpoints.shape[1]
        q = Gaussian(*(part.unflatten(0, (batch, num_views)) for part in self.posterior(context)))  # [B, K, D]
        if sample:
            drawn = torch.randint(num_views, (batch, num_queries, 1), device=q.mean.device)
            z = Gaussian(*(part.take_along_dim(drawn, dim=1) for part in q)).sample()  # [B, Q, D]
        else:
            z = q.mean.mean(dim=1, keepdim=True).expand(-1, num_queries, -1)
        return self.decode(z.flatten(0, 1)).unflatten(0, (batch, num_queries))

    def reconstruct(self, context: Views, query: Views) -> Tensor:
        """Redraws the query views with codes from the posterior: float32 [B, Q, 3, H, W]; the context is not read."""
        return self.decode(self.posterior(query).sample()).unflatten(0, query.images.shape[:2])


def _decoder(image_size: int, code_size: int, features: int) -> nn.Sequential:
    """Returns the mirror image of `strided_trunk`: codes [N, D] to [N, 3, H, W]."""
    side = image_size // IMAGE_SIZE_MULTIPLE
    return nn.Sequential(
        *(nn.Linear(code_size, features), nn.ReLU()),
        *(nn.Linear(features, _START_CHANNELS * side**2), nn.Unflatten(1, (_START_CHANNELS, side, side))),
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
