"""Parameters as one flat vector, which processes share and one operation copies, clips or updates."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from gqn_rl.machine import check_shared_memory


def flatten(policy: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Lays the trainable parameters into one vector [P] and their gradients into another; the policy keeps views.

    Copying parameters between processes, clipping, and the optimiser's step are then one operation each.
    """
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    theta = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    gradient = torch.zeros_like(theta)
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, part, slope in zip(parameters, theta.split(sizes), gradient.split(sizes), strict=True):
        parameter.data = part.view_as(parameter)
        parameter.grad = slope.view_as(parameter)
    return theta, gradient


def refuse_running_statistics(policy: nn.Module) -> None:
    """Refuses layers that gather statistics while they are trained: those of the workers would never come together."""
    for part in policy.modules():
        if isinstance(part, _NormBase) and part.track_running_stats:
            raise ValueError(
                f"`policy_kwargs` makes a {type(part).__name__}, whose running statistics each of A3C's workers would "
                "gather for itself: use LayerNorm or GroupNorm, or track_running_stats=False."
            )


def shared(tensor: torch.Tensor) -> torch.Tensor:
    """Moves a tensor to memory that the workers see, if there is room for it.

    Raises:
        OSError: there is none.
    """
    if not tensor.is_shared():
        check_shared_memory(tensor.nbytes)
    return tensor.share_memory_()
