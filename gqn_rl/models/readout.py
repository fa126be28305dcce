"""Readout: from r, the sum of ψ over views, to the features that an agent or a probe gets."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Geometry(Protocol):
    """How to read an r that is laid out in space; a small picklable value without tensors.

    Attributes:
        frames: reference frames that it knows, "world" and "camera"; the first is the usual one.
        standardised: whether each entry, in the usual frame, is to be shifted and scaled by its statistics over views.
        num_positions: entries, the first of a vector, that say where things are; 0 where it does not tell them apart.
    """

    @property
    def frames(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def standardised(self) -> bool: ...  # noqa: D102
    @property
    def num_positions(self) -> int: ...  # noqa: D102

    def __call__(self, r: Tensor, viewpoints: Tensor | None, frame: str) -> Tensor:
        """Maps r [N, *shape] and viewpoints [N, 7] (frame "camera") to what is said, of r's shape."""
        ...


class Statistics(NamedTuple):
    """What a standardised readout needs to know: mean and deviation of each entry over views, and directions [R, D]."""

    mean: Tensor
    std: Tensor
    directions: Tensor | None = None


class Readout(nn.Module):
    """Features of r in up to three stages: geometry → z-score → projection onto the directions that tell scenes apart.

    Where r has no geometry, each view's ψ is standardised before it is summed (`of_view`). In another frame than the
    usual one only the first stage applies, for the statistics are not of that frame. All tensors are buffers, made
    again from the encoder's file and therefore in no state dict.

    Args:
        geometry: how r is read first; None takes it as it is.
        statistics: of what one view says; None leaves entries as they are.
    """

    mean: Tensor
    std: Tensor
    directions: Tensor | None

    def __init__(self, geometry: Geometry | None = None, statistics: Statistics | None = None):
        super().__init__()
        self.geometry = geometry
        if geometry is not None and not geometry.standardised:
            statistics = None
        self.has_statistics = statistics is not None
        statistics = statistics or Statistics(torch.tensor(0.0), torch.tensor(1.0))
        for name, value in statistics._asdict().items():
            self.register_buffer(name, None if value is None else value.float(), persistent=False)

    @property
    def frames(self) -> tuple[str, ...]:
        """Reference frames in which r can be read, the usual one first."""
        return ("world",) if self.geometry is None else self.geometry.frames

    def of_view(self, psi: Tensor) -> Tensor:
        """Returns what is summed: ψ of a view, standardised where r has no geometry, [..., *shape]."""
        return (psi - self.mean) / self.std if self.geometry is None else psi

    def forward(self, r: Tensor, viewpoints: Tensor | None = None, frame: str | None = None) -> Tensor:
        """Maps sums of what `of_view` returns, [N, *shape], to features: [N, D], or a map where r is one.

        Args:
            r: the sums.
            viewpoints: [N, 7], from where to look in frame "camera".
            frame: one of `frames`; None is the usual one.
        """
        frame = frame or self.frames[0]
        if self.geometry is not None:
            r = self.geometry(r, viewpoints, frame)
            if frame != self.frames[0] or not self.has_statistics:
                return r
            r = (r - self.mean) / self.std
        return r if self.directions is None else r @ self.directions
