"""Turntable: a camera goes around scenes that were seen from a few sides; what is imagined, beside the truth."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from typing import Any

import numpy as np

from gqn_rl import picture_metrics as metrics
from gqn_rl.analyses.common import Subject, check_positive, some_scenes, views_of
from gqn_rl.analyses.passes import errors, predict
from gqn_rl.analyses.rebuild import can_rebuild, rebuild_scene, show_scene
from gqn_rl.dataset import MultiViewDataset
from gqn_rl.progress import tqdm
from gqn_rl.statistics import mean_over_scenes
from gqn_rl.views import CameraPose, Views, restore_images
from gqn_rl.writers.pictures import write_gif
from gqn_rl.writers.sheets import GAP_PX, Group, write_sheet
from gqn_rl.writers.tables import write_rows

ELEVATION_QUANTILE = 0.7
"""The circle is rather high among the cameras of the data, from where more is seen."""
WIDEST_GAP_DEG = 30.0
"""Where no camera of the data stands in a wider sector than this, the circle leaves it out and swings to and fro."""
FARTHEST_MISS = 0.5
"""Lines of sight that pass the common centre at more than this share of their distance have none: turn in place."""
SHEET_FRAMES, SHEET_SCENES = 9, 3


@dataclasses.dataclass(frozen=True)
class TurntableSettings:
    """Settings of the finding.

    Attributes:
        num_scenes: held-out scenes in the table.
        num_context: views of each that are given; fewer where the data have fewer.
        num_frames: pictures of one turn.
        figure_scenes: scenes side by side in the animation.
        scale: pixels on a side that a pixel becomes in the animation.
    """

    num_scenes: int = 16
    num_context: int = 4
    num_frames: int = 32
    figure_scenes: int = 4
    scale: int = 1

    def __post_init__(self) -> None:
        check_positive(self, "turntable")


def turntable(subject: Subject, out: pathlib.Path, rng: np.random.Generator, settings: TurntableSettings) -> str:
    """Imagines a turn around each scene; writes an animation, a sheet of some frames and the errors of all."""
    dataset = subject.dataset
    scenes = some_scenes(dataset, settings.num_scenes)
    num_context = min(settings.num_context, dataset.views_per_scene - 1)
    context = views_of(dataset, scenes, np.arange(num_context))
    is_drawn_again = can_rebuild(dataset.manifest)
    if is_drawn_again:
        truth = rendered_turn(dataset, scenes, settings.num_frames, subject.progress)
    else:
        truth = stored_turn(dataset, scenes, num_context)
    imagined = predict(subject.model, context, truth.viewpoints)
    psnr = metrics.psnr(errors(imagined, truth.images)).double().numpy()
    write_rows(out / "turntable.csv", rows_of(scenes, truth.viewpoints, psnr))
    pictures = restore_images(imagined).numpy()
    draw_animation(out / "turntable.gif", truth.images, pictures, settings)
    draw_sheet(out / "turntable.png", context, truth, pictures)
    mean = mean_over_scenes(psnr.mean(axis=1), rng)
    source = "drawn again" if is_drawn_again else "the stored views by yaw"
    return (
        f"{len(scenes)} held-out scenes from {num_context} views, {psnr.shape[1]} pictures of each, truth: {source}.\n"
        f"PSNR {mean.value:.2f} dB [{mean.low:.2f}, {mean.high:.2f}]"
    )


def rendered_turn(dataset: MultiViewDataset, scenes: np.ndarray, num_frames: int, progress: bool = True) -> Views:
    """Draws scenes again and goes around each: images uint8 [N, F, H, W, 3], viewpoints [N, F, 7]."""
    orbit = find_orbit(dataset.viewpoints.reshape(-1, dataset.viewpoints.shape[-1]))
    size = dataset.image_size
    images = np.empty((len(scenes), num_frames, size, size, 3), np.uint8)
    viewpoints = np.empty((len(scenes), num_frames, dataset.viewpoints.shape[-1]), np.float32)
    with contextlib.closing(rebuild_scene(dataset.manifest)) as scene:
        for row, index in enumerate(tqdm(scenes, desc="turntable", unit="scene", disable=not progress)):
            show_scene(scene, dataset, int(index))
            poses = orbit.poses(num_frames) if orbit else turn_in_place(dataset.viewpoints[index, 0], num_frames)
            for frame, pose in enumerate(poses):
                images[row, frame], viewpoints[row, frame] = scene.render(pose), pose.viewpoint
    return Views(images, viewpoints)


def stored_turn(dataset: MultiViewDataset, scenes: np.ndarray, num_context: int) -> Views:
    """Returns the stored views that are not given, those of each scene in order of yaw: [N, F, ...]."""
    rest = np.arange(num_context, dataset.views_per_scene)
    yaws = np.arctan2(*np.moveaxis(dataset.viewpoints[scenes][:, rest, 3:5], -1, 0))
    return views_of(dataset, scenes, rest[yaws.argsort(axis=1, kind="stable")])


@dataclasses.dataclass(frozen=True)
class Orbit:
    """A level circle, or a part of one, around what all cameras look at.

    Attributes:
        center_w: what the cameras look at, metres, float64 [3].
        distance_m: from there.
        elevation_rad: above the horizontal plane through it.
        start_rad: azimuth of the first camera.
        sweep_rad: how far it goes round, 2π for a whole circle.
    """

    center_w: np.ndarray
    distance_m: float
    elevation_rad: float
    start_rad: float
    sweep_rad: float

    def poses(self, num_frames: int) -> list[CameraPose]:
        """Returns cameras that go round and come back to the first: a circle once, a part of one to and fro."""
        phase = np.arange(num_frames) / num_frames
        is_circle = self.sweep_rad >= 2 * np.pi
        share = phase if is_circle else (1 - np.cos(2 * np.pi * phase)) / 2
        azimuths = self.start_rad + self.sweep_rad * share
        level, up = np.cos(self.elevation_rad), np.sin(self.elevation_rad)
        outward = np.column_stack([level * np.cos(azimuths), level * np.sin(azimuths), np.full(num_frames, up)])
        return [CameraPose.look_at(self.center_w + self.distance_m * out, self.center_w) for out in outward]


def find_orbit(viewpoints: np.ndarray) -> Orbit | None:
    """Returns the circle on which the cameras of a data set stand, [M, 7]; None where they look at no common place.

    The centre is the point nearest to all lines of sight (least squares).
    """
    places = viewpoints[:, :3].astype(float)
    forward = np.array([CameraPose.from_viewpoint(viewpoint).forward_w for viewpoint in viewpoints[:2000]])
    places = places[: len(forward)]
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]  # takes off the part along the line
    center = np.linalg.lstsq(across.sum(0), (across @ places[:, :, None]).sum(0)[:, 0], rcond=None)[0]
    away = places - center
    distance = np.linalg.norm(away, axis=1)
    miss = np.linalg.norm((across @ away[:, :, None])[:, :, 0], axis=1)
    if np.median(miss / distance) > FARTHEST_MISS or np.mean((away * forward).sum(1) < 0) < 0.9:
        return None
    elevation = np.quantile(np.arcsin(np.clip(away[:, 2] / distance, -1, 1)), ELEVATION_QUANTILE)
    start, sweep = _occupied(np.arctan2(away[:, 1], away[:, 0]))
    return Orbit(center, float(np.median(distance)), float(elevation), start, sweep)


def turn_in_place(viewpoint: np.ndarray, num_frames: int) -> list[CameraPose]:
    """Returns cameras that stand where a viewpoint [7] is and turn once about the vertical."""
    first = CameraPose.from_viewpoint(viewpoint)
    yaws = first.yaw_rad + 2 * np.pi * np.arange(num_frames) / num_frames
    return [CameraPose(first.position_w, float(yaw), first.pitch_rad) for yaw in yaws]


def rows_of(scenes: np.ndarray, viewpoints: np.ndarray, psnr: np.ndarray) -> list[dict[str, Any]]:
    """Returns a row for each scene and frame."""
    yaws = np.rad2deg(np.arctan2(viewpoints[..., 3], viewpoints[..., 4]))
    return [
        {
            "scene": int(scenes[row]),
            "frame": frame,
            "yaw_deg": float(yaws[row, frame]),
            "psnr": float(psnr[row, frame]),
        }
        for row, frame in np.ndindex(psnr.shape)
    ]


def draw_animation(path: pathlib.Path, truth: np.ndarray, imagined: np.ndarray, settings: TurntableSettings) -> None:
    """Writes the turn as a GIF, a column per scene: the truth above, what is imagined below."""
    first = slice(settings.figure_scenes)
    pictures = np.stack([truth[first], imagined[first]])  # [2, N, F, H, W, 3]
    pictures = pictures.repeat(settings.scale, 3).repeat(settings.scale, 4)
    framed = np.pad(pictures, ((0, 0), (0, 0), (0, 0), (GAP_PX, GAP_PX), (GAP_PX, GAP_PX), (0, 0)), constant_values=255)
    rows, N, F, H, W, channels = framed.shape
    write_gif(path, framed.transpose(2, 0, 3, 1, 4, 5).reshape(F, rows * H, N * W, channels))


def draw_sheet(path: pathlib.Path, context: Views, truth: Views, imagined: np.ndarray) -> None:
    """Draws two rows per scene, truth and imagination, at some of the frames; what was given stands at the left."""
    images, F = truth.images[:SHEET_SCENES], truth.images.shape[1]
    comes_back = np.allclose(truth.viewpoints[:, 1], truth.viewpoints[:, -1], atol=1e-3)  # swings to and fro
    frames = np.linspace(0, F / 2 if comes_back else F - F / SHEET_FRAMES, min(SHEET_FRAMES, F)).astype(int)
    N, shape = len(images), images.shape[2:]
    rows = np.stack([images[:, frames], imagined[:N, frames]], axis=1).reshape(2 * N, -1, *shape)
    half = -(-context.images.shape[1] // 2)  # the given views fill two rows
    given = np.full((N, 2 * half, *shape), 255, np.uint8)
    given[:, : context.images.shape[1]] = context.images[:N]
    given = given.reshape(2 * N, half, *shape)
    write_sheet(path, [Group("given", given), Group("a turn: truth above, imagined below", rows)])


def _occupied(azimuths: np.ndarray) -> tuple[float, float]:
    """Returns start and length of the arc that holds all azimuths, the whole circle where no gap in it is wide."""
    azimuths = np.sort(azimuths)
    gaps = np.diff(azimuths, append=azimuths[0] + 2 * np.pi)
    widest = int(gaps.argmax())
    if np.rad2deg(gaps[widest]) <= WIDEST_GAP_DEG:
        return float(azimuths[0]), 2 * np.pi
    return float(azimuths[(widest + 1) % len(azimuths)]), float(2 * np.pi - gaps[widest])
