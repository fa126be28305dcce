"""RandomShift: pictures moved by a few pixels in training, the augmentation that pixel agents gain most from.

Yarats, Kostrikov and Fergus (DrQ, 2021) and DrQ-v2 (2022): pad by four pixels with the edge's colour, crop at random.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RandomShift(nn.Module):
    """Moves each picture of a batch by its own whole number of pixels, up to `pad` each way; not in evaluation.

    The border is filled with the nearest pixel of the picture, as padding by replication and cropping do. All channels
    of a picture move together: stacked frames, and the rays of its pixels, stay with it.

    Args:
        pad: the largest shift in pixels; 0 leaves pictures as they are.

    >>> RandomShift(4).eval()(torch.arange(4.0).reshape(1, 1, 2, 2)).flatten().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """

    def __init__(self, pad: int = 4):
        super().__init__()
        if pad < 0:
            raise ValueError(f"`pad` must be 0 or more pixels, got {pad}.")
        self.pad = pad

    def forward(self, pictures: Tensor) -> Tensor:
        """Maps [N, C, H, W] to the same shape; the shifts come from torch's random state."""
        if not self.training or self.pad == 0:
            return pictures
        shifts = torch.randint(-self.pad, self.pad + 1, (2, len(pictures), 1), device=pictures.device)
        return shifted(pictures, *shifts)


def shifted(pictures: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Reads each picture `down` and `right` pixels further on, int [N, 1] each: [N, C, H, W] to the same shape."""
    height, width = pictures.shape[-2:]
    rows = (torch.arange(height, device=pictures.device) + down).clamp(0, height - 1)  # [N, H]
    columns = (torch.arange(width, device=pictures.device) + right).clamp(0, width - 1)  # [N, W]
    each = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    return pictures[each, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)  # indexing puts channels last
