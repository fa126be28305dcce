"""Where a run computes: its device, and the processes that share one batch."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import torch
from torch import distributed

from gqn_rl.devices import pick_device, torch_device
from gqn_rl.pretrain.joining import join


@dataclasses.dataclass(frozen=True)
class Workers:
    """This process among those that train one model together (torchrun starts them).

    Attributes:
        rank: number of this process, 0 for the one that writes files.
        world_size: how many there are.
        device: where this one computes.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and evaluates."""
        return self.rank == 0

    def wait(self) -> None:
        """Waits until every process has come here."""
        if self.world_size > 1:
            distributed.barrier()

    def any(self, flag: bool) -> bool:
        """Tells whether `flag` is set in any process."""
        if self.world_size == 1:
            return flag
        count = torch.tensor(float(flag))  # on the CPU, so that nobody waits for what a GPU has still to do
        distributed.all_reduce(count)
        return bool(count > 0)

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Returns the mean of `value` over the processes."""
        if self.world_size > 1:
            value = value.clone()
            distributed.all_reduce(value)
        return value / self.world_size


@contextlib.contextmanager
def join_workers(device: str = "auto") -> Iterator[Workers]:
    """Joins the processes that torchrun started (through its environment variables); one alone without it.

    Args:
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1".
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local_rank = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    if world_size > 1 and torch_device(device).index is not None:
        raise ValueError(
            f"`device` is '{device}', one GPU, but torchrun started {world_size} processes, which need one each; use "
            "device=cuda."
        )
    chosen = pick_device(device, local_rank)
    if world_size > 1:
        join("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", rank, world_size)
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True  # else even the convolutions of a resumed run would differ on CUDA
    try:
        yield Workers(rank, world_size, chosen)
    finally:
        torch.backends.cudnn.deterministic = before
        if world_size > 1:
            distributed.destroy_process_group()
