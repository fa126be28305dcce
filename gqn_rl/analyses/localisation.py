"""Localisation: from where a held-out picture was taken, found from 1, 2, 4 … other views of its scene.

Candidates are cameras of the data set's training scenes. Errors are of the refined answer, which never had the true
camera among its candidates; probabilities are of the true camera among all candidates and itself, so a model that knows
nothing has −log p = log(G + 1). How sure to be is one number, the pixels' σ, chosen on scenes that are not judged.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import softmax

from gqn_rl.analyses.common import Subject, check_positive, need_views, seed_torch, view_counts
from gqn_rl.analyses.localisation_maps import Mapped, draw_maps
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.localisation import LocalisationSettings, localise, log_likelihoods
from gqn_rl.poses import CameraPose
from gqn_rl.progress import tqdm
from gqn_rl.statistics import mean_over_scenes
from gqn_rl.views import Views
from gqn_rl.writers.tables import write_rows

SIGMAS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Deviations of the pixels that are tried."""
NEAR_DEG = 20.0


@dataclasses.dataclass(frozen=True)
class LocalisationFindingSettings:
    """Settings of the finding.

    Attributes:
        num_scenes: held-out scenes that are judged.
        calibration_scenes: further ones, on which σ is chosen.
        num_cameras: candidates.
        max_views: context views, at most.
        num_samples: of the bound; 0 compares with the prior's mean picture.
        rounds, proposals: of refinement.
        figure_scenes: rows of the figure.
    """

    num_scenes: int = 24
    calibration_scenes: int = 8
    num_cameras: int = 128
    max_views: int = 8
    num_samples: int = 0
    rounds: int = 3
    proposals: int = 24
    figure_scenes: int = 3

    def __post_init__(self) -> None:
        check_positive(self, "localisation", but=("num_samples", "rounds", "proposals"))
        self.search(1.0)  # refuses what the search cannot do

    def search(self, sigma: float) -> LocalisationSettings:
        """Returns how each camera is looked for."""
        return LocalisationSettings(sigma, self.num_samples, self.rounds, self.proposals)


class Answer(NamedTuple):
    """What came out for one scene.

    Attributes:
        error_m: distance of the answer from the true camera.
        error_deg: angle between their lines of sight.
        nll: −log probability of the true camera among the candidates and itself, nats.
        near: probability of candidates whose line of sight is within `NEAR_DEG` of the true one.
        near_chance: their share.
        probabilities: of the candidates, [G].
        pose: the answer.
    """

    error_m: float
    error_deg: float
    nll: float
    near: float
    near_chance: float
    probabilities: np.ndarray
    pose: CameraPose


