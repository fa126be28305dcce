"""Where to compute, by name, and in which number format."""

from __future__ import annotations

import torch


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """Returns the torch device that `name` stands for."""
    device = torch_device(name)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", local_rank)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"`device` is '{name}', but torch finds no CUDA device; use device=cpu.")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def torch_device(name: str) -> torch.device:
    """Returns the device that `name` stands for, without a number where it has none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"`device` must be auto, cpu, cuda or cuda:N, got '{name}'.") from error


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Tells whether to compute convolutions in bfloat16: as asked, or with "auto" where the hardware multiplies it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
