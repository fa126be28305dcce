"""The density "draw": a picture drawn in L steps onto a canvas, with latents at each.

GQN (Eslami et al. 2018) with a learned prior at every step; DRAW (Gregor et al. 2015) with the prior N(0, 1) and
nothing to condition on; with a single step the conditional VAEs of Kingma et al. (2014, `prior: standard`) and of Sohn
et al. (2015, `prior: learned` and `initial_state: condition`). The steps themselves are in `steps.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gqn_rl.models.densities.steps import DrawConfig, Drawing, Recurrence, Seen
from gqn_rl.models.layers import Gaussian, flatten_queries
from gqn_rl.models.likelihood import gaussian_bound
from gqn_rl.models.protocols import Bound, Condition
from gqn_rl.models.registry import register_density


class Draw(Recurrence):
    """The conditional image model p(x | v, r) with its posterior; see `Recurrence` for its arguments."""

    def bound(self, c: Condition, x: Tensor, *, sigma: float, noise: Tensor | None = None) -> Bound:
        """Returns the ELBO's terms, with latents from the posterior; `noise` is [L, B Q, *latent_shape]."""
        drawing = self.infer(c, x, noise)
        return gaussian_bound(_pictures(drawing, c), x, drawing.kl.unflatten(0, x.shape[:2]), sigma)

    def sample(self, c: Condition, *, noise: Tensor | None = None) -> Tensor:
        """Draws pictures with latents from the prior π(z | v, r): float32 [B, Q, 3, H, W]."""
        return _pictures(self.generate(c, noise=noise), c)

    def mean(self, c: Condition) -> Tensor:
        """Draws pictures with every latent at its prior's mean."""
        return _pictures(self.generate(c, sample=False), c)

    def kl(self, c: Condition, x: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Returns Σ_l KL(q_l ‖ π_l) of each query in nats, float32 [B, Q]."""
        return self.infer(c, x, noise).kl.unflatten(0, x.shape[:2])

    def reconstruct(self, c: Condition, x: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Redraws pictures with latents from the posterior q(z | x, v, r)."""
        return _pictures(self.infer(c, x, noise), c)

    def posterior(self, x: Tensor) -> Gaussian:
        """Returns the posteriors of all steps side by side, [N, code_size] each, along the path of their means.

        Only where nothing conditions the density: what it knows of a picture is then a code of it.
        """
        found: list[Gaussian] = []

        def keep_mean(posterior: Gaussian, step: int) -> Tensor:
            found.append(posterior)
            return posterior.mean

        self.infer_steps(Seen(None, x.new_zeros(len(x), 0)), x, keep_mean)
        parts = zip(*((part.flatten(1) for part in gaussian) for gaussian in found), strict=True)
        return Gaussian(*(torch.cat(part, dim=1) for part in parts))

    def decode(self, z: Tensor) -> Tensor:
        """Draws the pictures that codes [N, code_size] stand for: float32 [N, 3, H, W]."""
        latents = z.unflatten(1, (self.num_steps, *self.latent_shape)).transpose(0, 1)
        return self.generate_steps(Seen(None, z.new_zeros(len(z), 0)), lambda prior, step: latents[step]).mean

    def infer(self, c: Condition, x: Tensor, noise: Tensor | None = None) -> Drawing:
        """Draws with latents from the posterior and measures how far it is from the prior; N = B Q queries."""
        return self.infer_steps(
            _seen(c),
            flatten_queries(x),
            lambda posterior, step: posterior.sample(None if noise is None else noise[step]),
        )

    def generate(self, c: Condition, sample: bool = True, noise: Tensor | None = None) -> Drawing:
        """Draws with latents from the prior: samples, or its means where `sample` is false; N = B Q queries."""

        def choose(prior: Gaussian, step: int) -> Tensor:
            return prior.sample(None if noise is None else noise[step]) if sample else prior.mean

        return self.generate_steps(_seen(c), choose)


def _seen(c: Condition) -> Seen:
    """Returns a condition with its queries in one axis, as the cores take them."""
    r = c.constant
    if r is not None:
        r = r.flatten(0, 1) if r.ndim == 3 else flatten_queries(r)
    return Seen(r, c.viewpoints.flatten(0, 1))


def _pictures(drawing: Drawing, c: Condition) -> Tensor:
    """Returns the pictures' means, [B, Q, 3, H, W], with what the representation itself adds to them."""
    mean = drawing.mean.unflatten(0, c.viewpoints.shape[:2])
    return mean if c.residual is None else mean + c.residual


register_density(Draw, DrawConfig())
