"""Finding the camera: from where a picture was taken, given other views of the same scene.

By generation (Rosenbaum et al. 2018): log p(v | x, r) = log p(x | v, r) + log p(v) + a constant. Candidates are cameras
as the data have them, which stand for p(v); each is asked how likely it makes the picture. The cross-entropy method
then refines the best: proposals are drawn from a normal distribution of the best ones, which knows how place and
direction go together. Any density with a bound will do.

Legend: x picture, v viewpoint, r scene representation, G candidates, B pictures, K context views.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from gqn_rl.models.likelihood import gaussian_nll
from gqn_rl.models.scene_model import SceneModel
from gqn_rl.poses import VIEWPOINT_SIZE, CameraPose
from gqn_rl.views import Views, prepare_images

AT_ONCE = 64
"""Pictures that are drawn at once."""
_SMALLEST_SPREAD = (0.01, 0.01, 0.01, 0.01, 0.01)
"""Of proposals along x, y, z, metres, and of yaw and pitch, radians, where candidates differ in them at all."""


@dataclasses.dataclass(frozen=True)
class LocalisationSettings:
    """How a camera is looked for.

    Attributes:
        sigma: standard deviation of the pixels, which also decides how sure the answer is: errors of neighbouring
            pixels go together, so it should be larger than the pictures' error, see `analyses.localisation`.
        num_samples: of the bound for each candidate, averaged; 0 compares with the prior's mean picture, which costs
            less and is the same where latents say little.
        rounds: of refinement; 0 leaves the best candidate as it is.
        proposals: in each round.
        elites: of all so far, that the next proposals are drawn from.
    """

    sigma: float = 0.2
    num_samples: int = 0
    rounds: int = 3
    proposals: int = 24
    elites: int = 6

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"`sigma` must be above 0, got {self.sigma}.")
        if min(self.num_samples, self.rounds) < 0 or self.proposals < 1 or self.elites < 2:
            raise ValueError(
                "`num_samples` and `rounds` must be at least 0, `proposals` at least 1 and `elites` at least 2, got "
                f"{self.num_samples}, {self.rounds}, {self.proposals} and {self.elites}."
            )


class Found(NamedTuple):
    """Where a picture was taken from.

    Attributes:
        pose: the likeliest pose.
        viewpoints: the candidates, float32 [G, 7].
        log_likelihoods: of the picture at each candidate, at least, nats, float64 [G].
    """

    pose: CameraPose
    viewpoints: np.ndarray
    log_likelihoods: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """Of each candidate, where all are equally probable beforehand, float64 [G]."""
        return softmax(self.log_likelihoods)


def localise(
    model: SceneModel,
    context: Views,
    picture: np.ndarray,
    cameras: np.ndarray,
    settings: LocalisationSettings | None = None,
    rng: np.random.Generator | None = None,
) -> Found:
    """Finds the camera of a picture by generation.

    Args:
        model: a scene model that predicts views; `load_encoder(...).module.model` is one.
        context: other views of the scene, images uint8 [K, H, W, 3] and viewpoints float32 [K, 7].
        picture: uint8 [H, W, 3].
        cameras: where it may have been taken from, float32 [G, 7], drawn as the data's cameras are: a few hundred
            viewpoints of other scenes of the data set.
        settings: how it is looked for.
        rng: of the proposals.

    Raises:
        ValueError: the model redraws pictures only, or arrays have other shapes.
    """
    settings, rng = settings or LocalisationSettings(), rng or np.random.default_rng(0)
    _check(model, context, picture, cameras)
    views = Views(np.asarray(context.images)[None], np.asarray(context.viewpoints, np.float32)[None])
    with torch.inference_mode():
        r = model.encode(views.to_torch(next(model.parameters()).device))
        found = log_likelihoods(model, r, picture, cameras, settings)
        tried, scores = _angles(cameras), found
        varies = tried.std(axis=0) > 1e-6
        for _ in range(settings.rounds):
            proposed = _propose(tried, scores, varies, settings, rng)
            tried = np.concatenate([tried, proposed])
            scores = np.append(scores, log_likelihoods(model, r, picture, _viewpoints(proposed), settings))
    best = _viewpoints(tried[scores.argmax()][None])[0]
    return Found(CameraPose.from_viewpoint(best), np.asarray(cameras, np.float32), found)


@torch.inference_mode()
def log_likelihoods(
    model: SceneModel, r: Tensor, picture: np.ndarray, viewpoints: np.ndarray, settings: LocalisationSettings
) -> np.ndarray:
    """Returns log p(picture | viewpoint, r), at least, at each of viewpoints [G, 7]: nats, float64 [G].

    Args:
        model: a scene model that predicts views.
        r: of the scene, [1, *shape].
        picture: uint8 [H, W, 3].
        viewpoints: [G, 7].
        settings: σ and the number of samples.
    """
    x = prepare_images(torch.as_tensor(np.ascontiguousarray(picture))).to(r.device)[None, None]
    parts = []
    for part in torch.as_tensor(np.asarray(viewpoints, np.float32)).to(r.device).split(AT_ONCE):
        c = model.condition(r.expand(len(part), *r.shape[1:]), part[:, None])  # a scene each: a bound is a scene's
        here = x.expand(len(part), *x.shape[1:])
        if settings.num_samples:
            bounds = [model.density.bound(c, here, sigma=settings.sigma) for _ in range(settings.num_samples)]
            nats = torch.stack([bound.nll + bound.kl for bound in bounds]).mean(0)
        else:
            mse = (model.density.mean(c) - here).square().flatten(1).mean(1)
            nats = gaussian_nll(mse, here[0].numel(), settings.sigma)
        parts.append(-nats.double().cpu())
    return torch.cat(parts).numpy()


def _propose(
    tried: np.ndarray,
    scores: np.ndarray,
    varies: np.ndarray,
    settings: LocalisationSettings,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws proposals [P, 5] around the best of what was tried, as widely as the best few differ."""
    order = np.argsort(-scores)
    best = tried[order[0]]
    elites = tried[order[: settings.elites]] - best
    elites[:, 3] = (elites[:, 3] + np.pi) % (2 * np.pi) - np.pi
    near = np.abs(elites[:, 3]) < np.pi / 3  # another mode has proposals of its own only if it wins
    elites = elites[near]
    covariance = elites.T @ elites / max(len(elites), 1) + np.diag(np.square(_SMALLEST_SPREAD))
    steps = rng.multivariate_normal(np.zeros(5), covariance, size=settings.proposals)
    return best + np.where(varies, steps, 0.0)


