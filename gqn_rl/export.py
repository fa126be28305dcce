"""Writes an encoder as one ONNX file for use without this package and without torch: on a robot, in a browser.

python -m gqn_rl.export encoder=jaco out=encoder.onnx
python -m gqn_rl.export encoder=runs/pretrain/jaco_gqn_points_seed0 out=encoder.onnx

Pictures and viewpoints go in as cameras give them, images uint8 [N, H, W, 3] and viewpoints float32 [N, 7], for any N.
Two outputs come out: `features`, what an agent gets of one view, and `summand`, ψ, whose sum over views is the
scene's r. What is to be known of them is in the file's metadata. `examples/deploy_onnx.py` runs such a file.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from gqn_rl.checkpoint import package_version
from gqn_rl.cli import command
from gqn_rl.representation import load_encoder
from gqn_rl.runlog import write_atomic
from gqn_rl.runtimes import FEATURES, TORCH, open_session, to_onnx
from gqn_rl.runtimes.onnx_file import random_views
from gqn_rl.scene_encoder import SceneEncoder, SingleViews, read
from gqn_rl.views import POSE_CONVENTION

SUMMAND = "summand"
"""The second output: ψ of each view, float32 [N, *representation_shape]."""
LARGEST_ERROR = 1e-4
"""Of a feature, relative to the largest one (or to 1), with which a file is still written."""


@command("export")
def main(cfg: DictConfig) -> None:
    """Writes the file that the config asks for, after it has been compared with torch."""
    encoder = load_encoder(cfg.encoder, standardise=cfg.standardise, features=cfg.features, runtime=TORCH)
    content = export(encoder, cfg.frame)
    shape, error = compare(content, encoder, cfg.frame)
    write_atomic(cfg.out, content)
    size = encoder.image_size
    print(
        f"`{Path(cfg.out).resolve()}`: images uint8 [N, {size}, {size}, 3] and viewpoints float32 [N, 7] to features "
        f"float32 [N, {', '.join(map(str, shape))}], {len(content) / 1e6:.1f} MB, within {error:.0e} of torch."
    )


class Deployed(nn.Module):
    """The features of each view alone, and ψ: images [N, H, W, 3] and viewpoints [N, 7] → two outputs."""

    def __init__(self, encoder: SceneEncoder, frame: str):
        super().__init__()
        self.psi, self.readout, self.frame = SingleViews(encoder.module), encoder.readout, frame

    def forward(self, images: Tensor, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes N views."""
        psi = self.psi(images, viewpoints)
        return self.readout(psi, viewpoints, self.frame).clone(), psi


def export(encoder: SceneEncoder, frame: str | None = None) -> bytes:
    """Returns an encoder as an ONNX file.

    Args:
        encoder: the encoder, on the CPU.
        frame: the frame in which an r with a geometry is read, "camera" or "world"; None is the usual one.

    Raises:
        ValueError: the encoder does not know the frame, or ONNX does not know one of its operations.
    """
    facts = {
        "image_size": str(encoder.image_size),
        "viewpoint": POSE_CONVENTION,
        "frame": frame_of(encoder, frame),
        "model": json.dumps(encoder.metadata.get("model")),
        "dataset": json.dumps(encoder.metadata.get("dataset")),
        "gqn_rl_version": package_version("gqn-rl"),
    }
    try:
        return to_onnx(Deployed(encoder, facts["frame"]), encoder.image_size, (FEATURES, SUMMAND), facts)
    except Exception as error:  # torch's exporter has no class of errors of its own
        first_line = str(error).strip().split("\n")[0]
        raise ValueError(f"The encoder cannot be written as ONNX: {first_line}") from error


def compare(content: bytes, encoder: SceneEncoder, frame: str | None = None) -> tuple[tuple[int, ...], float]:
    """Runs an exported file beside the encoder itself.

    Returns:
        The shape of one view's features, and by how much they differ at most, relative to the largest (or to 1).

    Raises:
        ValueError: they are not the same.
    """
    images, viewpoints = random_views(encoder.image_size, 5)
    psi = encoder.encode_views(images, viewpoints)
    expected = read(encoder.readout, psi, viewpoints, frame_of(encoder, frame))
    found = open_session("onnx", content, torch.get_num_threads())(images, viewpoints)
    error = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
    if not error <= LARGEST_ERROR:
        raise ValueError(f"The exported encoder differs from torch's by {error:.0e} of its largest feature.")
    return found.shape[1:], error


def frame_of(encoder: SceneEncoder, frame: str | None) -> str:
    """Returns the frame to read r in."""
    known = encoder.readout.frames
    if frame not in (None, *known):
        raise ValueError(f"`frame` must be null or one of {', '.join(known)} with this encoder, got {frame!r}.")
    return frame or known[0]


if __name__ == "__main__":
    main()
