"""Views: pictures of a scene and where each was taken from, the one value that flows through the package."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from gqn_rl.poses import (
    IMAGE,
    POSE_CONVENTION,
    PROPRIOCEPTION,
    REPRESENTATION,
    VIEWPOINT,
    VIEWPOINT_SIZE,
    CameraPose,
    Scene,
)

__all__ = [
    "IMAGE",
    "POSE_CONVENTION",
    "PROPRIOCEPTION",
    "REPRESENTATION",
    "VIEWPOINT",
    "VIEWPOINT_SIZE",
    "CameraPose",
    "Scene",
    "Views",
    "prepare_images",
    "restore_images",
    "upload",
]


class Views(NamedTuple):
    """Pictures and the viewpoints they were taken from, as NumPy arrays or as torch tensors.

    Attributes:
        images: uint8 [..., K, H, W, 3].
        viewpoints: float32 [..., K, 7], ordered as `POSE_CONVENTION`.
    """

    images: Any
    viewpoints: Any

    def to_torch(self, device: torch.device | str = "cpu") -> Views:
        """Returns the same views as tensors on `device`; images stay uint8 HWC."""
        return Views(upload(self.images, device), upload(self.viewpoints, device))


def upload(array: Any, device: torch.device | str) -> torch.Tensor:
    """Returns an array as a tensor on `device`; what goes to a GPU goes from pinned memory, and nobody waits for it."""
    tensor = torch.as_tensor(array)
    if torch.device(device).type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)


def prepare_images(images: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Turns uint8 [..., H, W, 3] into float [..., 3, H, W] in [0, 1]: the only place where pictures become floats.

    >>> prepare_images(torch.full((2, 4, 4, 3), 255, dtype=torch.uint8)).shape
    torch.Size([2, 3, 4, 4])
    """
    if images.dtype != torch.uint8 or images.shape[-1] != 3:
        raise ValueError(f"`images` must be uint8 [..., H, W, 3], got {images.dtype} {tuple(images.shape)}.")
    return images.movedim(-1, -3).to(dtype) / 255


def restore_images(images: torch.Tensor) -> torch.Tensor:
    """Turns float [..., 3, H, W] back into uint8 [..., H, W, 3], clipping to [0, 1] (inverse of `prepare_images`)."""
    return (images.float().clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1)