def _angles(viewpoints: np.ndarray) -> np.ndarray:
    """Returns x, y, z, yaw and pitch of viewpoints [G, 7], float64 [G, 5]."""
    v = np.asarray(viewpoints, float)
    return np.column_stack([v[:, :3], np.arctan2(v[:, 3], v[:, 4]), np.arctan2(v[:, 5], v[:, 6])])


def _viewpoints(angles: np.ndarray) -> np.ndarray:
    """Returns the viewpoints of x, y, z, yaw and pitch [G, 5], float32 [G, 7]: the inverse of `_angles`."""
    yaw, pitch = angles[:, 3], angles[:, 4]
    turns = [np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)]
    return np.column_stack([angles[:, :3], *turns]).astype(np.float32)


def _check(model: SceneModel, context: Views, picture: np.ndarray, cameras: np.ndarray) -> None:
    if not model.predicts_views:
        raise ValueError(
            f"`model` must predict other views; a code with density '{model.config.density.kind}' only redraws."
        )
    shape = (model.image_size, model.image_size, 3)
    if np.shape(picture) != shape or np.shape(context.images)[1:] != shape:
        raise ValueError(
            f"`picture` must be uint8 {shape} and `context.images` [K, {', '.join(map(str, shape))}], got "
            f"{np.shape(picture)} and {np.shape(context.images)}."
        )
    if np.ndim(cameras) != 2 or np.shape(cameras)[1] != VIEWPOINT_SIZE or len(cameras) < 2:
        raise ValueError(f"`cameras` must be at least 2 viewpoints, [G, {VIEWPOINT_SIZE}], got {np.shape(cameras)}.")
