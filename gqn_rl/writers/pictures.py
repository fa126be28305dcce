"""Pictures and animations as files."""

from __future__ import annotations

import io
import pathlib

import numpy as np
from PIL import Image

from gqn_rl.runlog import write_atomic

WHITE = 255
_GIF_COLOURS = 64


def write_png(path: pathlib.Path, image: np.ndarray) -> None:
    """Writes a picture, uint8 [H, W, 3], whole or not at all."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    write_atomic(path, buffer.getvalue())


def palette(pictures: np.ndarray, num_colours: int = 256) -> Image.Image:
    """Returns colours for pictures, uint8 [..., 3]: half chosen by how often they occur, half by how they differ.

    So a small saturated thing keeps its own beside a large wall.
    """
    colours = pictures.reshape(-1, 3)
    _, first = np.unique(colours >> 2, axis=0, return_index=True)
    common = colours[:: max(1, len(colours) // len(first))]
    chosen = Image.fromarray(np.concatenate([colours[first], common])[None]).quantize(num_colours, kmeans=4)
    entries = np.array(chosen.getpalette()).reshape(-1, 3)
    entries[np.abs(entries - WHITE).sum(axis=1).argmin()] = WHITE  # paper stays white
    chosen.putpalette(entries.ravel().tolist())
    return chosen


def write_gif(path: pathlib.Path, frames: np.ndarray, milliseconds: int = 100) -> None:
    """Writes an endless animation of frames, uint8 [F, H, W, 3], with one palette for all of them."""
    colours = palette(frames, _GIF_COLOURS)
    pictures = [Image.fromarray(frame).quantize(palette=colours, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0, optimize=False
    )
    write_atomic(path, buffer.getvalue())
