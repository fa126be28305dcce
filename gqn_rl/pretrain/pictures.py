"""Picture sheets: one row per scene, one titled column each for context views, truth, prediction, samples and so on."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw

from gqn_rl.models import SceneModel
from gqn_rl.runlog import write_atomic
from gqn_rl.views import Views, restore_images

NUM_SAMPLES = 3
GAP_PX = 2
TITLE_PX, TITLE_FONT_PX = 24, 14
NARROWEST_PX = 100
"""Pictures are enlarged by a whole number until a column is as wide as its title."""
_WHITE = 255
_NOISE_SEED = 0


def picture_sheet(model: SceneModel, context: Views, query: Views) -> np.ndarray:
    """Draws a sheet of N scenes.

    Args:
        model: the scene model.
        context: torch Views [N, K, ...].
        query: torch Views [N, 1, ...].

    Returns:
        uint8 [height, width, 3]. Columns, each under its title: the K context views, the truth, the prediction at the
        prior's mean, `NUM_SAMPLES` samples from the prior, the reconstruction from the posterior.
    """
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(_NOISE_SEED)
        drawn = [model.predict(context, query.viewpoints, sample=False)]
        drawn += [model.predict(context, query.viewpoints) for _ in range(NUM_SAMPLES)]
        drawn += [model.reconstruct(context, query)]
    columns = [context.images, query.images, *(restore_images(images) for images in drawn)]
    titles = ["given view"] * context.images.shape[1]
    titles += ["truth", "prediction", *["sample"] * NUM_SAMPLES, "reconstruction"]
    return with_titles(tile(torch.cat([column.cpu() for column in columns], dim=1).numpy()), titles)


def with_titles(sheet: np.ndarray, titles: Sequence[str]) -> np.ndarray:
    """Enlarges a sheet, uint8 [H, W, 3], of as many columns as there are titles, and writes a title over each."""
    zoom = -(-NARROWEST_PX * len(titles) // sheet.shape[1])
    sheet = sheet.repeat(zoom, 0).repeat(zoom, 1)
    page = Image.new("RGB", (sheet.shape[1], sheet.shape[0] + TITLE_PX), "white")
    page.paste(Image.fromarray(sheet), (0, TITLE_PX))
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(titles):
        place = ((column + 0.5) * sheet.shape[1] / len(titles), TITLE_PX / 2)
        draw.text(place, title, fill="black", anchor="mm", font_size=TITLE_FONT_PX)
    return np.asarray(page)


def tile(images: np.ndarray) -> np.ndarray:
    """Lays pictures [rows, columns, H, W, 3] side by side on white, `GAP_PX` apart."""
    rows, columns, height, width, channels = images.shape
    sheet = np.full((rows, height + GAP_PX, columns, width + GAP_PX, channels), _WHITE, np.uint8)
    sheet[:, :height, :, :width] = images.transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(rows * (height + GAP_PX), columns * (width + GAP_PX), channels)
    return sheet[:-GAP_PX, :-GAP_PX]


def write_png(path: pathlib.Path, image: np.ndarray) -> None:
    """Writes a picture, uint8 [H, W, 3], whole or not at all."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    write_atomic(path, buffer.getvalue())