def localisation(
    subject: Subject, out: pathlib.Path, rng: np.random.Generator, settings: LocalisationFindingSettings
) -> str:
    """Looks for the camera of each scene's last view; writes the table and maps of probability over camera places."""
    need_views(subject.model, "localisation")
    seed_torch(rng)
    cameras = data_cameras(subject.dataset, rng, settings.num_cameras)
    counts = view_counts(subject.dataset, 1, settings.max_views)
    scenes = np.arange(min(settings.num_scenes + settings.calibration_scenes, subject.dataset.num_scenes))
    rest, judged = np.split(scenes, [min(settings.calibration_scenes, len(scenes) // 2)])
    rows, answers = [], {}
    for count in tqdm(counts, desc="localisation", disable=not subject.progress):
        sigma = calibrated(subject, rest, count, cameras, settings)
        answers[count] = [answer(subject, int(scene), count, cameras, settings.search(sigma), rng) for scene in judged]
        rows.append({"views": count, **_row(answers[count], sigma, len(cameras), rng)})
    write_rows(out / "localisation.csv", rows)
    shown = [_mapped(subject.dataset, index, int(scene), answers) for index, scene in enumerate(judged)]
    draw_maps(out / "localisation.png", cameras, shown[: settings.figure_scenes])
    lines = [
        f"{row['views']:>3} views: median error {row['median_error_m']:.2f} m and {row['median_error_deg']:.1f}°, "
        f"−log p {row['nll']:.2f} nats (uniform {row['nll_uniform']:.2f}), mass within {NEAR_DEG:.0f}° "
        f"{row['near']:.2f} (chance {row['near_chance']:.2f})"
        for row in rows
    ]
    return "\n".join([f"The camera of a held-out view, {rows[0]['scenes']} scenes:", *lines])


def data_cameras(dataset: MultiViewDataset, rng: np.random.Generator, count: int) -> np.ndarray:
    """Returns viewpoints of training scenes drawn at random, float32 [count, 7]."""
    train = MultiViewDataset(dataset.root, "train")
    viewpoints = np.asarray(train.viewpoints).reshape(-1, train.viewpoints.shape[-1])
    return viewpoints[rng.permutation(len(viewpoints))[:count]]


def calibrated(
    subject: Subject, scenes: np.ndarray, count: int, cameras: np.ndarray, settings: LocalisationFindingSettings
) -> float:
    """Returns the σ of `SIGMAS` at which true cameras of `scenes` are the most probable."""
    nlls = np.zeros(len(SIGMAS))
    for scene in scenes:
        context, picture, true = question(subject.dataset, int(scene), count)
        for index, scores in enumerate(_scores(subject, context, picture, np.append(cameras, true[None], 0), settings)):
            nlls[index] -= np.log(softmax(scores)[-1] + 1e-300)
    return SIGMAS[int(nlls.argmin())]


def _scores(
    subject: Subject, context: Views, picture: np.ndarray, viewpoints: np.ndarray, settings: LocalisationFindingSettings
) -> list[np.ndarray]:
    """Returns log-likelihoods at every σ of `SIGMAS`; pictures without latents are drawn once for all of them."""
    model = subject.model
    r = _encode(subject, context)
    if settings.num_samples:
        return [log_likelihoods(model, r, picture, viewpoints, settings.search(sigma)) for sigma in SIGMAS]
    unit = log_likelihoods(model, r, picture, viewpoints, settings.search(1.0))
    return [(unit - unit.max()) / sigma**2 for sigma in SIGMAS]  # up to a constant, −n · mse / (2 σ²)


def _encode(subject: Subject, context: Views) -> torch.Tensor:
    device = next(subject.model.parameters()).device
    views = Views(context.images[None], context.viewpoints[None]).to_torch(device)
    with torch.inference_mode():
        return subject.model.encode(views)


def question(dataset: MultiViewDataset, scene: int, count: int) -> tuple[Views, np.ndarray, np.ndarray]:
    """Returns the first `count` views of a scene, and picture and viewpoint of its last one."""
    which = np.array([[*range(count), dataset.views_per_scene - 1]])
    views = dataset.views(np.array([scene]), which)
    images, viewpoints = views.images[0], views.viewpoints[0]
    return Views(images[:-1], viewpoints[:-1]), images[-1], viewpoints[-1]


def answer(
    subject: Subject,
    scene: int,
    count: int,
    cameras: np.ndarray,
    search: LocalisationSettings,
    rng: np.random.Generator,
) -> Answer:
    """Looks for the camera of a scene's last view, given its first `count`."""
    context, picture, true = question(subject.dataset, scene, count)
    found = localise(subject.model, context, picture, cameras, search, rng)
    r = _encode(subject, context)
    at_truth = log_likelihoods(subject.model, r, picture, true[None], search)
    with_truth = softmax(np.append(found.log_likelihoods, at_truth))
    pose, near = CameraPose.from_viewpoint(true), angles_deg(cameras, true) <= NEAR_DEG
    return Answer(
        float(np.linalg.norm(np.subtract(found.pose.position_w, pose.position_w))),
        float(angles_deg(found.pose.viewpoint[None], true)[0]),
        float(-np.log(with_truth[-1] + 1e-300)),
        float(found.probabilities[near].sum()),
        float(near.mean()),
        found.probabilities,
        found.pose,
    )


def angles_deg(viewpoints: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Returns the angles between the lines of sight of viewpoints [G, 7] and of one [7], degrees, [G].

    >>> east, north = CameraPose((0.0, 0.0, 0.0), 0.0, 0.0), CameraPose((1.0, 0.0, 0.0), np.pi / 2, 0.0)
    >>> angles_deg(north.viewpoint[None], east.viewpoint).round(3).tolist()
    [90.0]
    """
    ahead = np.array([CameraPose.from_viewpoint(v).forward_w for v in viewpoints])
    return np.rad2deg(np.arccos(np.clip(ahead @ CameraPose.from_viewpoint(one).forward_w, -1, 1)))


def _row(answers: list[Answer], sigma: float, num_cameras: int, rng: np.random.Generator) -> dict[str, Any]:
    def column(name: str) -> np.ndarray:
        return np.array([getattr(one, name) for one in answers])

    near, chance = column("near").mean(), column("near_chance").mean()
    return {
        "scenes": len(answers),
        "cameras": num_cameras,
        "sigma": sigma,
        "median_error_m": float(np.median(column("error_m"))),
        "median_error_deg": float(np.median(column("error_deg"))),
        **mean_over_scenes(column("nll"), rng).columns("nll"),
        "nll_uniform": float(np.log(num_cameras + 1)),
        "near": float(near),
        "near_chance": float(chance),
        "near_over_chance": float(near / chance) if chance else float("nan"),
    }


def _mapped(dataset: MultiViewDataset, index: int, scene: int, answers: dict[int, list[Answer]]) -> Mapped:
    """Returns what a row of the figure shows of the judged scene of this index."""
    context, picture, true = question(dataset, scene, max(answers))
    found = {count: (some[index].probabilities, some[index].pose) for count, some in answers.items()}
    return Mapped(picture, CameraPose.from_viewpoint(true), context.viewpoints, found)
