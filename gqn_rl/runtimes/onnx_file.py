"""An encoder as an ONNX file: uint8 pictures and viewpoints in, features out, for any number of views at once."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from gqn_rl.views import VIEWPOINT_SIZE

IMAGES, VIEWPOINTS = "images", "viewpoints"
"""Inputs of the file: uint8 [N, H, W, 3] and float32 [N, 7]."""
FEATURES = "features"
"""Its first output, float32 [N, ...]."""
_NUM_EXAMPLES = 2
"""Views that the network is traced with. Not 1, which torch would take for a constant."""


def to_onnx(
    module: nn.Module, image_size: int, outputs: tuple[str, ...] = (FEATURES,), facts: Mapping[str, str] | None = None
) -> bytes:
    """Exports a network that maps uint8 images [N, H, W, 3] and viewpoints [N, 7] to features [N, ...].

    Args:
        module: the network, on the CPU, with one output or a tuple of them.
        image_size: H = W in pixels.
        outputs: names of its outputs.
        facts: what is written into the file's metadata.

    Raises:
        Exception: whatever torch raises where it cannot export the network; there is no common class.
    """
    import onnx

    views = (
        torch.zeros(_NUM_EXAMPLES, image_size, image_size, 3, dtype=torch.uint8),
        torch.zeros(_NUM_EXAMPLES, VIEWPOINT_SIZE),
    )
    batch = torch.export.Dim("batch")
    with _quiet(), torch.inference_mode(False), torch.no_grad():
        program = torch.onnx.export(
            copy.deepcopy(module).eval(),
            views,
            input_names=[IMAGES, VIEWPOINTS],
            output_names=list(outputs),
            dynamic_shapes=({0: batch}, {0: batch}),
            custom_translation_table=_translations(),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, dict(facts or {}))
    return model.SerializeToString()


def random_views(image_size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns pictures of noise, uint8 [count, H, W, 3], and viewpoints, float32 [count, 7], to compare runtimes on."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, image_size, image_size, 3), np.uint8)
    places, (yaw, pitch) = rng.standard_normal((count, 3)), rng.uniform(-0.5, 0.5, (2, count))
    directions = np.stack([np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)], axis=1)
    return images, np.concatenate([places, directions], axis=1).astype(np.float32)


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Returns operations that torch does not know how to express in ONNX."""
    from onnxscript import opset18 as op

    def hypot(x, y):
        return op.Sqrt(op.Add(op.Mul(x, x), op.Mul(y, y)))

    return {torch.ops.aten.hypot.default: hypot}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch's exporter from telling of its steps and of packages that it does without."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
