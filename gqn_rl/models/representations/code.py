"""The representation "code": r is what an auto-encoder keeps of a picture; viewpoints are never read.

ψ of a view is the mean of the density's posterior q(z | x). r is their sum, as of every scene model; agents take that
of the present view. A view from elsewhere cannot be predicted, since the code does not know where a picture was taken
from: `redraw` says that the picture will look like one of those given. That judges how alike views of a scene are.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from torch import Tensor

from gqn_rl.models.config import SceneFacts
from gqn_rl.models.layers import Gaussian, flatten_queries
from gqn_rl.models.protocols import Condition, ConditionShape, PictureCode, Representation
from gqn_rl.models.registry import register_representation


@dataclasses.dataclass(frozen=True)
class CodeConfig:
    """The representation "code" has no settings; its width is the density's."""

    kind: str = "code"


class Code(Representation):
    """ψ is the mean of the density's posterior of a picture."""

    predicts_views = False

    def __init__(self, config: CodeConfig, scene: SceneFacts):
        super().__init__()
        self.condition_shape = ConditionShape(None, 0)

    def read_from(self, density: object) -> None:
        """Takes codes from `density`, whose weights stay its own.

        Raises:
            ValueError: it has no code of a picture.
        """
        if not hasattr(density, "code_size"):
            raise ValueError(
                "`representation` 'code' needs a `density` with a code of a picture: 'vae' or 'draw', "
                f"got {type(density).__name__}."
            )
        self._source = (
            cast(PictureCode, density),
        )  # in a tuple: no module of this one, or its weights would be saved twice
        self.shape = (self._source[0].code_size,)

    def forward(self, images: Tensor, viewpoints: Tensor) -> Tensor:
        """Maps float images [N, 3, H, W] to ψ, [N, D]; viewpoints are not read."""
        return self._source[0].posterior(images).mean

    def condition(self, r: Tensor, viewpoints: Tensor) -> Condition:
        """Returns nothing but the number of queries."""
        return Condition(viewpoints[..., :0])

    def redraw(self, pictures: Tensor, num_queries: int, sample: bool) -> Tensor:
        """Redraws pictures of a scene for every query: float32 [B, Q, 3, H, W].

        What an auto-encoder can say of another view is the mixture of the context's posteriors, (1/K) Σ_k q(z | x_k).

        Args:
            pictures: float [B, K, 3, H, W].
            num_queries: Q.
            sample: draw a view of the context and a code of its posterior; else decode the mean of all K codes.
        """
        (batch, num_views), source = pictures.shape[:2], self._source[0]
        posterior = source.posterior(flatten_queries(pictures))
        q = Gaussian(*(part.unflatten(0, (batch, num_views)) for part in posterior))  # [B, K, D]
        if sample:
            drawn = torch.randint(num_views, (batch, num_queries, 1), device=q.mean.device)
            z = Gaussian(*(part.take_along_dim(drawn, dim=1) for part in q)).sample()  # [B, Q, D]
        else:
            z = q.mean.mean(dim=1, keepdim=True).expand(-1, num_queries, -1)
        return source.decode(z.flatten(0, 1)).unflatten(0, (batch, num_queries))

    def redraw_mean(self, pictures: Tensor) -> Tensor:
        """Redraws each of the pictures [B, Q, 3, H, W] from its own posterior's mean: an auto-encoder without noise."""
        code = self._source[0].posterior(flatten_queries(pictures)).mean
        return self._source[0].decode(code).unflatten(0, pictures.shape[:2])


register_representation(Code, CodeConfig())
