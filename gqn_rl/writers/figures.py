"""Figures as files; the same figure gives the same bytes, so that it can be kept under version control."""

from __future__ import annotations

import io
import pathlib

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from gqn_rl.runlog import write_atomic
from gqn_rl.writers.pictures import palette

DPI = 110


def write_figure(path: pathlib.Path, figure: Figure, dpi: int = DPI) -> None:
    """Writes a figure in the format that the file's name ends in."""
    buffer, ending = io.BytesIO(), path.suffix[1:]
    with matplotlib.rc_context({"svg.hashsalt": "gqn_rl"}):
        figure.savefig(buffer, dpi=dpi, format=ending, metadata={"Date": None} if ending == "svg" else None)
    write_atomic(path, buffer.getvalue())


def write_small_figure(path: pathlib.Path, figure: Figure) -> None:
    """Writes a figure as a PNG of few colours, which halves the file."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, dpi=DPI, format="png")
    picture = Image.open(drawn).convert("RGB")
    few = picture.quantize(palette=palette(np.asarray(picture)), dither=Image.Dither.NONE)
    few.save(small, "PNG", optimize=True)
    write_atomic(path, small.getvalue())
